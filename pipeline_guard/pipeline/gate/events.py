"""Says on which server event an operation runs, and what else leads to it: a timeout, a barge-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.gate.clauses import Clause, Test, split
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.flow import conditions
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.values import Frame, Literal

CREATED = frozenset({"response.created"})
DONE = frozenset({"response.done"})
# All names under which code waits for the end of a response; only the first is an event of today's protocol.
ENDS = DONE | {"response.cancelled", "response.completed", "response.failed"}
# Events that end a part of a response; others of it may still come.
PARTS = frozenset(
    f"response.{part}.done"
    for part in (
        "audio", "output_audio", "audio_transcript", "output_audio_transcript", "text", "output_text", "content_part",
        "output_item",
    )
)  # fmt: skip
_MORE = frozenset({
    "conversation.item.added", "conversation.item.created", "conversation.item.done",
    "conversation.item.input_audio_transcription.completed", "conversation.item.input_audio_transcription.delta",
    "conversation.item.truncated", "error", "input_audio_buffer.committed", "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped", "input_audio_buffer.timeout_triggered", "rate_limits.updated",
    "response.audio.delta", "response.audio_transcript.delta", "response.cancelled", "response.completed",
    "response.content_part.added", "response.failed", "response.function_call_arguments.delta",
    "response.function_call_arguments.done", "response.output_audio.delta", "response.output_audio_transcript.delta",
    "response.output_item.added", "response.text.delta", "session.created", "session.updated",
})  # fmt: skip
EVENTS = CREATED | DONE | PARTS | _MORE
_BY_WORD = {re.sub(r"[^a-z]", "", event): event for event in EVENTS if event != "error"}
_REGISTERS = frozenset({"on", "add_handler", "add_event_handler", "register", "register_handler", "add_listener"})
_CLOCKS = frozenset({"time", "monotonic", "perf_counter", "utcnow", "now", "get_time"})
_BARGE = r"(?i:barge|interrupt)"
_TIMEOUTS = frozenset({"TimeoutError", "asyncio.TimeoutError", "Empty", "queue.Empty", "asyncio.QueueEmpty"})
MAX_DEPTH = 5
MAX_WAYS = 12


class Way(msgspec.Struct, frozen=True):
    """One way control gets to an operation: the events it needs, the tests it passes, and the calls from outside in.

    ``by`` is "timeout" or "barge_in" where the way says so and no event does; ``unknown`` says that nobody is known to
    call the outermost function.
    """

    events: frozenset[str]
    clauses: tuple[Clause, ...]
    calls: tuple[tuple[Func, int], ...]
    by: str = ""
    unknown: bool = False


class _Here(msgspec.Struct, frozen=True):
    """What the function of an operation itself says of when it runs: the tests before it, the events, what else."""

    clauses: tuple[Clause, ...]
    events: frozenset[str]
    by: str


class EventPlaces:
    """Answers on which events the operations of one program run."""

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph
        self.evaluator: Evaluator = graph.evaluator
        self._tables: dict[str, set[str]] = {}
        self._ways: dict[tuple[int, int], list[Way]] = {}
        self._places: dict[tuple[int, int], _Here] = {}

    def ways(self, func: Func, op: int) -> list[Way]:
        """Return the ways to an operation, each with the events on which it is taken."""
        key = (id(func), op)
        if key not in self._ways:
            self._ways[key] = list(self._lead(func, op, MAX_DEPTH, frozenset()))[:MAX_WAYS]
        return self._ways[key]

    def _lead(self, func: Func, op: int, depth: int, seen: frozenset[Func]) -> Iterator[Way]:
        here = self._place(func, op)
        clauses, events, by = here.clauses, here.events, here.by
        calls = ((func, op),)
        if events or by:
            yield Way(events, clauses, calls, by)
            return
        edges = [e for e in self._callers(func) if e.caller not in seen and e.caller is not func]
        if not edges or depth == 0:
            yield Way(frozenset(), clauses, calls, "", not edges and func.index != 0)
            return
        for edge in edges[:MAX_WAYS]:
            if edge.kind == "timer":
                yield Way(frozenset(), clauses, calls, "timeout")
                continue
            for way in self._lead(edge.caller, edge.op, depth - 1, seen | {func}):
                yield Way(way.events, (*way.clauses, *clauses), (*way.calls, *calls), way.by, way.unknown)

    def _place(self, func: Func, op: int) -> _Here:
        """Return what is read at a place itself, remembered: many ways lead through the same calls."""
        key = (id(func), op)
        if key not in self._places:
            tests = [Test(c.test, c.wanted, func, 0, 0) for c in conditions(func, op)]
            clauses = tuple(clause for test in tests for clause in split(test))
            dispatched = self.here(clauses)
            by = "" if dispatched else self._by(func, op, clauses)
            self._places[key] = _Here(clauses, frozenset(dispatched or self._named(func)), by)
        return self._places[key]

    def _callers(self, func: Func) -> list[Edge]:
        edges = [e for e in self.graph.calls_of(func) if not is_test(e.caller.module)]
        if not edges and func.parent is not None and func.parent.index != 0:
            edges = [e for e in self.graph.incoming.get(func, ()) if not is_test(e.caller.module)]
        return edges

    # -- events

    def here(self, clauses: tuple[Clause, ...]) -> set[str]:
        """Return the events in whose branch an operation stands, by the tests of its own function."""
        found: set[str] = set()
        for clause in clauses:
            events = [self._event_of(test) for test in clause]
            if events and all(events):  # an alternative that is no event leaves it open
                found |= set().union(*events)
                break  # innermost first: the narrowest dispatch decides
        return found

    def _event_of(self, test: Test) -> set[str]:
        node = test.node
        if type(node) is ir.Call and test.wanted:
            return set(self._of_call(node))
        if type(node) is not ir.Compare or len(node.ops) != 1:
            return set()
        op = node.ops[0]
        if (op in ("==", "in", "match", "is")) is not test.wanted or op not in (
            "==", "in", "match", "is", "!=", "not in", "is not",
        ):  # fmt: skip
            return set()
        words: set[str] = set()
        for part in (node.left, *node.rights):
            items = part.items if type(part) is ir.Seq else [part]
            words |= {word for item in items for word in self._words(item, test.func)}
        return words & EVENTS

    def _words(self, node: ir.Expr, func: Func) -> set[str]:
        if type(node) is ir.Const:
            return {node.value} if isinstance(node.value, str) else set()
        name = last_name(node)
        if name in _EVENT_CLASSES:
            return {_EVENT_CLASSES[name]}
        if name == "value" or name[:1].isupper():
            values = self.evaluator.eval(node, Frame(func, None))
            return {v.value for v in values if isinstance(v, Literal) and isinstance(v.value, str)}
        return set()

    @staticmethod
    def _of_call(node: ir.Call) -> Iterator[str]:
        if ir.source(node.func) == "isinstance" and len(node.args) == 2:
            classes = node.args[1].items if type(node.args[1]) is ir.Seq else [node.args[1]]
            for item in classes:
                event = _EVENT_CLASSES.get(last_name(item))
                if event is not None:
                    yield event

    # -- handlers that are registered, or named after their event

    def _named(self, func: Func) -> set[str]:
        if func.index == 0:
            return set()
        found = set(self._registered(func.name))
        for decorator in func.ir.decorators:
            if type(decorator) is ir.Call:
                found |= {word for arg in decorator.args for word in self._words(arg, func)} & EVENTS
        if not found:
            word = re.sub(r"[^a-z]", "", func.name.lower())
            word = word.removeprefix("on").removeprefix("handle").removeprefix("on")
            if len(word) > 8 and word in _BY_WORD:
                found = {_BY_WORD[word]}
        return found

    def _registered(self, name: str) -> set[str]:
        """Return the events for which a handler of this name is registered, by a dict display or a call."""
        if name not in self._tables:
            self._tables[name] = set()
            for value, func in self._handed_on(name):
                self._read_table(value, func, name)
        return self._tables[name]

    def _handed_on(self, name: str) -> Iterator[tuple[ir.Expr, Func]]:
        """Yield the expressions in which something of a name is handed on as a value."""
        for value, body in self._tables_of_classes:
            if any(last_name(handler) == name for handler in value.values):
                yield value, body
        for func in self.graph.program.functions_with(name):
            for reference in func.references_named.get(name, ()) if not is_test(func.module) else ():
                whole = func.ir.ops[reference.op].value
                if whole is not None:
                    yield whole, func

    @cached_property
    def _tables_of_classes(self) -> list[tuple[ir.DictNode, Func]]:
        return [
            (entry.value, module.body)
            for module in self.graph.program.modules.values()
            if not is_test(module)
            for cls in module.classes
            for entry in cls.ir.fields
            if type(entry.value) is ir.DictNode
        ]

    def _read_table(self, value: ir.Expr, func: Func, name: str) -> None:
        for node in walk(value):
            pairs: list[tuple[ir.Expr, ir.Expr]] = []
            if type(node) is ir.DictNode:
                pairs = [(k, v) for k, v in zip(node.keys, node.values, strict=True) if k is not None]
            elif type(node) is ir.Call and last_name(node.func) in _REGISTERS and len(node.args) >= 2:
                pairs = [(node.args[0], node.args[1])]
            for key, handler in pairs:
                if last_name(handler) == name:
                    self._tables[name] |= self._words(key, func) & EVENTS

    # -- what else leads here

    @staticmethod
    def _by(func: Func, op: int, clauses: tuple[Clause, ...]) -> str:
        for block in func.ancestors(func.ir.ops[op].block):
            entry = func.ir.blocks[block]
            if entry.kind == "except" and entry.test is not None:
                classes = entry.test.items if type(entry.test) is ir.Seq else [entry.test]
                if any(ir.source(item) in _TIMEOUTS and "Timeout" in ir.source(item) for item in classes):
                    return "timeout"
        if any(asks_clock(test.node) for clause in clauses for test in clause):
            return "timeout"
        if any(re.search(_BARGE, scope.name) for scope in func.enclosing()):
            return "barge_in"
        return ""


def asks_clock(node: ir.Expr) -> bool:
    """Say whether a test measures how long something has lasted: ``time.monotonic() - self.since > 10``."""
    if type(node) is not ir.Compare or not any(op in ("<", ">", "<=", ">=") for op in node.ops):
        return False
    return any(type(part) is ir.Call and last_name(part.func) in _CLOCKS for part in walk(node))


def _class_names() -> dict[str, str]:
    """Return the SDK's event class → event type: ``ResponseDoneEvent`` → ``response.done``."""
    found: dict[str, str] = {}
    for event in EVENTS:
        camel = "".join(part.capitalize() for part in re.split(r"[._]", event))
        found[f"{camel}Event"] = event
    found["RealtimeErrorEvent"] = "error"
    return found


_EVENT_CLASSES = _class_names()
