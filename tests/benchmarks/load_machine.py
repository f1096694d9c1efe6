"""What the machine did during a point of the load benchmark: who had the cores, and who had to wait for one.

From ``/proc/stat`` (time that the host took from a core of this virtual machine) and the ``schedstat`` of each thread
(nanoseconds that it ran, and that it could have run but another had the core).  Linux only.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Reading(NamedTuple):
    """Counters at one moment, in seconds."""

    at: float
    ran: float
    waited: float
    stolen: float

    @classmethod
    def take(cls, pid: int, core: int) -> Reading:
        """Read those of a process that is pinned to a core."""
        ran = waited = 0
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                each = (thread / "schedstat").read_text().split()
                ran, waited = ran + int(each[0]), waited + int(each[1])
        lines = Path("/proc/stat").read_text().splitlines()
        columns = next(line for line in lines if line.startswith(f"cpu{core} ")).split()
        return cls(time.monotonic(), ran / 1e9, waited / 1e9, int(columns[8]) / TICKS)


class Share(NamedTuple):
    """Of the time between two readings, in percent: ran, waited for the core, and stolen from the core by the host."""

    ran: float
    waited: float
    stolen: float

    @classmethod
    def between(cls, before: Reading, after: Reading) -> Share:
        """Return the shares."""
        percent = 100 / (after.at - before.at)
        ran, waited = (after.ran - before.ran) * percent, (after.waited - before.waited) * percent
        return cls(ran, waited, (after.stolen - before.stolen) * percent)


def memory(pid: int) -> float:
    """Return the resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
