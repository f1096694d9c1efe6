"""Twilio's side in plain data: media stream messages in and out, TwiML, request signatures.

Sources: Twilio, "Media Streams WebSocket messages", "TwiML <Stream>", "Validating signatures from Twilio".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

import msgspec

MAX_MESSAGE = 64 * 1024  # bytes; a frame has about 400
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Media(msgspec.Struct):
    """20 ms of the caller: 160 bytes of μ-law, base64."""

    payload: str


class Start(msgspec.Struct, rename="camel"):
    """Whose stream this is."""

    stream_sid: str
    call_sid: str


class Mark(msgspec.Struct):
    """The audio before this mark has been played, or cleared."""

    name: str


class Dtmf(msgspec.Struct):
    """A key."""

    digit: str


class Message(msgspec.Struct, rename="camel"):
    """A message of a media stream; the field of its event is there."""

    event: str
    sequence_number: str | None = None
    media: Media | None = None
    start: Start | None = None
    mark: Mark | None = None
    dtmf: Dtmf | None = None


_decode = msgspec.json.Decoder(Message).decode


def read_message(text: str) -> Message:
    """Parse a message.  Raises ValueError that says what is wrong with it."""
    try:
        message = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if message.event in ("media", "start", "mark", "dtmf") and getattr(message, message.event) is None:
        raise ValueError(f"a {message.event} message without its {message.event} object")
    if message.media is not None and not _BASE64.fullmatch(message.media.payload):
        raise ValueError("a media message whose payload is not base64")
    return message


def media_message(stream_sid: str, payload: str) -> str:
    """Return the message that plays base64 μ-law to the caller."""
    return f'{{"event":"media","streamSid":"{stream_sid}","media":{{"payload":"{payload}"}}}}'


def mark_message(stream_sid: str, name: str) -> str:
    """Return the message that asks to be told when the audio before it has been played."""
    return f'{{"event":"mark","streamSid":"{stream_sid}","mark":{{"name":"{name}"}}}}'


def clear_message(stream_sid: str) -> str:
    """Return the message that throws away what has not been played."""
    return f'{{"event":"clear","streamSid":"{stream_sid}"}}'


def connect_twiml(host: str, *, record: bool) -> str:
    """Return the TwiML that joins the call to the media stream, and asks what comes after it."""
    base = f"https://{host}/twilio"
    recording = (
        f"<Start><Recording recordingStatusCallback={quoteattr(base + '/recording')} "
        'recordingStatusCallbackEvent="completed" channels="dual" track="both"/></Start>'
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Response>{recording if record else ""}'
        f"<Connect action={quoteattr(base + '/after-stream')}>"
        f"<Stream url={quoteattr(f'wss://{host}/twilio/media')} statusCallback={quoteattr(base + '/stream-status')}/>"
        "</Connect></Response>"
    )


def after_stream_twiml(transfer_to: str | None) -> str:
    """Return the TwiML for a call whose stream has ended."""
    verb = f"<Dial>{transfer_to}</Dial>" if transfer_to else "<Hangup/>"
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{verb}</Response>'


BUSY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response><Reject reason="busy"/></Response>'


def is_signed(auth_token: str, signature: str | None, url: str, form: Mapping[str, str] | None = None) -> bool:
    """Say whether Twilio made the request: HMAC-SHA1 over the public URL and the sorted form fields.

    Twilio signs some requests with the port in the URL and some without; both are accepted, as its library does.
    """
    if not signature:
        return False
    fields = "".join(key + value for key, value in sorted((form or {}).items()))
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    bare = host.rpartition(":")[0] if re.search(r":\d+\Z", host) else host
    port = "443" if scheme in ("https", "wss") else "80"
    genuine = False
    for candidate in {host, bare, f"{bare}:{port}"}:
        signed = f"{scheme}://{candidate}{slash}{path}{fields}".encode()
        expected = base64.b64encode(hmac.new(auth_token.encode(), signed, hashlib.sha1).digest())
        genuine |= hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
    return genuine
