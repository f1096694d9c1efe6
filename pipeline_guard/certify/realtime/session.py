"""A session's settings: what a new session has, and how ``session.update`` changes them.

Values a client leaves out keep what they were; within ``turn_detection`` and ``noise_reduction`` that holds as long as
``type`` stays the same.  The defaults 0.5, 300 ms and 500 ms are those of the SDK's docstrings, which leave those of
``create_response`` and ``interrupt_response`` open: true for both is what clients meet.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pipeline_guard.certify.realtime.schema import Problem

SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}


def new_session(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """Return the settings of a session that nobody has configured yet."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
    }


def update_problem(session: Mapping[str, Any], change: Mapping[str, Any], *, has_spoken: bool) -> Problem | None:
    """Return why a well-formed change cannot be made to this session, or None."""
    if change.get("model", session["model"]) != session["model"]:
        return Problem("invalid_value", "The model of a session cannot be changed.", "session.model")
    if sorted(change.get("output_modalities", ["audio"])) == ["audio", "text"]:
        text = "Invalid modalities: ['text', 'audio']. Supported combinations are: ['text'] and ['audio']."
        return Problem("invalid_value", text, "session.output_modalities")
    voice = change.get("audio", {}).get("output", {}).get("voice")
    if voice is not None and has_spoken and voice != session["audio"]["output"]["voice"]:
        text = "Cannot update a conversation's voice if assistant audio is present."
        return Problem("cannot_update_voice", text, "session.audio.output.voice")
    return None


def updated(session: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings after a change."""
    result = copy.deepcopy(dict(session))
    for key, value in change.items():
        if key != "audio":
            result[key] = value
    for direction, settings in change.get("audio", {}).items():
        target = result["audio"][direction]
        for key, value in settings.items():
            if key == "turn_detection" and value is not None:
                defaults = SERVER_VAD if value["type"] == "server_vad" else SEMANTIC_VAD
                target[key] = {**_kept(target[key], value, defaults), **value}
            elif key == "noise_reduction" and value is not None:
                target[key] = {**_kept(target[key], value, {}), **value}
            else:
                target[key] = value
    return result


def _kept(old: Mapping[str, Any] | None, new: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    return old if old is not None and old.get("type") == new.get("type") else defaults
