"""Follows each primitive upwards: every call by which audio, or a trigger, enters the way to Realtime.

The way up ends at the function that owns the session: one that reads the caller's or the model's messages in a loop, or
that starts such a loop.  What starts that function starts a call, not an audio path or a response.
"""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import ENGINE_KINDS
from pipeline_guard.pipeline.feasible import Feasibility
from pipeline_guard.pipeline.hops import Hop, Walk
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.pipeline.queues import QueueIndex, QueueKey
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import conditions
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.spawners import SCHEDULERS
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.values import Frame, Function
from pipeline_guard.vocabulary import Vocabulary

_ZEROS = frozenset("\x00\xff\x7f")  # silence in linear and in μ-law samples
# The kind of what makes a service other than OpenAI Realtime answer: never part of a lane, read beside the others.
ANSWER = "answer"
_AUDIO_SPAWN = ("task", "thread", "executor", "timer", "callback", "register")


class Chains:
    """The hops of every kind."""

    def __init__(
        self, graph: CallGraph, reach: Reachability, queues: QueueIndex, vocabulary: Vocabulary, relays: set[Func]
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.queues = queues
        self.vocabulary = vocabulary
        self.hops: list[Hop] = []
        self._putters: set[Func] = set()
        self.pumps = reach.pumps
        self._feasibility = Feasibility(graph, relays)

    def build(self, sinks: list[Sink]) -> list[Hop]:
        """Return the hops of all sinks, primitives first."""
        for kind in dict.fromkeys(sink.kind for sink in sinks):
            self._follow(kind, [sink for sink in sinks if sink.kind == kind])
        return self.hops

    def wake_writers(self) -> None:
        """Have the calls resolved that lead to the writers of the queues on the way of audio: they lead to no sink."""
        senders = {hop.func for hop in self.hops if hop.kind == "audio_send"}
        done: set[Func] = set()
        for key, gets in self.queues.gets.items():
            if senders.isdisjoint(get.func for get in gets):
                continue
            stack = [put.func for put in self.queues.puts.get(key, ())]
            while stack:
                func = stack.pop()
                if func not in done and self.reach.entry_of(func) is None:
                    done.add(func)
                    stack.extend(edge.caller for edge in list(self.graph.calls_of(func)) if edge.caller.index != 0)

    def _follow(self, kind: str, sinks: list[Sink]) -> None:
        walk = Walk(kind)
        self._climbed: set[Func] = set()
        self._fed: set[Func] = set()
        for sink in sinks:
            call = sink.call
            top = self._stops(sink.func, sink.op, kind, None)
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
            if kind == "stt":
                self._feeders(walk, sink)
            self._go_on(walk, hop)
        while walk.queue:
            func = walk.queue.popleft()
            walk.queued.discard(func)
            for edge in list(self.graph.calls_of(func)) if func not in self._fed else ():
                self._climb(walk, func, edge)
            if kind in ENGINE_KINDS or kind in ("response_create", ANSWER):
                for put in self._worker_puts(walk, func):
                    if kind in ENGINE_KINDS:  # the queue is the engine's own affair: who fills it hands over
                        self._putters.add(put.func)
                        walk.pass_on(put.func, put.op, put.sinks)
                        continue
                    walk.take(put)
                    if not put.top:
                        walk.enqueue(put.func)
        self.hops.extend(walk.hops)

    def _climb(self, walk: Walk, func: Func, edge: Edge) -> None:
        """Go from a function that leads to a sink to one of its callers."""
        caller = edge.caller
        if edge.kind == "escape" or caller is func or is_test(caller.module) or _passes_through(edge):
            return
        if walk.kind in ENGINE_KINDS and edge.kind == "callback" and caller.index == 0:
            return  # what a module registers when it is loaded is no call
        if walk.kind in ENGINE_KINDS and (self._helps_itself(walk, func, edge) or _is_silence(edge.call)):
            return
        starts = walk.kind == "audio_send" and edge.kind in ("task", "thread", "executor", "timer")
        if starts and any(func.loop_of(op) is not None for op in walk.ops.get(func, ())):
            return  # starting a loop passes no audio on
        if edge.kind == "callback" and self.reach.entry_of(func) is not None:
            return
        if caller.index == 0 and edge.site is not None and _is_program_start(caller, edge):
            return
        below = walk.below(func, self._feasibility.switched_off(walk, func, edge))
        if not below or self._other_message(walk.kind, caller, edge.op):
            return
        top = self._stops(caller, edge.op, walk.kind, func) or edge.kind == "register"
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
        fresh = walk.take(hop)
        # What is handed a function at a place may also call it there: the place then does not end the way.
        again = walk.kind in ENGINE_KINDS and caller not in self._climbed
        if fresh or again:
            self._go_on(walk, hop)

    def _helps_itself(self, walk: Walk, func: Func, edge: Edge) -> bool:
        """Say whether a function finds by itself what an engine works on: who calls it hands neither audio nor text.

        One that runs the engine itself counts as its wrapper, and a closure shares the buffer of those around it.
        """
        if any(name != func.self_name for name in func.params):
            return False
        if edge.site is not None and last_name(edge.site.func) in SCHEDULERS:
            return False  # the job is the work
        if edge.kind in ("task", "thread", "timer"):
            return True
        runs = func in self._putters or any(
            sink.func is func for sinks in walk.ops.get(func, {}).values() for sink in sinks
        )
        return not runs and (walk.kind == "tts" or func.parent is None or func.parent.index == 0)

    def _stops(self, func: Func, op: int, kind: str, below: Func | None) -> bool:
        """Say whether the way up ends in ``func``, coming from operation ``op`` that calls ``below``."""
        if func.index == 0:
            return True
        if self.reach.entry_of(func) is not None:
            # A worker's job is handed its work by somebody.
            return kind not in ENGINE_KINDS or all(edge.kind != "job" for edge in self.graph.calls_of(func))
        if kind in ENGINE_KINDS and func.ir.is_generator:
            return False  # who asks it for the next piece drives it
        if kind == "audio_send" or kind in ENGINE_KINDS:
            return self.pumps.in_pump(func, op, audio=True) or self.pumps.is_owner(func, below)
        return self.pumps.has_pump(func) or self.pumps.is_owner(func, below)

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

    # -- queues of work

    def _works_off_queue(self, walk: Walk, func: Func) -> bool:
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

    def _go_on(self, walk: Walk, hop: Hop) -> None:
        """Follow the way further up from a hop: to its callers, or only to those who fill the queue before it."""
        if not hop.top:
            self._fed.discard(hop.func)
        elif not self._fed_by_queue(walk.kind, hop):
            return
        elif hop.func not in self._climbed:
            self._fed.add(hop.func)
        self._climbed.add(hop.func)
        walk.enqueue(hop.func)

    def _fed_by_queue(self, kind: str, hop: Hop) -> bool:
        """Say whether an engine's audio or text comes out of a queue here: whoever puts it there hands it over."""
        return kind in ENGINE_KINDS and self._queue_around(hop.func, hop.op) is not None

    def _feeders(self, walk: Walk, sink: Sink) -> None:
        """Let whoever puts audio on the queue lead to a recogniser that is given a generator over it."""
        nodes = [*sink.call.args, *(keyword.value for keyword in sink.call.keywords)]
        callees = [node.func for node in nodes if type(node) is ir.Call]
        generators = [
            value.func
            for callee in callees
            for value in self.graph.evaluator.eval(callee, Frame(sink.func, sink.op))
            if isinstance(value, Function) and value.func.ir.is_generator
        ]
        for key, gets in self.queues.gets.items() if generators else ():
            if any(get.func in generators for get in gets):
                for put in self.queues.puts.get(key, ()):
                    ends = type(put.argument) is ir.Const and put.argument.value is None  # the sign to stop
                    if not ends and put.func not in generators and not is_test(put.func.module):
                        self._putters.add(put.func)
                        walk.pass_on(put.func, put.op, (sink,))

    def _is_worker(self, func: Func) -> bool:
        """Say whether a function runs beside the call: somebody starts it as a task or thread."""
        return any(edge.kind in ("task", "thread", "executor") for edge in self.graph.calls_of(func))

    def _worker_puts(self, walk: Walk, func: Func) -> list[Hop]:
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
                top = self._stops(put.func, put.op, walk.kind, None)
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


def _is_silence(call: ir.Call | None) -> bool:
    """Say whether a call hands on nothing but zeros (``send(b"\\x00" * 160)``): that keeps a stream alive."""
    for arg in call.args if call is not None else ():
        parts = ir.children(arg) if type(arg) is ir.Other else [arg]
        for part in parts:
            if type(part) is ir.Const and isinstance(part.value, str) and part.value and set(part.value) <= _ZEROS:
                return True
    return False


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
