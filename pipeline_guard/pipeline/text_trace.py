"""Walks along the text of one recogniser, variable by variable, until it changes what is said or is put away."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.model import Step
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.pipeline.queues import GETS, PUTS, QueueOp
from pipeline_guard.pipeline.transcripts import TranscriptReader
from pipeline_guard.program.calls import Edge
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.values import External, Frame, Function, Instance

MAX_PLACES = 400
_REGISTERS = frozenset({"on", "connect", "add_listener", "subscribe", "on_transcript", "add_event_handler"})
_RECEIVES = frozenset({"recv", "receive", "receive_json", "receive_str", "receive_text", "events", "__anext__"})
_ITEM_CALLS = ("conversation.item.create", "conversation.create_item", "send_user_message", "send_text_message")
_RECORDS = frozenset({"Model", "DeclarativeBase", "Document", "SQLModel", "Base", "DeclarativeBaseNoMeta"})


class Fate(msgspec.Struct, frozen=True):
    """Where a text goes ("feeds_back", "log_only", "unknown"), and the way there."""

    value: str
    effects: tuple[Step, ...] = ()


class _Place(msgspec.Struct, frozen=True):
    """A variable that holds the text: a name in a function, or (``func`` None) an attribute of a class, a global."""

    func: Func | None
    name: str
    owner: Class | Module | None = None


def fate(reader: TranscriptReader, sink: Sink) -> Fate:
    """Return the fate of the text of one speech-to-text sink."""
    return _Trace(reader, sink).run()


def fate_at(reader: TranscriptReader, func: Func, op: int, sink: Sink) -> Fate:
    """Return the fate of the text that a call of a sink's wrapper returns."""
    return _Trace(reader, sink).run_from(func, op)


