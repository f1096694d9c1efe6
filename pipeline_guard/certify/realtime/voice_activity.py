"""Hears in the caller's audio when speech starts and stops.  Time is that of the audio, not that of a clock.

Loudness alone decides, as far as a simulator goes: good enough to tell a caller from a quiet line, and blind to music
or noise of the same loudness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline_guard.certify.mulaw import FORMAT_BYTES_PER_MS, FRAME_MS, loudness

# ``threshold`` 0 … 1 as loudness: -60 … -20 dB below full scale, so that the default 0.5 is -40 dB.
_QUIETEST_DB, _RANGE_DB = -60.0, 40.0
# Speech that lasts this long is speech; one loud frame is a click.
_ATTACK_MS = 40
# How long each kind of listener waits; the real semantic detection looks at what was said, which a simulator cannot.
_SEMANTIC_SILENCE_MS = {"high": 300, "medium": 500, "auto": 500, "low": 1000}


@dataclass(frozen=True)
class Edge:
    """Speech started or stopped; ``at_ms`` is when, in milliseconds of audio since the session began."""

    kind: Literal["started", "stopped"]
    at_ms: int


class VoiceActivity:
    """Feed it audio, and it yields the edges of speech as they are found."""

    def __init__(self, settings: Mapping[str, Any], audio_format: str) -> None:
        self.threshold = 10 ** ((_QUIETEST_DB + _RANGE_DB * settings.get("threshold", 0.5)) / 20)
        self.prefix_ms: int = settings.get("prefix_padding_ms", 300)
        self.silence_ms: int = settings.get(
            "silence_duration_ms", _SEMANTIC_SILENCE_MS.get(settings.get("eagerness", "auto"), 500)
        )
        self.audio_format = audio_format
        self.speaking = False
        self._window = FRAME_MS * FORMAT_BYTES_PER_MS[audio_format]
        self._rest = b""
        self._loud_ms = 0
        self._quiet_ms = 0

    def hear(self, audio: bytes, end_ms: int) -> Iterator[Edge]:
        """Take in the audio that ends at ``end_ms`` of the session."""
        audio = self._rest + audio
        whole = len(audio) // self._window * self._window
        self._rest = audio[whole:]
        at = end_ms - len(audio) // FORMAT_BYTES_PER_MS[self.audio_format]
        for start in range(0, whole, self._window):
            at += FRAME_MS
            loud = loudness(audio[start : start + self._window], self.audio_format) >= self.threshold
            if edge := self._step(loud, at):
                yield edge

    def forget(self) -> None:
        """Start over: what was said has been committed or cleared."""
        self.speaking = False
        self._loud_ms = self._quiet_ms = 0

    def _step(self, loud: bool, at: int) -> Edge | None:
        self._loud_ms = self._loud_ms + FRAME_MS if loud else 0
        self._quiet_ms = 0 if loud else self._quiet_ms + FRAME_MS
        if not self.speaking and self._loud_ms >= _ATTACK_MS:
            self.speaking = True
            return Edge("started", max(0, at - self._loud_ms - self.prefix_ms))
        if self.speaking and self._quiet_ms >= self.silence_ms:
            self.speaking = False
            return Edge("stopped", at)
        return None
