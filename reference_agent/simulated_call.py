"""A whole test call: this agent between the two simulators, in one process, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from reference_agent.call_log import CallIds
from reference_agent.serve import DrainingServer, build_server
from reference_agent.settings import Settings

if TYPE_CHECKING:
    from pipeline_guard.certify.contract_call import Outcome
    from pipeline_guard.certify.faults import Fault

TOKEN = "the simulators' token"  # no secret: it signs requests on loopback


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[DrainingServer, int]]:
    """Run the agent on a free port of loopback; yields the server and the port."""
    server = build_server(replace(settings, host="127.0.0.1", port=0))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def make_test_call(
    seed: int = 0,
    *,
    speed: float = 1.0,
    faults: Sequence[Fault] = (),
    manner: str = "patient",
    delay: float = 0.0,
    pace: float = 4.0,
) -> Outcome:
    """Make the contract's test call and return what it shows, the agent's own log included.

    ``manner`` is how the caller talks, ``delay`` the seconds that a message takes to Realtime, ``pace``
    how many times faster than it plays the model's voice is sent.
    """
    from pipeline_guard.certify.contract_call import ContractCall

    test_call = ContractCall(seed=seed, speed=speed, faults=faults, manner=manner, delay=delay, pace=pace)
    async with test_call.openai:
        settings = Settings("simulated", TOKEN, websocket_base_url=test_call.openai.websocket_base_url)
        with listening_to_log() as lines:
            async with running(settings) as (server, port):
                await test_call.make(f"http://127.0.0.1:{port}/twilio/voice", auth_token=TOKEN)
                await ended(server)
                return test_call.judge(log=lines)


@contextmanager
def listening_to_log() -> Iterator[list[str]]:
    """Yield the lines that the agent writes meanwhile, each with the call that it belongs to."""
    lines: list[str] = []
    logger = logging.getLogger("reference_agent")
    handler, level = _Lines(lines), logger.level
    handler.addFilter(CallIds())
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Lines(logging.Handler):
    """Keeps what is logged, in the form that the agent prints it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines
        self.setFormatter(logging.Formatter("%(levelname)s [%(call)s] %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += self.format(record).splitlines()


async def ended(server: DrainingServer) -> None:
    """Wait until the agent has put away the call; what is under way after ten seconds is left alone."""
    for _ in range(200):
        if not server.agent.calls:
            return
        await asyncio.sleep(0.05)
