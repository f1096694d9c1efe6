"""The agent's server under hostile input and at its end: real sockets, a real process, real signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline_guard.certify.openai_simulator import OpenAISimulator
from pipeline_guard.certify.twilio.signature import sign
from reference_agent.serve import DrainingServer, build_server
from reference_agent.settings import Settings
from reference_agent.simulated_call import TOKEN, running

START = {"event": "start", "start": {"streamSid": "MZ1", "callSid": "CA1"}, "streamSid": "MZ1"}


def with_agent(test: Callable[[DrainingServer, int, OpenAISimulator], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        async with OpenAISimulator() as openai:
            configured = Settings("key", TOKEN, websocket_base_url=openai.websocket_base_url, **settings)
            async with running(configured) as (server, port):
                await test(server, port, openai)

    asyncio.run(main())


def stream(port: int, token: str = TOKEN, path: str = "/twilio/media", **options: Any) -> connect:
    signature = sign(token, f"wss://127.0.0.1:{port}/twilio/media")
    return connect(
        f"ws://127.0.0.1:{port}{path}", additional_headers={"X-Twilio-Signature": signature}, proxy=None, **options
    )


def post(port: int, path: str, form: dict[str, str], token: str | None = TOKEN) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    headers = {} if token is None else {"X-Twilio-Signature": sign(token, url.replace("http://", "https://"), form)}
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}{path}", timeout=10
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def closes_with(websocket: ClientConnection) -> int:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(websocket.recv(), 15)
    assert websocket.close_code is not None
    return websocket.close_code


@pytest.mark.parametrize("path", ["voice", "after-stream", "stream-status", "recording"])
def test_a_webhook_without_twilios_signature_is_refused(path: str) -> None:
    async def test(server: DrainingServer, port: int, _: OpenAISimulator) -> None:
        for token in (None, "another token"):
            status, _body = await asyncio.to_thread(post, port, f"/twilio/{path}", {"CallSid": "CA1"}, token)
            assert status == 403
        status, _body = await asyncio.to_thread(post, port, f"/twilio/{path}", {"CallSid": "CA1"})
        assert status in (200, 204)
        assert (await asyncio.to_thread(post, port, f"/twilio/{path}", {"x": "y" * 100_000}))[0] == 413

    with_agent(test)


def test_a_stream_without_twilios_signature_never_opens() -> None:
    async def test(server: DrainingServer, port: int, openai: OpenAISimulator) -> None:
        with pytest.raises(InvalidStatus, match="403"):
            async with stream(port, "another token"):
                pass
        assert openai.sessions == []

    with_agent(test)


def test_unreadable_messages_are_counted_and_too_many_end_the_stream() -> None:
    async def test(server: DrainingServer, port: int, openai: OpenAISimulator) -> None:
        async with stream(port) as websocket:
            await websocket.send(json.dumps(START))
            for message in (
                "nonsense",
                b"\x00\xff",
                '{"event":"media"}',
                "{}",
                '{"event":"media","media":{"payload":"!"}}',
            ):
                await websocket.send(message)
            await websocket.send('{"event":"media","media":{"payload":"fw=="}}')
            await openai.record.wait_for("input_audio_buffer.append", timeout=10)
            for _ in range(30):
                await websocket.send(b"\x00")
            assert await closes_with(websocket) == 1007
        await calls_end(server)

    with_agent(test)


def test_a_message_larger_than_any_of_twilios_ends_the_stream() -> None:
    async def test(server: DrainingServer, port: int, _: OpenAISimulator) -> None:
        async with stream(port) as websocket:
            await websocket.send(json.dumps(START))
            await websocket.send("x" * 70_000)
            assert await closes_with(websocket) == 1009
        await calls_end(server)

    with_agent(test)


def test_a_payload_cannot_smuggle_an_event() -> None:
    async def test(server: DrainingServer, port: int, openai: OpenAISimulator) -> None:
        async with stream(port) as websocket:
            await websocket.send(json.dumps(START))
            payload = 'fw=="},{"type":"response.create'
            await websocket.send(json.dumps({"event": "media", "media": {"payload": payload}}))
            await websocket.send('{"event":"media","media":{"payload":"fw=="}}')
            await openai.record.wait_for("input_audio_buffer.append", timeout=10)
        await calls_end(server)
        assert openai.errors == []

    with_agent(test)


def test_many_streams_at_once_for_one_call_become_one_call() -> None:
    async def test(server: DrainingServer, port: int, openai: OpenAISimulator) -> None:
        async def attempt() -> int:
            async with stream(port) as websocket:
                await websocket.send(json.dumps(START))
                return await closes_with(websocket)

        async with stream(port) as first:
            await first.send(json.dumps(START))
            while not server.agent.calls:
                await asyncio.sleep(0.01)
            assert set(await asyncio.gather(*(attempt() for _ in range(50)))) == {1008}
            assert len(server.agent.calls) == 1
            await first.send('{"event":"stop"}')
        await calls_end(server)
        assert len(openai.sessions) == 1

    with_agent(test)


def test_a_thousand_unsigned_streams_do_not_disturb_a_call() -> None:
    async def test(server: DrainingServer, port: int, openai: OpenAISimulator) -> None:
        async def attempt() -> None:
            with pytest.raises(InvalidStatus):
                async with stream(port, "another token", open_timeout=60):
                    pass

        async with stream(port) as websocket:
            await websocket.send(json.dumps(START))
            await openai.record.wait_for("response.create", timeout=10)
            for _ in range(20):
                await asyncio.gather(*(attempt() for _ in range(50)))
            await websocket.send('{"event":"media","media":{"payload":"fw=="}}')
            await openai.record.wait_for("input_audio_buffer.append", timeout=10)
        await calls_end(server)
        _, metrics = await asyncio.to_thread(get, port, "/metrics")
        assert 'agent_refused_total{why="signature"} 1000.0' in metrics

    with_agent(test)


def test_a_full_agent_says_busy_and_is_not_ready() -> None:
    async def test(server: DrainingServer, port: int, _: OpenAISimulator) -> None:
        assert await asyncio.to_thread(get, port, "/readyz") == (200, "ready\n")
        async with stream(port) as websocket:
            await websocket.send(json.dumps(START))
            while not server.agent.calls:
                await asyncio.sleep(0.01)
            _, twiml = await asyncio.to_thread(post, port, "/twilio/voice", {"CallSid": "CA2"})
            assert '<Reject reason="busy"/>' in twiml
            assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 503
            assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
        await calls_end(server)

    with_agent(test, max_calls=1)


def test_what_comes_after_a_call_is_known_as_soon_as_its_stream_closes() -> None:
    async def test(server: DrainingServer, port: int, openai: OpenAISimulator) -> None:
        async def after_stream() -> str:
            return (await asyncio.to_thread(post, port, "/twilio/after-stream", {"CallSid": "CA1"}))[1]

        async with stream(port) as websocket:
            await websocket.send(json.dumps(START))
            await openai.record.wait_for("session.update", timeout=10)
            await openai.record.wait_for("response.create", timeout=10)
            await server.agent.calls["CA1"]._give_up("test")
            assert await closes_with(websocket) == 1000
            assert "<Dial>+97231112222</Dial>" in await after_stream()
        await calls_end(server)

    with_agent(test, transfer_to="+97231112222")


async def calls_end(server: DrainingServer) -> None:
    for _ in range(500):
        if not server.agent.calls:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a call did not end")


# -- the process


@contextmanager
def process(tmp_path: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    needed = {"OPENAI_API_KEY": "key", "TWILIO_AUTH_TOKEN": TOKEN, "PORT": str(port)}
    agent = subprocess.Popen(
        [sys.executable, "-m", "reference_agent", "serve"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **needed, **environment},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(300):
            if agent.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield agent, port
    finally:
        agent.kill()
        agent.wait()
        assert agent.stderr is not None
        agent.stderr.close()


def test_a_signal_lets_the_call_finish_and_takes_no_new_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with OpenAISimulator() as openai:
            with process(tmp_path, OPENAI_WEBSOCKET_BASE_URL=openai.websocket_base_url) as (agent, port):
                async with stream(port) as websocket:
                    await websocket.send(json.dumps(START))
                    await openai.record.wait_for("response.create", timeout=20)
                    agent.send_signal(signal.SIGTERM)
                    for _ in range(100):
                        if (await asyncio.to_thread(get, port, "/readyz"))[0] == 503:
                            break
                        await asyncio.sleep(0.05)
                    _, twiml = await asyncio.to_thread(post, port, "/twilio/voice", {"CallSid": "CA2"})
                    assert "<Reject" in twiml
                    await websocket.send('{"event":"media","media":{"payload":"fw=="}}')
                    await openai.record.wait_for("input_audio_buffer.append", timeout=10)
                    assert agent.poll() is None
                    await websocket.send('{"event":"stop"}')
                assert await asyncio.to_thread(agent.wait, 20) in (0, -signal.SIGTERM)

    asyncio.run(main())


def test_a_process_without_calls_ends_at_once(tmp_path: Path) -> None:
    with process(tmp_path) as (agent, _):
        began = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) in (0, -signal.SIGTERM)
        assert time.monotonic() - began < 10


def test_wrong_settings_are_told_in_sentences_with_exit_code_2(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "reference_agent", "serve"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent), "PORT": "x"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("reference-agent: ") for line in lines)
    assert "Traceback" not in result.stderr


def test_a_collection_of_garbage_does_not_look_at_what_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets=None: left.append(len(gc.get_objects())))
    before = len(gc.get_objects())
    try:
        build_server(Settings("key", TOKEN)).run()
    finally:
        gc.unfreeze()
    assert left[0] < before / 10
