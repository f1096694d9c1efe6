"""Functions that hand on what they are given, and queues whose items a writer hands to a transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.events import EventReader, Typed
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.pipeline.primitives import Sink, SinkList
from pipeline_guard.pipeline.queues import QueueIndex, QueueKey, QueueOp
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.places import is_test
from pipeline_guard.program.values import Frame, JsonText, Mapping, Parameter, Thunk, Value, Values
from pipeline_guard.vocabulary import Vocabulary

MAX_RELAY_DEPTH = 6
Arguments = dict[str, Thunk]


class Relay(msgspec.Struct, frozen=True):
    """A function that hands on what it is given: ``evaluate`` reads the payload for given arguments."""

    func: Func
    evaluate: Callable[[Arguments | None], Values]
    provider: str
    depth: int


class Relays:
    """Follows relays to the calls that give them an event; what it finds goes into ``sinks``."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary, queues: QueueIndex, sinks: SinkList) -> None:
        self.graph = graph
        self.evaluator = graph.evaluator
        self.vocabulary = vocabulary
        self.queues = queues
        self.sinks = sinks
        self.functions: set[Func] = set()
        self._waiting: list[Relay] = []

    def add(self, parameter: Parameter, provider: str, func: Func, op: int, argument: ir.Expr) -> None:
        """Take in the function whose parameter decides what ``argument`` is, at operation ``op`` of ``func``."""

        def evaluate(env: Arguments | None) -> Values:
            return self.evaluator.eval(argument, Frame(func, op, env, 1))

        self._add(Relay(parameter.func, evaluate, provider, 1))

    def _add(self, relay: Relay) -> None:
        self.functions.add(relay.func)
        self._waiting.append(relay)

    def follow(self) -> None:
        """Look at the callers of every relay, and at the puts into queues that a writer hands to a transport."""
        self._follow_relays()
        done: set[QueueKey] = set()
        while True:
            waiting = [key for key in self.queues.control if key not in done]
            if not waiting:
                return
            done.update(waiting)
            for key in waiting:
                for put in self.queues.puts.get(key, ()):
                    if not is_test(put.func.module):
                        self._look_at_put(put, self.queues.control[key])
            self._follow_relays()

    def _follow_relays(self) -> None:
        visited: set[tuple[int, int, int]] = set()
        while self._waiting:
            relay = self._waiting.pop()
            for edge in self._calls_of(relay.func):
                key = (id(edge), id(relay.func), relay.depth)
                if key in visited or is_test(edge.caller.module):
                    continue
                visited.add(key)
                self._through_relay(relay, edge)

    def _calls_of(self, func: Func) -> Iterator[Edge]:
        for edge in list(self.graph.calls_of(func)):
            if edge.call is not None and edge.kind not in ("register", "escape"):
                yield edge

    def _through_relay(self, relay: Relay, edge: Edge) -> None:
        call = edge.call
        assert call is not None

        def evaluate(outer: Arguments | None) -> Values:
            frame = Frame(edge.caller, edge.op, outer, 1)
            return relay.evaluate(self.evaluator.bind(relay.func, call, frame, edge.bound))

        reader = EventReader(self.evaluator, self.vocabulary, Frame(edge.caller, edge.op))
        typed, parameters = reader.read(evaluate(None))
        own = [entry for entry in typed if not self._from_relay(relay, entry)]
        for entry in own:
            site = edge.site or call
            argument = call.args[0] if call.args else next((k.value for k in call.keywords), None)
            confidence: Confidence = "high" if edge.confidence == "high" else "medium"
            sink = Sink(
                entry.event.kind, edge.caller, edge.op, site, entry.value, relay.provider, confidence, "", argument
            )
            self.sinks.add(sink)
        for parameter in parameters:
            if relay.depth < MAX_RELAY_DEPTH and parameter.func is not relay.func:
                self._add(Relay(parameter.func, evaluate, relay.provider, relay.depth + 1))
        if not typed and not parameters:
            self.note_queue(evaluate(None), relay.provider)

    def _from_relay(self, relay: Relay, entry: Typed) -> bool:
        """Say whether the event is the relay's own (already a sink inside it) and not the caller's."""
        return any(sink.func is relay.func and _same_place(sink.payload, entry.value) for sink in self.sinks)

    # -- control queues: events that a writer task sends later

    def note_queue(self, values: Values, provider: str) -> None:
        """Remember the queues that values which are sent were taken from."""
        flat = [v for value in values for v in (value.inner if isinstance(value, JsonText) else (value,))]
        for value in flat:
            queue = self.queues.source_of(value)
            if queue is not None:
                self.queues.control.setdefault(queue, provider)

    def _look_at_put(self, put: QueueOp, provider: str) -> None:
        if put.argument is None:
            return
        frame = Frame(put.func, put.op)
        reader = EventReader(self.evaluator, self.vocabulary, frame)
        typed, parameters = reader.read(self.evaluator.eval(put.argument, frame))
        note = "by way of a queue of events"
        for entry in typed:
            kind = entry.event.kind
            sink = Sink(kind, put.func, put.op, put.call, entry.value, provider, "high", note, put.argument)
            self.sinks.add(sink)
        for parameter in parameters:
            self.add(parameter, provider, put.func, put.op, put.argument)


def _same_place(one: Value | None, other: Value) -> bool:
    """Say whether two events are written down at the same place (read for different calls they are not identical)."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.line:
        return one.line == other.line and one.func is other.func
    return one is other
