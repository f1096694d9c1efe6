"""The audio side of a lane: which functions put audio in, from which queues, started where, and which are rivals."""

from __future__ import annotations

from collections import deque

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.chains import Chains
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.queues import QueueIndex, QueueKey, QueueOp
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in, strings_in
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability

_GETS = ("get", "get_nowait", "popleft", "pop")
_STARTS = ("task", "thread", "executor", "timer", "call", "callback")
_SPAWNS = ("task", "thread", "executor", "timer", "callback", "register")


class AudioSender(msgspec.Struct):
    """A function at which caller audio enters the way to Realtime."""

    func: Func
    hops: list[Hop]
    queue: QueueKey | None = None
    loop: bool = False
    takes_frames: bool = False
    starts: list[Edge] = msgspec.field(default_factory=list)
    restarts: list[Edge] = msgspec.field(default_factory=list)
    entries: frozenset[Func] = frozenset()
    below: dict[Func, list[Hop]] = msgspec.field(default_factory=dict)

    def sends(self, shared: set[Func]) -> list[Hop]:
        """Return the hops at which audio leaves this sender's own code: its sends, and its calls into shared code."""
        found: list[Hop] = []
        for func, hops in self.below.items():
            if func not in shared:
                found.extend(
                    h
                    for h in hops
                    if h.edge is None or any(callee in shared or callee not in self.below for callee in h.callees)
                )
        return found or self.hops


