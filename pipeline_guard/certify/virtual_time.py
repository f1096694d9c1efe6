"""An event loop whose clock jumps to the next timer whenever nothing else is left to do: a minute's call in a second.

Sound for programs that live in one loop: simulators and agent in the same process, real sockets on loopback between
them (what one side writes is readable for the other at once, so an idle loop means that nobody has anything to say),
and every wait through asyncio.  The clock stands still while a thread of an executor is at work.  Not for agents in
another process, and it does not change what ``time.monotonic()`` says.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# How long to look for a thread's answer before looking again, in real seconds.
_THREAD_WAIT = 0.02


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[valid-type,misc,unused-ignore]
    """Waits for sockets; where the loop would sleep, it tells it the time instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready  # type: ignore[no-any-return,unused-ignore]
        ready = super().select(_THREAD_WAIT if self.loop.threads or timeout is None else 0)
        if not ready and not self.loop.threads and timeout is not None:
            self.loop.jump(timeout)
        return ready  # type: ignore[no-any-return,unused-ignore]


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0; ``threads`` counts the executor's jobs under way."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.threads = 0
        self._now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run in a thread, and hold the clock until it is done."""
        self.threads += 1
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self.threads -= 1


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return its result; tasks left over are cancelled."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_cancel_what_is_left())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _cancel_what_is_left() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
