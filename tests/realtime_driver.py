"""Drives the Realtime state machine without a socket, and reads every event it emits with the SDK's own types."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any

from pipeline_guard.certify.mulaw import silence, voice
from pipeline_guard.certify.realtime.behaviour import Behaviour
from pipeline_guard.certify.realtime.script import Script
from pipeline_guard.certify.realtime.server import RealtimeServer

# What the service says of a session beyond the type that the SDK reads it with.
BEYOND_THE_TYPE = {"id", "object", "expires_at"}


@lru_cache(maxsize=1)
def _adapter() -> Any:
    from openai.types.realtime.realtime_server_event import RealtimeServerEvent
    from pydantic import TypeAdapter

    return TypeAdapter(RealtimeServerEvent)


def check_shape(event: dict[str, Any]) -> None:
    """Fail unless the SDK's types know every key of the event, with a value of its type, and give all of it back."""
    read = _adapter().validate_python(event)
    assert read.type == event["type"]
    assert json.loads(read.to_json(exclude_unset=True)) == event
    _no_unknown_keys(read, event["type"])


def _no_unknown_keys(model: Any, where: str) -> None:
    from pydantic import BaseModel

    if isinstance(model, BaseModel):
        unknown = set(model.model_extra or {}) - (BEYOND_THE_TYPE if where.endswith(".session") else set())
        assert not unknown, f"{where} has no {unknown} in the SDK"
        for name in type(model).model_fields:
            _no_unknown_keys(getattr(model, name), f"{where}.{name}")
    elif isinstance(model, list):
        for item in model:
            _no_unknown_keys(item, where)


PCMU = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-transcribe", "language": "he"},
            "turn_detection": {"type": "server_vad", "create_response": False},
        },
        "output": {"format": {"type": "audio/pcmu"}},
    },
}


class Driver:
    """A client that shares the server's clock.  ``seen`` are all events so far, ``new()`` those since the last call."""

    def __init__(self, script: Script | None = None, **behaviour: Any) -> None:
        if script is not None:
            behaviour["script"] = script
        self.server = RealtimeServer(Behaviour(**behaviour), seed=3)
        self.now = 0.0
        self.seen: list[dict[str, Any]] = []
        self._read = 0
        self.server.open(self.now)
        self._collect()

    def configure(self, **turn_detection: Any) -> Driver:
        """Use μ-law both ways, with a turn detection that creates no responses unless told to."""
        session = json.loads(json.dumps(PCMU))
        session["audio"]["input"]["turn_detection"].update(turn_detection)
        self.send("session.update", session=session)
        self.new()
        return self

    def send(self, event_type: str, **keys: Any) -> None:
        self.raw(json.dumps({"type": event_type, **keys}))

    def raw(self, message: str | bytes) -> None:
        self.server.receive(message, self.now)
        self._collect()

    def wait(self, seconds: float) -> None:
        """Let time pass, due by due."""
        end = self.now + seconds
        while (due := self.server.next_due()) is not None and due <= end:
            self.server.tick(due)
        self.now = end
        self.server.tick(end)
        self._collect()

    def speak(self, milliseconds: int = 600, pause: int = 600, seed: int = 1) -> None:
        """Say something and then nothing, in frames of 20 ms, in real time."""
        for audio in (voice(seed, milliseconds), silence(pause)):
            for start in range(0, len(audio), 160):
                self.send("input_audio_buffer.append", audio=base64.b64encode(audio[start : start + 160]).decode())
                self.wait(0.02)

    def new(self, *types: str) -> list[dict[str, Any]]:
        found, self._read = self.seen[self._read :], len(self.seen)
        return [event for event in found if not types or event["type"] in types]

    def types(self) -> list[str]:
        return [event["type"] for event in self.new()]

    def _collect(self) -> None:
        for event in self.server.take():
            check_shape(event)
            self.seen.append(event)
