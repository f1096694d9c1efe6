"""The input audio buffer: what the client appended and nobody has committed yet."""

from __future__ import annotations

from pipeline_guard.certify.mulaw import FORMAT_BYTES_PER_MS

# What `input_audio_buffer.commit` asks for at least.
SHORTEST_COMMIT_MS = 100


class AudioBuffer:
    """Bytes with their place in the session: ``start_ms`` is when the first of them was heard."""

    def __init__(self, audio_format: str = "audio/pcm") -> None:
        self.start_ms = 0
        self._audio = bytearray()
        self._rate = FORMAT_BYTES_PER_MS[audio_format]

    @property
    def duration_ms(self) -> float:
        """How much audio waits in the buffer."""
        return len(self._audio) / self._rate

    @property
    def end_ms(self) -> int:
        """The time of the session at which the buffer ends."""
        return self.start_ms + len(self._audio) // self._rate

    def use_format(self, audio_format: str) -> None:
        """Read what comes from now on in another format.  What waits in the old one is dropped."""
        if FORMAT_BYTES_PER_MS[audio_format] != self._rate:
            self.take()
            self._rate = FORMAT_BYTES_PER_MS[audio_format]

    def append(self, audio: bytes) -> None:
        """Add audio at the end."""
        self._audio += audio

    def take(self, from_ms: int | None = None) -> bytes:
        """Empty the buffer and return the audio in it, from ``from_ms`` of the session on when that is given."""
        skip = 0 if from_ms is None else max(0, from_ms - self.start_ms) * self._rate
        audio = bytes(self._audio[skip:])
        self.start_ms = self.end_ms
        self._audio.clear()
        return audio
