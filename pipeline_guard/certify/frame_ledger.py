"""Accounts for every frame of the caller: sent by Twilio, appended to Realtime, once, in order and unharmed.

The caller's track makes each of its 160-byte frames unique, so what arrives can be told frame by frame.  Arriving audio
is walked as one stream of bytes: an agent may put several frames into one append.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline_guard.certify.mulaw import FRAME_BYTES


@dataclass
class Arrivals:
    """What one connection (one epoch) got of the caller's audio, in frames.

    ``first`` and ``last`` are the numbers of the first and last frame that arrived; ``lost`` lies between them.
    ``foreign_bytes`` are bytes that no frame of the caller has: damaged, re-encoded, or made up by the agent.
    """

    delivered: int = 0
    first: int | None = None
    last: int | None = None
    duplicated: list[int] = field(default_factory=list)
    reordered: list[int] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)
    foreign_bytes: int = 0

    @property
    def lost(self) -> int:
        """How many frames between the first and the last never came."""
        return len(self.missing)

    @property
    def is_exact(self) -> bool:
        """Whether every frame from the first to the last arrived once, in order, unharmed, and nothing else did."""
        return self.delivered > 0 and not (self.duplicated or self.reordered or self.missing or self.foreign_bytes)

    def __str__(self) -> str:
        if not self.delivered:
            return f"none of the caller's frames arrived ({self.foreign_bytes} bytes of something else)"
        wrong = [
            f"{count} {what}"
            for count, what in (
                (len(self.duplicated), "doubled"),
                (len(self.reordered), "out of order"),
                (self.lost, "lost"),
                (self.foreign_bytes, "bytes that the caller did not send"),
            )
            if count
        ]
        return f"{self.delivered} frames arrived" + (f", {', '.join(wrong)}" if wrong else ", each once and in order")


class Walk:
    """Follows one stream of arriving audio.  ``arrivals`` is what is known after each ``feed``."""

    def __init__(self, ledger: FrameLedger, *, starts_anywhere: bool = False) -> None:
        self.arrivals = Arrivals()
        self._ledger = ledger
        self._rest = b""
        self._seen: set[int] = set()
        self._expected: int | None = None
        # A turn may begin in the middle of a frame, and that is no one's fault.
        self._skips = FRAME_BYTES - 1 if starts_anywhere else 0

    def feed(self, audio: bytes) -> None:
        """Take in the next bytes of the stream."""
        # Whether a frame begins within the next 160 bytes can be said when all of it is there.
        self._walk(self._rest + audio, enough=2 * FRAME_BYTES)

    def _walk(self, audio: bytes, enough: int) -> None:
        position = 0
        while len(audio) - position >= FRAME_BYTES:
            number = self._ledger.number_of(audio[position : position + FRAME_BYTES])
            if number is None:
                if len(audio) - position < enough:
                    break
                position += self._foreign(audio, position)
                continue
            self._arrived(number)
            position += FRAME_BYTES
        self._rest = audio[position:]

    def finish(self) -> Arrivals:
        """Return the account; a rest that begins no frame of the caller counts as foreign."""
        self._walk(self._rest, enough=FRAME_BYTES)
        if self._rest and not self._ledger.begins_frame(self._rest, self._expected):
            self.arrivals.foreign_bytes += len(self._rest)
        self._rest = b""
        return self.arrivals

    def _foreign(self, audio: bytes, position: int) -> int:
        """Skip what is no frame: up to where the next one begins, or a frame's length where there is none near."""
        limit = min(len(audio) - FRAME_BYTES, position + FRAME_BYTES)
        for offset in range(position + 1, limit + 1):
            if self._ledger.number_of(audio[offset : offset + FRAME_BYTES]) is not None:
                skipped = offset - position
                break
        else:
            skipped = FRAME_BYTES
        forgiven = skipped <= self._skips and not self._seen
        self._skips = 0
        if not forgiven:
            self.arrivals.foreign_bytes += skipped
            # A damaged frame takes the place of the one that should have come.
            if skipped == FRAME_BYTES and self._expected is not None:
                self._gone(self._expected, self._expected + 1)
                self._expected += 1
        return skipped

    def _arrived(self, number: int) -> None:
        arrivals = self.arrivals
        self._skips = 0
        if number in self._seen:
            arrivals.duplicated.append(number)
            return
        self._seen.add(number)
        arrivals.delivered += 1
        if arrivals.first is None or number < arrivals.first:
            arrivals.first = number
        if arrivals.last is None or number > arrivals.last:
            arrivals.last = number
        if self._expected is not None and number < self._expected:
            arrivals.reordered.append(number)
            arrivals.missing.discard(number)
            return
        if self._expected is not None:
            self._gone(self._expected, number)
        self._expected = number + 1

    def _gone(self, first: int, end: int) -> None:
        self.arrivals.missing.update(range(first, end))


class FrameLedger:
    """The frames that were sent, numbered from 0.  Twilio's simulator enters them, Realtime's looks them up."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._frames: list[bytes] = []
        self._labels: list[str | None] = []

    def __len__(self) -> int:
        return len(self._frames)

    def sent(self, frame: bytes, label: str | None = None) -> int:
        """Enter a frame and return its number; ``label`` is the utterance that it is part of.

        Raises ValueError for one that was sent before: then nobody could tell a copy from an original.
        """
        if frame in self._numbers:
            raise ValueError("the caller's track repeats a frame; the ledger needs every frame to be unique")
        number = self._numbers[frame] = len(self._frames)
        self._frames.append(frame)
        self._labels.append(label)
        return number

    def number_of(self, frame: bytes) -> int | None:
        """Return the number of a frame, None when the caller never sent it."""
        return self._numbers.get(frame)

    def begins_frame(self, part: bytes, number: int | None) -> bool:
        """Say whether bytes are the beginning of this frame (of any frame when no number is given)."""
        if number is not None:
            return number < len(self._frames) and self._frames[number].startswith(part)
        return any(frame.startswith(part) for frame in self._frames)

    def walk(self, audio: bytes) -> Arrivals:
        """Return the account of one stretch of audio, which may begin and end within a frame."""
        walk = Walk(self, starts_anywhere=True)
        walk.feed(audio)
        return walk.finish()

    def label_of(self, arrivals: Arrivals) -> str | None:
        """Return the one utterance that these frames hold whole, None when it is none, part of one, or several."""
        if arrivals.first is None or arrivals.last is None:
            return None
        found = {label for label in self._labels[arrivals.first : arrivals.last + 1] if label is not None}
        if len(found) != 1:
            return None
        (label,) = found
        before, after = arrivals.first - 1, arrivals.last + 1
        cut = (before >= 0 and self._labels[before] == label) or (
            after < len(self._labels) and self._labels[after] == label
        )
        return None if cut else label
