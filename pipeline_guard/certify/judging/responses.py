"""Who asked for a response, and why it should not have: the active-response error and the duplicate reply.

What tells one wrong agent from another is what it had just been told when it asked; the record knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, verdict
from pipeline_guard.certify.realtime.facts import ALREADY_ACTIVE, Refusal, ResponseFacts
from pipeline_guard.certify.record import Entry

ACTIVE = "no active-response error"
DUPLICATE = "no duplicate reply"
# What an agent does because of an event, it does within this many seconds; without one, by its own clock.
_AT_ONCE = 0.15
_TRANSCRIPT = "conversation.item.input_audio_transcription."


def active_check(call: CallFacts) -> Check:
    """Judge the requests that met an active response."""
    refused = [refusal for refusal in call.refusals if refusal.error.get("code") == ALREADY_ACTIVE]
    unasked = [
        error
        for session in call.sessions
        for error in session.errors
        if error["code"] == ALREADY_ACTIVE and not any(error is refusal.error for refusal in refused)
    ]
    reasons = [reason for refusal in refused for reason in _collision(call, refusal)]
    if unasked and not call.has_fault("foreign-created"):
        text = "the server's own response met another one; let one party create the responses of a turn"
        reasons.append(Reason("active.server-creates", text))
    return verdict(ACTIVE, reasons, f"{len(refused) + len(unasked)} such errors")


def _collision(call: CallFacts, refusal: Refusal) -> Iterator[Reason]:
    responses = [r for session in call.sessions for r in session.responses]
    active = next((response for response in responses if response.id == refusal.active), None)
    if active is not None and active.cause == "fault":
        return  # the service had created that one by itself, which no client can prevent
    code, why = _how_it_came(call, refusal, active)
    ask = f"response.create was sent while {refusal.active} was active"
    yield Reason(code, f"{ask}: {why}", refusal.asked_at, (refusal.asked_by,))


def _how_it_came(call: CallFacts, refusal: Refusal, active: ResponseFacts | None) -> tuple[str, str]:
    if active is None:
        return "active.unguarded", "nothing is known of it"
    if active.cause != "client":
        return "active.server-creates", "the session lets the server create responses as well"
    told = _told(call, refusal.connection, refusal.asked_at)
    created = next((n for n, e in enumerate(told) if _is(e, "response.created", active.id)), None)
    if created is None:
        since = refusal.asked_at - (active.asked_at if active.asked_at is not None else active.requested_at)
        return "active.race", f"it was asked for {since:.2f} s before, and response.created had not come yet"
    for entry in reversed(told[created + 1 :]):
        if entry.type == "response.done" and not _is(entry, "response.done", active.id):
            return (
                "active.other-done",
                f"response.done of another one ({_response_id(entry)}, event {entry.order}) had come meanwhile",
            )
        if entry.type == "error" and entry.event["error"].get("code") != ALREADY_ACTIVE:
            error = entry.event["error"]
            return (
                "active.after-error",
                f"an error about something else ({error.get('code') or error.get('type')}, event {entry.order}) "
                "had come meanwhile",
            )
    since = refusal.asked_at - told[created].at
    return "active.unguarded", f"the agent had known of it for {since:.2f} s (event {told[created].order})"


def duplicate_check(call: CallFacts) -> Check:
    """Judge the responses that answer nothing new."""
    reasons: list[Reason] = []
    answered: set[str] = set()
    before: ResponseFacts | None = None
    for response in call.responses:
        news = set(response.covers) - answered
        # The first response is the greeting; it answers nobody.
        if not news and before is not None and call.was_given(before) and response.said_something:
            reasons.append(_unasked(call, response))
        if call.was_given(response):
            answered |= set(response.covers)
        before = response
    return verdict(DUPLICATE, reasons, f"{len(reasons)} responses answer nothing new")


def _unasked(call: CallFacts, response: ResponseFacts) -> Reason:
    at = response.created_at
    if response.cause == "idle":
        return Reason("reply.idle-timeout", f"{response.id} was made by the server's idle timeout", at)
    if response.cause != "client" or response.asked_at is None:
        return Reason("reply.server-creates", f"{response.id} was made by the server and answers nothing new", at)
    connection = call.session_of(response).connection
    told = _told(call, connection, response.asked_at)
    last = told[-1] if told else None
    since = response.asked_at - last.at if last is not None else 0.0
    events = (response.asked_by,) if response.asked_by is not None else ()
    code, why = _moved_by(last, since)
    return Reason(code, f"{response.id} answers nothing new: it was asked for {why}", response.asked_at, events)


def _moved_by(last: Entry | None, since: float) -> tuple[str, str]:
    """Return what moved the agent to ask: the last thing it was told, or its own clock."""
    if last is None:
        return "reply.unasked", "before anything had happened"
    if since > _AT_ONCE:
        return "reply.timer", f"{since:.1f} s after anything had happened (event {last.order}, {last.type})"
    at_once = f"right after {last.type} (event {last.order})"
    if last.type in ("response.done", "response.output_audio.done", "response.output_item.done"):
        return "reply.queued", f"{at_once}, for something that response had answered already"
    if last.type == "error":
        return "reply.recovery", at_once
    if last.type.startswith(_TRANSCRIPT):
        return "reply.on-transcript", at_once
    return "reply.unasked", at_once


def _told(call: CallFacts, connection: int, until: float) -> list[Entry]:
    """Return what the agent had been told by then, without the running stream of a response's pieces."""
    sent = call.record.of(peer="openai", direction="sent", connection=connection)
    # Times of simulated clocks are sums, which do not meet exactly.
    return [
        e for e in sent if e.at <= until + 1e-4 and not e.type.endswith(".delta") and e.type != "rate_limits.updated"
    ]


def _response_id(entry: Entry) -> str:
    return str(entry.event["response"]["id"])


def _is(entry: Entry, event_type: str, response_id: str) -> bool:
    return entry.type == event_type and _response_id(entry) == response_id
