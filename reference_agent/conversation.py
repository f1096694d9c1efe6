"""What was said and done in a call, as items that a new session can be given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NOT_UNDERSTOOD = "(לא ברור)"  # a turn that the transcription could not read


@dataclass(slots=True)
class Conversation:
    """The items in the server's order; a turn of the caller is empty until its transcript is there."""

    _items: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def caller_turn(self, item_id: str) -> None:
        """Note that a turn of the caller is in the conversation."""
        self._items.setdefault(item_id, None)

    def transcript(self, item_id: str, text: str) -> None:
        """Note what the caller said in it."""
        self._items[item_id] = _message("user", "input_text", text or NOT_UNDERSTOOD)

    def agent_said(self, item_id: str, text: str) -> None:
        """Note what the agent said."""
        if text:
            self._items[item_id] = _message("assistant", "output_text", text)

    def tool_called(self, item_id: str, call_id: str, name: str, arguments: str) -> None:
        """Note that the model called a function."""
        item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        self._items[item_id] = item

    def add(self, item_id: str, item: dict[str, Any]) -> None:
        """Note an item that the client adds."""
        self._items[item_id] = item

    def replay(self) -> list[dict[str, Any]]:
        """Return the items for a new session; turns without words are left out, their audio is sent again."""
        self._items = {item_id: item for item_id, item in self._items.items() if item is not None}
        return [{**item, "id": item_id} for item_id, item in self._items.items() if item is not None]


def _message(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
