"""Agents that are wrong in one way: each is refused, each for its own reason, and the reason says where in the call."""

from __future__ import annotations

import pytest

from pipeline_guard.certify.certification import reference_call
from pipeline_guard.certify.faults import parse_fault
from pipeline_guard.certify.schedules import Schedule
from reference_agent import app
from reference_agent.call import CallSession
from tests import mutated_agents as wrong

SLOW = 0.8  # a voice that is still coming when the caller's next turn is over
# Each with the kind of call that shows it, and with the one reason that is its own.
MUTANTS: dict[type[CallSession], tuple[Schedule, str]] = {
    wrong.SecondSender: (Schedule(1), "audio.doubled"),
    wrong.StrayCreate: (Schedule(1), "active.unguarded"),
    wrong.Timer: (Schedule(1), "reply.timer"),
    wrong.DropGuard: (Schedule(1, "hurried", 0.1, (), SLOW), "turn.passed-over"),
    wrong.QueueOneGuard: (Schedule(1, faults=(parse_fault("duplicate-committed@1"),)), "reply.queued"),
    wrong.NoPendingMark: (Schedule(1, faults=(parse_fault("duplicate-committed@1"),)), "active.race"),
    wrong.NoIdCompare: (Schedule(1, "hurried", 0.1, (parse_fault("stale-done@2"),), SLOW), "active.other-done"),
    wrong.ClearOnAnyError: (
        Schedule(1, "hurried", 0.1, (parse_fault("unrelated-error@2"),), SLOW),
        "active.after-error",
    ),
    wrong.SecondRecogniser: (Schedule(1), "stt.second"),
}
OWN = {code for _, code in MUTANTS.values()}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutated_agent_is_refused_for_its_own_reason(
    mutant: type[CallSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule, code = MUTANTS[mutant]
    monkeypatch.setattr(app, "CallSession", mutant)
    result = reference_call(schedule, "again", with_timeline=False).result
    assert not result.passed
    assert {reason.code for reason in result.reasons} & OWN == {code}, [str(reason) for reason in result.reasons]
    reason = next(reason for reason in result.reasons if reason.code == code)
    assert reason.at is not None
    assert 0 < reason.at < result.seconds
    assert result.timeline is not None


@pytest.mark.parametrize("schedule", sorted({schedule for schedule, _ in MUTANTS.values()}, key=str), ids=str)
def test_the_reference_agent_passes_the_calls_that_show_them(schedule: Schedule) -> None:
    result = reference_call(schedule, "again", with_timeline=False).result
    assert result.passed, [str(reason) for reason in result.reasons]
