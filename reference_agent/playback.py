"""What the caller has really heard of the agent: marks that came back because their audio was played.

Twilio returns a mark when the audio before it has been played, and returns all that are left when the buffer is
cleared.  Only the former were heard.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

BYTES_PER_MS = 8  # μ-law, 8 kHz
MARK_EVERY_MS = 200


@dataclass(slots=True)
class _Mark:
    name: str
    item_id: str
    ends_at_ms: int  # in the item's audio


@dataclass(slots=True)
class Playback:
    """The agent's audio on its way to the caller's ear."""

    _sent_bytes: dict[str, int] = field(default_factory=dict)  # by item
    _heard_ms: dict[str, int] = field(default_factory=dict)
    _waiting: deque[_Mark] = field(default_factory=deque)
    _cleared: set[str] = field(default_factory=set)
    _unmarked_ms: int = 0
    _last_item: str | None = None
    _serial: int = 0

    @property
    def is_playing(self) -> bool:
        """Whether audio was sent that has not been heard, as far as is known."""
        return bool(self._waiting) or self._unmarked_ms > 0

    def sent(self, item_id: str, payload: str) -> str | None:
        """Note audio sent for an item; return the name of the mark to send behind it, or None."""
        size = len(payload) * 3 // 4 - payload.count("=", -2)
        total = self._sent_bytes[item_id] = self._sent_bytes.get(item_id, 0) + size
        self._unmarked_ms += size // BYTES_PER_MS
        self._last_item = item_id
        return self._mark(item_id, total) if self._unmarked_ms >= MARK_EVERY_MS else None

    def item_done(self, item_id: str) -> str | None:
        """Return the name of a last mark for an item whose audio is complete, or None."""
        if self._unmarked_ms == 0 or self._last_item != item_id:
            return None
        return self._mark(item_id, self._sent_bytes[item_id])

    def mark_returned(self, name: str) -> None:
        """Note that a mark came back: its audio was heard, unless it was cleared."""
        if name in self._cleared:
            self._cleared.discard(name)
        if all(mark.name != name for mark in self._waiting):
            return
        while self._waiting:  # they come back in order
            mark = self._waiting.popleft()
            self._heard_ms[mark.item_id] = mark.ends_at_ms
            if mark.name == name:
                break

    def clear(self) -> list[tuple[str, int]]:
        """Give up what has not been heard; return each item concerned with the milliseconds of it that were."""
        items = {mark.item_id for mark in self._waiting}
        if self._unmarked_ms and self._last_item is not None:
            items.add(self._last_item)
        self._cleared.update(mark.name for mark in self._waiting)
        self._waiting.clear()
        self._unmarked_ms = 0
        # Marks round down, so this is never more than was sent.
        return [(item_id, self._heard_ms.get(item_id, 0)) for item_id in self._sent_bytes if item_id in items]

    def _mark(self, item_id: str, total: int) -> str:
        self._serial += 1
        self._unmarked_ms = 0
        self._waiting.append(_Mark(f"m{self._serial}", item_id, total // BYTES_PER_MS))
        return self._waiting[-1].name
