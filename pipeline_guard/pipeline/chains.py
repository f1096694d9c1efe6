"""Follows each primitive upwards: every call by which audio, or a trigger, enters the way to Realtime.

The way up ends at the function that owns the session: one that reads the caller's or the model's messages in a loop, or
that starts such a loop.  What starts that function starts a call, not an audio path or a response.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.pipeline.queues import QueueIndex, QueueKey
from pipeline_guard.pipeline.sinks import Sink
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.values import Frame, Function, Literal, Thunk
from pipeline_guard.vocabulary import Vocabulary

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
    sinks: tuple[Sink, ...] = ()
    note: str = ""


class _Walk:
    """The way up of one kind of sink: the hops so far, and for each function what its operations lead to."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.hops: list[Hop] = []
        self.carriers: dict[Func, list[Sink]] = {}
        self.ops: dict[Func, dict[int, list[Sink]]] = {}
        self.queue: deque[Func] = deque()
        self.queued: set[Func] = set()
        self._places: dict[tuple[Func, int, int], int] = {}

    def enqueue(self, func: Func) -> None:
        """Have the callers of a function looked at, once for everything that is new in it."""
        if func not in self.queued:
            self.queued.add(func)
            self.queue.append(func)

    def take(self, hop: Hop) -> bool:
        """Record a hop; say whether it leads to a sink that its place was not yet known to lead to."""
        key = (hop.func, hop.line, hop.column)
        leads = self.ops.setdefault(hop.func, {}).setdefault(hop.op, [])
        fresh = [sink for sink in hop.sinks if sink not in leads]
        leads.extend(fresh)
        known = self.carriers.setdefault(hop.func, [])
        known.extend(sink for sink in fresh if sink not in known)
        if key not in self._places:
            self._places[key] = len(self.hops)
            self.hops.append(hop)
            return True
        index = self._places[key]
        old = self.hops[index]
        if fresh:
            self.hops[index] = replace(old, sinks=(*old.sinks, *fresh))
        return bool(fresh)

    def pass_on(self, func: Func, op: int, sinks: tuple[Sink, ...]) -> None:
        """Let a function lead to sinks without a hop of its own."""
        leads = self.ops.setdefault(func, {}).setdefault(op, [])
        fresh = [sink for sink in sinks if sink not in leads]
        if fresh:
            leads.extend(fresh)
            self.carriers.setdefault(func, []).extend(fresh)
            self.enqueue(func)

    def below(self, func: Func, off: set[int]) -> list[Sink]:
        """Return the sinks that a function leads to, leaving out the operations in ``off``."""
        found: list[Sink] = []
        for op, sinks in self.ops.get(func, {}).items():
            if op not in off:
                found.extend(sink for sink in sinks if sink not in found)
        return found


