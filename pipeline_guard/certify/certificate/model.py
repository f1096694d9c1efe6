"""A certificate as plain data: the agent, the static contract, the proof of its gate, and one result for each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline_guard.certify.certificate.timeline import Timeline, timeline_of
from pipeline_guard.certify.contract_call import Outcome
from pipeline_guard.certify.judging.facts import Check, Reason
from pipeline_guard.certify.schedules import Schedule

# A certificate over fewer calls than this is a quick look, and says so.
FULL = 200
DOES_NOT_SHOW = (
    "Nothing here recognises speech. The simulated service knows the three recorded utterances and no other words: a "
    "turn counts as understood when the caller's frames arrived in it once, in order and unharmed (or, re-encoded, "
    "when its waveform follows that of the utterance). What the model says, and how well it says it, is not judged.",
    "The services are simulated. That a response's context is taken when it is created is not documented by the "
    "service; the simulator does it so.",
    "The calls come from a seed, one at a time. They are a sample of what can go wrong, not all of it, and say nothing "
    "of load.",
)


@dataclass(frozen=True)
class Agent:
    """The agent that was looked at.

    ``digest`` is the SHA-256 over the paths and contents of its Python files, "" where they were not given;
    ``started`` is how it was run.
    """

    name: str
    started: str
    digest: str = ""
    files: int = 0


@dataclass(frozen=True)
class Part:
    """One part of the certificate beside the calls; ``rows`` are figures for a table, each row as long as ``head``."""

    name: str
    checks: Sequence[Check]
    summary: str
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class CallResult:
    """One call.  ``reasons`` say why it did not pass, the root of the matter first; ``rerun`` makes it again, alone.

    A call that never came about has checks that say so, and no figures.
    """

    schedule: Schedule
    checks: Sequence[Check]
    reasons: Sequence[Reason] = ()
    turns: int = 0
    answered_once: int = 0
    responses: int = 0
    active_errors: int = 0
    frames: int = 0
    seconds: float = 0.0
    errors: Sequence[str] = ()
    rerun: str = ""
    timeline: Timeline | None = None

    @property
    def passed(self) -> bool:
        """Whether the call showed everything it has to."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Certificate:
    """The whole.  ``issued`` is a time in ISO 8601, ``tool`` the version; ``live``: the service was the real one."""

    agent: Agent
    issued: str
    tool: str
    parts: Sequence[Part]
    calls: Sequence[CallResult]
    live: bool = False
    unshown: Sequence[str] = field(default=DOES_NOT_SHOW)

    @property
    def passed(self) -> bool:
        """Whether the agent is certified."""
        return all(part.passed for part in self.parts) and all(call.passed for call in self.calls)

    @property
    def is_full(self) -> bool:
        """Whether there are enough calls for more than a quick look."""
        return len(self.calls) >= FULL

    @property
    def failed_calls(self) -> list[CallResult]:
        """The calls that did not pass."""
        return [call for call in self.calls if not call.passed]

    def tally(self) -> list[tuple[str, int, int, int]]:
        """Return each check's name with the number of calls it passed, failed, and was not shown in."""
        counts: dict[str, Counter[str]] = {}
        for call in self.calls:
            for check in call.checks:
                kind = "unshown" if not check.shown else "passed" if check.passed else "failed"
                counts.setdefault(check.name, Counter())[kind] += 1
        return [(name, found["passed"], found["failed"], found["unshown"]) for name, found in counts.items()]


def result_of(
    schedule: Schedule,
    checks: Sequence[Check],
    reasons: Sequence[Reason],
    outcome: Outcome | None,
    rerun: str,
    *,
    with_timeline: bool,
) -> CallResult:
    """Return what the certificate keeps of a call; its timeline too if it failed, or where it is asked for."""
    from pipeline_guard.certify.judging.answers import what_was_said

    if outcome is None:
        return CallResult(schedule, checks, reasons, rerun=rerun)
    call = outcome.facts
    places = [(reason.at, str(reason)) for reason in reasons if reason.at is not None]
    return CallResult(
        schedule=schedule,
        checks=checks,
        reasons=reasons,
        turns=outcome.turns,
        answered_once=sum(len(said.answers) == 1 for said in what_was_said(call)),
        responses=outcome.responses,
        active_errors=sum("already_has_active_response" in error for error in outcome.errors),
        frames=sum(arrivals.delivered for arrivals in outcome.arrivals),
        seconds=call.ended_at,
        errors=outcome.errors,
        rerun=rerun,
        timeline=timeline_of(call, places) if with_timeline or reasons else None,
    )
