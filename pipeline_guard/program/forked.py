"""A copy of this process that is told what to do and tells what it made, for as long as this one wants it to."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from pipeline_guard import leaving

# What a pipe holds where the system lets it: a child that has something to tell should not wait until it is heard.
_PIPE_BYTES = 1 << 20
# What is written to a pipe at once and no longer than this is never torn apart.
MAX_MESSAGE = 4096
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, which Python 3.10 to 3.14 name on Linux only


class Forked(NamedTuple):
    """A child process, the pipe by which it is told and the one by which it tells."""

    process: int
    orders: int
    results: int

    def tell(self, message: bytes) -> bool:
        """Send the child a message of at most ``MAX_MESSAGE`` bytes; False where it cannot take one now."""
        try:
            os.write(self.orders, message)
        except OSError:  # the pipe is full, or nobody is there any more
            return False
        return True

    def hear(self, *, wait: bool) -> bytes | None:
        """Return some of what the child has told; None when it is gone."""
        os.set_blocking(self.results, wait)
        try:
            return os.read(self.results, _PIPE_BYTES) or None
        except BlockingIOError:
            return b""

    def end(self) -> None:
        """End the child, whatever it is at."""
        import signal  # an enumeration, which takes longer to make than most files to be read

        os.close(self.orders)
        os.close(self.results)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        leaving.reap(self.process)


def fork(work: Callable[[BinaryIO, BinaryIO], None]) -> Forked:
    """Begin some work in a child, which gets a stream of orders and one for its results.

    Raises OSError where there can be no more processes.
    """
    orders, ordering = os.pipe()
    results, resulting = os.pipe()
    try:
        child = os.fork()
    except OSError:
        for handle in (orders, ordering, results, resulting):
            os.close(handle)
        raise
    if child == 0:
        try:
            os.close(ordering)
            os.close(results)
            gc.disable()
            with os.fdopen(orders, "rb") as told, os.fdopen(resulting, "wb") as telling:
                work(told, telling)
        finally:
            os._exit(0)  # nothing of the parent's is to be written or closed twice
    os.close(orders)
    os.close(resulting)
    os.set_blocking(ordering, False)
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(results, _SET_PIPE_SIZE, _PIPE_BYTES)
    return Forked(child, ordering, results)
