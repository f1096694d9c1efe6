"""The server's ear: takes in the caller's audio, knows where a turn begins and ends, and hands its audio over."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_guard.certify.mulaw import FORMAT_BYTES_PER_MS, FRAME_MS
from pipeline_guard.certify.realtime.audio_buffer import SHORTEST_COMMIT_MS, AudioBuffer
from pipeline_guard.certify.realtime.schema import Problem
from pipeline_guard.certify.realtime.voice_activity import Edge, VoiceActivity


class Listening:
    """Buffer and voice activity of a session.  ``item_id`` is that of the turn being spoken, None between turns."""

    def __init__(self, session: Mapping[str, Any]) -> None:
        self.buffer = AudioBuffer()
        self.item_id: str | None = None
        self.turn_detection: Mapping[str, Any] = {}
        self.audio_format = ""
        self.last_audio = b""
        self._activity: VoiceActivity | None = None
        self._speech_start_ms: int | None = None
        self.configure(session)

    @property
    def end_ms(self) -> int:
        """How much audio the session has been given, in milliseconds."""
        return self.buffer.end_ms

    @property
    def silence_ms(self) -> int:
        """How much silence ends a turn; 0 where turn detection is off."""
        return self._activity.silence_ms if self._activity is not None else 0

    def configure(self, session: Mapping[str, Any]) -> None:
        """Take over the session's settings; a new turn detection starts listening afresh."""
        settings = session["audio"]["input"]
        detection, audio_format = settings["turn_detection"] or {}, settings["format"]["type"]
        if detection == self.turn_detection and audio_format == self.audio_format:
            return
        self.buffer.use_format(audio_format)
        self.turn_detection, self.audio_format = detection, audio_format
        self._activity = VoiceActivity(detection, audio_format) if detection else None
        self._forget()

    def decode(self, audio: str) -> bytes | None:
        """Return the bytes of an append, None when they are not base64; ``last_audio`` keeps them."""
        self.last_audio = b""
        try:
            self.last_audio = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            return None
        return self.last_audio

    def append(self, audio: bytes) -> Iterator[Edge]:
        """Take in audio and yield where speech starts and stops in it, each as soon as it is heard.

        So a turn that is taken at an edge ends there, however much audio came in one piece.
        """
        step = FRAME_MS * FORMAT_BYTES_PER_MS[self.audio_format]
        for offset in range(0, len(audio), step):
            piece = audio[offset : offset + step]
            self.buffer.append(piece)
            for edge in self._activity.hear(piece, self.buffer.end_ms) if self._activity is not None else ():
                if edge.kind == "started":
                    self._speech_start_ms = max(edge.at_ms, self.buffer.start_ms)
                    yield Edge("started", self._speech_start_ms)
                else:
                    yield edge

    def commit_problem(self) -> Problem | None:
        """Return why the client cannot commit now, or None."""
        if self.buffer.duration_ms >= SHORTEST_COMMIT_MS:
            return None
        text = (
            "Error committing input audio buffer: buffer too small. "
            f"Expected at least {SHORTEST_COMMIT_MS}ms of audio, "
            f"but buffer only has {self.buffer.duration_ms:.2f}ms of audio."
        )
        return Problem("input_audio_buffer_commit_empty", text)

    def take(self) -> tuple[int, bytes]:
        """End the turn: return when it started and its audio, from there to the end of the buffer."""
        start = self._speech_start_ms if self._speech_start_ms is not None else self.buffer.start_ms
        start = max(start, self.buffer.start_ms)
        audio = self.buffer.take(start)
        self._forget()
        return start, audio

    def clear(self) -> None:
        """Drop what has not been committed."""
        self.buffer.take()
        self._forget()

    def _forget(self) -> None:
        self.item_id = None
        self._speech_start_ms = None
        if self._activity is not None:
            self._activity.forget()
