"""What a pipeline has lost since the baseline, although no line of it is wrong: trigger, guard, sender, session."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from pipeline_guard.checks.report import Draft
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Step
from pipeline_guard.ratchet.record import lane_state
from pipeline_guard.ratchet.state import Baseline, LaneState

# From "the client alone creates responses" to "the server does": a value further along is a step back.
_SERVER_SIDE = {"no_vad": 0, "off": 0, "dynamic": 1, "default_on": 2, "on": 3}
_SAYS = {
    "no_vad": "turn detection was off",
    "off": "create_response was false",
    "dynamic": "create_response was computed",
    "default_on": "create_response was not given",
}
_NOW_SAYS = {
    "dynamic": "create_response is now computed, so that it may come out true",
    "default_on": "create_response is no longer given, so the server creates responses",
    "on": "create_response is now true: the server creates responses",
}
# What a guard did, and the rule that finds it missing.
_PROMISES = {
    "checked": ("PG203", "asks whether a response is active before it sends"),
    "pending": ("PG204", "marks a response as asked for before it sends"),
    "released_on_failure": ("PG204", "gives the mark up when the send fails"),
    "set_on_created": ("PG205", "takes the id from response.created"),
    "cleared_on_done": ("PG205", "clears it on response.done"),
    "same_id": ("PG206", "clears it only for the response it stands for"),
    "no_bypass": ("PG209", "lets no call past the check"),
}


class Loss(NamedTuple):
    """Something that was there and is not: ``part`` names it, ``lane`` is the pipeline it is missing from."""

    part: str
    draft: Draft
    lane: Lane


def losses(baseline: Baseline, lanes: Sequence[Lane], told: Collection[tuple[str, str]] = ()) -> list[Loss]:
    """Return what each pipeline has lost, pipelines that are new or gone aside.

    ``told`` are rules and lanes with new findings: what these say of a guard or a session is not said again.
    """
    found: list[Loss] = []
    for before, lane in paired_lanes(baseline.lanes, lanes):
        now = lane_state(lane)
        found += _trigger(before, now, lane)
        found += _guard(before, now, lane, told)
        found += _sender(before, now, lane)
        if ("PG211", lane.name) not in told:
            found += _sessions(before, lane)
    return found


def paired_lanes(before: Sequence[LaneState], lanes: Sequence[Lane]) -> list[tuple[LaneState, Lane]]:
    """Return which pipeline of the baseline is which one today: by what they share, for names follow the code."""
    scored = sorted(
        ((_kinship(old, lane_state(lane)), -i, -j) for i, old in enumerate(before) for j, lane in enumerate(lanes)),
        reverse=True,
    )
    pairs: list[tuple[LaneState, Lane]] = []
    used_old: set[int] = set()
    used_new: set[int] = set()
    for score, i, j in scored:
        if score > 0 and i not in used_old and j not in used_new:
            used_old.add(i)
            used_new.add(j)
            pairs.append((before[-i], lanes[-j]))
    return pairs


def _kinship(old: LaneState, new: LaneState) -> int:
    score = 4 * (old.name == new.name)
    score += 4 * (old.trigger is not None and old.trigger == new.trigger)
    score += 3 * (old.sender is not None and old.sender == new.sender)
    score += len({place for place, _ in old.sessions} & {place for place, _ in new.sessions})
    return score


def _trigger(before: LaneState, now: LaneState, lane: Lane) -> Iterator[Loss]:
    if before.trigger is None or now.trigger is not None or not lane.triggers:
        return
    live = [each for each in lane.triggers if each.context not in ("dormant", "example")]
    if not live:
        return
    path, _, symbol = before.trigger.rpartition(":")
    kept = next((each for each in live if (each.path, each.symbol) == (path, symbol)), None)
    sends = tuple(step for each in live for step in each.sites)
    place = Step(kept.path, kept.line, kept.symbol) if kept is not None else sends[0]
    what = "is no longer the only one that creates responses" if kept is not None else "no longer creates responses"
    names = ", ".join(f"{each.symbol}()" for each in live[:4]) + (" and others" if len(live) > 4 else "")
    message = (
        f"{symbol}() was the one trigger of this pipeline when the baseline was recorded and {what}; now {names} "
        f"{'do' if len(live) > 1 else 'does'}, and none is the one trigger."
    )
    yield Loss("trigger", _at(place, message, sends), lane)


def _guard(before: LaneState, now: LaneState, lane: Lane, told: Collection[tuple[str, str]]) -> Iterator[Loss]:
    trigger = next((each for each in lane.triggers if each.canonical), None)
    lost = [promise for promise in before.guard if promise not in now.guard]
    if "checked" in lost:
        lost = ["checked"]  # without the check nothing else of a guard is worth anything
    lost = [promise for promise in lost if (_PROMISES[promise][0], lane.name) not in told]
    if trigger is None or not lost:
        return
    said = "; ".join(_PROMISES[promise][1] for promise in lost)
    message = (
        f"the guard of {trigger.symbol}() has lost what it had when the baseline was recorded: it no longer {said}. "
        "Two triggers in one turn now both send."
    )
    place = Step(trigger.path, trigger.line, trigger.symbol)
    yield Loss("guard", _at(place, message, trigger.sites), lane)


def _sender(before: LaneState, now: LaneState, lane: Lane) -> Iterator[Loss]:
    live = [each for each in lane.senders if each.context not in ("dormant", "example")]
    if before.sender is None or now.sender is not None or not live:
        return
    symbol = before.sender.rpartition(":")[2]
    names = ", ".join(f"{each.symbol}()" for each in live[:4])
    message = (
        f"{symbol}() was the one sender of the caller's audio when the baseline was recorded; now {names} "
        f"{'send' if len(live) > 1 else 'sends'} it and none is the one sender."
    )
    yield Loss("sender", _at(Step(live[0].path, live[0].line, live[0].symbol), message, live[0].sites), lane)


def _sessions(before: LaneState, lane: Lane) -> Iterator[Loss]:
    if lane.policy_source == "declared" and lane.policy == "server":
        return
    recorded: dict[str, str] = {}
    for place, value in before.sessions:
        recorded[place] = max(recorded.get(place, value), value, key=_side)
    if not recorded:
        return
    worst = max(recorded.values(), key=_side)
    said: set[str] = set()
    for session in lane.sessions:
        place = f"{session.path}:{session.symbol}"
        was = recorded.get(place, worst)
        if session.context in QUIET_CONTEXTS or _side(session.value) <= _side(was) or place in said:
            continue
        said.add(place)
        whose = "here" if place in recorded else "in this pipeline"
        message = f"{_SAYS[was]} {whose} when the baseline was recorded; {_NOW_SAYS[session.value]}."
        step = Step(session.path, session.line, session.symbol)
        yield Loss("session", _at(step, message, ())._replace(end_line=session.end_line), lane)


def _side(value: str) -> int:
    return _SERVER_SIDE.get(value, 0)


def _at(step: Step, message: str, evidence: Sequence[Step]) -> Draft:
    return Draft(step.path, step.line, step.line, 1, step.symbol, message, tuple(evidence) or (step,))
