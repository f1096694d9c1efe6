"""PG203-PG206, PG209: the guard before response.create holds on every way, in time, and until response.done."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET
from pipeline_guard.checks.report import Draft, at_step
from pipeline_guard.checks.responses import canonical_trigger
from pipeline_guard.pipeline.model import Gate, GuardClear, Lane, Step, Trigger

_REFUSED = "conversation_already_has_active_response"
_ON = {
    "error": "on any error event, also one that has nothing to do with this response",
    "barge_in": "when the caller interrupts, before the server has ended the response",
    "timeout": "by a timeout, while the response may still run",
}


def trigger_without_guard(lane: Lane) -> Iterator[Draft]:
    """PG203: the trigger does not ask, on every way to its send, whether a response is active.

    Without a trigger PG201 and PG202 name every send; one finding then says that none of them asks.
    """
    judged = _judged(lane)
    open_ones = [trigger for trigger in judged if not trigger.gate.checked]
    if not open_ones:
        return
    first = open_ones[0]
    others = [step for trigger in open_ones for step in (trigger.gate.unchecked or trigger.sites)]
    yield at_step(_first_open(first), _unguarded(first, len(open_ones), len(judged)), (*others, *first.gate.sets))


def _first_open(trigger: Trigger) -> Step:
    gate = trigger.gate
    if gate.problem == "pending_only" and gate.checks:
        return gate.checks[0]
    return min(trigger.sites, key=lambda step: (step.path, step.line))


def _unguarded(trigger: Trigger, count: int, total: int) -> str:
    gate = trigger.gate
    name = f"{trigger.symbol}()"
    if gate.problem == "pending_only":
        return (
            f"{name} asks {_names(gate)} only, which is given up on response.created: while the agent speaks, nothing "
            "stops the next response."
        )
    if gate.problem == "some_callers":
        missing = ", ".join(f"{step.symbol}()" for step in gate.unchecked)
        return f"{name} leaves the check to its callers, and {missing} calls it without asking for an active response."
    if count > 1 and total > 1:
        which = (
            f"none of the {count} functions that send"
            if count == total
            else f"{count} of the {total} functions that send"
        )
        asks = "asks" if count == total else "do not ask"
        return f"{which} response.create {asks} whether a response is active."
    kept = (
        f"{gate.marker} is kept (line {gate.sets[0].line}), but not asked before this send"
        if gate.marker and gate.sets
        else "nothing keeps whether one is"
    )
    return f"{name} sends response.create without asking whether a response is active; {kept}. While the agent speaks, \
the next request is refused or answered on top."


def check_then_send_race(lane: Lane) -> Iterator[Draft]:
    """PG204: two callers can pass the check before either of them is seen to have sent, or one is stuck for good."""
    for trigger in _judged(lane):
        gate = trigger.gate
        if not gate.checked or not gate.checks:
            continue
        if not gate.pending:
            evidence = (*gate.checks, *gate.awaited, *gate.marks, *trigger.sites, *gate.sets)
            yield at_step(gate.checks[0], _race(gate), evidence)._replace(downgrade=gate.race == "late")
        elif gate.swallowed:
            step = gate.swallowed[0]
            yield at_step(
                step,
                f"when the send fails, the error is caught here and {gate.pending_marker} stays set: every later turn "
                "finds a response that does not exist, and the agent is silent for the rest of the call.",
                (*gate.marks, *trigger.sites, step),
            )._replace(downgrade=True)


def _race(gate: Gate) -> str:
    if gate.race == "awaited":
        where = ", ".join(str(step.line) for step in gate.awaited)
        return (
            f"{_is_asked(gate)} here, and {gate.pending_marker} set at line {gate.marks[0].line}, but line {where} "
            "awaits in between: a second trigger runs meanwhile, passes the same check, and the server refuses its "
            f"request ({_REFUSED})."
        )
    if gate.race == "late":
        return (
            f"{gate.pending_marker} is set only when the send has returned (line {gate.marks[0].line}): a trigger that "
            "runs while the send waits passes the same check. Set it before the send."
        )
    if gate.race == "dropped":
        return (
            f"{gate.pending_marker} is set before the send but given up as soon as the send returns: until "
            "response.created arrives, a second trigger passes the check, and the server refuses its request "
            f"({_REFUSED})."
        )
    until = "set when response.created arrives" if gate.set_on_created else "not set before the send"
    return (
        f"{_is_asked(gate)} here, but {until}: one turn is sent, the next comes within the round trip and still finds "
        f"no response, and the server refuses the second request ({_REFUSED}). Set a pending marker before the send."
    )


def active_response_not_tracked(lane: Lane) -> Iterator[Draft]:
    """PG205: what the guard asks does not follow response.created and response.done."""
    for trigger in _judged(lane):
        gate = trigger.gate
        if not gate.certain or gate.problem == "pending_only":
            continue
        if not gate.checked:
            if trigger.canonical and not gate.sets and _is_dedicated(trigger):
                yield at_step(
                    Step(trigger.path, trigger.line, trigger.symbol),
                    f"nothing follows the responses that {trigger.symbol}() creates: no active-response id is set on "
                    "response.created and cleared on response.done.",
                    trigger.sites,
                )
        elif gate.checks:
            yield from _untracked(gate, trigger)


def _untracked(gate: Gate, trigger: Trigger) -> Iterator[Draft]:
    name, check = gate.marker or _names(gate), gate.checks[0]
    if not gate.set_on_created and not gate.marks:
        yield at_step(
            check,
            f"{name} is asked here, but nothing sets it on response.created: the check never stops anything."
            if not gate.clears
            else f"{name} is asked here, but it is not set on response.created: a response can run while it is empty.",
            (check, *trigger.sites, *gate.clears),
        )
    elif not gate.cleared_on_done:
        step = (gate.sets or gate.marks)[0]
        yield at_step(
            step,
            f"{name} is set, but not cleared on response.done: after the first response the agent never speaks again, "
            "or only because something else clears it too early.",
            (step, check, *(clear.place for clear in gate.wrong_clears)),
        )
    elif not gate.set_on_created:
        yield at_step(
            gate.marks[0],
            f"{name} is set for the client's own request only, not from response.created: a response that the server "
            "creates, and the id that response.done must be compared with, are not known.",
            (gate.marks[0], *gate.clears),
        )._replace(downgrade=True)


def guard_cleared_elsewhere(lane: Lane) -> Iterator[Draft]:
    """PG206: the marker is given up while the response may still run."""
    for trigger in _judged(lane):
        if trigger.gate.checked:
            for clear in trigger.gate.wrong_clears:
                yield at_step(clear.place, _early(clear), clear.path)._replace(downgrade=clear.on == "any_response")


def _early(clear: GuardClear) -> str:
    if clear.on == "any_response":
        return (
            f"{clear.marker} is cleared on every response.done without comparing its id: the end of an older or "
            "out-of-band response opens the guard while the current one still speaks."
        )
    on = _ON.get(clear.on, f"on {clear.on}, which ends a part of the response, not the response")
    return f"{clear.marker} is cleared {on}: the guard opens, and the next response.create meets the running one."


def guard_bypass(lane: Lane) -> Iterator[Draft]:
    """PG209: an argument, a flag or a timeout lets a call past the check: each call that takes this way."""
    for trigger in _judged(lane):
        gate = trigger.gate
        if gate.bypass is None or not gate.bypasses:
            continue
        place = gate.bypasses[0]
        if gate.bypass.startswith(("a timeout", "an error")):
            yield at_step(
                place,
                f"{gate.bypass} ends the waiting for the active response, and the request is sent all the same: the "
                "server refuses it, or the caller hears two answers.",
                (place, *trigger.sites),
            )
            continue
        if not gate.bypass_calls:
            yield at_step(
                place,
                f"{gate.bypass} lets a call past the check for an active response; no call was found that uses it, but "
                "the next quick fix will.",
                (place, *trigger.sites),
            )._replace(downgrade=True)
        for call in gate.bypass_calls:
            yield at_step(
                call,
                f"{call.symbol}() gets its response whether one is active or not: {gate.bypass} takes it past the "
                f"check in {trigger.symbol}() ({place.path}:{place.line}).",
                (call, place, *trigger.sites),
            )


def _judged(lane: Lane) -> list[Trigger]:
    """Return the triggers that these rules judge: the canonical one, or all where there is none.

    One that only greets is left out: at the start of the session there is no response that it could meet.
    """
    live = [session for session in lane.sessions if session.context not in QUIET]
    if live and all(session.text_only for session in live):
        return []  # nothing is spoken
    turning = [
        trigger
        for trigger in lane.triggers
        if trigger.context not in QUIET and set(trigger.causes) - {"greeting"} and trigger.sites
    ]
    if all(trigger.text_only for trigger in turning):
        return []
    canonical = canonical_trigger(lane)
    return [trigger for trigger in turning if canonical is None or trigger is canonical]


def _is_dedicated(trigger: Trigger) -> bool:
    """Say whether a function is there to create responses, not one that handles every event and sends among them."""
    return any(word in trigger.symbol.lower() for word in ("response", "reply", "respond", "speak", "trigger"))


def _is_asked(gate: Gate) -> str:
    return f"{_names(gate)} {'are' if len(gate.markers) > 1 else 'is'} asked"


def _names(gate: Gate) -> str:
    return " and ".join(gate.markers) or str(gate.marker)


CHECKS = {
    "PG203": trigger_without_guard,
    "PG204": check_then_send_race,
    "PG205": active_response_not_tracked,
    "PG206": guard_cleared_elsewhere,
    "PG209": guard_bypass,
}
