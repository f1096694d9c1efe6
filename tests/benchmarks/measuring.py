"""Runs a command and says what it cost: time on the wall, time of the processors, peak of memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# ``ru_maxrss`` counts kilobytes on Linux and bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Sample(NamedTuple):
    """One run: seconds on the wall and of the processors, bytes at the peak of the largest process, what it printed."""

    wall: float
    cpu: float
    peak: int
    output: str


class Figures(NamedTuple):
    """Medians over several runs, and the output of the last one."""

    wall: float
    cpu: float
    peak_mb: float
    runs: int
    output: str

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Figures:
        """Return the medians of some runs."""
        return cls(
            median([each.wall for each in samples]),
            median([each.cpu for each in samples]),
            median([each.peak / 1e6 for each in samples]),
            len(samples),
            samples[-1].output,
        )

    def as_row(self, looked_for: str | None) -> dict[str, Any]:
        """Return the figures for JSON, and whether the output names a file."""
        row: dict[str, Any] = {"wall": self.wall, "cpu": self.cpu, "peak_mb": self.peak_mb, "runs": self.runs}
        return row if looked_for is None else {**row, "names_largest": looked_for in self.output}


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def measure(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Sample:
    """Run a command; an exit code that means trouble ends the benchmark."""
    # A file and no pipe: nobody has to read while it runs.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode not in (0, 1):
            said = errors.read().decode("utf-8", "replace").strip()
            sys.exit(f"{' '.join(command)} ended with {process.returncode}: {said[-2000:]}")
        return Sample(
            wall, used.ru_utime + used.ru_stime, used.ru_maxrss * _MAXRSS_UNIT, output.read().decode("utf-8", "replace")
        )
