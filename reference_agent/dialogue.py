"""What a call is about: its conversation, its lead, and the items whose arrival in the conversation is awaited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reference_agent.conversation import Conversation
from reference_agent.locksmith import INSTRUCTIONS, TOOLS, Lead
from reference_agent.realtime_client import Output, Response
from reference_agent.settings import Settings

ENDINGS = {"end_call": "hang-up", "transfer_call": "transfer"}


def session_settings(settings: Settings) -> dict[str, Any]:
    """Return the Realtime session: μ-law both ways, turns found by the server, responses created by the client only."""
    return {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "tools": TOOLS,
        "tool_choice": "auto",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": settings.transcription_model, "language": "he"},
                "turn_detection": {
                    "type": "server_vad",
                    "create_response": False,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": settings.voice},
        },
    }


@dataclass(slots=True)
class Dialogue:
    """Pure data; the call asks it what to send."""

    lead: Lead = field(default_factory=Lead)
    conversation: Conversation = field(default_factory=Conversation)
    ending: str | None = None  # how the call is to end, once what was said has been heard
    _running: int = 0
    _awaited: dict[str, str] = field(default_factory=dict)  # item id → reason to answer it
    _serial: int = 0

    def tool_calls(self, response: Response) -> Iterator[Output]:
        """Yield the functions that a completed response called, and note them."""
        if response.status == "completed":
            for item in response.output:
                if item.type == "function_call":
                    self.conversation.tool_called(item.id, item.call_id, item.name, item.arguments)
                    self._running += 1
                    yield item

    def tool_result(self, call: Output, result: str) -> dict[str, Any]:
        """Return the item to send for a function's result."""
        self._running -= 1
        self.ending = ENDINGS.get(call.name, self.ending)
        reason = "" if call.name in ENDINGS else "tool_result"
        return self._item(reason, {"type": "function_call_output", "call_id": call.call_id, "output": result})

    def key_pressed(self, digit: str) -> dict[str, Any]:
        """Return the item to send for a key."""
        text = {"type": "input_text", "text": f"(המתקשר הקיש {digit})"}
        return self._item("dtmf", {"type": "message", "role": "user", "content": [text]})

    def item_added(self, item_id: str) -> str | None:
        """Note an item that the server has added; return the reason to answer now, or None.

        Of several function results the last one counts: one response answers them all.
        """
        reason = self._awaited.pop(item_id, None)
        if reason == "tool_result" and (self._running or "tool_result" in self._awaited.values()):
            return None
        return reason or None

    def _item(self, reason: str, item: dict[str, Any]) -> dict[str, Any]:
        self._serial += 1
        item_id = f"client_{self._serial}"
        self._awaited[item_id] = reason
        self.conversation.add(item_id, item)
        return {**item, "id": item_id}
