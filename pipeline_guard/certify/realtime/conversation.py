"""The default conversation: its items in order, and which of them no response has seen yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipeline_guard.certify.realtime.script import Item


class Conversation:
    """Items by place.  An item is news until the next response of this conversation is created."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._news: list[str] = []

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, in order."""
        return tuple(self._items)

    @property
    def has_speech(self) -> bool:
        """Whether the model has spoken."""
        return any(item.audio_ms and item.shape.get("role") == "assistant" for item in self._items)

    def find(self, item_id: str) -> Item | None:
        """Return the item with this id."""
        return next((item for item in self._items if item.id == item_id), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Insert an item (at the end, after another item, or first for "root") and return the id of the one before it.

        Raises KeyError when there is no item ``after``.
        """
        if after is None:
            position = len(self._items)
        elif after == "root":
            position = 0
        else:
            position = next((n for n, other in enumerate(self._items) if other.id == after), -1) + 1
            if position == 0:
                raise KeyError(after)
        self._items.insert(position, item)
        if item.is_question:
            self._news.append(item.id)
        return self._items[position - 1].id if position else None

    def before(self, item_id: str) -> str | None:
        """Return the id of the item before this one."""
        position = next(n for n, item in enumerate(self._items) if item.id == item_id)
        return self._items[position - 1].id if position else None

    def change(self, item_id: str, shape: Mapping[str, Any] | None = None, audio_ms: int | None = None) -> Item:
        """Replace what is given of an item and return it."""
        position = next(n for n, item in enumerate(self._items) if item.id == item_id)
        old = self._items[position]
        new = replace(
            old,
            shape=old.shape if shape is None else shape,
            audio_ms=old.audio_ms if audio_ms is None else audio_ms,
        )
        self._items[position] = new
        return new

    def remove(self, item_id: str) -> bool:
        """Delete an item; False when there is none with this id."""
        count = len(self._items)
        self._items = [item for item in self._items if item.id != item_id]
        return len(self._items) < count

    def give_back(self, item_ids: Iterable[str]) -> None:
        """Count items as unseen again: the response that saw them came to nothing."""
        self._news[:0] = [item_id for item_id in item_ids if item_id not in self._news]

    def take_news(self) -> tuple[Item, ...]:
        """Return the items that no response has seen, and count them as seen."""
        news = tuple(item for item_id in self._news if (item := self.find(item_id)) is not None)
        self._news.clear()
        return news
