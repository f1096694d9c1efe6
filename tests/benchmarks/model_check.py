"""Search every setup of the model checker in full, with the wrong guards beside it.

``python -m tests.benchmarks.model_check`` prints worlds, steps and seconds of CPU.
"""

from __future__ import annotations

import sys

from pipeline_guard.certify.model_budget import Budget, Setup
from pipeline_guard.certify.model_check import SETUPS, check
from reference_agent.gate import ResponseGate
from tests.wrong_guards import ContractGuard, DroppingGuard, QueueOneGuard


def main() -> int:
    """Print one line a setup; return 1 when an invariant is broken."""
    worlds, seconds, broken = 0, 0.0, 0
    for name, setup in SETUPS.items():
        verdict = check(ResponseGate, setup, name)
        worlds, seconds, broken = worlds + verdict.states, seconds + verdict.seconds, broken + (not verdict.complete)
        print(f"{name:32} {verdict.states:9,} worlds {verdict.steps:10,} steps {verdict.seconds:6.1f} s", flush=True)
        for line in [verdict.problem, *verdict.trace] if verdict.problem else []:
            print("   ", line)
    print(f"{'all':32} {worlds:9,} worlds {seconds:32.1f} s of CPU")
    for guard in (ContractGuard, DroppingGuard, QueueOneGuard):
        verdict = check(guard, Setup(Budget(turns=2)), watch=("I1", "I2", "I3"))
        print(f"{guard.__name__:32} {len(verdict.trace)} steps to {verdict.problem}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
