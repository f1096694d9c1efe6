"""Message loops: those that read the caller's or the model's messages, and the functions that own a session."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import LOOPS, Func

_RECEIVES = frozenset({
    "recv", "receive", "receive_text", "receive_json", "receive_bytes", "receive_str", "iter_text", "iter_json",
    "iter_bytes", "get_message", "read_message", "listen", "events", "__anext__", "recv_bytes", "wait_message", "aiter",
})  # fmt: skip
_TAKES = frozenset({"get", "get_nowait", "popleft", "read", "readexactly", "readframes", "recvfrom", "sleep", "wait"})
_WAITS = frozenset(
    {"gather", "wait", "TaskGroup", "create_task_group", "join", "as_completed", "run_forever", "open_nursery"}
)
_TASKS = frozenset({"create_task", "ensure_future"})
_STREAM_WORDS = (
    "ws", "websocket", "socket", "connection", "conn", "stream", "client", "session", "reader", "channel", "message",
)  # fmt: skip


class Pumps:
    """Finds message loops and their owners."""

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph
        self._pumps: dict[tuple[Func, int, bool], bool] = {}
        self._owners: dict[Func, set[Func]] = {}

    def in_pump(self, func: Func, op: int, *, audio: bool = False) -> bool:
        """Say whether an operation stands in a loop that reads messages (for audio: or a queue, or a device)."""
        for block in reversed(func.ancestors(func.ir.ops[op].block)):
            if func.ir.blocks[block].kind in LOOPS and self.is_pump(func, block, audio):
                return True
        return False

    def is_pump(self, func: Func, block: int, audio: bool = False) -> bool:
        """Say whether a loop block reads messages (for audio: or a queue, or a device)."""
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

    def is_owner(self, func: Func, below: Func | None = None) -> bool:
        """Say whether a function runs message loops (other than ``below``) to their end: it owns the session.

        One that only starts a loop in the background and returns (``connect()``) does not.
        """
        if func not in self._owners:
            waits = self._waits(func)
            self._owners[func] = {
                edge.callee
                for edge in self.graph.outgoing.get(func, ())
                if (edge.kind in ("task", "thread", "executor") and waits)
                or (edge.kind == "call" and edge.callee.ir.is_async)
                if edge.callee is not func and self.has_pump(edge.callee)
            }
        return bool(self._owners[func] - {below})

    def runs_stream(self, func: Func, depth: int = 4) -> bool:
        """Say whether a function stays until a stream is over: it pumps, owns pumps, or waits for one that does."""
        if self.has_pump(func) or self.is_owner(func):
            return True
        return depth > 0 and any(
            edge.kind == "call" and edge.callee.ir.is_async and self.runs_stream(edge.callee, depth - 1)
            for edge in self.graph.outgoing.get(func, ())
            if edge.callee is not func
        )

    def _waits(self, func: Func) -> bool:
        """Say whether a function waits for what it starts: ``gather``, a task group, ``await task``, ``join``."""
        if any(ir.source(site.call.func).rpartition(".")[2] in _WAITS for site in func.calls):
            return True
        started = {
            ir.source(target)
            for op in func.ir.ops
            if op.kind == "assign"
            and type(op.value) is ir.Call
            and ir.source(op.value.func).rpartition(".")[2] in _TASKS
            for target in op.targets
        }
        return any(
            type(op.value) is ir.Await and ir.source(op.value.value) in started
            for op in func.ir.ops
            if op.value is not None
        )

    def waits_from(self, func: Func, op: int) -> bool:
        """Say whether a function still waits for what it started at or after an operation."""
        return any(site.op >= op and ir.source(site.call.func).rpartition(".")[2] in _WAITS for site in func.calls)

    def has_pump(self, func: Func) -> bool:
        """Say whether a function's own body reads messages in a loop."""
        return any(
            block.kind in LOOPS and self.is_pump(func, index, False) for index, block in enumerate(func.ir.blocks)
        )


def _is_stream(test: ir.Expr, names: frozenset[str]) -> bool:
    """Say whether the iterable of a ``for`` is a stream of messages: ``async for message in websocket``."""
    if type(test) is ir.Await:
        return True  # ``async for``
    node = test
    while True:
        if type(node) is ir.Await:
            node = node.value
        elif type(node) is ir.Sub:
            node = node.base
        else:
            break
    if type(node) is ir.Call:
        last = ir.source(node.func).rpartition(".")[2]
        if last in names:
            return True
        if last in ("range", "enumerate", "zip", "items", "values", "keys", "split", "sorted", "reversed", "list"):
            return False
        return any(_is_stream(arg, names) for arg in node.args) or any(
            word in last.lower() for word in ("event", "messages")
        )
    last = ir.source(node).rpartition(".")[2].lower().strip("_")
    words = last.split("_")
    return any(word in words or last.endswith(word) for word in _STREAM_WORDS) and not last.endswith("ss")