class AudioReader:
    """Reads senders and audio queues from the audio hops."""

    def __init__(self, graph: CallGraph, reach: Reachability, chains: Chains, queues: QueueIndex) -> None:
        self.graph = graph
        self.reach = reach
        self.chains = chains
        self.queues = queues
        self._entries: dict[Func, frozenset[Func]] = {}

    def read(self, hops: list[Hop]) -> list[AudioSender]:
        """Return the senders behind the given audio hops, in their order."""
        above = {
            callee for hop in hops if hop.edge is not None and hop.edge.kind not in _SPAWNS for callee in hop.callees
        }
        senders: dict[Func, AudioSender] = {}
        for hop in hops:
            if hop.edge is not None and hop.edge.kind in _SPAWNS:
                continue
            if hop.top or hop.func not in above:
                senders.setdefault(hop.func, AudioSender(hop.func, [])).hops.append(hop)
        by_func: dict[Func, list[Hop]] = {}
        for hop in hops:
            by_func.setdefault(hop.func, []).append(hop)
        for sender in senders.values():
            self._describe(sender)
            stack = [sender.func]
            while stack:
                func = stack.pop()
                if func in sender.below:
                    continue
                own = sender.hops if func is sender.func else by_func.get(func, [])
                sender.below[func] = own
                stack.extend(callee for hop in own for callee in hop.callees if callee in by_func)
        return list(senders.values())

    def _describe(self, sender: AudioSender) -> None:
        func = sender.func
        for hop in sender.hops:
            sender.loop = sender.loop or func.loop_of(hop.op) is not None
            key = self._queue_behind(hop)
            if key is not None:
                sender.queue = key
        if sender.queue is None:
            sender.takes_frames = any(self._handles_frames(hop) for hop in sender.hops)
        sender.starts = [
            edge
            for edge in self.graph.incoming.get(func, ())
            if edge.kind in _STARTS and edge.caller is not func and not is_test(edge.caller.module)
        ]
        sender.entries = self.entries(func)
        sender.restarts = self._restarts(sender)

    def _queue_behind(self, hop: Hop) -> QueueKey | None:
        """Return the queue that the audio of a hop comes from."""
        argument = hop.sink.argument if hop.sink is not None else None
        nodes = [argument] if argument is not None else []
        if hop.edge is not None and hop.edge.call is not None:
            nodes = [*hop.edge.call.args, *(k.value for k in hop.edge.call.keywords)]
        for node in nodes:
            for call, op in calls_behind(hop.func, hop.op, node):
                key = self.queues.key_of(hop.func, op, call)
                if key is not None and type(call.func) is ir.Attr and call.func.name in _GETS:
                    return key
        loop = hop.func.loop_of(hop.op)
        if loop is not None:
            entry = hop.func.ir.blocks[loop]
            for key, gets in self.queues.gets.items():
                real = self.queues.queues[key].type.endswith(("Queue", "deque"))
                here = [get for get in gets if get.func is hop.func and entry.first <= get.op < entry.last]
                if real and any(_may_feed(hop, get) for get in here):
                    return key
        return None

    def queues_before(self, key: QueueKey) -> list[QueueKey]:
        """Return the queues whose items are put on a queue: audio that waits twice."""
        found: list[QueueKey] = []
        for put in self.queues.puts.get(key, ()):
            for call, op in calls_behind(put.func, put.op, put.argument) if put.argument is not None else ():
                other = self.queues.key_of(put.func, op, call)
                if other is not None and other != key and type(call.func) is ir.Attr and call.func.name in _GETS:
                    found.append(other)
        return list(dict.fromkeys(found))

    def _handles_frames(self, hop: Hop) -> bool:
        """Say whether the caller's media messages are read right here."""
        if self.chains.pumps.in_pump(hop.func, hop.op):
            return True
        return any("media" in strings_in(condition.test) for condition in conditions(hop.func, hop.op))

    # -- who can run in the same call

    def entries(self, func: Func) -> frozenset[Func]:
        """Return the entry points from which a function is reached (the module bodies when there are no others)."""
        if func not in self._entries:
            found: set[Func] = set()
            modules: set[Func] = set()
            seen = {func}
            queue = deque([func])
            while queue:
                current = queue.popleft()
                entry = self.reach.entry_of(current)
                if entry is not None:
                    found.add(current)
                    continue
                if current.index == 0:
                    modules.add(current)
                for edge in self.graph.incoming.get(current, ()):
                    if edge.caller not in seen and not is_test(edge.caller.module):
                        seen.add(edge.caller)
                        queue.append(edge.caller)
            self._entries[func] = frozenset(found or modules)
        return self._entries[func]

    def rivals(self, one: AudioSender, other: AudioSender) -> bool:
        """Say whether two senders can both run in one call."""
        common = one.entries & other.entries
        if not common:
            return one.func.owner_class is not None and one.func.owner_class is other.func.owner_class
        return any(not self._alternatives(entry, one.func, other.func) for entry in common)

    def _alternatives(self, entry: Func, one: Func, other: Func) -> bool:
        """Say whether the ways from an entry point to two functions part at an ``if`` or at a virtual call."""
        first, second = (self.graph.way(entry, func, implied=True) for func in (one, other))
        for a, b in zip(first, second, strict=False):
            if a is b:
                continue
            if a.caller is not b.caller:
                return False
            if a.op == b.op and a.line == b.line and a.column == b.column:
                return a.callee is not b.callee
            return self._apart(a, b)
        return False

    def _apart(self, a: Edge, b: Edge) -> bool:
        func = a.caller
        one, other = sorted((a.op, b.op))
        if func.exclusive(func.ir.ops[one].block, func.ir.ops[other].block):
            return True
        # ``if provider == "x": … return`` before the other way: only one of the two is taken.
        early, late = func.ir.ops[one].block, func.ir.ops[other].block
        for block in func.ancestors(early):
            entry = func.ir.blocks[block]
            if entry.kind in ("if", "else") and entry.leaves and block not in func.ancestors(late):
                return True
        return False

    def _restarts(self, sender: AudioSender) -> list[Edge]:
        """Return the starts of a loop that can come on top of an earlier start in one call."""
        spawns = [edge for edge in sender.starts if edge.kind in ("task", "thread", "executor")]
        if not sender.loop:
            return []
        found: list[Edge] = []
        for index, edge in enumerate(spawns):
            if self._checked_first(edge):
                continue
            func = edge.caller
            if self.chains.pumps.in_pump(func, edge.op) or any(
                not self._exclusive_starts(earlier, edge) for earlier in spawns[:index]
            ):
                found.append(edge)
        return found

    def _exclusive_starts(self, one: Edge, other: Edge) -> bool:
        if one.caller is other.caller:
            return self._apart(one, other)
        common = self.entries(one.caller) & self.entries(other.caller)
        if not common:
            return one.caller.owner_class is None or one.caller.owner_class is not other.caller.owner_class
        return all(self._alternatives(entry, one.caller, other.caller) for entry in common)

    def _checked_first(self, edge: Edge) -> bool:
        """Say whether a start stands behind a test of what it starts (``if self.sender_task is None``)."""
        targets = {
            ir.source(target).rpartition(".")[2]
            for target in edge.caller.ir.ops[edge.op].targets
            if type(target) in (ir.Name, ir.Attr)
        }
        words = ("started", "running", "task", "thread", "alive", "worker")
        for condition in conditions(edge.caller, edge.op):
            names = set(names_in(condition.test))
            if names & targets or any(word in name.lower() for name in names for word in words):
                return True
        return False


def _may_feed(hop: Hop, get: QueueOp) -> bool:
    """Say whether what is taken from a queue can be what a hop hands on: it is kept, and not in another arm."""
    func = hop.func
    value = func.ir.ops[get.op].value
    while type(value) is ir.Await:
        value = value.value
    dropped = func.ir.ops[get.op].kind == "expr" and value is get.call
    return not dropped and not func.exclusive(func.ir.ops[get.op].block, func.ir.ops[hop.op].block)


def calls_behind(func: Func, op: int, node: ir.Expr, limit: int = 80) -> list[tuple[ir.Call, int]]:
    """Return the calls in one function that a value is made from, following local assignments backwards."""
    found: list[tuple[ir.Call, int]] = []
    stack: list[tuple[ir.Expr, int]] = [(node, op)]
    seen: set[tuple[str, int]] = set()
    while stack and limit:
        limit -= 1
        current, at = stack.pop()
        if type(current) is ir.Name:
            if (current.id, at) in seen:
                continue
            seen.add((current.id, at))
            for definition in func.reaching(current.id, at)[0]:
                value = func.ir.ops[definition].value
                if value is not None:
                    stack.append((value, definition))
            continue
        if type(current) is ir.Call:
            found.append((current, at))
        stack.extend((child, at) for child in ir.children(current))
    return found
