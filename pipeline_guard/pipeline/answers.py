"""Finds what makes speech-to-speech services other than OpenAI Realtime answer, and where one way does so twice.

None of it is a site of a lane or a finding: a baseline records it, so that it does not get worse unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.apart import known_at, written
from pipeline_guard.pipeline.apps import Apps
from pipeline_guard.pipeline.chains import ANSWER, Chains
from pipeline_guard.pipeline.evidence import Evidence, step_at
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Answer, Confidence
from pipeline_guard.pipeline.primitives import Sink, SinkList
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.pipeline.transports import Transports
from pipeline_guard.pipeline.triggers import GuardReader
from pipeline_guard.pipeline.waits import Waits
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.values import Frame, JsonText, Literal, Mapping, Value
from pipeline_guard.service_vocabulary import AnsweredCall, AnsweredMessage
from pipeline_guard.vocabulary import Connection, SdkCall, Vocabulary

_MAX_DEPTH = 6


class AnswerFinder:
    """Finds the statements that hand a service what it answers."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary, transports: Transports) -> None:
        self.graph = graph
        self.vocabulary = vocabulary
        self.transports = transports
        self._calls: dict[str, list[tuple[Connection, AnsweredCall]]] = {}
        self._messages: dict[str, tuple[AnsweredMessage, ...]] = {}
        for connection, answering in vocabulary.services:
            for call in answering.calls:
                self._calls.setdefault(call.method, []).append((connection, call))
            if answering.messages:
                self._messages[connection.provider] = answering.messages

    def run(self) -> list[Sink]:
        """Return the primitives, each once."""
        found = SinkList()
        own = self.graph.led_into_program()
        keys = {key for messages in self._messages.values() for message in messages for key in message.keys}
        if not any(func.has_strings(keys) for func in self.graph.program.functions()):
            self._messages = {}  # nobody speaks these protocols: no socket has to be asked where it leads
        names = self._calls.keys() | (self.vocabulary.send_methods if self._messages else set())
        for func in list(self.graph.program.functions()):
            if is_test(func.module) or not func.may_call(names):
                continue
            for site in func.calls:
                name = last_name(site.call.func)
                if name in names and id(site.call) not in own and not func.is_dead(site.op):
                    for sink in (*self._by_call(func, site, name), *self._by_message(func, site, name)):
                        found.add(sink)
        return list(found)

    def _by_call(self, func: Func, site: CallSite, name: str) -> Iterator[Sink]:
        if type(site.call.func) is not ir.Attr:
            return
        for connection, call in self._calls.get(name, ()):
            entry = SdkCall(call.method, ANSWER)
            if not self._is_answered(call, site.call):
                continue
            confidence = self.transports.connection_of(func, site, site.call.func.base, connection, entry)
            if confidence is not None:
                yield self._sink(func, site, connection.provider, confidence, call.method)

    @staticmethod
    def _is_answered(call: AnsweredCall, node: ir.Call) -> bool:
        given = {keyword.name: keyword.value for keyword in node.keywords}
        if call.unless and _is_false(given.get(call.unless)):
            return False
        return not call.needs or any(name in given and not _is_false(given[name]) for name in call.needs)

    def _by_message(self, func: Func, site: CallSite, name: str) -> Iterator[Sink]:
        if not self._messages or name not in self.vocabulary.send_methods or not site.call.args:
            return
        provider, confidence = self.transports.direction(func, site)
        for message in self._messages.get(provider or "", ()):
            for value in self.graph.evaluator.eval(site.call.args[0], Frame(func, site.op)):
                key = self._key_of(value, message)
                if key:
                    yield self._sink(func, site, provider or "", confidence, key)

    def _key_of(self, value: Value, message: AnsweredMessage) -> str:
        """Return the outer key by which a value is this message; empty when it is another."""
        if isinstance(value, JsonText):
            return next((key for inner in value.inner for key in [self._key_of(inner, message)] if key), "")
        if not isinstance(value, Mapping):
            return ""
        force = self.graph.evaluator.force_all
        for key in message.keys:
            inner = [v for v in force(value.entries.get(key, ())) if isinstance(v, Mapping)]
            if key not in value.entries:
                continue
            if message.needs and not any(name in v.entries for v in inner for name in message.needs):
                continue
            if any(
                isinstance(flag, Literal) and flag.value is False
                for v in inner
                for name in message.unless
                for flag in force(v.entries.get(name, ()))
            ):
                continue
            return key
        return ""

    @staticmethod
    def _sink(func: Func, site: CallSite, service: str, confidence: Confidence, what: str) -> Sink:
        return Sink(ANSWER, func, site.op, site.call, None, service, confidence, what)


