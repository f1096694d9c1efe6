"""Ends a run of the command line without taking apart what it made, which would take a tenth of the time it took.

In tests and as a library nothing is kept.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

_kept: list[object] = []
_children: list[int] = []
_is_last = False


def expect_the_end() -> None:
    """Say that this process runs one command and no more."""
    global _is_last  # noqa: PLW0603 - a process ends once
    _is_last = True


def reap(process: int) -> None:
    """Take notice of the end of a child that was told to end: at the end of a process that runs one command, else now.

    Clearing up after it takes the system a while.
    """
    if _is_last:
        _children.append(process)
    else:
        _wait_for(process)


def _wait_for(process: int) -> None:
    with contextlib.suppress(ChildProcessError):  # whoever ignores SIGCHLD, or started us so, is told of no child
        os.waitpid(process, 0)


def keep(thing: object) -> None:
    """Keep the first large thing to the end of a process that runs one command; a second one would take more memory."""
    if _is_last and not _kept:
        _kept.append(thing)


def keeps() -> bool:
    """Say whether something is kept to the end of this process."""
    return bool(_kept)


def leave(code: int) -> NoReturn:
    """End the process now, with its output written."""
    for process in _children:
        _wait_for(process)
    if _kept:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
