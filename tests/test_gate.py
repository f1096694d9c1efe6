"""The response gate: its times, its limits, and long random calls around the real object."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline_guard.certify.model_budget import Budget, Setup
from pipeline_guard.certify.model_world import Model, World
from reference_agent import gate_events as ev
from reference_agent.gate import Phase, ResponseGate


def ready_gate() -> ResponseGate:
    gate = ResponseGate()
    assert gate.handle(ev.SessionReady(), 0.0) == ()
    return gate


def active_gate() -> ResponseGate:
    gate = ready_gate()
    request = gate.trigger("greeting", 0.0)
    assert request == ev.Request("trigger_1")
    assert gate.handle(ev.Created("r1", "trigger_1"), 1.0) == ()
    return gate


def test_a_trigger_before_the_session_is_ready_is_answered_when_it_is() -> None:
    gate = ResponseGate()
    assert gate.trigger("greeting", 0.0) is None
    assert gate.handle(ev.SessionReady(), 0.0) == (ev.Answer("greeting"),)
    assert gate.trigger("greeting", 0.0) == ev.Request("trigger_1")


def test_a_second_trigger_in_the_same_round_trip_does_not_pass() -> None:
    gate = ready_gate()
    assert gate.trigger("turn", 0.0) == ev.Request("trigger_1")
    assert gate.trigger("turn", 0.0) is None
    assert gate.active_response_id is None


def test_what_came_before_created_is_paid_by_it_and_what_came_after_is_answered_once() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.trigger("tool", 0.0)
    gate.handle(ev.Created("r1", "trigger_1"), 0.0)
    assert gate.handle(ev.Done("r1", "completed"), 0.0) == ()
    gate.trigger("turn", 0.0)
    gate.handle(ev.Created("r2", "trigger_2"), 0.0)
    assert gate.trigger("tool", 0.0) is None
    assert gate.trigger("tool", 0.0) is None
    assert gate.handle(ev.Done("r2", "completed"), 0.0) == (ev.Answer("tool"),)


def test_the_end_of_another_response_changes_nothing() -> None:
    gate = active_gate()
    assert gate.handle(ev.Done("r0", "completed"), 1.0) == (ev.Count("stray_done"),)
    assert gate.active_response_id == "r1"


def test_the_end_of_our_response_counts_although_its_start_was_lost() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.trigger("tool", 0.0)
    assert gate.handle(ev.Done("r1", "completed", trigger_id="trigger_1"), 1.0) == (ev.Answer("tool"),)


def test_a_response_whose_start_was_lost_is_heard_and_answers_only_what_was_asked_for() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.trigger("tool", 0.0)
    assert gate.handle(ev.Progress("r1"), 1.0) == (ev.Adopted("r1", "trigger_1"),)
    assert gate.may_play("r1")
    assert gate.trigger("tool", 1.0) is None
    assert gate.handle(ev.Done("r1", "completed", trigger_id="trigger_1"), 2.0) == (ev.Answer("tool"),)


def test_a_response_taken_for_ours_that_is_not_pays_nothing() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.handle(ev.Progress("r9"), 1.0)
    assert gate.handle(ev.Error(ev.ALREADY_ACTIVE, "trigger_1", "r9"), 1.0) == (ev.Count("active_response_error"),)
    assert gate.may_play("r9")
    assert gate.handle(ev.Done("r9", "completed"), 2.0) == (ev.Answer("turn"),)


def test_what_the_foreign_response_held_up_is_still_ours_when_it_begins() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.handle(ev.Progress("r9"), 1.0)
    assert gate.handle(ev.Done("r9", "completed"), 2.0) == ()
    assert gate.phase is Phase.REQUESTED
    assert gate.handle(ev.Created("r1", "trigger_1"), 3.0) == ()
    assert gate.may_play("r1")
    assert gate.handle(ev.Done("r1", "completed", trigger_id="trigger_1"), 4.0) == ()


def test_what_is_over_is_not_taken_for_the_answer_to_a_new_request() -> None:
    gate = active_gate()
    gate.handle(ev.Done("r1", "completed"), 1.0)
    gate.trigger("turn", 1.0)
    assert gate.handle(ev.Progress("r1"), 1.0) == ()
    assert gate.active_response_id is None


def test_a_request_that_the_caller_interrupted_is_cancelled_although_its_start_was_lost() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.handle(ev.BargeIn(), 0.5)
    assert gate.handle(ev.Progress("r1"), 1.0) == (
        ev.Adopted("r1", "trigger_1"),
        ev.Discard("r1"),
        ev.Cancel("cancel_2", "r1"),
    )
    assert not gate.may_play("r1")


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        ([ev.Progress("r1")], [], ()),
        ([ev.Progress("r1"), ev.CutShort("r1")], [], (ev.Answer("retry"),)),
        ([], [], (ev.Answer("retry"),)),
        ([], [ev.Progress("r1")], ()),
        ([], [ev.Progress("r1"), ev.CutShort("r1")], (ev.Answer("retry"),)),
    ],
)
def test_a_response_that_came_to_nothing_and_whose_end_was_lost_is_asked_for_again(
    before: list[ev.Event], after: list[ev.Event], answer: ev.Actions
) -> None:
    gate = active_gate()
    for event in before:
        gate.handle(event, 1.0)
    gate.handle(ev.Tick(), 11.0)
    for event in after:
        gate.handle(event, 11.0)
    assert gate.handle(ev.Error(ev.NOT_ACTIVE, "probe_2"), 11.1) == answer


def test_a_service_that_says_nothing_again_and_again_is_given_up() -> None:
    gate = active_gate()
    for number in (1, 2):
        (_, cancel) = gate.handle(ev.Tick(), 100.0 * number)
        assert isinstance(cancel, ev.Cancel)
        assert gate.handle(ev.Error(ev.NOT_ACTIVE, cancel.event_id), 100.0 * number) == (ev.Answer("retry"),)
        request = gate.trigger("retry", 100.0 * number)
        assert request is not None
        gate.handle(ev.Created(f"again{number}", request.event_id), 100.0 * number)
    (_, cancel) = gate.handle(ev.Tick(), 300.0)
    assert isinstance(cancel, ev.Cancel)
    assert gate.handle(ev.Error(ev.NOT_ACTIVE, cancel.event_id), 300.0) == (ev.GiveUp("response_lost"),)


def test_what_the_caller_interrupted_is_not_asked_for_again() -> None:
    gate = active_gate()
    gate.handle(ev.SpeechStarted(), 1.0)
    gate.handle(ev.CutShort("r1"), 1.0)
    gate.handle(ev.Tick(), 11.0)
    assert gate.handle(ev.Error(ev.NOT_ACTIVE, "probe_2"), 11.1) == ()


def test_an_answer_about_a_named_response_says_nothing_of_the_request_behind_it() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    gate.handle(ev.Created("r9"), 0.0)
    assert gate.handle(ev.Tick(), 10.0) == (ev.Count("probe"), ev.Cancel("probe_2", "r9"))
    assert gate.handle(ev.Error(ev.NOT_ACTIVE, "probe_2"), 10.1) == ()
    assert gate.phase is Phase.REQUESTED
    assert gate.handle(ev.Tick(), 15.1) == (ev.Count("probe"), ev.Cancel("probe_3", None))


def test_progress_moves_the_deadline_and_silence_asks_the_server() -> None:
    gate = active_gate()
    gate.handle(ev.Progress("r1"), 5.0)
    assert gate.handle(ev.Tick(), 14.9) == ()
    assert gate.handle(ev.Tick(), 15.0) == (ev.Count("probe"), ev.Cancel("probe_2", "r1"))
    assert gate.handle(ev.Error(ev.NOT_ACTIVE, "probe_2"), 15.1) == ()
    assert gate.phase is Phase.IDLE


def test_a_server_that_answers_no_probe_is_left() -> None:
    gate = active_gate()
    gate.handle(ev.Tick(), 11.0)
    assert gate.handle(ev.Tick(), 13.9) == ()
    assert gate.handle(ev.Tick(), 14.0) == (ev.Reconnect(),)
    assert gate.handle(ev.Tick(), 20.0) == ()
    gate.handle(ev.Disconnected(), 20.0)
    assert gate.handle(ev.SessionReady(), 21.0) == (ev.Answer("resume"),)


def test_an_error_without_event_id_is_matched_by_its_code() -> None:
    gate = ready_gate()
    gate.trigger("turn", 0.0)
    assert gate.handle(ev.Error(ev.ALREADY_ACTIVE, None, "r9"), 0.0) == (ev.Count("active_response_error"),)
    assert gate.active_response_id == "r9"
    assert gate.handle(ev.Done("r9", "completed"), 0.0) == (ev.Answer("turn"),)


def test_an_error_about_something_else_does_not_free_the_gate() -> None:
    gate = active_gate()
    assert gate.handle(ev.Error("invalid_value", "config_1"), 1.0) == (ev.Count("other_error"),)
    assert gate.handle(ev.Error(ev.ALREADY_ACTIVE, None), 1.0) == (ev.Count("other_error"),)
    assert gate.active_response_id == "r1"


def test_refusals_are_asked_about_twice_and_then_the_call_is_given_up() -> None:
    gate = ready_gate()
    request = gate.trigger("turn", 0.0)
    for wait in (0.5, 1.0):
        assert request is not None
        assert gate.handle(ev.Error("server_error", request.event_id), 0.0) == (ev.Count("retry"),)
        assert gate.trigger("turn", 0.0) is None
        assert gate.handle(ev.Tick(), wait - 0.1) == ()
        probe = gate.handle(ev.Tick(), wait)[-1]
        assert isinstance(probe, ev.Cancel)
        assert probe.response_id is None
        assert gate.handle(ev.Error(ev.NOT_ACTIVE, probe.event_id), 0.0) == (ev.Answer("turn"),)
        request = gate.trigger("turn", 0.0)
    assert request is not None
    assert gate.handle(ev.Error("server_error", request.event_id), 0.0) == (ev.GiveUp("server_error"),)
    assert gate.trigger("turn", 0.0) is None


@pytest.mark.parametrize("code", sorted(ev.FATAL))
@pytest.mark.parametrize("phase", ["ready", "active"])
def test_a_fatal_error_gives_up_at_once(code: str, phase: str) -> None:
    gate = ready_gate() if phase == "ready" else active_gate()
    assert gate.handle(ev.Error(code), 0.0) == (ev.GiveUp(code),)
    assert gate.phase is Phase.CLOSED


def test_only_the_active_response_may_be_played() -> None:
    gate = active_gate()
    assert gate.may_play("r1")
    assert not gate.may_play("r2")
    assert gate.handle(ev.SpeechStarted(), 2.0) == (ev.Discard("r1"),)
    assert not gate.may_play("r1")
    assert gate.active_response_id == "r1"  # until the server says that it is done


def test_a_state_is_the_whole_gate() -> None:
    gate = active_gate()
    copy = ResponseGate.from_state(gate.state())
    assert copy == gate
    assert copy.handle(ev.BargeIn(), 2.0) == gate.handle(ev.BargeIn(), 2.0) != ()
    assert hash(copy.state()) == hash(gate.state())


class LongCalls(RuleBasedStateMachine):
    """Calls far longer than the exhaustive search can afford, in random order."""

    SETUP = Setup(
        Budget(turns=12, tools=6, barge_ins=4, reconnects=3, deadlines=4, fails=2, half_opens=1), most_tools=2
    )

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(ResponseGate, self.SETUP)
        self.world: World = self.model.start()
        self.problem: str | None = None

    @precondition(lambda self: self.problem is None)
    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        changes = list(self.model.successors(self.world))
        if changes:
            index = data.draw(st.integers(0, len(changes) - 1))
            _, _, self.world, self.problem = changes[index]

    @invariant()
    def nothing_is_broken(self) -> None:
        assert self.problem is None
        assert self.model.problem(self.world) is None

    def teardown(self) -> None:
        """Without further bad luck the call comes to rest, whatever state it was in."""
        for _ in range(400):
            if self.model.is_settled(self.world):
                break
            _, _, self.world, problem = next(c for c in self.model.successors(self.world) if not c[1])
            assert problem is None
        assert self.model.is_settled(self.world)
        assert self.model.problem(self.world) is None


class LongInterruptedCalls(LongCalls):
    SETUP = Setup(Budget(turns=12, tools=4, reconnects=3, deadlines=4, half_opens=1), interrupts=True)


class LongCallsWithLostEvents(LongCalls):
    SETUP = Setup(
        Budget(turns=12, tools=4, barge_ins=3, reconnects=2, deadlines=2, fails=3, drops=4, speaks=8), most_tools=2
    )


TestLongCalls = LongCalls.TestCase
TestLongCalls.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLongInterruptedCalls = LongInterruptedCalls.TestCase
TestLongInterruptedCalls.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLongCallsWithLostEvents = LongCallsWithLostEvents.TestCase
TestLongCallsWithLostEvents.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
