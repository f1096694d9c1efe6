"""The caller's audio that a new session would need: what was sent and is not yet words in the conversation.

When the connection to the model is lost, the conversation on the server is lost with it.  Turns that were transcribed
go into the next session as text; audio of those that were not goes in again, from here, once and in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FRAME_MS = 20
KEEP_MS = 15_000  # audio that the server may never have read: a dead connection is found out after 15 s
_REPLAYED = ""
MOST_FRAMES = 60_000 // FRAME_MS


@dataclass(slots=True)
class HeardAudio:
    """A ring of frames, counted from the start of each session as the server counts them."""

    _frames: deque[str] = field(default_factory=deque)
    _sent: int = 0  # frames sent in this session
    _speech_from: dict[str, int] = field(default_factory=dict)  # item → first frame of speech without words yet
    _speech_to: dict[str, int] = field(default_factory=dict)
    _committed: set[str] = field(default_factory=set)

    @property
    def open_turns(self) -> int:
        """Turns that ended, but are not words yet."""
        return len(self._committed)

    def add(self, frame: str) -> None:
        """Keep a frame that is about to be sent."""
        self._frames.append(frame)
        self._sent += 1
        self._forget()

    def replay(self) -> tuple[str, ...]:
        """Return the frames for a new session, all that are kept; they are its first."""
        frames = tuple(self._frames)
        self._sent = len(frames)
        is_speech = bool(self._speech_from)
        self._speech_from.clear()
        self._speech_to.clear()
        self._committed.clear()
        if is_speech:  # until this session announces it too
            self._speech_from[_REPLAYED] = 0
        return frames

    def speech_started(self, item_id: str, audio_start_ms: int) -> None:
        """Keep everything from the start of this speech."""
        self._speech_from.pop(_REPLAYED, None)
        self._speech_from[item_id] = max(0, audio_start_ms // FRAME_MS)

    def speech_stopped(self, item_id: str, audio_end_ms: int) -> None:
        """Note where this speech ended."""
        self._speech_to[item_id] = audio_end_ms // FRAME_MS

    def committed(self, item_id: str) -> None:
        """The speech is a turn of the conversation."""
        if item_id in self._speech_from:
            self._committed.add(item_id)

    def understood(self, item_id: str) -> None:
        """The turn is words: its audio is not needed any more, nor any before it."""
        ended = self._speech_to.pop(item_id, None)
        self._speech_from.pop(item_id, None)
        self._committed.discard(item_id)
        if ended is not None:
            self._forget(upto=ended)

    def _forget(self, upto: int | None = None) -> None:
        """Drop frames before all open speech; without any, all but the last seconds, and what is words already."""
        first = self._sent - len(self._frames)
        limit = self._sent - KEEP_MS // FRAME_MS if upto is None else upto
        if self._speech_from:
            limit = min(limit, *self._speech_from.values())
        limit = max(limit, self._sent - MOST_FRAMES)
        for _ in range(min(limit - first, len(self._frames))):
            self._frames.popleft()
