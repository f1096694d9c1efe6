"""Follows each primitive upwards: every call by which audio, or a trigger, enters the way to Realtime.

The way up ends at the function that owns the session: one that reads the caller's or the model's messages in a loop, or
that starts such a loop.  What starts that function starts a call, not an audio path or a response.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.pipeline.sinks import Sink
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.reach import Reachability, is_test

_RECEIVES = frozenset({
    "recv", "receive", "receive_text", "receive_json", "receive_bytes", "receive_str", "iter_text", "iter_json",
    "iter_bytes", "get_message", "read_message", "listen", "events", "__anext__", "recv_bytes", "wait_message", "aiter",
})  # fmt: skip
_TAKES = frozenset({"get", "get_nowait", "popleft", "read", "readexactly", "readframes", "recvfrom", "sleep", "wait"})
_STREAM_WORDS = (
    "ws", "websocket", "socket", "connection", "conn", "stream", "client", "session", "reader", "channel", "message",
)  # fmt: skip
_AUDIO_SPAWN = ("task", "thread", "executor", "timer", "callback", "register")


@dataclass(frozen=True)
class Hop:
    """A site on the way of one kind of sink: a primitive, or a call that leads to one.

    ``edge`` is the call-graph edge of a call; ``top`` says that the way up ends in this site's function.
    """

    kind: str
    func: Func
    op: int
    line: int
    end_line: int
    column: int
    sink: Sink | None
    edge: Edge | None
    top: bool
    confidence: Confidence


class Chains:
    """The hops of every kind, and which functions lead to a sink of that kind."""

    def __init__(self, graph: CallGraph, reach: Reachability) -> None:
        self.graph = graph
        self.reach = reach
        self.hops: list[Hop] = []
        self.carriers: dict[str, dict[Func, list[Sink]]] = {}
        self._pumps: dict[tuple[Func, int, bool], bool] = {}
        self._owners: dict[Func, bool] = {}

    def build(self, sinks: list[Sink]) -> list[Hop]:
        """Return the hops of all sinks, primitives first."""
        for kind in dict.fromkeys(sink.kind for sink in sinks):
            self._follow(kind, [sink for sink in sinks if sink.kind == kind])
        return self.hops

    def _follow(self, kind: str, sinks: list[Sink]) -> None:
        carriers: dict[Func, list[Sink]] = {}
        queue: deque[Func] = deque()
        reported: set[tuple[Func, int, int]] = set()
        for sink in sinks:
            call = sink.call
            reported.add((sink.func, call.line, call.column))
            top = self.stops(sink.func, sink.op, kind)
            self.hops.append(
                Hop(kind, sink.func, sink.op, call.line, call.end_line, call.column, sink, None, top, sink.confidence)
            )
            carriers.setdefault(sink.func, []).append(sink)
            if not top and sink.func not in queue:
                queue.append(sink.func)
        done: set[Func] = set()
        while queue:
            func = queue.popleft()
            if func in done:
                continue
            done.add(func)
            for edge in self.graph.incoming.get(func, ()):
                caller = edge.caller
                if edge.kind == "escape" or caller is func or is_test(caller.module) or _passes_through(edge):
                    continue
                carriers.setdefault(caller, [])
                carriers[caller].extend(s for s in carriers[func] if s not in carriers[caller])
                if edge.kind == "callback" and self.reach.entry_of(func) is not None:
                    continue
                top = self.stops(caller, edge.op, kind) or edge.kind == "register"
                if kind == "audio_send" and edge.kind in _AUDIO_SPAWN:
                    top = True
                key = (caller, edge.line, edge.column)
                if key not in reported:
                    reported.add(key)
                    self.hops.append(
                        Hop(kind, caller, edge.op, edge.line, edge.end_line, edge.column, None, edge, top, edge.confidence)
                    )
                if not top:
                    queue.append(caller)
        self.carriers[kind] = carriers

    # -- where the way up ends

    def stops(self, func: Func, op: int, kind: str) -> bool:
        """Say whether the way up ends in ``func``, coming from operation ``op``."""
        if func.index == 0 or self.reach.entry_of(func) is not None:
            return True
        return self.in_pump(func, op, audio=kind == "audio_send") or self.is_owner(func)

    def in_pump(self, func: Func, op: int, *, audio: bool = False) -> bool:
        """Say whether an operation stands in a loop that reads messages (for audio: or a queue, or a device)."""
        for block in reversed(func.ancestors(func.ir.ops[op].block)):
            if func.ir.blocks[block].kind in LOOPS and self._is_pump(func, block, audio):
                return True
        return False

    def _is_pump(self, func: Func, block: int, audio: bool) -> bool:
        key = (func, block, audio)
        if key not in self._pumps:
            self._pumps[key] = self._reads_messages(func, block, audio)
        return self._pumps[key]

    def _reads_messages(self, func: Func, block: int, audio: bool) -> bool:
        entry = func.ir.blocks[block]
        names = _RECEIVES | _TAKES if audio else _RECEIVES
        if entry.kind == "for":
            return entry.test is not None and _is_stream(entry.test, names)
        for site in func.calls:
            if entry.first <= site.op < entry.last:
                name = ir.source(site.call.func).rpartition(".")[2]
                if name in names:
                    return True
        return False

    def is_owner(self, func: Func) -> bool:
        """Say whether a function starts message loops: it owns the session, and who calls it starts a call."""
        if func not in self._owners:
            self._owners[func] = False
            self._owners[func] = any(
                edge.kind in ("task", "thread", "executor", "call") and self.has_pump(edge.callee) and edge.callee is not func
                for edge in self.graph.outgoing.get(func, ())
                if edge.kind != "call" or edge.callee.ir.is_async
            )
        return self._owners[func]

    def has_pump(self, func: Func) -> bool:
        """Say whether a function's own body reads messages in a loop."""
        return any(
            block.kind in LOOPS and self._is_pump(func, index, False) for index, block in enumerate(func.ir.blocks)
        )


def _passes_through(edge: Edge) -> bool:
    """Say whether a call only hands its own arguments on (``fn(*args, **kwargs)`` in a decorator)."""
    call = edge.call
    if call is None or edge.confidence == "high" or not (call.args or call.keywords):
        return False
    return all(type(arg) is ir.Star for arg in call.args) and all(keyword.name is None for keyword in call.keywords)


def _is_stream(test: ir.Expr, names: frozenset[str]) -> bool:
    """Say whether the iterable of a ``for`` is a stream of messages: ``async for message in websocket``."""
    node = test
    while type(node) in (ir.Await, ir.Sub):
        node = node.value if type(node) is ir.Await else node.base  # type: ignore[union-attr]
    if type(node) is ir.Call:
        last = ir.source(node.func).rpartition(".")[2]
        if last in names:
            return True
        if last in ("range", "enumerate", "zip", "items", "values", "keys", "split", "sorted", "reversed", "list"):
            return False
        return any(_is_stream(arg, names) for arg in node.args) or any(word in last.lower() for word in ("event", "messages"))
    last = ir.source(node).rpartition(".")[2].lower().strip("_")
    words = last.split("_")
    return any(word in words or last.endswith(word) for word in _STREAM_WORDS) and not last.endswith("s" * 2)
