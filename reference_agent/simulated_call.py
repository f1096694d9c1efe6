"""A whole test call: this agent between the two simulators, in one process, over real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

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


async def make_test_call(seed: int = 0, *, speed: float = 1.0, faults: Sequence[Fault] = ()) -> Outcome:
    """Make the contract's test call and return what it shows."""
    from pipeline_guard.certify.contract_call import ContractCall

    test_call = ContractCall(seed=seed, speed=speed, faults=faults)
    async with test_call.openai:
        settings = Settings("simulated", TOKEN, websocket_base_url=test_call.openai.websocket_base_url)
        async with running(settings) as (_, port):
            return await test_call.run(f"http://127.0.0.1:{port}/twilio/voice", auth_token=TOKEN)
