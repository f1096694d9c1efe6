"""The model checker: the response gate holds in every order of events, and what is wrong is caught as what it is."""

from __future__ import annotations

import pytest

from pipeline_guard.certify.model_budget import Budget, Setup
from pipeline_guard.certify.model_check import SETUPS, SMALL, check
from pipeline_guard.certify.model_gate import Gate
from reference_agent import gate as gate_module
from reference_agent import gate_events as ev
from reference_agent.gate import TRANSITIONS, Phase, ResponseGate
from tests.wrong_guards import ContractGuard, DroppingGuard, QueueOneGuard

TURNS = Setup(Budget(turns=2))


@pytest.mark.parametrize("name", SMALL)
def test_the_gate_keeps_every_invariant(name: str) -> None:
    verdict = check(ResponseGate, SMALL[name], name)
    assert (verdict.problem, verdict.trace) == (None, ())
    assert verdict.complete
    assert verdict.states > 400


def test_the_contracts_guard_lets_two_turns_of_one_round_trip_through() -> None:
    verdict = check(ContractGuard, TURNS)
    assert verdict.problem == "I5: trigger_2 while trigger_1 is outstanding"
    assert verdict.trace == (
        " 1. session ready  → sends create trigger_1",
        " 2. caller speaks",
        " 3. caller's turn ends",
        " 4. client reads: committed  → sends create trigger_2",
    )


def test_the_contracts_guard_ends_in_the_active_response_error() -> None:
    verdict = check(ContractGuard, TURNS, watch=("I1",))
    assert verdict.problem == "I1: conversation_already_has_active_response (resp1)"
    assert verdict.trace == (
        " 1. session ready  → sends create trigger_1",
        " 2. caller speaks",
        " 3. caller's turn ends",
        " 4. server reads: create trigger_1",
        " 5. client reads: committed  → sends create trigger_2",
        " 6. server reads: create trigger_2",
    )


def test_a_guard_that_drops_triggers_leaves_a_turn_unanswered() -> None:
    verdict = check(DroppingGuard, TURNS)
    assert verdict.problem == "I3: 1 of 2 turns and tool results never answered (dead air)"
    assert verdict.trace == (
        " 1. session ready  → sends create trigger_1",
        " 2. server reads: create trigger_1",
        " 3. client reads: created resp1 trigger_1",
        " 4. caller speaks",
        " 5. caller's turn ends",
        " 6. server ends: resp1",
        " 7. client reads: committed",
        " 8. client reads: done resp1 trigger_1 completed",
    )


def test_a_guard_that_queues_one_says_the_same_thing_twice() -> None:
    verdict = check(QueueOneGuard, TURNS)
    assert verdict.problem == "I2: resp2 says again what was already answered (the caller hears it twice)"
    assert verdict.trace == (
        " 1. session ready  → sends create trigger_1",
        " 2. caller speaks",
        " 3. caller's turn ends",
        " 4. server reads: create trigger_1",
        " 5. server ends: resp1",
        " 6. client reads: committed",
        " 7. client reads: created resp1 trigger_1",
        " 8. client reads: done resp1 trigger_1 completed  → sends create trigger_2",
        " 9. server reads: create trigger_2",
        "10. client reads: created resp2 trigger_2",
    )


@pytest.mark.parametrize("guard", [ContractGuard, DroppingGuard, QueueOneGuard])
def test_the_wrong_guards_are_stuck_after_a_lost_connection(guard: type[Gate]) -> None:
    verdict = check(guard, Setup(Budget(turns=0, reconnects=1)))
    assert verdict.problem is not None
    assert verdict.problem.startswith("I7: the connection is lost in")


@pytest.mark.parametrize("guard", [ContractGuard, DroppingGuard, QueueOneGuard])
def test_the_wrong_guards_are_stuck_when_the_end_of_a_response_is_lost(guard: type[Gate]) -> None:
    verdict = check(guard, Setup(Budget(turns=1, drops=1)), watch=("I4",))
    assert verdict.problem == "I4: stuck in ACTIVE with nothing under way"


# Without these nothing is lost but a counter, or a deadline that runs short; or the gate asks the server and learns the
# same (the search allows one repeated answer after a lost event).
ONLY_COUNTED = {
    (Phase.ACTIVE, ev.Progress),
    (Phase.PROBING, ev.Progress),
    (Phase.IDLE, ev.Done),
    (Phase.BACKOFF, ev.Done),
    (Phase.IDLE, ev.Error),
    (Phase.BACKOFF, ev.Error),
    (Phase.REQUESTED, ev.Done),
}


