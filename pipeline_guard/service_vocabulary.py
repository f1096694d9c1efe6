"""What makes a speech-to-speech service other than OpenAI Realtime answer, read from vocabulary files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

SERVICE_KEYS = frozenset({"name", "modules", "paths", "names", "receivers", "calls", "messages"})
_CALL_KEYS = frozenset({"method", "needs", "unless"})
_MESSAGE_KEYS = frozenset({"keys", "needs", "unless"})


class AnsweredCall(msgspec.Struct, frozen=True):
    """A method that makes the model answer: with one of the keywords in ``needs``, where there are any.

    With the keyword ``unless`` given as false it does not.
    """

    method: str
    needs: tuple[str, ...] = ()
    unless: str = ""


class AnsweredMessage(msgspec.Struct, frozen=True):
    """A message over a plain socket that makes the model answer, known by its outer key.

    ``needs`` and ``unless`` are keys of what is inside, as with calls.
    """

    keys: tuple[str, ...]
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


class Answering(msgspec.Struct, frozen=True):
    """What of a service is answered."""

    calls: tuple[AnsweredCall, ...]
    messages: tuple[AnsweredMessage, ...]


def read_answering(entry: Mapping[str, Any]) -> Answering:
    """Return what a ``[[service]]`` table says.  Raises KeyError, TypeError or ValueError where it cannot be used."""
    calls = []
    for call in entry.get("calls", ()):
        _refuse_unknown(call, _CALL_KEYS)
        calls.append(AnsweredCall(str(call["method"]), _words(call, "needs"), str(call.get("unless", ""))))
    messages = []
    for message in entry.get("messages", ()):
        _refuse_unknown(message, _MESSAGE_KEYS)
        messages.append(AnsweredMessage(_words(message, "keys"), _words(message, "needs"), _words(message, "unless")))
    return Answering(tuple(calls), tuple(messages))


def _words(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = entry.get(key, ())
    if isinstance(found, str):
        raise TypeError(f"{key} must be a list of strings")
    return tuple(str(word) for word in found)


def _refuse_unknown(entry: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(sorted(known))}")
