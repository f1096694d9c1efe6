"""The caller's audio on its way in: every frame once and in order, and words understood that only whole audio has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline_guard.certify.frame_ledger import Arrivals
from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, verdict

FRAMES = "every frame of the caller once and in order"
UNDERSTOOD = "service, city and confirmation understood"
_FRAME_MS = 20


def frames_check(call: CallFacts) -> Check:
    """Judge the frame ledger of every connection, and what lies between them."""
    if not call.arrivals:
        sent = call.record.of("input_audio_buffer.append", peer="openai", direction="received")
        if sent:
            text = "re-encoded audio cannot be told frame by frame; whether it is whole shows in what was understood"
            return Check(FRAMES, True, text, shown=False)
        return Check(FRAMES, False, "none arrived", (Reason("audio.none", "no audio of the caller reached Realtime"),))
    reasons = [
        reason for connection, arrivals in call.arrivals.items() for reason in _frames(call, connection, arrivals)
    ]
    reasons += _between(call)
    return verdict(FRAMES, reasons, "; ".join(map(str, call.arrivals.values())))


def _frames(call: CallFacts, connection: int, arrivals: Arrivals) -> Iterator[Reason]:
    where = f" on connection {connection}" if len(call.arrivals) > 1 else ""
    if not arrivals.delivered:
        yield Reason("audio.foreign", f"{arrivals}{where}")
        return
    for code, frames, what in (
        ("audio.doubled", arrivals.duplicated, "arrived twice"),
        ("audio.reordered", arrivals.reordered, "came out of order"),
        ("audio.lost", sorted(arrivals.missing), "never arrived"),
    ):
        if frames:
            first = min(frames)
            yield Reason(
                code,
                f"{len(frames)} of the caller's frames {what}{where}, the first one of {_clock(first)} of the call",
                _sent_at(call, first),
            )
    if arrivals.foreign_bytes and not arrivals.missing:
        yield Reason(
            "audio.foreign", f"{arrivals.foreign_bytes} bytes went to Realtime that the caller never sent{where}"
        )


def _between(call: CallFacts) -> Iterator[Reason]:
    """Yield what no session got of the audio between two of them."""
    known = [arrivals for _, arrivals in sorted(call.arrivals.items()) if arrivals.delivered]
    for one, other in pairwise(known):
        assert one.last is not None
        assert other.first is not None
        missing = other.first - one.last - 1
        if missing > 0:
            yield Reason(
                "audio.lost",
                f"{missing * _FRAME_MS / 1000:.1f} s of the caller went to neither session when one followed the other",
                _sent_at(call, one.last + 1),
            )


def _clock(frame: int) -> str:
    return f"{frame * _FRAME_MS / 1000:.2f} s"


def _sent_at(call: CallFacts, frame: int) -> float | None:
    sent = call.record.of("media", peer="twilio", direction="sent", connection=1)
    return sent[frame].at if frame < len(sent) else None


def understood_check(call: CallFacts) -> Check:
    """Judge what the model understood, and whether its questions follow each other."""
    heard: list[str | None] = []
    for session in call.sessions:
        texts = [turn.heard.text for turn in session.turns]
        # What the last session may not have heard whole is said again to the next one.
        again = next(n for n in range(min(len(texts), len(heard)), -1, -1) if texts[:n] == heard[len(heard) - n :])
        heard += texts[again:]
    whys = [turn.heard.why for turn in call.turns if turn.heard.text is None]
    detail = ", ".join(text or "not understood" for text in heard) or "nothing was heard"
    count = understood(heard, call.wanted)
    passed = count == len(call.wanted) == len(heard)
    if call.was_cut:
        passed, detail = count == len(heard), f"{detail}; the call was cut off"
    reasons = [] if passed else [_misunderstood(call, heard)]
    reasons += _jumps(call)
    return verdict(UNDERSTOOD, reasons, detail + (f" ({'; '.join(whys)})" if whys else ""))


def understood(heard: Sequence[str | None], wanted: Sequence[str]) -> int:
    """Return how many of the wanted utterances were understood, each after the one before it."""
    count = 0
    for text in heard:
        if count < len(wanted) and text == wanted[count]:
            count += 1
    return count


def _misunderstood(call: CallFacts, heard: list[str | None]) -> Reason:
    for turn in call.turns:
        if turn.heard.text is None:
            return Reason("understood.not", f"a turn was not understood: {turn.heard.why}", turn.at)
    texts = ", ".join(text or "?" for text in heard) or "nothing"
    return Reason("understood.not", f"of {', '.join(call.wanted)} the model understood {texts}")


def _jumps(call: CallFacts) -> Iterator[Reason]:
    """Yield where the conversation goes back: the model asks what it had been told, because its history is gone."""
    furthest = -1
    for entry in call.sent("response.output_audio_transcript.done"):
        text = str(entry.event.get("transcript", ""))
        if text not in call.lines:
            continue
        place = call.lines.index(text)
        if place < furthest:
            yield Reason(
                "understood.jump",
                f"the conversation goes back: «{text}» after «{call.lines[furthest]}»",
                entry.at,
                (entry.order,),
            )
        furthest = max(furthest, place)
