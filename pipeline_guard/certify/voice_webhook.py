"""Finds the address that an agent's phone number would point to: the route that answers a call with TwiML.

Routes come from the application's ``/openapi.json`` and from the strings of its source that look like one.  Those whose
names speak of an incoming call are asked, as Twilio would ask them, until one opens a media stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_guard.certify.child import AgentFailed, AgentSpec, RunningAgent
from pipeline_guard.certify.twilio.twiml import TwimlError, read_twiml

_STRONG = ("incoming", "inbound", "voice", "twiml", "answer")
_WEAK = ("call", "phone", "twilio", "webhook", "ivr", "start", "connect")
# Routes that say what becomes of a call, or make one, are not those that take one.
_OTHERS = (
    "status callback recording outbound outgoing make transfer end hangup hang log list history health media stream "
    "event result transcript test summary openapi docs static token schedule"
).split()
_WORD = re.compile(r"[a-z]+")
_ROUTE = re.compile(rb"""["'](/[A-Za-z0-9_./-]{1,80})["']""")
# A variable of the environment that says where the agent itself is reached, in code as a string.
_ADDRESS = re.compile(
    rb"""["']((?:PUBLIC|BASE|SERVER|NGROK|TUNNEL|WEBHOOK|APP|SERVICE|EXTERNAL|RENDER|RAILWAY|TWILIO|CALLBACK)_[A-Z_]*"""
    rb"""(?:URL|HOST|HOSTNAME|DOMAIN|ADDRESS)|DOMAIN|HOSTNAME|NGROK)["']"""
)
_USUAL = ("/incoming-call", "/voice", "/twiml", "/twilio/voice", "/answer")
_MOST_ASKED = 10


@dataclass(frozen=True)
class Asked:
    """A route that was asked, and what it answered: "TwiML" with or without a stream, or what else."""

    path: str
    answer: str
    opens_stream: bool = False


Ask = Callable[[str], Awaitable[Asked]]


async def find_voice_webhook(agent: RunningAgent, ask: Ask) -> str:
    """Return the path of the webhook; ``ask`` asks a path as Twilio would.

    Raises AgentFailed that names the routes that were asked.
    """
    routes = await asyncio.to_thread(_routes, agent)
    asked: list[Asked] = []
    for path in ranked(routes)[:_MOST_ASKED]:
        answer = await ask(path)
        asked.append(answer)
        if answer.opens_stream:
            return path
    with_twiml = [answer.path for answer in asked if answer.answer == "TwiML"]
    if with_twiml:
        return with_twiml[0]
    tried = ", ".join(f"{each.path} ({each.answer})" for each in asked) or "none looked like one"
    raise AgentFailed(
        f"no route of the agent answers a call with TwiML: {tried}; "
        "name it with --webhook, or the media stream's with --stream."
    )


def ranked(routes: Iterable[str]) -> list[str]:
    """Return the routes that may take a call, the likeliest first."""
    scored = [(_score(route), number, route) for number, route in enumerate(dict.fromkeys(routes)) if "{" not in route]
    return [route for score, _, route in sorted(scored) if score < 0]


def _score(route: str) -> int:
    words = _WORD.findall(route.lower())
    last = words[-1:] if words else []
    score = -4 * sum(word in _STRONG for word in words) - sum(word in _WEAK or word in _STRONG for word in last)
    score -= sum(word in _WEAK for word in words)
    return score + 6 * sum(word in _OTHERS or word.rstrip("s") in _OTHERS for word in words)


def judged(path: str, status: int, body: str) -> Asked:
    """Return what an answer to a call's request is."""
    if status == 0 or status >= 400:
        return Asked(path, f"HTTP {status}" if status else "no answer")
    try:
        verbs = read_twiml(body)
    except TwimlError:
        return Asked(path, "no TwiML")
    return Asked(path, "TwiML", any(verb.name in ("Connect/Stream", "Start/Stream") for verb in verbs))


def _routes(agent: RunningAgent) -> Sequence[str]:
    # What is kept out of the description may be the very route; those of the source lack the prefixes of routers.
    return [*_documented(agent.base_url), *_written(agent.spec.directory), *_USUAL]


def _documented(base_url: str) -> list[str]:
    """Return the routes of an OpenAPI description that can be posted to, none where there is no description."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url}/openapi.json", timeout=10) as answer:
            described = json.load(answer)
    except (OSError, ValueError):
        return []
    paths = described.get("paths") if isinstance(described, dict) else None
    return [path for path, methods in paths.items() if "post" in methods] if isinstance(paths, dict) else []


def address_hint(spec: AgentSpec) -> str:
    """Return which variables of the environment may be the agent's own address, as the end of a sentence."""
    names = dict.fromkeys(
        match[1].decode() for source in _sources(spec.directory) for match in _ADDRESS.finditer(source)
    )
    unset = [name for name in names if not os.environ.get(name) and name not in spec.environment]
    if not unset:
        return ""
    return (
        f"; the agent may want to be told its own address: it reads {', '.join(unset[:5])} "
        f"(--env {unset[0]}=https://{spec.public_host})"
    )


def _written(directory: Path) -> Iterable[str]:
    """Yield the strings of the agent's source that look like a route."""
    for source in _sources(directory):
        for match in _ROUTE.finditer(source):
            yield match[1].decode()


def _sources(directory: Path) -> Iterable[bytes]:
    from pipeline_guard.config import Config
    from pipeline_guard.discovery import discover

    for file in discover(directory.resolve(), (), Config().max_file_size).files:
        with contextlib.suppress(OSError):
            yield Path(file.path).read_bytes()
