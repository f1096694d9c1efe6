"""A call as a picture's data: tracks of spans and points on one axis of seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline_guard.certify.judging.facts import CallFacts
from pipeline_guard.certify.record import Entry

# Messages closer than this make one span.
_GAP = 0.3


@dataclass(frozen=True)
class Span:
    """Something that lasted; ``kind`` is "audio", "speech", "response", "voice", or one of them and " wrong"."""

    begin: float
    end: float
    kind: str
    text: str


@dataclass(frozen=True)
class Point:
    """Something that happened; ``kind`` is "turn", "mark", "clear", "fault", "error" or "reason"."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True)
class Track:
    """One line of the picture."""

    name: str
    spans: Sequence[Span] = ()
    points: Sequence[Point] = ()


@dataclass(frozen=True)
class Timeline:
    """The picture of a call that lasted so many seconds."""

    seconds: float
    tracks: Sequence[Track]


def timeline_of(call: CallFacts, reasons: Iterable[tuple[float, str]] = ()) -> Timeline:
    """Return the picture of a call; ``reasons`` are places to point at."""
    record = call.record
    frames = record.of("media", peer="twilio", direction="sent")
    appends = record.of("input_audio_buffer.append", peer="openai", direction="received")
    tracks = [
        Track("caller's frames", _joined(frames, "stream")),
        Track("caller speaks", _speech(call), _turns(call)),
        Track("audio to Realtime", _joined(appends, "session")),
        Track("responses", _responses(call)),
        Track("the caller hears", _voices(call)),
        Track("marks, clears", (), _marks(call)),
        Track("faults, errors", (), [*_troubles(call), *(Point(at, "reason", text) for at, text in reasons)]),
    ]
    return Timeline(call.ended_at, tracks)


def _joined(entries: Sequence[Entry], what: str) -> list[Span]:
    """Join messages that follow each other closely, for each connection."""
    spans: list[Span] = []
    for connection in sorted({entry.connection for entry in entries}):
        own = [entry for entry in entries if entry.connection == connection]
        begin, count = own[0].at, 0
        for entry, after in zip(own, [*own[1:], None], strict=True):
            count += 1
            if after is None or after.at - entry.at > _GAP:
                end = entry.at + 0.02
                spans.append(
                    Span(begin, end, "audio", f"{what} {connection}: {count} messages, {begin:.2f}–{end:.2f} s")
                )
                begin, count = after.at if after is not None else 0.0, 0
    return spans


def _speech(call: CallFacts) -> list[Span]:
    spans = []
    begun: dict[str, float] = {}
    for entry in call.record.of(peer="openai", direction="sent"):
        item = str(entry.event.get("item_id", ""))
        if entry.type == "input_audio_buffer.speech_started":
            begun[item] = entry.at
        elif entry.type == "input_audio_buffer.speech_stopped" and item in begun:
            words = next((turn.heard.text for turn in call.turns if turn.item_id == item), None)
            kind = "speech" if words else "speech wrong"
            spans.append(Span(begun[item], entry.at, kind, words or "not understood"))
    return spans


def _turns(call: CallFacts) -> list[Point]:
    return [Point(turn.at, "turn", f"turn {turn.item_id}") for turn in call.turns]


def _responses(call: CallFacts) -> list[Span]:
    spans = []
    for response in call.responses:
        begin = response.asked_at if response.asked_at is not None else response.requested_at
        end = response.done_at if response.done_at is not None else call.ended_at
        good = response.status == "completed"
        text = (
            f"{response.id}: {response.status}, {response.audio_ms / 1000:.1f} s of audio, asked for at {begin:.2f} s"
        )
        spans.append(Span(begin, end, "response" if good else "response wrong", text))
    return spans


def _voices(call: CallFacts) -> list[Span]:
    return [
        Span(
            stretch.at,
            stretch.ends_at,
            "voice" if stretch.response and not stretch.repeated_ms else "voice wrong" if call.voice_known else "voice",
            f"{stretch.response or 'a voice of no response'}, {stretch.at:.2f}–{stretch.ends_at:.2f} s",
        )
        for stretch in call.heard
    ]


def _marks(call: CallFacts) -> list[Point]:
    marks = call.record.of("mark", peer="twilio", direction="sent")
    clears = call.record.of("clear", peer="twilio", direction="received")
    points = [Point(entry.at, "mark", f"mark {_name(entry)} returned") for entry in marks]
    return [*points, *(Point(entry.at, "clear", "what was not heard yet is cleared") for entry in clears)]


def _name(entry: Entry) -> str:
    mark = entry.event.get("mark")
    return str(mark.get("name", "")) if isinstance(mark, dict) else ""


def _troubles(call: CallFacts) -> list[Point]:
    points = [
        Point(entry.at, "fault", f"fault played: {entry.event['fault']}")
        for entry in call.record.of("fault", direction="note")
    ]
    for entry in call.sent("error"):
        error = entry.event["error"]
        points.append(Point(entry.at, "error", f"error {error.get('code') or error.get('type')}: {error['message']}"))
    points += [Point(v.at, "error", f"{v.code}: {v.text}") for v in call.violations]
    return points
