"""Certify the reference agent over two hundred seeded schedules, and show that each mutated agent is refused.

``python -m tests.benchmarks.certify [SEEDS]`` prints one line for each call that fails, and what the calls cost.
"""

from __future__ import annotations

import sys
import time
from unittest.mock import patch

from pipeline_guard.certify.certification import reference_call
from pipeline_guard.certify.schedules import schedule_of
from reference_agent import app
from tests.test_certify_mutants import MUTANTS


def main() -> int:
    """Return 1 when a call of the reference agent fails, or one of a mutated agent does not fail as it should."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    began, wrong, turns, frames, seconds = time.process_time(), 0, 0, 0, 0.0
    for seed in range(seeds):
        result = reference_call(schedule_of(seed), "", with_timeline=False).result
        turns, frames, seconds = turns + result.turns, frames + result.frames, seconds + result.seconds
        if not result.passed:
            wrong += 1
            print(f"seed {result.schedule.seed}: {result.schedule}", *result.reasons, sep="\n    ", flush=True)
    cost = time.process_time() - began
    print(f"{seeds} calls of {seconds / 60:.0f} minutes, {turns} turns, {frames:,} frames, {wrong} failed")
    print(f"{cost:.0f} s of CPU, {cost / seeds:.2f} s a call")
    for mutant, (shown_by, code) in MUTANTS.items():
        with patch.object(app, "CallSession", mutant):
            result = reference_call(schedule_of(shown_by), "", with_timeline=False).result
        found = code in {reason.code for reason in result.reasons}
        wrong += not found
        print(f"{mutant.__name__:20} {'refused: ' + code if found else 'NOT REFUSED'}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