class Chains:
    """The hops of every kind, and which functions lead to a sink of that kind."""

    def __init__(
        self, graph: CallGraph, reach: Reachability, queues: QueueIndex, vocabulary: Vocabulary, relays: set[Func]
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.queues = queues
        self.vocabulary = vocabulary
        self.relays = relays
        self.hops: list[Hop] = []
        self.carriers: dict[str, dict[Func, list[Sink]]] = {}
        self._pumps: dict[tuple[Func, int, bool], bool] = {}
        self._owners: dict[Func, set[Func]] = {}
        self._tests: dict[tuple[Func, int], list[tuple[ir.Expr, bool]]] = {}

    def build(self, sinks: list[Sink]) -> list[Hop]:
        """Return the hops of all sinks, primitives first."""
        for kind in dict.fromkeys(sink.kind for sink in sinks):
            self._follow(kind, [sink for sink in sinks if sink.kind == kind])
        return self.hops

    def _follow(self, kind: str, sinks: list[Sink]) -> None:
        walk = _Walk(kind)
        for sink in sinks:
            call = sink.call
            top = self.stops(sink.func, sink.op, kind, None)
            hop = Hop(
                kind,
                sink.func,
                sink.op,
                call.line,
                call.end_line,
                call.column,
                sink,
                None,
                top,
                sink.confidence,
                (sink,),
            )
            walk.take(hop)
            if not top:
                walk.enqueue(sink.func)
        while walk.queue:
            func = walk.queue.popleft()
            walk.queued.discard(func)
            for edge in list(self.graph.calls_of(func)):
                self._climb(walk, func, edge)
            if kind == "response_create":
                for put in self._worker_puts(walk, func):
                    walk.take(put)
                    if not put.top:
                        walk.enqueue(put.func)
        self.hops.extend(walk.hops)
        self.carriers[kind] = walk.carriers

    def _climb(self, walk: _Walk, func: Func, edge: Edge) -> None:
        """Go from a function that leads to a sink to one of its callers."""
        caller = edge.caller
        if edge.kind == "escape" or caller is func or is_test(caller.module) or _passes_through(edge):
            return
        if walk.kind == "audio_send" and edge.kind in ("task", "thread", "executor", "timer"):
            if any(func.loop_of(op) is not None for op in walk.ops.get(func, ())):
                return  # starting a loop passes no audio on
        if edge.kind == "callback" and self.reach.entry_of(func) is not None:
            return
        if caller.index == 0 and edge.site is not None and _is_program_start(caller, edge):
            return
        below = walk.below(func, self._infeasible(walk, func, edge))
        if not below or self._other_message(walk.kind, caller, edge.op):
            return
        top = self.stops(caller, edge.op, walk.kind, func) or edge.kind == "register"
        if walk.kind == "audio_send":
            top = top or edge.kind in _AUDIO_SPAWN
        elif edge.kind in ("task", "thread", "executor") and self._works_off_queue(walk, func):
            top = True
        hop = Hop(
            walk.kind,
            caller,
            edge.op,
            edge.line,
            edge.end_line,
            edge.column,
            None,
            edge,
            top,
            edge.confidence,
            tuple(below),
        )
        if walk.take(hop) and not top:
            walk.enqueue(caller)

    def _infeasible(self, walk: _Walk, func: Func, edge: Edge) -> set[int]:
        """Return the operations of ``func`` that the arguments of this very call switch off.

        That is a send under ``if trigger_response:`` when the call says False, and a send on a transport that is
        something else in this call (a stand-in that only records).
        """
        if edge.call is None or not func.params:
            return set()
        env = self.graph.evaluator.bind(func, edge.call, Frame(edge.caller, edge.op), edge.bound)
        return self._switched_off(walk, func, env, 3) if env else set()

    def _switched_off(self, walk: _Walk, func: Func, env: dict[str, Thunk], depth: int) -> set[int]:
        evaluator = self.graph.evaluator
        constants = {
            name: bool(values[0].value)
            for name, thunk in env.items()
            if type(thunk.node) in (ir.Const, ir.Name, ir.Attr)
            for values in [evaluator.force(thunk)]
            if len(values) == 1 and isinstance(values[0], Literal)
        }
        off: set[int] = set()
        for op, sinks in walk.ops.get(func, {}).items():
            if any(_truth(test, constants) is (not wanted) for test, wanted in self._parameter_tests(func, op)):
                off.add(op)
            elif depth and self._leads_elsewhere(walk, func, op, sinks, env, depth):
                off.add(op)
        return off

    def _parameter_tests(self, func: Func, op: int) -> list[tuple[ir.Expr, bool]]:
        """Return the conditions of an operation that speak of parameters, remembered: they are asked for every call."""
        key = (func, op)
        if key not in self._tests:
            self._tests[key] = [
                (condition.test, condition.wanted)
                for condition in conditions(func, op)
                if not func.params.keys().isdisjoint(names_in(condition.test))
            ]
        return self._tests[key]

    def _leads_elsewhere(
        self, walk: _Walk, func: Func, op: int, sinks: list[Sink], env: dict[str, Thunk], depth: int
    ) -> bool:
        own = [sink for sink in sinks if sink.func is func and sink.op == op]
        if own:
            return all(self._other_transport(sink, env) for sink in own)
        edges = [
            e for e in self.graph.outgoing.get(func, ()) if e.op == op and e.callee in walk.ops and e.call is not None
        ]
        if not edges:
            return False
        for edge in edges:
            call = edge.call
            assert call is not None
            if not any(
                type(node) is ir.Name and node.id in env for node in [*call.args, *(k.value for k in call.keywords)]
            ):
                return False
            inner = self.graph.evaluator.bind(edge.callee, call, Frame(func, op, env, 2), edge.bound)
            if set(walk.ops[edge.callee]) - self._switched_off(walk, edge.callee, inner, depth - 1):
                return False
        return True

    def _other_transport(self, sink: Sink, env: dict[str, Thunk]) -> bool:
        """Say whether the transport of a sink is a parameter that this call binds to something that does not send."""
        receiver = sink.call.func.base if type(sink.call.func) is ir.Attr else None
        if type(receiver) is not ir.Name or receiver.id not in env:
            return False
        values = self.graph.evaluator.eval(sink.call.func, Frame(sink.func, sink.op, env, 2))
        return bool(values) and all(
            isinstance(value, Function) and value.func not in self.relays and value.func.name != "<lambda>"
            for value in values
        )

    def _other_message(self, kind: str, func: Func, op: int) -> bool:
        """Say whether a call handles a message that carries no audio (``start``, ``stop``, ``mark``)."""
        if kind != "audio_send":
            return False
        for condition in conditions(func, op):
            if not condition.early and condition.wanted and type(condition.test) is ir.Compare:
                words = {n.value for n in condition.test.rights if type(n) is ir.Const and isinstance(n.value, str)}
                if condition.test.ops[0] == "==" and words:
                    return words <= self.vocabulary.silent_messages
        return False

    def _works_off_queue(self, walk: _Walk, func: Func) -> bool:
        return any(self._queue_around(func, op) is not None for op in walk.ops.get(func, ()))

    def _queue_around(self, func: Func, op: int) -> QueueKey | None:
        """Return the queue that the loop around an operation takes its work from."""
        for loop in reversed(func.ancestors(func.ir.ops[op].block)):
            entry = func.ir.blocks[loop]
            if entry.kind not in LOOPS:
                continue
            for key, gets in self.queues.gets.items():
                if any(get.func is func and entry.first <= get.op < entry.last for get in gets):
                    return key
        return None

    def _is_worker(self, func: Func) -> bool:
        """Say whether a function runs beside the call: somebody starts it as a task or thread."""
        return any(edge.kind in ("task", "thread", "executor") for edge in self.graph.calls_of(func))

    def _worker_puts(self, walk: _Walk, func: Func) -> list[Hop]:
        """Return the puts of work that a queue worker turns into a response."""
        found: list[Hop] = []
        for op in sorted(walk.ops.get(func, ())):
            key = self._queue_around(func, op)
            if key is None or key in self.queues.control or not self._is_worker(func):
                continue
            for put in self.queues.puts.get(key, ()):
                if put.func is func or is_test(put.func.module):
                    continue
                call = put.call
                below = tuple(walk.below(func, set()))
                if type(put.argument) is ir.Name and put.argument.id in put.func.params:
                    walk.pass_on(put.func, put.op, below)  # ``def enqueue(item): queue.put(item)``: its callers put
                    continue
                top = self.stops(put.func, put.op, walk.kind, None)
                note = "by way of a queue of work"
                found.append(
                    Hop(
                        walk.kind,
                        put.func,
                        put.op,
                        call.line,
                        call.end_line,
                        call.column,
                        None,
                        None,
                        top,
                        "medium",
                        below,
                        note,
                    )
                )
        return found

    # -- where the way up ends

    def stops(self, func: Func, op: int, kind: str, below: Func | None) -> bool:
        """Say whether the way up ends in ``func``, coming from operation ``op`` that calls ``below``."""
        if func.index == 0 or self.reach.entry_of(func) is not None:
            return True
        if kind == "audio_send":
            return self.in_pump(func, op, audio=True) or self.is_owner(func, below)
        return self.has_pump(func) or self.is_owner(func, below)

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

    def _waits(self, func: Func) -> bool:
        """Say whether a function waits for what it starts: ``gather``, ``wait``, a task group, ``await task``, ``join``."""
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

    def has_pump(self, func: Func) -> bool:
        """Say whether a function's own body reads messages in a loop."""
        return any(
            block.kind in LOOPS and self.is_pump(func, index, False) for index, block in enumerate(func.ir.blocks)
        )


def _is_program_start(module_body: Func, edge: Edge) -> bool:
    """Say whether a call at module level runs the whole program (``asyncio.run(main())``)."""
    for site in module_body.calls:
        if site.call is edge.site:
            names = {ir.source(outer.func).rpartition(".")[2] for outer in site.outer}
            return bool(names & {"run", "run_until_complete"}) or edge.callee.name == "main"
    return False


def _passes_through(edge: Edge) -> bool:
    """Say whether a call only hands its own arguments on (``fn(*args, **kwargs)`` in a decorator)."""
    call = edge.call
    if call is None or edge.confidence == "high" or not (call.args or call.keywords):
        return False
    return all(type(arg) is ir.Star for arg in call.args) and all(keyword.name is None for keyword in call.keywords)


def _is_stream(test: ir.Expr, names: frozenset[str]) -> bool:
    """Say whether the iterable of a ``for`` is a stream of messages: ``async for message in websocket``."""
    if type(test) is ir.Await:
        return True  # ``async for``
    node = test
    while type(node) in (ir.Await, ir.Sub):
        node = node.value if type(node) is ir.Await else node.base  # type: ignore[union-attr]
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
    return any(word in words or last.endswith(word) for word in _STREAM_WORDS) and not last.endswith("s" * 2)


def _truth(test: ir.Expr, constants: dict[str, bool]) -> bool | None:
    """Return the truth of a condition on parameters whose truth is known."""
    kind = type(test)
    if kind is ir.Name:
        return constants.get(test.id)  # type: ignore[union-attr]
    if kind is ir.Not:
        inner = _truth(test.value, constants)  # type: ignore[union-attr]
        return None if inner is None else not inner
    if kind is ir.Bool:
        truths = [_truth(value, constants) for value in test.values]  # type: ignore[union-attr]
        stop = test.op == "or"  # type: ignore[union-attr]
        if stop in truths:
            return stop
        return (not stop) if all(truth is (not stop) for truth in truths) else None
    return None
