"""How many calls one core carries: the reference agent beside a plain bridge, in one run, on loopback.

usage: python -m tests.benchmarks.agent_load [--calls 40,80,100,120] [--seconds 4] [--rounds 3]

Two processes: the bridge under test on one core; callers (N media streams, 50 frames a second each) and a model that
sends every frame back as one audio delta (the worst case: 50 deltas a second) together on another.  Latency is from a
caller's frame to the same frame back at the caller, so through the bridge twice; "added" is what that takes longer than
through a relay of bytes, which is measured in the same round as ``direct``.

The rounds take turns, and a point that was disturbed says so: the host took time away (``stole %``), something else ran
on the bridge's core (``wait %``), or the callers' own frames left late (``late ms``).  Medians are over the rounds in
which nothing of the kind went on, where there are any.  What a frame pair costs is measured once more with one call
that sends frame after frame, which others on the machine disturb least.  With the defaults it takes seven minutes.
``--kinds agent --calls 5 --seconds 600 --rounds 1`` is a soak.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

from tests.benchmarks.light_websocket import LightWebSocket
from tests.benchmarks.load_bridges import BRIDGES
from tests.benchmarks.load_callers import Line, echo, greet
from tests.benchmarks.load_machine import Reading, Share, memory
from tests.benchmarks.load_points import ADDED_MS, HEAD, Point, Rounds, Spread

CORES = sorted(os.sched_getaffinity(0))
BRIDGE_CORE, GENERATOR_CORE = CORES[0], CORES[-1]
STRETCHES, FRAMES = 20, 150
T = TypeVar("T")


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[tuple[int, int]]:
    """Run one bridge before a model; its process and port.  Exits when it does not start."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: LightWebSocket(echo, on_open=greet), "127.0.0.1", 0)
    async with server:
        model = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        arguments = [kind, str(port), model, str(BRIDGE_CORE)]  # it inherits the core of this process
        command = [sys.executable, "-m", "tests.benchmarks.agent_load", "--bridge", *arguments]
        bridge = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            await _listening(bridge, kind, port)
            yield bridge.pid, port
        finally:
            bridge.terminate()
            try:
                bridge.wait(5)
            except subprocess.TimeoutExpired:
                bridge.kill()
                bridge.wait()


