"""Twilio's side of one media stream as a state machine without I/O: what it sends, what it plays, what it refuses.

Sources: Twilio's "Media Streams WebSocket messages" and the error codes 31924 (protocol error), 31930 (buffer
overflow) and 31950 (binary message).  Times are seconds of simulated time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_guard.certify.mulaw import BYTES_PER_MS

PROTOCOL_ERROR, OVERFLOW, BINARY_MESSAGE = 31924, 31930, 31950


@dataclass(frozen=True)
class Violation:
    """Something the agent did that Twilio reports by an error or warning of this number."""

    code: int
    text: str
    at: float


@dataclass(frozen=True)
class Played:
    """Audio that the caller heard, from ``at`` on."""

    at: float
    audio: bytes

    @property
    def ends_at(self) -> float:
        """When the last sample of it was heard."""
        return self.at + len(self.audio) / BYTES_PER_MS / 1000


@dataclass(frozen=True)
class Identity:
    """The ids of a call; a second stream of the same call has the same ones but for ``stream_sid``."""

    account_sid: str
    call_sid: str
    stream_sid: str


class MediaStream:
    """Messages are returned as JSON text, in the order in which they have to be sent.

    ``bidirectional`` is false for ``<Start><Stream>``: Twilio then plays nothing and reports no key.
    """

    def __init__(self, identity: Identity, *, bidirectional: bool = True) -> None:
        self.identity = identity
        self.bidirectional = bidirectional
        self.violations: list[Violation] = []
        self.marks_returned: list[tuple[float, str, bool]] = []
        self.free_at = 0.0
        self._sequence = 0
        self._chunk = 0
        self._played: deque[Played] = deque()
        self._marks: deque[tuple[float, str]] = deque()
        self._out: list[str] = []

    # -- what Twilio sends ---------------------------------------------------------------------------------------

    @staticmethod
    def connected() -> str:
        """Return the first message of every stream; it is the only one without a sequence number."""
        return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, parameters: Mapping[str, str]) -> str:
        """Return the message that says whose stream this is; ``parameters`` come from ``<Parameter>``."""
        ids = self.identity
        body = {
            "accountSid": ids.account_sid,
            "streamSid": ids.stream_sid,
            "callSid": ids.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters),
        }
        return self._message("start", start=body)

    def media(self, audio: bytes, timestamp_ms: int) -> str:
        """Return a frame of the caller; ``timestamp_ms`` counts from the start of the stream."""
        self._chunk += 1
        payload = base64.b64encode(audio).decode()
        body = {"track": "inbound", "chunk": str(self._chunk), "timestamp": str(timestamp_ms), "payload": payload}
        return self._message("media", media=body)

    def dtmf(self, digit: str) -> str:
        """Return a key that the caller pressed."""
        return self._message("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def stop(self) -> str:
        """Return the last message."""
        return self._message("stop", stop={"accountSid": self.identity.account_sid, "callSid": self.identity.call_sid})

    def _message(self, event: str, **body: Any) -> str:
        self._sequence += 1
        ids = {"sequenceNumber": str(self._sequence), "streamSid": self.identity.stream_sid}
        return json.dumps({"event": event, **ids, **body})

    # -- what the agent sends ------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now: float) -> dict[str, Any]:
        """Take in one message of the agent, and return it as an event for the record.

        A message that is against the rules is recorded among the violations and does nothing else.
        """
        if isinstance(message, bytes):
            return self._refuse(now, "a binary frame: Twilio takes text only", code=BINARY_MESSAGE)
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return self._refuse(now, "a message that is not JSON")
        kind = event.get("event") if isinstance(event, dict) else None
        if kind not in ("media", "mark", "clear"):
            return self._refuse(now, f"a message {kind!r}: only media, mark and clear may be sent", event)
        if event.get("streamSid") != self.identity.stream_sid:
            return self._refuse(now, f"{kind} with the streamSid {event.get('streamSid')!r} of no stream here", event)
        if not self.bidirectional:
            return self._refuse(now, f"{kind} on a stream that only listens (<Start><Stream>)", event)
        problem = self._problem(kind, event)
        if problem is not None:
            return self._refuse(now, problem, event)
        if kind == "media":
            self._play(base64.b64decode(event["media"]["payload"]), now)
        elif kind == "mark":
            self._marks.append((max(now, self.free_at), event["mark"]["name"]))
        else:
            self._clear(now)
        self.tick(now)
        return dict(event)

    @staticmethod
    def _problem(kind: str, event: Mapping[str, Any]) -> str | None:
        if kind == "clear":
            return None
        body = event.get(kind)
        if not isinstance(body, dict):
            return f"{kind} without its {kind} object"
        if kind == "mark":
            return None if isinstance(body.get("name"), str) and body["name"] else "mark without a name"
        payload = body.get("payload")
        if not isinstance(payload, str):
            return "media without a payload"
        try:
            audio = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            return "media whose payload is not base64"
        if not audio:
            return "media with an empty payload"
        return "media with a file header: the payload has to be raw μ-law" if audio[:4] == b"RIFF" else None

    def _play(self, audio: bytes, now: float) -> None:
        start = max(now, self.free_at)
        self._played.append(Played(start, audio))
        self.free_at = start + len(audio) / BYTES_PER_MS / 1000

    def _clear(self, now: float) -> None:
        while self._played and self._played[-1].at >= now:
            self._played.pop()
        if self._played and self._played[-1].ends_at > now:
            cut = self._played.pop()
            self._played.append(Played(cut.at, cut.audio[: int((now - cut.at) * 1000 * BYTES_PER_MS)]))
        self.free_at = min(self.free_at, now)
        # Marks of audio that nobody will hear come back as well, at once and in order.
        for _, name in self._marks:
            self._return_mark(now, name, cleared=True)
        self._marks.clear()

    def _refuse(self, now: float, text: str, event: Any = None, code: int = PROTOCOL_ERROR) -> dict[str, Any]:
        self.violations.append(Violation(code, f"the agent sent {text}", now))
        return dict(event) if isinstance(event, dict) else {"event": "unreadable"}

    # -- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Return the marks whose audio has been played."""
        while self._marks and self._marks[0][0] <= now:
            self._return_mark(now, self._marks.popleft()[1], cleared=False)

    def next_due(self) -> float | None:
        """Return when the next mark is due."""
        return self._marks[0][0] if self._marks else None

    def take(self) -> list[str]:
        """Return the messages to send, in order, and forget them."""
        sent, self._out = self._out, []
        return sent

    def is_playing(self, now: float) -> bool:
        """Say whether the caller hears the agent."""
        return self.free_at > now

    def played(self, now: float) -> list[Played]:
        """Return what the caller has heard up to now."""
        heard = []
        for piece in self._played:
            length = int((now - piece.at) * 1000 * BYTES_PER_MS)
            if length > 0:
                heard.append(Played(piece.at, piece.audio[:length]))
        return heard

    def _return_mark(self, now: float, name: str, *, cleared: bool) -> None:
        self.marks_returned.append((now, name, cleared))
        self._out.append(self._message("mark", mark={"name": name}))
