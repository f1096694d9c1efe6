"""How many calls one core carries: the reference agent beside a plain bridge, in one run, on loopback.

usage: python -m tests.benchmarks.agent_load [--calls 20,40,60,80] [--seconds 8] [--kinds plain,agent]

Three processes: the bridge under test on one core; callers (N media streams, 50 frames a second each) and a model that
sends every frame back as one audio delta (the worst case: 50 deltas a second) together on another.  Latency is from a
caller's frame to the same frame back at the caller, so through the bridge twice.
``--kinds agent --calls 5 --seconds 600`` is a soak.  The plain bridge is what the samples
do: JSON both ways, audio decoded and encoded again, a mark behind every delta.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import connect

from pipeline_guard.certify.twilio.signature import sign
from tests.benchmarks.light_websocket import LightWebSocket

FRAME = 0.02
TOKEN = "token"
TICKS = os.sysconf("SC_CLK_TCK")


# -- the bridges


def run_agent(port: int, model: str) -> None:
    from reference_agent.serve import build_server
    from reference_agent.settings import Settings

    build_server(Settings("key", TOKEN, websocket_base_url=model, port=port, max_calls=1000)).run()


def run_plain(port: int, model: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    async def media(caller: WebSocket) -> None:
        await caller.accept()
        stream = ""
        async with connect(f"{model}/realtime?model=m", proxy=None) as openai:
            await openai.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
            await openai.send(json.dumps({"type": "response.create"}))

            async def to_model() -> None:
                nonlocal stream
                async for text in caller.iter_text():
                    data = json.loads(text)
                    if data["event"] == "media":
                        audio = {"type": "input_audio_buffer.append", "audio": data["media"]["payload"]}
                        await openai.send(json.dumps(audio))
                    elif data["event"] == "start":
                        stream = data["start"]["streamSid"]

            async def to_caller() -> None:
                async for message in openai:
                    event = json.loads(message)
                    if event["type"] == "response.output_audio.delta":
                        payload = base64.b64encode(base64.b64decode(event["delta"])).decode()
                        await caller.send_json({"event": "media", "streamSid": stream, "media": {"payload": payload}})
                        await caller.send_json({"event": "mark", "streamSid": stream, "mark": {"name": "part"}})

            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await asyncio.gather(to_model(), to_caller())

    app = Starlette(routes=[WebSocketRoute("/twilio/media", media)])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


# -- the model and the callers


_BETWEEN = re.compile(rb'"(?:audio|payload)":\s*"([^"]*)"')


def greet(websocket: LightWebSocket) -> None:
    websocket.send(b'{"type":"session.created","session":{}}')


def echo(websocket: LightWebSocket, message: bytes) -> None:
    """A model that says back what it hears, in one response that never ends."""
    if b'"input_audio_buffer.append"' in message:
        audio = _BETWEEN.search(message)
        assert audio is not None
        websocket.send(
            b'{"type":"response.output_audio.delta","response_id":"resp_1","item_id":"item_1","output_index":0,'
            b'"content_index":0,"delta":"' + audio[1] + b'"}'
        )
        return
    event = json.loads(message)
    if event["type"] == "session.update":
        websocket.send(b'{"type":"session.updated","session":{}}')
    elif event["type"] == "response.create":
        metadata = event.get("response", {}).get("metadata")
        shape = {"id": "resp_1", "status": "in_progress", "conversation_id": "conv_1", "output": []}
        websocket.send(json.dumps({"type": "response.created", "response": {**shape, "metadata": metadata}}).encode())


@dataclass
class Line:
    """One caller."""

    number: int
    sent: dict[bytes, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    counted: int = 0

    async def call(self, port: int, start: float, seconds: float) -> None:
        signature = sign(TOKEN, f"wss://127.0.0.1:{port}/twilio/media")
        asks = (f"127.0.0.1:{port}", "/twilio/media", {"X-Twilio-Signature": signature})
        loop = asyncio.get_running_loop()
        _, websocket = await loop.create_connection(lambda: LightWebSocket(self.read, asks=asks), "127.0.0.1", port)
        await websocket.opened.wait()
        ids = {"streamSid": f"MZ{self.number}", "callSid": f"CA{self.number}"}
        websocket.send(json.dumps({"event": "start", "start": ids}).encode())
        # Callers are spread over the 20 ms of a frame, as calls are.
        await asyncio.sleep(max(0.0, start - 1.0 - time.monotonic()) + self.number * 7 % 20 / 1000)
        began = time.monotonic()
        for number in range(int((seconds + 1.5) / FRAME)):
            await asyncio.sleep(max(0.0, began + number * FRAME - time.monotonic()))
            payload = base64.b64encode(number.to_bytes(4, "big") * 40)
            now = time.monotonic()
            if start <= now < start + seconds:
                self.sent[payload] = now
                self.counted += 1
            websocket.send(b'{"event":"media","media":{"payload":"' + payload + b'"}}')
        await asyncio.sleep(0.5)
        websocket.send(b'{"event":"stop"}')
        websocket.close()

    def read(self, websocket: LightWebSocket, message: bytes) -> None:
        if b'"media"' in message:
            found = _BETWEEN.search(message)
            began = self.sent.pop(found[1], None) if found is not None else None
            if began is not None:
                self.latencies.append(time.monotonic() - began)
        elif b'"mark"' in message:
            websocket.send(json.dumps({"event": "mark", "mark": json.loads(message)["mark"]}).encode())


def cpu_seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / TICKS


def memory(pid: int) -> float:
    """Return the resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def measure(kind: str, calls: int, seconds: float) -> tuple[float, float, float, int, str]:
    """Return µs of CPU for a frame pair, median and p99 latency in ms, frames lost, memory before and after."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: LightWebSocket(echo, on_open=greet), "127.0.0.1", 0)
    async with server:
        model = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "tests.benchmarks.agent_load", "--bridge", kind, str(port), model]
        bridge = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                await asyncio.sleep(0.1)
            start = time.monotonic() + 2.0 + calls / 100
            lines = [Line(number) for number in range(calls)]
            work = asyncio.gather(*(line.call(port, start, seconds) for line in lines))
            await asyncio.sleep(start - time.monotonic())
            before, grown_from = cpu_seconds(bridge.pid), memory(bridge.pid)
            await asyncio.sleep(seconds)
            used = cpu_seconds(bridge.pid) - before
            resident = f"{grown_from:.1f}→{memory(bridge.pid):.1f}"
            await work
        finally:
            bridge.terminate()
            bridge.wait()
    latencies = sorted(latency for line in lines for latency in line.latencies)
    frames = sum(line.counted for line in lines)
    if not latencies:
        return 0.0, 0.0, 0.0, frames, resident
    p99 = latencies[int(len(latencies) * 0.99)]
    return used / frames * 1e6, latencies[len(latencies) // 2] * 1e3, p99 * 1e3, frames - len(latencies), resident


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", default="20,40,60,80")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--kinds", default="plain,agent")
    parser.add_argument("--bridge", nargs=3, metavar=("KIND", "PORT", "MODEL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    cores = sorted(os.sched_getaffinity(0))
    if args.bridge:
        os.sched_setaffinity(0, cores[:1])
        kind, port, model = args.bridge
        (run_agent if kind == "agent" else run_plain)(int(port), model)
        return 0
    os.sched_setaffinity(0, cores[-1:])
    print(
        f"{'calls':>5} {'bridge':8} {'µs/pair':>8} {'median ms':>10} {'p99 ms':>8} {'lost':>6} {'MB':>13}",
        "  agent : plain",
    )
    for calls in map(int, args.calls.split(",")):
        used = {}
        for kind in args.kinds.split(","):
            micros, median, p99, lost, resident = asyncio.run(measure(kind, calls, args.seconds))
            used[kind] = micros
            ratio = f"{used['agent'] / used['plain']:.2f}" if len(used) == 2 and used["plain"] else ""
            print(
                f"{calls:5} {kind:8} {micros:8.0f} {median:10.1f} {p99:8.1f} {lost:6} {resident:>13}   {ratio}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
