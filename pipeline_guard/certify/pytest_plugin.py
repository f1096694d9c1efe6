"""Fixtures for the tests of any phone agent; pytest finds them once ``pipeline-guard[certify]`` is installed.

``openai_simulator``: an OpenAI Realtime server on loopback.  ``contract_call``: the contract's whole test call.

    @pytest.mark.openai_simulator(speed=4, faults=["drop-done@2"])
    def test_agent(openai_simulator):
        start_agent(openai_simulator.websocket_base_url)
        openai_simulator.wait_for("response.done", count=2)
        assert openai_simulator.errors == []

    def test_whole_call(contract_call):
        start_agent(contract_call.websocket_base_url)
        assert contract_call.run(webhook="http://127.0.0.1:8000/incoming-call").failed == []

Both run in a thread of their own, so the test may be a plain function or a coroutine of any plugin.  The markers take
what ``OpenAISimulator`` and ``ContractCall`` take; faults may be given as text.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from pipeline_guard.certify.contract_call import Outcome
    from pipeline_guard.certify.openai_simulator import OpenAISimulator
    from pipeline_guard.certify.realtime.facts import ResponseFacts, TurnFacts
    from pipeline_guard.certify.record import Entry, Record

T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for name in ("openai_simulator", "contract_call"):
        config.addinivalue_line("markers", f"{name}(**options): options of the fixture of the same name")


class _LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="pipeline-guard simulators", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class SimulatedOpenAI:
    """The running simulator, as a test sees it."""

    def __init__(self, simulator: OpenAISimulator, thread: _LoopThread) -> None:
        self.simulator = simulator
        self._thread = thread

    @property
    def websocket_base_url(self) -> str:
        """What ``AsyncOpenAI(websocket_base_url=…)`` takes."""
        return self.simulator.websocket_base_url

    @property
    def url(self) -> str:
        """What a plain WebSocket client connects to, with ``?model=…`` behind it."""
        return self.simulator.url

    @property
    def record(self) -> Record:
        """Every message in one order."""
        return self.simulator.record

    @property
    def turns(self) -> list[TurnFacts]:
        """The caller's turns."""
        return self.simulator.turns

    @property
    def responses(self) -> list[ResponseFacts]:
        """The responses."""
        return self.simulator.responses

    @property
    def errors(self) -> list[Any]:
        """The errors that were sent."""
        return list(self.simulator.errors)

    def wait_for(self, event_type: str, *, count: int = 1, timeout: float = 10.0) -> Entry:
        """Wait in real seconds for the ``count``-th event of a type.  Raises TimeoutError."""
        return self._thread.run(self.record.wait_for(event_type, count=count, timeout=timeout))


class SimulatedCall(SimulatedOpenAI):
    """The contract's test call, ready to be made."""

    def __init__(self, call: Any, thread: _LoopThread) -> None:
        super().__init__(call.openai, thread)
        self.call = call

    def run(self, webhook: str | None = None, **options: Any) -> Outcome:
        """Call the agent and return what the call shows; options as in ``ContractCall.run``.  Raises CallFailed."""
        outcome: Outcome = self._thread.run(self.call.run(webhook, **options))
        return outcome


@pytest.fixture
def openai_simulator(request: pytest.FixtureRequest) -> Iterator[SimulatedOpenAI]:
    """An OpenAI Realtime server on loopback."""
    from pipeline_guard.certify.openai_simulator import OpenAISimulator

    thread = _LoopThread()
    simulator = OpenAISimulator(**_options(request, "openai_simulator"))
    thread.run(simulator.__aenter__())
    try:
        yield SimulatedOpenAI(simulator, thread)
    finally:
        thread.run(simulator.__aexit__())
        thread.close()


@pytest.fixture
def contract_call(request: pytest.FixtureRequest) -> Iterator[SimulatedCall]:
    """The contract's test call: start the agent with its address, then ``run`` it."""
    from pipeline_guard.certify.contract_call import ContractCall

    thread = _LoopThread()
    call = ContractCall(**_options(request, "contract_call"))
    thread.run(call.openai.__aenter__())
    try:
        yield SimulatedCall(call, thread)
    finally:
        thread.run(call.openai.__aexit__())
        thread.close()


def _options(request: pytest.FixtureRequest, marker_name: str) -> dict[str, Any]:
    from pipeline_guard.certify.faults import parse_fault
    from pipeline_guard.certify.requirements import require_websockets

    require_websockets()
    marker = request.node.get_closest_marker(marker_name)
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    faults = options.get("faults", ())
    return {**options, "faults": [parse_fault(f) if isinstance(f, str) else f for f in faults]}