async def measure(kind: str, calls: int, seconds: float) -> Point:
    """Run one bridge under N calls.  Exits when it answers nothing."""
    async with serving(kind) as (pid, port):
        start = time.monotonic() + 2.0 + calls / 100
        lines = [Line(number) for number in range(calls)]
        work = asyncio.gather(*(line.call(port, start, seconds) for line in lines))
        await asyncio.sleep(start - time.monotonic())
        before = Reading.take(pid, BRIDGE_CORE), Reading.take(os.getpid(), GENERATOR_CORE)
        grown_from = memory(pid)
        await asyncio.sleep(seconds)
        after = Reading.take(pid, BRIDGE_CORE), Reading.take(os.getpid(), GENERATOR_CORE)
        resident = f"{grown_from:.1f}→{memory(pid):.1f}"
        await work
    latencies = sorted(latency for line in lines for latency in line.latencies)
    lateness = sorted(late for line in lines for late in line.lateness)
    if not latencies:
        sys.exit(f"the {kind} bridge sent nothing back")
    return Point(
        kind,
        calls,
        (after[0].ran - before[0].ran) / len(lateness) * 1e6,
        latencies[len(latencies) // 2] * 1e3,
        latencies[int(len(latencies) * 0.99)] * 1e3,
        len(lateness) - len(latencies),
        lateness[int(len(lateness) * 0.99)] * 1e3,
        Share.between(before[0], after[0]),
        Share.between(before[1], after[1]),
        resident,
    )


async def measure_alone(kind: str) -> float:
    """Return the µs of CPU that a frame pair costs when one call sends frame after frame.

    Nothing is read in batches here, whoever else is on the machine, and a disturbed stretch is left out: the lower
    quartile of many short ones.
    """
    async with serving(kind) as (pid, port):
        line = Line(0)
        websocket = await line.open(port)
        await asyncio.sleep(1.0)
        costs = []
        for stretch in range(STRETCHES):
            before = Reading.take(pid, BRIDGE_CORE).ran
            for number in range(FRAMES):
                await line.exchange(websocket, stretch * FRAMES + number)
            costs.append((Reading.take(pid, BRIDGE_CORE).ran - before) / FRAMES * 1e6)
        websocket.close()
    return statistics.quantiles(costs, n=4)[0]


async def _listening(bridge: subprocess.Popen[bytes], kind: str, port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if bridge.poll() is not None:
            break
        await asyncio.sleep(0.1)
    sys.exit(f"the {kind} bridge does not start: run it with --bridge {kind} PORT MODEL CORE to see why")


def run(measuring: Coroutine[None, None, T]) -> T:
    """Measure something; the generator's own pauses are kept out of it."""
    import uvloop

    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(measuring)
        finally:
            loop.close()
    finally:
        gc.enable()
        gc.unfreeze()


def alone(kinds: list[str], rounds: int) -> None:
    """Print what a frame pair costs each bridge when one call sends frame after frame."""
    costs: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            costs[kind].append(run(measure_alone(kind)))
    each = ", ".join(f"{kind} {Spread.of(found):.0f}" for kind, found in costs.items())
    print(f"one call, frame after frame, µs of CPU a frame pair: {each}")
    if {"agent", "plain"} <= set(kinds):
        ratios = [ours / theirs for ours, theirs in zip(costs["agent"], costs["plain"], strict=True)]
        print(f"CPU, agent : plain = {Spread.of(ratios):.2f}\n", flush=True)


def report(rounds: Rounds, kinds: list[str]) -> None:
    """Print what the rounds say together."""
    print("\nmedian over the undisturbed rounds (least–most)")
    for calls in rounds.calls:
        chosen, quiet = rounds.undisturbed(calls, kinds)
        for kind in kinds:
            p99 = rounds.spread(kind, calls, chosen, lambda point: point.p99_ms)
            micros = rounds.spread(kind, calls, chosen, lambda point: point.micros)
            added = rounds.added(kind, calls, chosen)
            said = f", added {added:.1f} ms" if kind != "direct" and "direct" in kinds else ""
            print(f"{calls:5} {kind:8} p99 {p99:.1f} ms{said}, CPU {micros:.0f} µs a frame pair")
        ratio = rounds.ratio(calls, chosen)
        if ratio is not None:
            print(f"{calls:5} CPU, agent : plain = {ratio:.2f}")
        if not quiet:
            print(f"{calls:5} every round was disturbed: do not read these figures as the bridges'")
    carried = ", ".join(f"{kind} {_most(rounds, kind)}" for kind in kinds if kind != "direct")
    print(f"concurrent calls per core at p99 added latency < {ADDED_MS:.0f} ms: {carried}")


def _most(rounds: Rounds, kind: str) -> str:
    most, believed = rounds.capacity(kind)
    said = f"{most} or more" if most == rounds.calls[-1] else str(most) if most else f"fewer than {rounds.calls[0]}"
    return said if believed else f"{said} (disturbed: not to be believed)"


def main() -> int:
    """Measure all points and print them; always 0, for a number is no verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", default="40,80,100,120")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(BRIDGES))
    parser.add_argument("--bridge", nargs=4, metavar=("KIND", "PORT", "MODEL", "CORE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bridge:
        kind, port, model, core = args.bridge
        os.sched_setaffinity(0, {int(core)})
        BRIDGES[kind](int(port), model)
        return 0
    os.sched_setaffinity(0, {GENERATOR_CORE})
    kinds, rounds = args.kinds.split(","), Rounds()
    alone(kinds, args.rounds)
    print(HEAD)
    for calls in map(int, args.calls.split(",")):
        for _ in range(args.rounds):
            for kind in kinds:
                point = run(measure(kind, calls, args.seconds))
                rounds.add(point)
                print(point.row, flush=True)
    report(rounds, kinds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
