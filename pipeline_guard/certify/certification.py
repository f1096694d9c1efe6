"""Makes the calls of a certificate: the reference agent in virtual time, any other in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline_guard.certify.certificate.model import CallResult, result_of
from pipeline_guard.certify.record import Record
from pipeline_guard.certify.schedules import Schedule

if TYPE_CHECKING:
    from pipeline_guard.certify.child import AgentSpec
    from pipeline_guard.certify.contract_call import Outcome


@dataclass
class MadeCall:
    """A call that is over: its result for the certificate, and the record of every message."""

    result: CallResult
    record: Record = field(default_factory=Record)


class Maker(Protocol):
    """Makes one call; ``rerun`` is the command that makes it again."""

    def __call__(self, schedule: Schedule, rerun: str, *, with_timeline: bool) -> MadeCall:
        """Return the call.  Raises UserError when the agent cannot be started."""


def reference_call(schedule: Schedule, rerun: str, *, with_timeline: bool) -> MadeCall:
    """Call the reference agent in this process: half a minute of talk in a second."""
    from pipeline_guard.certify import virtual_time
    from pipeline_guard.certify.judging.facts import no_call
    from pipeline_guard.certify.twilio.errors import CallFailed
    from reference_agent.simulated_call import make_test_call

    try:
        outcome: Outcome = virtual_time.run(make_test_call(**schedule.options()))
    except CallFailed as error:
        check = no_call("call.failed", str(error))
        return MadeCall(result_of(schedule, [check], check.reasons, None, rerun, with_timeline=False))
    result = result_of(schedule, outcome.checks, outcome.reasons, outcome, rerun, with_timeline=with_timeline)
    return MadeCall(result, outcome.record)


def foreign_maker(spec: AgentSpec, speed: float = 1.0) -> Maker:
    """Return what calls an agent that is not ours: each call starts it afresh, and takes its time.

    At a ``speed`` above 1 the caller talks that many times faster; timers of the agent stay what they are.
    """

    def make(schedule: Schedule, rerun: str, *, with_timeline: bool) -> MadeCall:
        from pipeline_guard.certify.foreign_call import certify_agent

        try:
            call = asyncio.run(certify_agent(spec, schedule, speed=speed))
        except asyncio.CancelledError:  # asked to terminate, and the agent is gone
            raise KeyboardInterrupt from None
        outcome = call.outcome
        result = result_of(schedule, outcome.checks, call.reasons, outcome, rerun, with_timeline=with_timeline)
        return MadeCall(result, outcome.record)

    return make


def make_calls(
    maker: Maker,
    schedules: Iterable[Schedule],
    rerun: Callable[[Schedule], str],
    done: Callable[[MadeCall], None] = lambda _: None,
) -> list[CallResult]:
    """Make the calls one after the other; the first one and those that fail keep their timelines."""
    results: list[CallResult] = []
    for schedule in schedules:
        made = maker(schedule, rerun(schedule), with_timeline=not results)
        results.append(made.result)
        done(made)
    return results
