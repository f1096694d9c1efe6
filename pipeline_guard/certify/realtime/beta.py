"""The retired beta protocol, translated to today's and back: for agents whose pipeline is worth a look all the same.

The service refuses who asks for it (``OpenAI-Beta: realtime=v1``), and so does the simulator unless it is told to
tolerate it.  Sources: the ``beta.realtime`` types of the ``openai`` SDK, beside those of ``realtime``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Event = dict[str, Any]
_FORMATS = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
# Where a setting of the beta stands today: path below the session.
_MOVED = {
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "max_response_output_tokens": ("max_output_tokens",),
    "modalities": ("output_modalities",),
}
# What the beta had and today's protocol has not.
_GONE = frozenset({"temperature"})
_EVENT_NAMES = {"conversation.item.added": "conversation.item.created"}
_PREFIXES = (
    ("response.output_audio_transcript.", "response.audio_transcript."),
    ("response.output_audio.", "response.audio."),
    ("response.output_text.", "response.text."),
)
_PARTS = {"text": "output_text", "audio": "output_audio"}
_PART_NAMES = {today: beta for beta, today in _PARTS.items()}


def message_today(message: str | bytes) -> str | bytes:
    """Return a client's message in today's shape; audio and what is no JSON object stay what they are."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return message
    if not isinstance(event, dict) or event.get("type") == "input_audio_buffer.append":
        return message
    return json.dumps(to_today(event))


def to_today(event: Event) -> Event:
    """Return a client's event in today's shape; what is no event of the beta stays what it is."""
    kind = event.get("type")
    if kind == "session.update" and isinstance(event.get("session"), dict):
        return {**event, "session": {"type": "realtime", **_settings_today(event["session"])}}
    if kind == "response.create" and isinstance(event.get("response"), dict):
        return {**event, "response": _settings_today(event["response"])}
    if kind == "conversation.item.create" and isinstance(event.get("item"), dict):
        item = event["item"]
        return {**event, "item": _renamed_parts(item, _PARTS)} if item.get("role") == "assistant" else event
    return event


def to_beta(event: Event) -> Event | None:
    """Return a server's event as the beta had it, None for one that it had not."""
    kind = event["type"]
    if kind == "conversation.item.done":
        return None
    name = _EVENT_NAMES.get(kind, kind)
    for today, beta in _PREFIXES:
        if kind.startswith(today):
            name = beta + kind.removeprefix(today)
            break
    changed: Event = {**event, "type": name}
    translate: dict[str, Callable[[Mapping[str, Any]], Event]] = {
        "session": session_then,
        "response": _response_then,
        "item": lambda item: _renamed_parts(item, _PART_NAMES),
    }
    for key, how in translate.items():
        if isinstance(event.get(key), Mapping):
            changed[key] = how(event[key])
    return changed


def _settings_today(settings: Mapping[str, Any]) -> Event:
    result: Event = {}
    for key, value in settings.items():
        if key in _GONE:
            continue
        path = _MOVED.get(key, (key,))
        place = result
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = _value_today(key, path, value)
    return result


def _value_today(key: str, path: tuple[str, ...], value: Any) -> Any:
    if path[-1] == "format" and isinstance(value, str):
        return _FORMATS.get(value, {"type": value})
    return ["audio"] if key == "modalities" and isinstance(value, list) and "audio" in value else value


def session_then(session: Mapping[str, Any]) -> Event:
    """Return the settings of a session as the beta had them."""
    flat = {key: value for key, value in session.items() if key not in ("audio", "type", "output_modalities")}
    for key, path in _MOVED.items():
        place: Any = session
        for step in path:
            place = place.get(step) if isinstance(place, Mapping) else None
        flat[key] = _FORMAT_NAMES.get(place["type"]) if path[-1] == "format" and place else place
    flat["max_response_output_tokens"] = flat.pop("max_output_tokens", "inf")
    flat["modalities"] = ["text", "audio"] if session.get("output_modalities") == ["audio"] else ["text"]
    return {**flat, "temperature": 0.8}


def _response_then(response: Mapping[str, Any]) -> Event:
    flat = {key: value for key, value in response.items() if key not in ("audio", "output_modalities")}
    output = response.get("audio", {}).get("output", {})
    flat["output"] = [_renamed_parts(item, _PART_NAMES) for item in response.get("output", ())]
    flat["modalities"] = ["text", "audio"] if response.get("output_modalities") == ["audio"] else ["text"]
    flat["voice"], flat["temperature"] = output.get("voice"), 0.8
    flat["output_audio_format"] = _FORMAT_NAMES.get(output.get("format", {}).get("type", ""), "pcm16")
    return flat


def _renamed_parts(item: Mapping[str, Any], names: Mapping[str, str]) -> Event:
    content = item.get("content")
    if not isinstance(content, list):
        return dict(item)
    parts = [
        {**part, "type": names.get(part.get("type", ""), part.get("type"))} if isinstance(part, dict) else part
        for part in content
    ]
    return {**item, "content": parts}