@pytest.mark.parametrize(
    "pair", sorted(set(TRANSITIONS) - ONLY_COUNTED, key=str), ids=lambda p: f"{p[0].name}-{p[1].__name__}"
)
def test_no_transition_can_be_taken_away(pair: tuple[Phase, type], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(gate_module.TRANSITIONS, pair)
    assert any(check(ResponseGate, setup).problem for setup in SMALL.values())


# One wrong line each, as they are found in real agents.
def _clears_on_any_end(gate: ResponseGate, event: ev.Done, now: float) -> ev.Actions:
    gate._forget()
    gate.phase = Phase.IDLE
    return ()


def _believes_any_created(gate: ResponseGate, event: ev.Created, now: float) -> ev.Actions:
    return ResponseGate._created(gate, ev.Created(event.response_id, gate.pending_response), now)


def _sends_again_when_the_deadline_passes(gate: ResponseGate, event: ev.Tick, now: float) -> ev.Actions:
    gate._forget()
    gate.phase = Phase.IDLE
    return (ev.Answer("watchdog"),)


def _adopts_what_is_over(gate: ResponseGate, event: ev.Progress, now: float) -> ev.Actions:
    gate.finished = ()
    return ResponseGate._progress_requested(gate, event, now)


def _believes_any_progress(gate: ResponseGate, event: ev.Progress, now: float) -> ev.Actions:
    """It pays what came after the request, too, which that response cannot know of."""
    if event.response_id in gate.finished:
        return ()
    return ResponseGate._created(gate, ev.Created(event.response_id, gate.pending_response), now)


def _adopts_nothing(gate: ResponseGate, event: ev.Progress, now: float) -> ev.Actions:
    return ()


def _takes_a_cut_for_progress(gate: ResponseGate, event: ev.CutShort, now: float) -> ev.Actions:
    return gate.handle(ev.Progress(event.response_id), now)


def _any_error_frees(gate: ResponseGate, event: ev.Error, now: float) -> ev.Actions:
    return gate._idle()


@pytest.mark.parametrize(
    ("pair", "wrong"),
    [
        ((Phase.ACTIVE, ev.Done), _clears_on_any_end),
        ((Phase.REQUESTED, ev.Created), _believes_any_created),
        ((Phase.REQUESTED, ev.Tick), _sends_again_when_the_deadline_passes),
        ((Phase.ACTIVE, ev.Tick), _sends_again_when_the_deadline_passes),
        ((Phase.ACTIVE, ev.Error), _any_error_frees),
    ],
)
def test_a_wrong_transition_is_found(pair: tuple[Phase, type], wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gate_module.TRANSITIONS, pair, wrong)  # type: ignore[arg-type]
    assert any(check(ResponseGate, setup).problem for setup in SMALL.values())


@pytest.mark.parametrize(
    ("setup", "pair", "wrong", "problem"),
    [
        (
            "late events",
            (Phase.REQUESTED, ev.Progress),
            _adopts_what_is_over,
            "I5: resp1 is over, and becomes the active response again",
        ),
        (
            "lost starts",
            (Phase.REQUESTED, ev.Progress),
            _believes_any_progress,
            "I3: 1 of 2 turns and tool results never answered (dead air)",
        ),
        (
            "lost starts",
            (Phase.REQUESTED, ev.Progress),
            _adopts_nothing,
            "I3: resp1 is not heard, for the gate does not take it",
        ),
        (
            "failures, events are lost",
            (Phase.ACTIVE, ev.CutShort),
            _takes_a_cut_for_progress,
            "I3: 1 of 1 turns and tool results never answered (dead air)",
        ),
    ],
)
def test_what_goes_wrong_when_a_start_or_an_end_is_lost_is_named(
    setup: str, pair: tuple[Phase, type], wrong: object, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gate_module.TRANSITIONS, pair, wrong)  # type: ignore[arg-type]
    assert check(ResponseGate, SMALL[setup]).problem == problem


def _keeps_no_presumption(gate: ResponseGate, *, ours: bool) -> None:
    """The response that was taken for ours stays ours, whatever the server says."""
    gate.presumed = False
    gate._confirm()


def _forgets_that_it_was_answered(gate: ResponseGate, event: ev.Progress, now: float) -> ev.Actions:
    gate.answered = False
    return ResponseGate._progress_requested(gate, event, now)


def test_a_foreign_response_taken_for_ours_must_not_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResponseGate, "_end_presumption", _keeps_no_presumption)
    verdict = check(ResponseGate, SMALL["server creates, starts are lost"], watch=("I3",))
    assert verdict.problem == "I3: 1 of 2 turns and tool results never answered (dead air)"


def test_a_request_that_is_answered_already_becomes_nothing_that_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gate_module.TRANSITIONS, (Phase.REQUESTED, ev.Progress), _forgets_that_it_was_answered)
    verdict = check(ResponseGate, SETUPS["server creates and interrupts"])
    assert verdict.problem == "I8: resp2 is heard although the caller interrupted it before it began"