class _Trace:
    """One walk along a text."""

    def __init__(self, reader: TranscriptReader, sink: Sink) -> None:
        self.reader = reader
        self.graph = reader.graph
        self.sink = sink
        self.kept = False
        self.during = False  # a summary after the call asks a model as well, often by the same helper
        self.queue: deque[_Place] = deque()
        self.came: dict[_Place, tuple[_Place | None, Step]] = {}
        self.found: tuple[_Place | None, Step] | None = None
        self._returned: set[tuple[Func, Func | None]] = set()
        self._entered: dict[_Place, tuple[Func, int]] = {}

    def run(self) -> Fate:
        sink = self.sink
        self.during = self.reader.is_live(sink.func, sink.op)
        start = step_at(sink.func, sink.call.line, f"text from {sink.engine}")
        self._result(sink.func, sink.op, None, start)
        for place, step in self._handlers():
            self._reach(place, None, step)
        return self._follow(start)

    def run_from(self, func: Func, op: int) -> Fate:
        """Start where a wrapper's result appears."""
        self.during = self.reader.is_live(func, op)
        start = step_at(func, func.ir.ops[op].line, f"text from {self.sink.engine}")
        self._result(func, op, None, start)
        return self._follow(start)

    def _follow(self, start: Step) -> Fate:
        while self.queue and self.found is None and len(self.came) < MAX_PLACES:
            place = self.queue.popleft()
            if place.func is not None:
                self._spread(place.func, place)
            else:
                self._read_elsewhere(place)
        if self.found is not None:
            return Fate("feeds_back", self._way(start))
        return Fate("log_only" if self.kept else "unknown")

    def _way(self, start: Step) -> tuple[Step, ...]:
        assert self.found is not None
        steps: list[Step] = [self.found[1]]
        place = self.found[0]
        while place is not None:
            before, step = self.came[place]
            steps.append(step)
            place = before
        steps.append(start)
        steps.reverse()
        return tuple(dict.fromkeys(steps))[:12]

    def _reach(self, place: _Place, before: _Place | None, step: Step) -> None:
        if place not in self.came and place != before:
            self.came[place] = (before, step)
            self.queue.append(place)

    # -- where the text first appears

    def _handlers(self) -> Iterator[tuple[_Place, Step]]:
        """Yield what a streaming engine calls back with, and what is read from its socket."""
        owner = self.sink.func.owner_class
        functions = owner.own_functions if owner is not None else [self.sink.func, *self.sink.func.outermost.nested]
        callee = self.sink.call.func
        receiver = ir.source(callee.base) if type(callee) is ir.Attr else ""
        for func in functions:
            for handler in self._registered(func):
                for name in handler.params:
                    if name != handler.self_name:
                        note = f"called back by {self.sink.engine}"
                        yield _Place(handler, name), step_at(handler, handler.ir.line, note)
            receives = func.may_call(_RECEIVES)
            for op in func.ir.ops if receiver and receiver != "self" else ():
                if op.kind == "assign" and op.value is not None and self._comes_from(op.value, receiver, receives):
                    for name in _names(op.targets):
                        yield _Place(func, name), step_at(func, op.line, f"read from {receiver}")

    def _registered(self, func: Func) -> Iterator[Func]:
        """Yield the functions that a function registers to be called back."""
        for reference in func.references:
            if reference.outer and last_name(reference.outer[0].func) in _REGISTERS:
                for value in self.graph.evaluator.eval(reference.node, Frame(func, reference.op)):
                    if isinstance(value, Function):
                        yield value.func

    @staticmethod
    def _comes_from(node: ir.Expr, receiver: str, receives: bool) -> bool:
        if type(node) is ir.Elem and ir.source(node.value) == receiver:
            return True
        if not receives:
            return False
        return any(
            type(n) is ir.Call
            and type(n.func) is ir.Attr
            and n.func.name in _RECEIVES
            and ir.source(n.func.base) == receiver
            for n in walk(node)
        )

    def _result(self, func: Func, op: int, before: _Place | None, step: Step) -> None:
        """Take in what an operation does with the text that appears in it: assigns, returns or hands it on."""
        operation = func.ir.ops[op]
        self._assigned(func, op, before, step)
        if operation.kind in ("return", "yield"):
            self._returned_from(func, before)
        if operation.value is not None:
            for site in func.calls_at.get(op, ()):
                if site.call is not self.sink.call:
                    self._handed(func, op, site.call, before, step, None)

    def _assigned(self, func: Func, op: int, before: _Place | None, step: Step) -> None:
        for target in func.ir.ops[op].targets:
            for node in _flat(target):
                self._stored(func, op, node, before, step)

    def _stored(self, func: Func, op: int, node: ir.Expr, before: _Place | None, step: Step) -> None:
        while type(node) is ir.Sub:
            node = node.base
        line = func.ir.ops[op].line
        if type(node) is ir.Name:
            if node.id in func.ir.globals or self._is_global(func, node.id):
                note = f"kept in {node.id}"
                self._reach(_Place(None, node.id, self._home(func, node.id)), before, step_at(func, line, note))
            else:
                home = next((f for f in func.enclosing() if node.id in f.definitions or node.id in f.params), func)
                self._reach(_Place(home, node.id), before, step)
        elif type(node) is ir.Attr:
            own = type(node.base) is ir.Name and node.base.id == func.self_name
            owner = func.owner_class if own else self._class_of(func, op, node.base)
            if owner is None:
                self.kept = True  # an object of a library, or one that nothing is known of: a database's record
                return
            note = f"kept in {ir.source(node)}"
            self._reach(_Place(None, node.name, owner), before, step_at(func, line, note))

    def _class_of(self, func: Func, op: int, node: ir.Expr) -> Class | None:
        evaluator = self.graph.evaluator
        for value in evaluator.settled(evaluator.eval(node, Frame(func, op))):
            if isinstance(value, Instance) and not self._is_record(value.cls):
                return value.cls
        return None

    def _is_record(self, cls: Class) -> bool:
        """Say whether instances of a class are rows of a database (a model of SQLAlchemy, Django, Peewee …)."""
        return any(
            isinstance(entry, External) and entry.path.rpartition(".")[2] in _RECORDS
            for entry in self.graph.evaluator.mro(cls)
        ) or any(field.name in ("__tablename__", "__table__") for field in cls.ir.fields)

    @staticmethod
    def _is_global(func: Func, name: str) -> bool:
        return not any(
            name in scope.definitions or name in scope.params for scope in func.enclosing() if scope.index != 0
        )

    def _home(self, func: Func, name: str) -> Module:
        """Return the module that defines a global: this one, or the one that it is imported from."""
        for imp in func.module.body.imports.get(name, ()):
            rel = self.graph.program.find(imp.module, func.module, imp.level) if imp.attr == name else None
            module = self.graph.program.module(rel) if rel else None
            if module is not None:
                return module
        return func.module

    # -- inside a function

    def _spread(self, func: Func, place: _Place) -> None:
        scopes = [func, *_below(func)]
        for scope in scopes:
            if scope is not func and place.name in scope.params:
                continue
            for index in scope.mentions.get(place.name, ()):
                op = scope.ir.ops[index]
                step = step_at(scope, op.line)
                self._assigned(scope, index, place, step)
                if op.kind in ("return", "yield"):
                    self._returned_from(scope, place)
                for site in scope.calls_at.get(index, ()):
                    self._handed(scope, index, site.call, place, step, place.name)
            self._decides(scope, place)

    def _decides(self, func: Func, place: _Place) -> None:
        """Take in attributes that are set under a condition on the text: a state machine moves on."""
        for arm in func.arms_on.get(place.name, ()):
            block = func.ir.blocks[arm]
            for index in range(block.first, block.last):
                for target in func.ir.ops[index].targets:
                    if type(target) in (ir.Attr, ir.Sub):
                        self._stored(func, index, target, place, step_at(func, func.ir.ops[index].line))

    def _returned_from(self, func: Func, before: _Place | None) -> None:
        """Take in what a function returns: to the call that handed the text in, else to every call of it."""
        entry = self._entry_of(func, before)
        key = (func, entry[0] if entry is not None else None)
        if key in self._returned:
            return
        self._returned.add(key)
        if entry is not None:
            caller, op = entry
            self._result(caller, op, before, step_at(caller, caller.ir.ops[op].line, f"returned by {func.name}()"))
            return
        for edge in list(self.graph.calls_of(func)):
            if edge.kind in ("call", "executor", "task") and not is_test(edge.caller.module) and edge.site is not None:
                back = step_at(edge.caller, edge.line, f"returned by {func.name}()")
                self._result(edge.caller, edge.op, before, back)

    def _entry_of(self, func: Func, place: _Place | None) -> tuple[Func, int] | None:
        """Return the call by which the text came into a function as an argument; None when it began in there."""
        while place is not None and place.func is not None and place.func.outermost is func.outermost:
            if place in self._entered:
                return self._entered[place]
            place = self.came[place][0]
        return None

    def _handed(self, func: Func, op: int, call: ir.Call, place: _Place | None, step: Step, name: str | None) -> None:
        """Take in a call that is given the text; without a name the whole operation is the text."""
        nodes = [*call.args, *(keyword.value for keyword in call.keywords)]
        named = self.reader.names_below
        if name is not None and last_name(call.func) in self.reader.vocabulary.keeps and name in named(call.func):
            self.kept = True  # what holds the text is put away: ``session.commit()``
        if name is not None and not any(name in named(node) for node in nodes):
            return
        if name is None and not any(self._holds_sink(node) for node in nodes):
            return
        if (id(call) in self.reader.sends or self._goes_to_realtime(func, op, call)) and self._counts(func, op):
            self.found = (place, step_at(func, call.line, "sent to Realtime"))
            return
        last = last_name(call.func)
        edges = self._edges(func, op, call)
        for edge in edges:
            if edge.callee in self.reader.leading and self._counts(func, op):
                self.found = (place, step_at(func, call.line, f"{edge.callee.name}() takes it to Realtime"))
                return
            for parameter in self._parameters(edge, call, name):
                note = f"handed to {edge.callee.name}()"
                target = _Place(edge.callee, parameter)
                self._entered.setdefault(target, (func, op))
                self._reach(target, place, step_at(func, call.line, note))
        if edges:
            return
        gets = self._taken_by(func, op, call)
        if gets:
            for get in gets:
                self._result(get.func, get.op, place, step_at(func, call.line, "put on a queue"))
            return
        if self._is_brain(call) and self.during and self.reader.is_live(func, op):
            self.found = (place, step_at(func, call.line, "a model answers it during the call"))
            return
        if last in self.reader.vocabulary.keeps:
            self.kept = True
        elif type(call.func) is ir.Attr and last in ("append", "extend", "add", "update", "setdefault", "insert"):
            self._stored(func, op, call.func.base, place, step)

    def _taken_by(self, func: Func, op: int, call: ir.Call) -> list[QueueOp]:
        """Return where what a call puts on a queue is taken off it; the put itself may be handed to another loop."""
        queues = self.reader.queues
        key = queues.key_of(func, op, call) if last_name(call.func) not in GETS else None
        keys = [key] if key is not None else []
        if any(type(arg) is ir.Attr and arg.name in PUTS for arg in call.args):
            keys = [key for key, puts in queues.puts.items() if any(p.func is func and p.op == op for p in puts)]
        return [get for key in keys for get in queues.gets.get(key, ())]

    def _edges(self, func: Func, op: int, call: ir.Call) -> list[Edge]:
        """Return where a call leads, resolving one that nothing else had asked for."""
        found = [edge for edge in self.graph.edges_at(func, call) if edge.kind != "escape"]
        if not found and id(call) not in self.reader.resolved:
            self.reader.resolved.add(id(call))
            for value in self.graph.evaluator.eval(call.func, Frame(func, op)):
                if isinstance(value, Function):
                    self.graph.calls_of(value.func)
            found = [edge for edge in self.graph.edges_at(func, call) if edge.kind != "escape"]
        return found

    def _goes_to_realtime(self, func: Func, op: int, call: ir.Call) -> bool:
        """Say whether a call hands something to a Realtime connection, whatever kind of event that is."""
        if ir.source(call.func).endswith(_ITEM_CALLS):
            return True
        if last_name(call.func) not in self.reader.vocabulary.send_methods or type(call.func) is not ir.Attr:
            return False
        provider, confidence = self.reader.transports.direction(func, CallSite(call, op, ()))
        return provider == "openai" and confidence == "high"

    def _holds_sink(self, node: ir.Expr) -> bool:
        return True if node is self.sink.call else any(n is self.sink.call for n in walk(node))

    def _parameters(self, edge: Edge, call: ir.Call, name: str | None) -> Iterable[str]:
        names = list(edge.callee.params)
        offset = 1 if edge.bound and names and edge.callee.self_name == names[0] else 0
        for index, arg in enumerate(call.args):
            hit = self._holds_sink(arg) if name is None else name in self.reader.names_below(arg)
            if hit and index + offset < len(names):
                yield names[index + offset]
        for keyword in call.keywords:
            hit = self._holds_sink(keyword.value) if name is None else name in self.reader.names_below(keyword.value)
            if hit and keyword.name in names:
                yield keyword.name

    def _is_brain(self, call: ir.Call) -> bool:
        return f".{ir.source(call.func)}".endswith(self.reader.vocabulary.brain_ends)

    # -- outside it

    def _read_elsewhere(self, place: _Place) -> None:
        """Find live code that reads an attribute or a global which holds the text."""
        if isinstance(place.owner, Class):
            if not self.during and not self.reader.is_shared(place.owner):
                return  # an object of the call that is over: nobody else has it
            readers = list(self.reader.attribute_readers(place.owner, place.name))
        else:
            readers = [
                (func, index)
                for module in list(self.graph.program.modules.values())
                if module is place.owner or place.name in module.body.imports
                for func in module.functions
                if self._home(func, place.name) is place.owner
                for index in func.mentions.get(place.name, ())
            ]
        writer = self.came[place][1].symbol
        for func, op in readers:
            if func.symbol != writer and self._counts(func, op):
                line = func.ir.ops[op].line
                self.found = (place, step_at(func, line, f"{place.name} is read during the call"))
                return

    def _counts(self, func: Func, op: int) -> bool:
        return self.reader.is_live(func, op) and not func.is_dead(op)


def _names(targets: Iterable[ir.Expr]) -> Iterator[str]:
    for target in targets:
        for node in _flat(target):
            if type(node) is ir.Name:
                yield node.id


def _flat(target: ir.Expr) -> Iterator[ir.Expr]:
    if type(target) is ir.Seq:
        for item in target.items:
            yield from _flat(item)
    elif type(target) is ir.Star:
        yield from _flat(target.value)
    else:
        yield target


def _below(func: Func) -> list[Func]:
    found = list(func.nested)
    for inner in found:
        found.extend(inner.nested)
    return found
