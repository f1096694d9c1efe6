"""Agents that are wrong in one way: each is refused, each for its own reason, and the reason says where in the call."""

from __future__ import annotations

import pytest

from pipeline_guard.certify.certification import reference_call
from pipeline_guard.certify.schedules import schedule_of
from reference_agent import app
from reference_agent.call import CallSession
from tests import mutated_agents as wrong

# Each with the seed of the quick certificate that shows it, and with the one reason that is its own.
MUTANTS: dict[type[CallSession], tuple[int, str]] = {
    wrong.SecondSender: (0, "audio.doubled"),
    wrong.StrayCreate: (0, "active.unguarded"),
    wrong.Timer: (0, "reply.timer"),
    wrong.DropGuard: (1, "turn.passed-over"),
    wrong.QueueOneGuard: (4, "reply.queued"),
    wrong.NoPendingMark: (4, "active.race"),
    wrong.NoIdCompare: (2, "active.other-done"),
    wrong.ClearOnAnyError: (3, "active.after-error"),
    wrong.SecondRecogniser: (0, "stt.second"),
}
OWN = {code for _, code in MUTANTS.values()}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutated_agent_is_refused_for_its_own_reason(
    mutant: type[CallSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, code = MUTANTS[mutant]
    monkeypatch.setattr(app, "CallSession", mutant)
    result = reference_call(schedule_of(seed), "again", with_timeline=False).result
    assert not result.passed
    assert {reason.code for reason in result.reasons} & OWN == {code}, [str(reason) for reason in result.reasons]
    reason = next(reason for reason in result.reasons if reason.code == code)
    assert reason.at is not None
    assert 0 < reason.at < result.seconds
    assert result.timeline is not None


@pytest.mark.parametrize("seed", sorted({seed for seed, _ in MUTANTS.values()}))
def test_the_reference_agent_passes_the_calls_that_show_them(seed: int) -> None:
    result = reference_call(schedule_of(seed), "again", with_timeline=False).result
    assert result.passed, [str(reason) for reason in result.reasons]
