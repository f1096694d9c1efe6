"""Finds the primitives: the statements that hand a typed client event, or caller audio, to a Realtime transport."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.events import EventReader, mentions
from pipeline_guard.pipeline.primitives import Sink, SinkList
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.pipeline.relays import Relays
from pipeline_guard.pipeline.transports import Transports
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.values import UNKNOWN, External, Frame, Literal, Mapping, Thunk, Value, Values
from pipeline_guard.vocabulary import Vocabulary


class SinkFinder:
    """Collects the sinks of a program."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary, queues: QueueIndex) -> None:
        self.graph = graph
        self.evaluator = graph.evaluator
        self.vocabulary = vocabulary
        self.queues = queues
        self.transports = Transports(self.evaluator, vocabulary)
        self.sinks = SinkList()
        self.relays = Relays(graph, vocabulary, queues, self.sinks)
        self._methods = {call.method.rpartition(".")[2] for c in vocabulary.connections for call in c.calls}
        self._resolved: set[int] = set()
        self._worth_a_look: dict[str, bool] = {}

    def run(self) -> list[Sink]:
        """Return every sink, each once, in the order of files and lines."""
        self._resolved = self.graph.led_into_program()
        leftovers: list[tuple[Func, CallSite]] = []
        for func in list(self.graph.program.functions()):
            if is_test(func.module) or not any(map(self._may_send, func.ir.called)):
                continue
            for site in func.calls:
                if not self._may_send(last_name(site.call.func)):
                    continue
                if not func.is_dead(site.op) and not self._look(func, site):
                    leftovers.append((func, site))
        self.relays.follow()
        for func, site in leftovers:
            self._look_at_verb(func, site)
        return sorted(self.sinks, key=lambda s: (s.func.module.rel, s.call.line, s.call.column, s.kind))

    def _may_send(self, name: str) -> bool:
        """Say whether a call of a name may be a send."""
        if name not in self._worth_a_look:
            known = name in self._methods or name in self.vocabulary.send_methods
            lowered = name.lower()
            self._worth_a_look[name] = (
                known or name in self.vocabulary.sinks_by_name or any(verb in lowered for verb in self.vocabulary.verbs)
            )
        return self._worth_a_look[name]

    # -- single calls

    def _look(self, func: Func, site: CallSite) -> bool:
        """Classify one call; False when it may still be a send whose callee nothing is known about."""
        call = site.call
        name = last_name(call.func)
        users = name in self.vocabulary.sinks_by_name
        if type(call.func) is ir.Attr and (users or name in self._methods) and self._look_at_sdk(func, site):
            return True
        if users and self._look_at_user_sink(func, site):
            return True
        if name not in self.vocabulary.send_methods or id(call) in self._resolved:
            return False
        return self._look_at_transport(func, site)

    def _look_at_sdk(self, func: Func, site: CallSite) -> bool:
        call = site.call
        for connection in self.vocabulary.connections:
            for entry in connection.calls:
                receiver = _strip(call.func, entry.method)
                if receiver is None:
                    continue
                confidence = self.transports.connection_of(func, site, receiver, connection, entry)
                if confidence is None:
                    continue
                frame = Frame(func, site.op)
                argument = _argument(call, [entry.keyword] if entry.keyword else ["audio", "message"])
                payload = self._first(argument, frame)
                if entry.content and not (payload is not None and mentions(self.evaluator, payload, entry.content)):
                    continue
                note = f"{connection.name}: {entry.method}()"
                self.sinks.add(
                    Sink(entry.kind, func, site.op, call, payload, connection.provider, confidence, note, argument)
                )
                return True
        return False

    def _look_at_user_sink(self, func: Func, site: CallSite) -> bool:
        """Match a sink of the user's own: ``Class.method``, ``module.function`` or a bare name."""
        text = ir.source(site.call.func)
        values = self.evaluator.eval(site.call.func, Frame(func, site.op))
        names = {text, *(value.path for value in values if isinstance(value, External))}
        for edge in self.graph.edges_at(func, site.call):
            names |= {edge.callee.symbol, f"{'.'.join(edge.callee.module.parts)}.{edge.callee.symbol}"}
        for sink, kind in self.vocabulary.sinks.items():
            if any(name == sink or name.endswith(f".{sink}") for name in names):
                argument = site.call.args[0] if site.call.args else None
                payload = self._first(argument, Frame(func, site.op))
                self.sinks.add(
                    Sink(kind, func, site.op, site.call, payload, "openai", "high", f"your sink {sink}", argument)
                )
                return True
        return False

    def _look_at_transport(self, func: Func, site: CallSite) -> bool:
        call = site.call
        argument = _argument(call, self.vocabulary.payload_names)
        if argument is None:
            return True
        frame = Frame(func, site.op)
        provider, confidence = self.transports.direction(func, site)
        if provider is None:
            return True
        values = self.evaluator.eval(argument, frame)
        typed, parameters = EventReader(self.evaluator, self.vocabulary, frame).read(values)
        for entry in typed:
            self.sinks.add(Sink(entry.event.kind, func, site.op, call, entry.value, provider, confidence, "", argument))
        for parameter in parameters:
            self.relays.add(parameter, provider, func, site.op, argument)
        if not typed and not parameters:
            self.relays.note_queue(values, provider)
            if confidence == "high" and self.transports.passes_on(func, site, argument, values):
                note = "passes on what the other side sent, unread"
                self.sinks.add(Sink("audio_send", func, site.op, call, None, provider, "medium", note, argument))
        return bool(typed or parameters)

    def _first(self, argument: ir.Expr | None, frame: Frame) -> Value | None:
        if argument is None:
            return None
        values = [v for v in self.evaluator.eval(argument, frame) if v is not UNKNOWN]
        return values[0] if values else None

    # -- calls whose callee is not known

    def _look_at_verb(self, func: Func, site: CallSite) -> None:
        """Take a typed event given to something unknown as sent, when the callee's name says that it sends."""
        call = site.call
        name = last_name(call.func).lower()
        if not any(verb in name for verb in self.vocabulary.verbs) or not (call.args or call.keywords):
            return
        if not self.graph.carries_event(func, site) or (id(call) in self._resolved and not self._opaque(func, call)):
            return
        if self.queues.key_of(func, site.op, call) is not None:
            return
        frame = Frame(func, site.op)
        reader = EventReader(self.evaluator, self.vocabulary, frame)
        nodes = [*call.args[:3], *(k.value for k in call.keywords)]
        for node in nodes:
            values = self.evaluator.eval(node, frame)
            if len(call.args) > 1 and isinstance(values[0] if values else None, Literal):
                values = self._positional_event(call, frame)
            typed, _ = reader.read(values)
            provider, _ = self.transports.direction(func, site)
            for entry in typed:
                if provider is not None:
                    note = f"{ir.source(call.func)}() is not known; its name says that it sends"
                    self.sinks.add(
                        Sink(entry.event.kind, func, site.op, call, entry.value, provider, "medium", note, node)
                    )

    def _positional_event(self, call: ir.Call, frame: Frame) -> Values:
        """Read ``send_event("response.create", {...})`` as the event it names."""
        first = self.evaluator.eval(call.args[0], frame)
        kinds = [v for v in first if isinstance(v, Literal) and v.value in self.vocabulary.events]
        if not kinds:
            return first
        entries = {"type": [Thunk(call.args[0], frame)], "\0data": [Thunk(call.args[1], frame)]}
        return [Mapping(entries, True, call.line)]

    def _opaque(self, func: Func, call: ir.Call) -> bool:
        """Say whether every function this call leads to has no body to look into (an abstract method, a protocol)."""
        targets = [edge.callee for edge in self.graph.edges_at(func, call) if edge.kind != "register"]
        return bool(targets) and all(_is_hollow(target) for target in targets)


def _is_hollow(func: Func) -> bool:
    return all(op.kind in ("raise", "return") for op in func.ir.ops) and not func.calls


def _strip(node: ir.Expr, method: str) -> ir.Expr | None:
    """Return the receiver of ``receiver.a.b`` for the method path ``a.b``; None when the path is another."""
    current = node
    for part in reversed(method.split(".")):
        if type(current) is not ir.Attr or current.name != part:
            return None
        current = current.base
    return current


def _argument(call: ir.Call, names: Iterable[str]) -> ir.Expr | None:
    wanted = list(names)
    for keyword in call.keywords:
        # ``send(message, text=True)`` says how a message goes, not what it is.
        how = call.args and type(keyword.value) is ir.Const and not isinstance(keyword.value.value, str)
        if keyword.name in wanted and not how:
            return keyword.value
    return call.args[0] if call.args else None
