"""What the lines of a call's log mean: the patterns of ``rules/call_log/markers.toml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline_guard.rulebook import rules_dir
from pipeline_guard.toml_files import read_toml

# kind → what the margin says of such a line.
KINDS: dict[str, str] = {
    "call_started": "call begins",
    "call_ended": "call ends",
    "sender_loop": "sender loop",
    "sender_ended": "sender ends",
    "greeting": "greeting",
    "status": "status",
    "guard_skip": "guard skips",
    "active_error": "active response",
    "session_error": "session error",
    "turn_committed": "turn",
    "speech_stopped": "speech ends",
    "speech_started": "speech begins",
    "idle_timeout": "idle timeout",
    "transcript": "transcript",
    "response_created": "response",
    "response_done": "response ends",
    "trigger": "trigger",
    "assistant": "reply",
    "live_stt": "second STT",
    "live_tts": "second voice",
}
_KEYS = frozenset({"kind", "form", "any", "pattern", "example", "not"})


class MarkerError(ValueError):
    """A marker file that does not say what it must."""


@dataclass(frozen=True)
class Marker:
    """One wording of one kind of event."""

    kind: str
    form: str
    any: tuple[str, ...]
    pattern: re.Pattern[str]
    examples: tuple[str, ...]
    counterexamples: tuple[str, ...]


@dataclass(frozen=True)
class Hit:
    """A marker found in a line.  ``reason`` is the trigger's, "" where the line gives none."""

    kind: str
    form: str
    start: int
    response: str | None = None
    status: str | None = None
    reason: str = ""
    text: str | None = None


class Markers:
    """All markers, in the order of the file; where two match the same place, the first one wins."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.markers = tuple(_marker(entry) for entry in table["marker"])
        self.reasons = tuple((entry["kind"], tuple(entry["words"])) for entry in table["reason"])
        self.literals = _shortest({literal.encode() for marker in self.markers for literal in marker.any})
        by_literal: dict[str, list[int]] = {}
        for number, marker in enumerate(self.markers):
            for literal in marker.any:
                by_literal.setdefault(literal, []).append(number)
        self._by_literal = tuple((literal, tuple(numbers)) for literal, numbers in by_literal.items())

    def find(self, text: str) -> list[Hit]:
        """Return what a line says, in order."""
        worth = {number for literal, numbers in self._by_literal if literal in text for number in numbers}
        found: list[tuple[int, int, Hit]] = []
        for number in sorted(worth):
            marker = self.markers[number]
            for match in marker.pattern.finditer(text):
                if any(start < match.end() and match.start() < end for start, end, _ in found):
                    continue
                found.append((match.start(), match.end(), _hit(marker, match)))
        return [hit for _, _, hit in sorted(found, key=lambda each: each[0])]

    def reason_kind(self, hit: Hit, text: str) -> str:
        """Return why a response was asked for: "turn", "greeting", "tool", "timer", "recovery" or "other"."""
        # Without a reason of its own, what stands before the trigger in its line gives one ("Watchdog: sending …").
        for words in (hit.reason, text[max(0, hit.start - 60) : hit.start] + " " + text[hit.start : hit.start + 60]):
            lowered = words.lower()
            for kind, known in self.reasons:
                if any(word in lowered for word in known):
                    return str(kind)
        return "other"


@lru_cache(maxsize=1)
def load_markers() -> Markers:
    """Return the markers that come with the package."""
    return Markers(read_toml(markers_file()))


def markers_file() -> Path:
    """Return the file of the markers."""
    return rules_dir() / "call_log" / "markers.toml"


def _marker(entry: dict[str, Any]) -> Marker:
    if unknown := set(entry) - _KEYS:
        raise MarkerError(f"a marker has no key {sorted(unknown)[0]!r}")
    if entry["kind"] not in KINDS:
        raise MarkerError(f"there is no kind {entry['kind']!r}")
    return Marker(
        entry["kind"],
        entry["form"],
        tuple(entry["any"]),
        re.compile(entry["pattern"], re.IGNORECASE),
        tuple(entry["example"]),
        tuple(entry.get("not", ())),
    )


def _hit(marker: Marker, match: re.Match[str]) -> Hit:
    groups = match.groupdict()
    reason = groups.get("reason") or groups.get("reason2") or ""
    response = groups.get("response")
    return Hit(
        marker.kind,
        marker.form,
        match.start(),
        response if response and response.startswith("resp_") else None,
        groups.get("status"),
        reason.strip(),
        groups.get("text"),
    )


def _shortest(literals: set[bytes]) -> tuple[bytes, ...]:
    """Leave out what contains another literal anyway."""
    return tuple(sorted(literal for literal in literals if not any(o != literal and o in literal for o in literals)))
