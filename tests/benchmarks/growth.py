"""Times cold checks of made-up backends of growing size, and says how the time grows: a linear tool doubles with them.

usage: python tests/benchmarks/growth.py [--functions 1000 3000 10000] [--files 0] [--runs 3]

A backend is one phone agent of about forty functions beside ordinary code.  A tenth of that code calls into the agent,
so that it is read in depth; with ``--files N``, N more files have nothing to do with it.  Times are user seconds of
the whole process, memory is its peak: both as the operating system counts them.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
PER_FILE = 25

_BRIDGE = """
import asyncio, base64, json, logging

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()
logger = logging.getLogger(__name__)


class Call:
    def __init__(self, socket):
        self.socket = socket
        self.realtime_audio_in_queue = asyncio.Queue(maxsize=200)
        self.active_response_id = None

    async def audio_sender_loop(self):
        while True:
            chunk = await self.realtime_audio_in_queue.get()
            await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))

    async def trigger_response(self, reason):
        if self.active_response_id is not None:
            logger.warning("skipping %s", reason)
            return
        await self.realtime.send(json.dumps({"type": "response.create"}))

    async def notify_caller(self, text):
        logger.info("notify %s", text)
        await self.trigger_response("notice")

    async def read_events(self):
        async for message in self.realtime:
            event = json.loads(message)
            if event["type"] == "response.created":
                self.active_response_id = event["response"]["id"]
            elif event["type"] == "response.done":
                self.active_response_id = None
            elif event["type"] == "input_audio_buffer.committed":
                await self.trigger_response("user turn")

    async def run(self):
        async with websockets.connect("wss://api.openai.com/v1/realtime") as self.realtime:
            asyncio.create_task(self.audio_sender_loop())
            asyncio.create_task(self.read_events())
            async for message in self.socket.iter_text():
                frame = json.loads(message)
                if frame["event"] == "media":
                    await self.realtime_audio_in_queue.put(frame["media"]["payload"])


@app.websocket("/media")
async def media(socket: WebSocket):
    await socket.accept()
    await Call(socket).run()
"""

_LEADING = """
async def step_{n}(call, payload):
    for item in payload.get("items", []):
        if item["kind"] == "notice_{n}":
            call.last_{n} = item
            await call.notify_caller(item["text"])
    return payload
"""

_PLAIN = """
def step_{n}(store, payload):
    total = 0
    for item in payload.get("items", []):
        if item["kind"] == "kind_{n}" and store.allows(item):
            total += item["amount"]
            store.rows_{n}.append({{"name": item["name"], "amount": item["amount"], "note": f"{{total}} of {n}"}})
    if total > {n}:
        logger.info("step %s: %s", {n}, total)
    return store.save(payload, total)
"""


class Cost(NamedTuple):
    """What one run took: user seconds and peak MiB."""

    seconds: float
    memory: float


def write_backend(root: Path, functions: int, files: int) -> None:
    """Write a backend with about so many functions, and so many files more that have nothing to do with it."""
    (root / "bridge.py").write_text(_BRIDGE)
    for first in range(0, functions, PER_FILE):
        leads = first // PER_FILE % 10 == 0
        head = "import logging\n\nfrom bridge import Call\n" if leads else "import logging\n"
        parts = [head, "\nlogger = logging.getLogger(__name__)\n"]
        for n in range(first, min(first + PER_FILE, functions)):
            parts.append((_LEADING if leads and n % 5 == 0 else _PLAIN).format(n=n))
        folder = root / f"part{first // PER_FILE // 100}"
        folder.mkdir(exist_ok=True)
        (folder / f"steps_{first}.py").write_text("".join(parts))
    for index in range(files):
        folder = root / f"apart{index // 500}"
        folder.mkdir(exist_ok=True)
        text = "".join(_PLAIN.format(n=n) for n in range(index, index + 4))
        (folder / f"module_{index}.py").write_text(f"import logging\n\nlogger = logging.getLogger(__name__)\n{text}")


def cost(root: Path) -> Cost:
    """Check a backend without the cache; an exit code that means trouble ends the benchmark."""
    command = [sys.executable, "-m", "pipeline_guard", "check", str(root), "--no-cache", "--format", "json"]
    child = os.fork()
    if child == 0:
        os.environ["PYTHONPATH"] = str(CHECKOUT)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(command[0], command)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(usage.ru_utime, usage.ru_maxrss / 1024)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of a line through the points on logarithmic axes: 1 is linear growth, 2 quadratic."""
    x, y = [math.log(size) for size in sizes], [math.log(max(value, 1e-3)) for value in seconds]
    return statistics.linear_regression(x, y).slope


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--files", type=int, default=0, help="files beside the backend that have nothing to do with it")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    medians: list[float] = []
    empty = 0.0
    for functions in [0, *args.functions]:
        with tempfile.TemporaryDirectory() as name:
            write_backend(Path(name), functions, args.files if functions else 0)
            costs = [cost(Path(name)) for _ in range(args.runs)]
        seconds = statistics.median(entry.seconds for entry in costs)
        memory = max(entry.memory for entry in costs)
        if functions == 0:
            empty = seconds
            print(f"the agent alone    {seconds:6.2f} s  {memory:5.0f} MiB")
            continue
        medians.append(seconds - empty)
        each = (seconds - empty) / functions * 1e6
        print(f"{functions:8} functions {seconds:6.2f} s  {memory:5.0f} MiB  {each:5.0f} µs for each function more")
    if len(medians) > 1:
        print(f"time grows with the size to the power of {exponent(args.functions, medians):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
