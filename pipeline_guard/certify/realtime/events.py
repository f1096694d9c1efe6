"""The server events of the Realtime API as it is now (GA): one function per shape, all without ``event_id``.

Source: the event types of the ``openai`` SDK.  The tests read every event the simulator emits with those types.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_guard.certify.realtime.schema import Problem

Event = dict[str, Any]
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Ids:
    """Identifiers as the API gives them, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def new(self, prefix: str) -> str:
        """Return an id that was not given out before."""
        return f"{prefix}_{''.join(self._random.choices(_ALPHABET, k=21))}"


def error(problem: Problem, client_event_id: str | None, error_type: str = "invalid_request_error") -> Event:
    """Return an ``error``; ``client_event_id`` is null unless the client gave its event an id."""
    return {
        "type": "error",
        "error": {
            "type": error_type,
            "code": problem.code,
            "message": problem.message,
            "param": problem.param,
            "event_id": client_event_id,
        },
    }


def user_audio_item(item_id: str, transcript: str | None = None) -> Event:
    """Return the item that a commit makes."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": transcript}],
    }


def assistant_item(item_id: str, content: Sequence[Mapping[str, Any]], status: str) -> Event:
    """Return the item that speech makes."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": list(content),
    }


def function_call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> Event:
    """Return the item that a tool call makes."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": status,
        "name": name,
        "call_id": call_id,
        "arguments": arguments,
    }


def response(
    response_id: str,
    status: str,
    *,
    conversation_id: str | None,
    metadata: Mapping[str, str] | None,
    output: Sequence[Mapping[str, Any]],
    session: Mapping[str, Any],
    modalities: Sequence[str],
    max_output_tokens: int | str,
    status_details: Mapping[str, Any] | None = None,
    usage: Mapping[str, Any] | None = None,
) -> Event:
    """Return the response object of ``response.created`` and ``response.done``."""
    output_audio = session["audio"]["output"]
    return {
        "object": "realtime.response",
        "id": response_id,
        "status": status,
        "status_details": status_details,
        "output": list(output),
        "conversation_id": conversation_id,
        "output_modalities": list(modalities),
        "max_output_tokens": max_output_tokens,
        "audio": {"output": {"format": output_audio["format"], "voice": output_audio["voice"]}},
        "usage": usage,
        "metadata": dict(metadata) if metadata is not None else None,
    }


def usage(input_ms: int, output_ms: int, text_characters: int) -> Event:
    """Return a plausible account of tokens: ten a second of caller, twenty a second of model, one per four letters."""
    heard, spoken, text = input_ms // 100, output_ms // 50, text_characters // 4
    return {
        "total_tokens": heard + spoken + text,
        "input_tokens": heard,
        "output_tokens": spoken + text,
        "input_token_details": {"audio_tokens": heard, "text_tokens": 0, "image_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"audio_tokens": spoken, "text_tokens": text},
    }


def rate_limits(requests_left: int, tokens_left: int) -> Event:
    """Return ``rate_limits.updated``."""
    return {
        "type": "rate_limits.updated",
        "rate_limits": [
            {"name": "requests", "limit": 5000, "remaining": requests_left, "reset_seconds": 0.012},
            {"name": "tokens", "limit": 400000, "remaining": tokens_left, "reset_seconds": 0.15},
        ],
    }
