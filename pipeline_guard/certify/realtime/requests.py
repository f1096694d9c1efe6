"""The client events of the Realtime API as it is now (GA), as data: every key that may be sent, and no other.

Source: the parameter types of the ``openai`` SDK (``openai/types/realtime``).  The tests hold these tables against the
types of the installed SDK, key by key.  What the beta had and this has not (``session.modalities``, ``voice`` at top
level, ``response.modalities`` …) is therefore answered as the API answers it: ``unknown_parameter``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline_guard.certify.realtime.schema import (
    Anything,
    Choice,
    Either,
    Flag,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Problem,
    Schema,
    Table,
    Tagged,
    Text,
    missing,
    problem,
    unsupported,
)

TEXT, FLAG, ANYTHING = Text(), Flag(), Anything()
MODALITIES = ListOf(Choice(("text", "audio")))
FORMAT = Tagged(
    "type",
    {
        "audio/pcm": Table({"type": TEXT, "rate": Number(24000, 24000)}),
        "audio/pcmu": Table({"type": TEXT}),
        "audio/pcma": Table({"type": TEXT}),
    },
)
VOICE = Either((TEXT, Table({"id": TEXT}, ("id",))))
TRANSCRIPTION = Table(
    {
        "model": TEXT,
        "language": TEXT,
        "languages": ListOf(TEXT),
        "keywords": ListOf(TEXT),
        "prompt": TEXT,
        "delay": Choice(("minimal", "low", "medium", "high", "xhigh")),
    }
)
TURN_DETECTION = Tagged(
    "type",
    {
        "server_vad": Table(
            {
                "type": TEXT,
                "threshold": Number(0, 1, integer=False),
                "prefix_padding_ms": Number(0),
                "silence_duration_ms": Number(0),
                "create_response": FLAG,
                "interrupt_response": FLAG,
                "idle_timeout_ms": Nullable(Number(1)),
            }
        ),
        "semantic_vad": Table(
            {
                "type": TEXT,
                "eagerness": Choice(("low", "medium", "high", "auto")),
                "create_response": FLAG,
                "interrupt_response": FLAG,
            }
        ),
    },
)
MAX_TOKENS = Either((Number(1, 4096), Choice(("inf",))))
TOOL_CHOICE = Either((Choice(("none", "auto", "required")), Table({"type": TEXT, "name": TEXT, "server_label": TEXT})))
FUNCTION_TOOL = Table({"type": TEXT, "name": TEXT, "description": TEXT, "parameters": ANYTHING})
# MCP tools are accepted as they are: the simulator calls none.
TOOL = Tagged("type", {"function": FUNCTION_TOOL})
REASONING = Table({"effort": TEXT})
AUDIO_INPUT = Table(
    {
        "format": FORMAT,
        "noise_reduction": Nullable(
            Table({"type": Choice(("near_field", "far_field")), "strength": Number(0, integer=False)})
        ),
        "transcription": Nullable(TRANSCRIPTION),
        "turn_detection": Nullable(TURN_DETECTION),
    }
)
AUDIO_OUTPUT = Table({"format": FORMAT, "voice": VOICE, "speed": Number(0.25, 1.5, integer=False)})
SESSION = Table(
    {
        "type": Choice(("realtime",)),
        "model": TEXT,
        "output_modalities": MODALITIES,
        "instructions": TEXT,
        "tools": ListOf(TOOL),
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": FLAG,
        "reasoning": REASONING,
        "max_output_tokens": MAX_TOKENS,
        "truncation": Either((Choice(("auto", "disabled")), ANYTHING)),
        "tracing": Nullable(Either((Choice(("auto",)), ANYTHING))),
        "include": ListOf(Choice(("item.input_audio_transcription.logprobs",))),
        "prompt": Nullable(ANYTHING),
        "audio": Table({"input": AUDIO_INPUT, "output": AUDIO_OUTPUT}),
    },
    ("type",),
)

_ITEM: dict[str, Schema] = {"id": TEXT, "type": TEXT, "object": Choice(("realtime.item",)), "status": TEXT}


def _message(*parts: str) -> Table:
    keys: dict[str, Schema] = {"text": TEXT, "audio": TEXT, "transcript": TEXT, "image_url": TEXT, "detail": TEXT}
    return Table(
        {
            **_ITEM,
            "role": TEXT,
            "content": ListOf(Tagged("type", {part: Table({"type": TEXT, **keys}, ()) for part in parts})),
        },
        ("role", "content"),
    )


MESSAGES = {
    "user": _message("input_text", "input_audio", "input_image"),
    "assistant": _message("output_text", "output_audio"),
    "system": _message("input_text"),
}
ITEM = Tagged(
    "type",
    {
        "message": Table({**_ITEM, "role": TEXT, "content": ListOf(ANYTHING)}, ("role", "content")),
        "function_call": Table({**_ITEM, "call_id": TEXT, "name": TEXT, "arguments": TEXT}, ("name", "arguments")),
        "function_call_output": Table({**_ITEM, "call_id": TEXT, "output": TEXT}, ("call_id", "output")),
    },
)
RESPONSE = Table(
    {
        "conversation": TEXT,
        "metadata": Nullable(MapOf(TEXT, 16)),
        "instructions": TEXT,
        "input": ListOf(ANYTHING),
        "tools": ListOf(TOOL),
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": FLAG,
        "reasoning": REASONING,
        "output_modalities": MODALITIES,
        "audio": Table({"output": Table({"format": FORMAT, "voice": VOICE})}),
        "max_output_tokens": MAX_TOKENS,
        "prompt": Nullable(ANYTHING),
    }
)


def _event(required: tuple[str, ...] = (), **keys: Schema) -> Table:
    return Table({"type": TEXT, "event_id": TEXT, **keys}, required)


CLIENT_EVENTS: dict[str, Table] = {
    "session.update": _event(("session",), session=SESSION),
    "input_audio_buffer.append": _event(("audio",), audio=TEXT),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "conversation.item.create": _event(("item",), item=ITEM, previous_item_id=Nullable(TEXT)),
    "conversation.item.retrieve": _event(("item_id",), item_id=TEXT),
    "conversation.item.truncate": _event(
        ("item_id", "content_index", "audio_end_ms"), item_id=TEXT, content_index=Number(0), audio_end_ms=Number(0)
    ),
    "conversation.item.delete": _event(("item_id",), item_id=TEXT),
    "response.create": _event(response=RESPONSE),
    "response.cancel": _event(response_id=TEXT),
    # Known to the API and refused on a WebSocket: it belongs to WebRTC and SIP.
    "output_audio_buffer.clear": _event(),
}


def read(message: str | bytes) -> tuple[dict[str, Any], Problem | None]:
    """Return a client message as an event, and what is wrong with it if anything is.

    The event is empty when the message is no JSON object.
    """
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return {}, Problem("invalid_json", "The server could not parse the message as JSON.")
    if not isinstance(event, dict):
        return {}, Problem("invalid_type", "Expected a JSON object.")
    event_type = event.get("type")
    if event_type is None:
        return event, missing("type")
    if not isinstance(event_type, str) or event_type not in CLIENT_EVENTS:
        return event, unsupported(event_type, tuple(CLIENT_EVENTS), "type")
    found = problem(CLIENT_EVENTS[event_type], event, "")
    if found is None and event_type == "conversation.item.create":
        found = _message_problem(event["item"])
    return event, found


def _message_problem(item: Mapping[str, Any]) -> Problem | None:
    if item["type"] != "message":
        return None
    if item["role"] not in MESSAGES:
        return unsupported(item["role"], tuple(MESSAGES), "item.role")
    return problem(MESSAGES[item["role"]], item, "item")
