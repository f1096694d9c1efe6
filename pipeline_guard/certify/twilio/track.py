"""The caller's side of the line: speech, silence, and under both a noise that makes every frame unique."""

from __future__ import annotations

import random
from collections import deque

from pipeline_guard.certify.mulaw import DECODED, FRAME_BYTES, SILENCE, encode_sample

# Standard deviation of the noise, in steps of a 16-bit sample: far below any voice detector's threshold.
_NOISE = 12.0


class CallerTrack:
    """Frames of 20 ms, one after the other.  The same seed and the same speech give the same frames."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._waiting: deque[bytes] = deque()
        # Drawing a Gaussian for each of 8,000 samples a second would cost more than all the rest of a call.
        self._noise = [round(self._random.gauss(0, _NOISE)) for _ in range(4096)]
        self._quiet = bytes(encode_sample(value) for value in self._noise)

    @property
    def is_speaking(self) -> bool:
        """Whether speech waits to be sent."""
        return bool(self._waiting)

    def say(self, audio: bytes) -> None:
        """Put μ-law speech on the line, after what waits already."""
        for start in range(0, len(audio), FRAME_BYTES):
            self._waiting.append(audio[start : start + FRAME_BYTES].ljust(FRAME_BYTES, SILENCE))

    def next_frame(self) -> bytes:
        """Return the next 160 bytes."""
        parts = []
        speech = self._waiting.popleft() if self._waiting else None
        for start in range(0, FRAME_BYTES, 16):
            at = self._random.randrange(len(self._quiet) - 16)
            if speech is None:
                parts.append(self._quiet[at : at + 16])
            else:
                parts.append(
                    bytes(
                        encode_sample(DECODED[byte] + noise)
                        for byte, noise in zip(speech[start : start + 16], self._noise[at : at + 16], strict=True)
                    )
                )
        return b"".join(parts)
