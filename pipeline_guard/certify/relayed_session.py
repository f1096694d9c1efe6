"""What one session with a real service did, read from its messages, in the shape that a simulated one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from pipeline_guard.certify.mulaw import FORMAT_BYTES_PER_MS
from pipeline_guard.certify.realtime.facts import ALREADY_ACTIVE, Refusal, ResponseFacts, TurnFacts
from pipeline_guard.certify.realtime.hearing import Heard
from pipeline_guard.certify.record import Entry
from pipeline_guard.certify.utterances import load_utterances

# A recogniser spells as it likes; this share of the letters has to be the utterance's.
_ALIKE = 0.6


@dataclass
class RelayedSession:
    """Fed with both directions, in order."""

    connection: int
    turns: list[TurnFacts] = field(default_factory=list)
    responses: list[ResponseFacts] = field(default_factory=list)
    errors: list[Mapping[str, Any]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    input_format: str = ""
    output_format: str = "audio/pcm"
    _asked: list[Entry] = field(default_factory=list)  # response.create without an outcome yet
    _by_id: dict[str, Entry] = field(default_factory=dict)
    _news: list[str] = field(default_factory=list)
    _active: ResponseFacts | None = None

    def asked(self, entry: Entry) -> None:
        """Take in a message of the agent."""
        event_id = entry.event.get("event_id")
        if isinstance(event_id, str):
            self._by_id[event_id] = entry
        if entry.type == "response.create":
            self._asked.append(entry)

    def told(self, entry: Entry) -> None:
        """Take in a message of the service."""
        event = entry.event
        if entry.type in ("session.created", "session.updated"):
            audio = event.get("session", {}).get("audio", {})
            self.input_format = audio.get("input", {}).get("format", {}).get("type", self.input_format)
            self.output_format = audio.get("output", {}).get("format", {}).get("type", self.output_format)
        elif entry.type == "input_audio_buffer.committed":
            item = str(event["item_id"])
            self.turns.append(TurnFacts(item, "speech", 0, 0, Heard(None, "not transcribed"), entry.at))
            self._news.append(item)
        elif entry.type == "conversation.item.input_audio_transcription.completed":
            self._transcribed(str(event["item_id"]), str(event.get("transcript", "")))
        elif entry.type == "conversation.item.added":
            self._added(event.get("item", {}))
        elif entry.type == "response.created":
            self._created(entry, event["response"])
        elif entry.type == "response.done":
            self._done(entry, event["response"])
        elif entry.type == "response.output_audio.delta":
            self._spoke(str(event.get("response_id")), entry.size)
        elif entry.type == "error":
            self._refused(entry, event["error"])

    def _transcribed(self, item: str, text: str) -> None:
        for number, turn in enumerate(self.turns):
            if turn.item_id == item:
                self.turns[number] = replace(turn, heard=Heard(closest(text), f"transcribed as «{text}»"))

    def _added(self, item: Mapping[str, Any]) -> None:
        by_agent = item.get("type") == "function_call_output" or item.get("role") in ("user", "system")
        if by_agent and item.get("id") not in (*self._news, *(turn.item_id for turn in self.turns)):
            self._news.append(str(item.get("id")))

    def _created(self, entry: Entry, shape: Mapping[str, Any]) -> None:
        in_default = shape.get("conversation_id", "") is not None
        asked = self._asked.pop(0) if self._asked else None
        requested = asked.at if asked is not None else entry.at
        response = ResponseFacts(
            str(shape["id"]),
            "client" if asked is not None else "turn",
            in_default,
            asked.event.get("event_id") if asked is not None else None,
            shape.get("metadata"),
            requested,
            entry.at,
            asked_at=asked.at if asked is not None else None,
            asked_by=asked.order if asked is not None else None,
        )
        if in_default:
            response.covers, self._news = tuple(self._news), []
            response.number = 1 + sum(other.in_default for other in self.responses)
            self._active = response
        self.responses.append(response)

    def _done(self, entry: Entry, shape: Mapping[str, Any]) -> None:
        response = self._find(str(shape["id"]))
        if response is None:
            return
        response.status, response.done_at = str(shape.get("status")), entry.at
        response.reason = (shape.get("status_details") or {}).get("reason")
        response.outputs = len(shape.get("output") or ())
        if response is self._active:
            self._active = None
        if response.in_default and not response.said_something:
            self._news[:0] = [item for item in response.covers if item not in self._news]

    def _spoke(self, response_id: str, size: int) -> None:
        response = self._find(response_id)
        if response is not None:
            response.audio_ms += size // FORMAT_BYTES_PER_MS.get(self.output_format, 48)

    def _refused(self, entry: Entry, error: Mapping[str, Any]) -> None:
        self.errors.append(error)
        cause = self._by_id.get(str(error.get("event_id")))
        if cause is None and error.get("code") == ALREADY_ACTIVE and self._asked:
            cause = self._asked[-1]
        if cause is None:
            return
        if cause in self._asked:
            self._asked.remove(cause)
        active = self._active.id if self._active is not None else None
        self.refusals.append(Refusal(cause.order, cause.at, entry.at, self.connection, error, active))

    def _find(self, response_id: str) -> ResponseFacts | None:
        return next((response for response in self.responses if response.id == response_id), None)


def closest(text: str) -> str | None:
    """Return the utterance that a transcript means, None when it is like none of them."""
    letters = _letters(text)
    found = [
        (SequenceMatcher(None, letters, _letters(each.text)).ratio(), each.text)
        for each in load_utterances()
        if letters
    ]
    ratio, best = max(found, default=(0.0, ""))
    return best if ratio >= _ALIKE else None


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalpha())
