"""``pipeline-guard simulate`` and the pytest fixtures: the simulators as others use them, in real time."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from pipeline_guard.__main__ import main
from pipeline_guard.certify.pytest_plugin import SimulatedCall, SimulatedOpenAI, _LoopThread
from tests.bridge_agents import handler
from tests.realtime_driver import PCMU
from tests.telephone_agents import agent


class Agents:
    """Agents in a thread, as they would be in a process of their own."""

    def __init__(self) -> None:
        self.thread = _LoopThread()
        self.stack = AsyncExitStack()

    def start(self, handle: Any) -> str:
        return str(self.thread.run(self.stack.enter_async_context(agent(handle))))

    def stop(self) -> None:
        self.thread.run(self.stack.aclose())
        self.thread.close()


@pytest.fixture
def agents() -> Iterator[Agents]:
    started = Agents()
    yield started
    started.stop()


@pytest.mark.contract_call(speed=4, seed=2)
def test_the_fixture_makes_the_whole_call(contract_call: SimulatedCall, agents: Agents) -> None:
    outcome = contract_call.run(stream_url=agents.start(handler(contract_call.url)))
    assert outcome.failed == []
    assert len(contract_call.turns) == 3
    assert contract_call.errors == []


@pytest.mark.openai_simulator(speed=8, faults=["drop-created@1"])
def test_the_fixture_serves_a_session_with_a_fault(openai_simulator: SimulatedOpenAI) -> None:
    async def client() -> list[str]:
        headers = {"Authorization": "Bearer x"}
        async with connect(openai_simulator.url + "?model=m", additional_headers=headers) as socket:
            await socket.send(json.dumps({"type": "session.update", "session": PCMU}))
            await socket.send(json.dumps({"type": "response.create"}))
            seen = []
            async for message in socket:
                seen.append(json.loads(message)["type"])
                if seen[-1] == "response.done":
                    break
        return seen

    seen = asyncio.run(client())
    assert "response.created" not in seen
    assert openai_simulator.wait_for("response.done").order > 0
    with pytest.raises(TimeoutError):
        openai_simulator.wait_for("response.created", timeout=0.05)


def test_twilio_calls_an_agent_and_says_what_it_heard(
    agents: Agents, contract_call: SimulatedCall, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = agents.start(handler(contract_call.url))
    record = tmp_path / "call.jsonl"
    # The service keeps real time and the caller does not: what they say to each other is not the point here.
    assert main(["simulate", "twilio", url, "--stream", "--speed", "10", "--record", str(record)]) == 0
    output = capsys.readouterr().out
    assert "s of the agent heard" in output
    assert "hang-up" in output
    events = [json.loads(line) for line in record.read_text().splitlines()]
    assert events[0]["peer"] == "twilio"
    assert {"start", "stop", "media"} <= {event["type"] for event in events}


def test_twilio_reports_an_agent_that_breaks_the_rules(
    agents: Agents, contract_call: SimulatedCall, capsys: pytest.CaptureFixture[str]
) -> None:
    url = agents.start(handler(contract_call.url, foreign_message=True))
    assert main(["simulate", "twilio", url, "--stream", "--speed", "20"]) == 1
    assert "31924: the agent sent a message 'say'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["simulate", "twilio", "localhost:8000"], 2, "is not an address that begins with http://"),
        (["simulate", "twilio", "http://127.0.0.1:9/voice"], 1, "The call failed. 11200"),
        (["simulate", "twilio", "ws://127.0.0.1:9/media", "--stream"], 1, "31920"),
        (["simulate", "openai", "--fault", "drop-don"], 2, "did you mean drop-done?"),
        (["simulate", "openai", "--host", "203.0.113.1", "--port", "1"], 2, "cannot listen on 203.0.113.1:1"),
        (["simulate", "faults"], 0, "half-open"),
        (["simulate", "openai", "--speed", "0"], 2, "--speed"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert text in captured.out + captured.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_openai_side_serves_until_it_is_asked_to_end(tmp_path: Path, number: signal.Signals) -> None:
    """A shell starts what runs in the background deaf to Ctrl-C; the record has to be written all the same."""
    record = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "pipeline_guard", "simulate", "openai", "--port", "0", "--record", str(record)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 - no threads here
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        async def ask() -> None:
            async with connect(url + "?model=m", additional_headers={"Authorization": "Bearer x"}) as socket:
                assert json.loads(await socket.recv())["type"] == "session.created"

        asyncio.run(ask())
        time.sleep(0.2)
        process.send_signal(number)
        try:
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "session.created" in output
    assert "session.created" in record.read_text()
