"""Accounts for the agent's voice: which response each stretch belongs to that the caller heard, and what is of none.

The simulated model's audio never repeats itself (``mulaw.voice``), so every 5 ms that reach the caller's ear can be
told by their bytes, as long as the agent passes them on unchanged.  A re-encoded voice is known by its time alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline_guard.certify.mulaw import BYTES_PER_MS
from pipeline_guard.certify.twilio.media_stream import Played

_BLOCK_MS = 5
_BLOCK = _BLOCK_MS * BYTES_PER_MS
# Both zeros of μ-law: agents send them to keep a line open.
_SILENT = b"\xff\x7f"
# Where the agent's audio was cut, a rest of this many bytes belongs to what was before it.
_REST = 2 * _BLOCK


@dataclass(frozen=True)
class Stretch:
    """Something that the caller heard in one piece, in seconds of simulated time.

    ``response`` is the response it belongs to, None for audio that no response sent.  ``repeated_ms`` of it had been
    heard before.
    """

    at: float
    ends_at: float
    response: str | None
    repeated_ms: int = 0

    @property
    def ms(self) -> int:
        """Its length."""
        return round((self.ends_at - self.at) * 1000)


class VoiceLedger:
    """Takes in the responses' audio as it is sent, and tells it again in what the caller heard.

    ``is_exact``: everything was sent as μ-law, so that audio of no response is somebody else's.
    """

    def __init__(self) -> None:
        self._blocks: dict[bytes, tuple[str, int]] = {}
        self._counts: dict[str, int] = {}
        self.is_exact = True

    def sent(self, response: str, audio: bytes, audio_format: str) -> None:
        """Enter a piece of a response."""
        if audio_format != "audio/pcmu":
            self.is_exact = False
            return
        for start in range(0, len(audio), _BLOCK):
            number = self._counts[response] = self._counts.get(response, 0) + 1
            self._blocks[audio[start : start + _BLOCK]] = response, number

    def heard(self, pieces: Iterable[Played]) -> list[Stretch]:
        """Return what the caller heard, in order, silence left out."""
        seen: set[tuple[str, int]] = set()
        return [stretch for at, audio in _runs(pieces) for stretch in self._walk(at, audio, seen)]

    def _walk(self, at: float, audio: bytes, seen: set[tuple[str, int]]) -> Iterator[Stretch]:
        """Yield the stretches of one run without a break."""
        begin, position, repeated = 0, 0, 0
        owner: str | None = ""  # silence
        while position < len(audio):
            block = audio[position : position + _BLOCK]
            known = self._blocks.get(block)
            whose = known[0] if known is not None else "" if not block.strip(_SILENT) else None
            step = len(block)
            if known is None and block.strip(_SILENT):
                step = self._to_next(audio, position)
                whose = owner if step < _REST and owner else None
            if whose != owner:
                yield from _stretch(at, begin, position, owner, repeated)
                begin, owner, repeated = position, whose, 0
            if known is not None:
                repeated += _BLOCK_MS if known in seen else 0
                seen.add(known)
            position += step
        yield from _stretch(at, begin, position, owner, repeated)

    def _to_next(self, audio: bytes, position: int) -> int:
        """Return how far it is to something known or silent."""
        if not self._blocks:
            return _BLOCK
        for offset in range(1, _BLOCK):
            block = audio[position + offset : position + offset + _BLOCK]
            if block in self._blocks or not block.strip(_SILENT):
                return offset
        return min(_BLOCK, len(audio) - position)


def _stretch(at: float, begin: int, end: int, owner: str | None, repeated: int) -> Iterator[Stretch]:
    if owner != "" and end > begin:
        yield Stretch(at + _seconds(begin), at + _seconds(end), owner, repeated)


def _seconds(size: int) -> float:
    return size / BYTES_PER_MS / 1000


def _runs(pieces: Iterable[Played]) -> Iterator[tuple[float, bytes]]:
    """Join pieces that were played one behind the other."""
    began, ended, audio = 0.0, -1.0, bytearray()
    for piece in pieces:
        if audio and abs(piece.at - ended) > 0.001:
            yield began, bytes(audio)
            audio = bytearray()
        if not audio:
            began = piece.at
        audio += piece.audio
        ended = piece.ends_at
    if audio:
        yield began, bytes(audio)