def _is_false(node: ir.Expr | None) -> bool:
    return type(node) is ir.Const and not node.value


class AnswerReader:
    """Follows what is answered up through the backend's own functions, by the rules of responses."""

    def __init__(
        self, graph: CallGraph, reach: Reachability, queues: QueueIndex, vocabulary: Vocabulary, apps: Apps
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.queues = queues
        self.vocabulary = vocabulary
        self.apps = apps
        self.waits = Waits(graph, GuardReader(vocabulary), frozenset())

    def read(self, sinks: list[Sink], responses: Iterable[Hop] = ()) -> tuple[Answer, ...]:
        """Return every place that makes a service answer.

        ``responses`` are what creates responses: of services that speak OpenAI's protocol they count, and where one
        place leads to OpenAI as well it is left to the contract.  Calls that nothing had asked for are resolved on the
        way, so this has to come after everything else.
        """
        judged: set[tuple[Func, int, int]] = set()
        sinks = list(sinks)
        for hop in responses:
            if any(sink.provider == "openai" for sink in hop.sinks):
                judged.add((hop.func, hop.line, hop.column))
            elif hop.sink is not None:
                sinks.append(msgspec.structs.replace(hop.sink, kind=ANSWER, note="response.create"))
        if not sinks:
            return ()
        found = Chains(self.graph, self.reach, self.queues, self.vocabulary, set()).build(sinks)
        hops = [hop for hop in found if (hop.func, hop.line, hop.column) not in judged]
        self._wake(hops)
        reach = msgspec.structs.replace(self.reach, contexts={}, _opened=set(), _by_func={}, _sorted=0)
        reach.spread()
        evidence = Evidence(self.graph, reach)
        running: dict[Func, list[Hop]] = {}
        for hop in hops:
            if evidence.context(hop) not in QUIET_CONTEXTS:
                running.setdefault(hop.func, []).append(hop)
        answers = [self._answer(hop, evidence, running.get(hop.func, [])) for hop in hops]
        return tuple(sorted(answers, key=lambda each: (each.path, each.line, each.column, each.service)))

    def _wake(self, hops: list[Hop]) -> None:
        """Have the calls resolved by which the entry points come to the hops: they are not hot for the contract."""
        stack = [hop.func for hop in hops]
        done: set[Func] = set()
        while stack:
            func = stack.pop()
            if func not in done and self.reach.entry_of(func) is None:
                done.add(func)
                stack.extend(edge.caller for edge in list(self.graph.calls_of(func)) if edge.caller.index != 0)

    def _answer(self, hop: Hop, evidence: Evidence, beside: list[Hop]) -> Answer:
        before = self._before(hop, beside) if hop in beside else None
        app = self.apps.of(hop.func)
        return Answer(
            service=hop.sinks[0].provider,
            what=hop.sink.note if hop.sink is not None else hop.edge.callee.place if hop.edge is not None else "",
            path=hop.func.module.rel,
            line=hop.line,
            end_line=hop.end_line,
            column=hop.column,
            symbol=hop.func.symbol,
            context=evidence.context(hop),
            after=step_at(before.func, before.line) if before is not None else None,
            confidence=evidence.confidence(hop),
            reached_from=evidence.path(hop),
            app=app.name if app is not None else "",
        )

    # -- twice on one way

    def _before(self, hop: Hop, beside: list[Hop]) -> Hop | None:
        """Return the nearest place in the same function that has made the same service answer on the way to a hop."""
        services = {sink.provider for sink in hop.sinks}
        for other in sorted(beside, key=lambda each: -each.op):
            if other.op < hop.op and services & {sink.provider for sink in other.sinks} and self._leads(other, hop):
                return other
        return None

    def _leads(self, first: Hop, second: Hop) -> bool:
        func = first.func
        if not (_surely(first) and _surely(second)):
            return False
        waiting = self.waits.waiting(func)
        if first.op in waiting and first.sink is None:
            return False
        if second.op not in self.waits.paths(func).after(first.op, waiting):
            return False
        changed = written(self.graph, func, first.op, second.op - 1)
        return not known_at(func, first.op).without(changed).contradicts(known_at(func, second.op).without(changed))


def _surely(hop: Hop) -> bool:
    """Say whether a hop runs what it leads to at once and its way is known well enough."""
    return hop.edge is None or (hop.edge.kind in ("call", "task") and hop.edge.confidence != "low")
