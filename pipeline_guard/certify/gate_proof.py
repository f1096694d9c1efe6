"""The part of a certificate that is proved: every order of events around the reference agent's gate."""

from __future__ import annotations

from collections.abc import Callable

from pipeline_guard.certify.certificate.model import Part
from pipeline_guard.certify.judging.facts import Check, Reason

NAME = "model check of the gate"
_HEAD = ("setup", "states", "steps", "seconds of CPU")


def gate_part(*, full: bool, progress: Callable[[str], None] | None = None) -> Part:
    """Search all setups: a second's worth of them, or with ``full`` some 2.9 million states (a minute)."""
    from pipeline_guard.certify.model_check import SETUPS, SMALL, check
    from reference_agent.gate import ResponseGate

    checks, rows, states = [], [], 0
    for name, setup in (SETUPS if full else SMALL).items():
        if progress is not None:
            progress(name)
        found = check(ResponseGate, setup, name)
        states += found.states
        rows.append((name, f"{found.states:,}", f"{found.steps:,}", f"{found.seconds:.1f}"))
        passed = found.problem is None and found.complete
        reasons = []
        if found.problem is not None:
            way = " → ".join(" ".join(step.split()) for step in found.trace)
            reasons.append(Reason(f"gate.{found.problem.partition(':')[0]}", f"{found.problem}: {way}"))
        detail = (
            f"{found.states:,} states, every invariant holds" if passed else found.problem or "not searched in full"
        )
        checks.append(Check(name, passed, detail, tuple(reasons)))
    broken = sum(not check.passed for check in checks)
    summary = (
        f"an invariant is broken in {broken} of {len(checks)} setups"
        if broken
        else f"{states:,} states in {len(checks)} setups: each turn answered once, one response at a time, never stuck"
    )
    return Part(NAME, checks, summary, _HEAD, rows)
