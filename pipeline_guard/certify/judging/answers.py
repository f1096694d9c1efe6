"""What the caller gets for each turn: one answer, heard, and in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, SessionFacts, verdict
from pipeline_guard.certify.realtime.facts import ResponseFacts, TurnFacts

ANSWERED = "every turn answered exactly once"
DEAD_AIR = "no dead air"
# Longer than an agent needs to find out that a request, a response or a connection was lost.
_DEAD_AIR = 18.0
# An agent that is going to answer has asked for the response by then.
_LEFT_ALONE = 1.0


@dataclass
class Said:
    """Something the caller said: its turns (a second one where a new session was told it again) and their answers.

    ``unheard`` are responses that were meant as its answer and never reached the caller.
    """

    turns: list[TurnFacts]
    answers: list[ResponseFacts]
    unheard: list[ResponseFacts]


def what_was_said(call: CallFacts) -> list[Said]:
    """Return what the caller said, in order, with the answers that reached the caller."""
    groups: dict[str, list[TurnFacts]] = {}
    for turn in call.turns:
        # The caller says each thing once: the same words again are the same audio, told to another session.
        groups.setdefault(turn.heard.text or turn.item_id, []).append(turn)
    return [_answered(call, turns) for turns in groups.values()]


def _answered(call: CallFacts, turns: list[TurnFacts]) -> Said:
    answers: list[ResponseFacts] = []
    unheard: list[ResponseFacts] = []
    items = {turn.item_id for turn in turns}
    for session in call.sessions:
        own = {turn.item_id for turn in session.turns} & items
        for response in _talking(session):
            # In another session the item stands as history: a response there answers it only if nobody did before.
            covers = set(response.covers) & (own if answers else items)
            if covers and call.was_given(response):
                answers.append(response)
            elif covers:
                unheard.append(response)
    return Said(turns, answers, unheard)


def _talking(session: SessionFacts) -> list[ResponseFacts]:
    made = [r for r in session.responses if r.in_default and r.created_at is not None]
    return sorted(made, key=lambda response: response.created_at or 0.0)


def answered_check(call: CallFacts) -> Check:
    """Judge how often each turn was answered."""
    said = what_was_said(call)
    reasons = [reason for number, each in enumerate(said) for reason in _answers(call, each, number, len(said))]
    once = sum(len(each.answers) == 1 for each in said)
    never = sum(not each.answers for each in said)
    if not said and not call.was_cut:
        return Check(ANSWERED, False, "no turn was heard", (Reason("turn.none", "Realtime heard no turn"),))
    detail = f"{once} of {len(said)} turns answered once, {never} never"
    return verdict(ANSWERED, reasons, detail + ("; the call was cut off" if call.was_cut else ""))


def _answers(call: CallFacts, said: Said, number: int, count: int) -> Iterator[Reason]:
    turn = said.turns[-1]
    if len(said.answers) > 1:
        first, second = said.answers[:2]
        text = f"{_words(turn)} was answered by {first.id} and again by {second.id}"
        yield Reason("turn.twice", text, second.created_at, _events(second))
    elif said.answers:
        yield from _passed_over(call, said.turns[0], said.answers[0])
    elif call.was_cut and number == count - 1:
        return  # whatever was said last before the line broke, nobody was there any more to be answered
    elif said.unheard:
        response = said.unheard[-1]
        why = (
            f"ended as {response.status} and nothing came after it"
            if not response.said_something
            else f"was made ({response.audio_ms / 1000:.1f} s) and none of it reached the caller"
        )
        yield Reason("answer.unheard", f"the answer to {_words(turn)}, {response.id}, {why}", response.created_at)
    else:
        yield Reason("turn.unanswered", f"{_words(turn)} was never answered", turn.at)


def _passed_over(call: CallFacts, turn: TurnFacts, answer: ResponseFacts) -> Iterator[Reason]:
    """Yield a turn that was left alone, with nothing under way, until the caller spoke again and both were answered."""
    started = call.sent("input_audio_buffer.speech_started")
    again = next((entry.at for entry in started if entry.at > turn.at), None)
    asked = answer.asked_at if answer.asked_at is not None else answer.requested_at
    if again is None or asked < again or call.lost_something:
        return
    busy = [response.done_at or call.ended_at for response in call.responses if (response.created_at or 0.0) < again]
    alone = again - max([turn.at, *(at for at in busy if at < again)])
    if alone >= _LEFT_ALONE and all(at < again for at in busy):
        text = f"{_words(turn)} was left alone for {alone:.1f} s and answered only when the caller had spoken again"
        yield Reason("turn.passed-over", text, turn.at, _events(answer))


def _words(turn: TurnFacts) -> str:
    return f"«{turn.heard.text}» ({turn.item_id})" if turn.heard.text else f"a turn ({turn.item_id})"


def _events(response: ResponseFacts) -> tuple[int, ...]:
    return (response.asked_by,) if response.asked_by is not None else ()


def dead_air_check(call: CallFacts) -> Check:
    """Judge how long the caller sits in silence before an answer, by the caller's own ear.

    A turn that nobody answers at all is not counted here.
    """
    gaps = [gap for gap in (_gap(call, each) for each in what_was_said(call)) if gap is not None]
    gaps += _greeting_gap(call)
    longest = max((length for _, length in gaps), default=0.0)
    reasons = [
        Reason("dead-air", f"{length:.1f} s of silence before the caller heard anything", at)
        for at, length in gaps
        if length > _DEAD_AIR
    ]
    return verdict(DEAD_AIR, reasons, f"the caller waited at most {longest:.1f} s for the agent's voice")


def _gap(call: CallFacts, said: Said) -> tuple[float, float] | None:
    """Return when a turn ended and how long its answer took; None for one without an answer."""
    if not said.answers:
        return None
    turn, answer = said.turns[0], said.answers[0]
    if call.voice_known and call.heard_ms(answer):
        heard = next(stretch.at for stretch in call.heard if stretch.response == answer.id)
    else:
        heard = max(answer.requested_at, turn.at)
        heard = next((stretch.at for stretch in call.heard if stretch.ends_at > heard), heard)
    return turn.at, heard - turn.at


def _greeting_gap(call: CallFacts) -> list[tuple[float, float]]:
    opened = call.record.of("start", peer="twilio", direction="sent")
    if not opened:
        return []
    first = call.heard[0].at if call.heard else call.ended_at
    return [(opened[0].at, first - opened[0].at)]
