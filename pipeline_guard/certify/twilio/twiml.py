"""Reads the TwiML that a webhook answers with, as far as a call to a phone agent needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree import ElementTree


class TwimlError(Exception):
    """TwiML that Twilio refuses; the message begins with Twilio's error code where there is one."""


@dataclass(frozen=True)
class Verb:
    """One instruction: ``name`` as written ("Say"; "Connect/Stream" for a noun in its verb), attributes and text."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def speaks(self) -> bool:
        """Whether Twilio is heard: by itself, or while it waits for a key."""
        return self.name.rpartition("/")[2] in ("Say", "Play")


_WITH_NOUNS = ("Connect", "Start", "Stop", "Dial")
# These are something by themselves, and speak while they wait.
_ASKING = ("Gather", "Prompt")


def read_twiml(body: str | bytes) -> list[Verb]:
    """Return the verbs in order.  Raises TwimlError."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise TwimlError(f"12100: the webhook's answer is not XML: {error}") from None
    if root.tag != "Response":
        raise TwimlError(f"12100: the root of the TwiML is <{root.tag}>, not <Response>")
    verbs: list[Verb] = []
    for element in root:
        nouns = list(element) if element.tag in (*_WITH_NOUNS, *_ASKING) else []
        if not nouns or element.tag in _ASKING:
            verbs.append(_verb(element.tag, element))
        verbs += [_verb(f"{element.tag}/{noun.tag}", noun) for noun in nouns]
    return verbs


def stream_url(verb: Verb) -> str:
    """Return the address of a stream.  Raises TwimlError for one that Twilio does not connect to."""
    url = verb.attributes.get("url", "").strip()
    parts = urlsplit(url)
    if parts.scheme != "wss":
        raise TwimlError(f"31920: <Stream url={url!r}>: the address has to begin with wss://")
    if parts.query:
        raise TwimlError(f"31920: <Stream url={url!r}>: no query string is allowed; use <Parameter>")
    if not parts.hostname:
        raise TwimlError(f"31920: <Stream url={url!r}>: there is no host in the address")
    return url


def _verb(name: str, element: ElementTree.Element) -> Verb:
    parameters = {child.get("name", ""): child.get("value", "") for child in element if child.tag == "Parameter"}
    return Verb(name, dict(element.attrib), (element.text or "").strip(), parameters)
