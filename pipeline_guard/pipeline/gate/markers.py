"""Finds what is written to the places that a guard asks: by whom, in which state it leaves them, on which event."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.gate.events import EventPlaces, Way
from pipeline_guard.pipeline.gate.states import Change, Place, State, changes, changing, matches
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.places import is_test
from pipeline_guard.program.values import Frame, Function, Instance

EFFECT_DEPTH = 3
_CONSTRUCTORS = frozenset({"__init__", "__post_init__", "__new__"})


class Marker(msgspec.Struct, frozen=True):
    """A place that a guard asks, and the state in which it lets a response through."""

    name: str
    scope: Func | None
    owners: frozenset[Class]
    idle: State


class Write(msgspec.Struct, frozen=True):
    """An operation that writes a marker.  ``idle``: it lets responses through again; None: that cannot be told."""

    func: Func
    op: int
    idle: bool | None
    change: Change


class Markers:
    """The writes of the whole program, looked up by marker."""

    def __init__(self, graph: CallGraph, events: EventPlaces) -> None:
        self.graph = graph
        self.events = events
        self._index: dict[str, list[tuple[Func, int, Change]]] = {}
        self._known: dict[tuple[int, int], list[Change]] = {}
        self._by_func: dict[Func, dict[str, list[int]]] = {}
        self._effects: dict[tuple[int, int, int], list[tuple[Func, int, Change]]] = {}
        self._families: dict[tuple[Class, Class], bool] = {}

    def marker(self, place: Place, idle: State, func: Func) -> Marker:
        """Return a place as a marker; ``func`` is where it was read."""
        return Marker(place.name, place.scope, self.owners(place, func), idle)

    def owners(self, place: Place, func: Func) -> frozenset[Class]:
        """Return the classes whose instances may hold a place; empty where that cannot be told."""
        if place.base is None:
            return frozenset()
        if type(place.base) is ir.Name and place.base.id == func.self_name:
            return frozenset({func.owner_class} if func.owner_class is not None else ())
        values = self.graph.evaluator.eval(place.base, Frame(func, None))
        values = self.graph.evaluator.settled(values)
        return frozenset(value.cls for value in values if isinstance(value, Instance))

    def writes(self, marker: Marker) -> Iterator[Write]:
        """Yield the operations that write a marker anywhere in the program (constructors and dead code apart)."""
        for func, op, change in self.written(marker.name):
            if func.is_dead(op) or func.name in _CONSTRUCTORS:
                continue
            if self._is_same(marker, change.place, func):
                yield Write(func, op, matches(marker.idle, change.state), change)

    def first_states(self, marker: Marker) -> set[bool | None]:
        """Return how a marker starts, by its constructor or where the variable is made: idle or not."""
        return {
            matches(marker.idle, change.state)
            for func, _, change in self.written(marker.name)
            if (func.name in _CONSTRUCTORS or func is marker.scope) and self._is_same(marker, change.place, func)
        }

    def written(self, name: str) -> list[tuple[Func, int, Change]]:
        """Return every operation that writes a place of this name."""
        if name not in self._index:
            self._index[name] = [
                (func, op, change)
                for func in self.graph.program.functions_with(name)
                if not is_test(func.module)
                for op in self._changing(func).get(name, ())
                for change in self._changes(func, op)
                if change.place.name == name
            ]
        return self._index[name]

    def _changing(self, func: Func) -> dict[str, list[int]]:
        if func not in self._by_func:
            self._by_func[func] = changing(func)
        return self._by_func[func]

    def names_in(self, module: Module) -> list[str]:
        """Return what may be the names of places that a file writes, in a fixed order."""
        return sorted(set().union(*(func.ir.words | func.ir.strings for func in module.functions)))

    def _changes(self, func: Func, op: int) -> list[Change]:
        key = (id(func), op)
        if key not in self._known:
            self._known[key] = list(changes(func, op))
        return self._known[key]

    def effects(self, func: Func, op: int, marker: Marker, depth: int = EFFECT_DEPTH) -> Iterator[bool | None]:
        """Yield what an operation, or a function that it calls, does to a marker: True where it ends up idle."""
        for where, _, change in self._effects_of(func, op, depth):
            if change.place.name == marker.name and self._is_same(marker, change.place, where):
                yield matches(marker.idle, change.state)

    def _effects_of(self, func: Func, op: int, depth: int) -> list[tuple[Func, int, Change]]:
        key = (id(func), op, depth)
        if key not in self._effects:
            self._effects[key] = []  # recursion ends here
            found = [(func, op, change) for change in self._changes(func, op)]
            if depth and func.calls_at.get(op):
                for callee in self.callees(func, op):
                    for index in range(len(callee.ir.ops)):
                        if not callee.is_dead(index):
                            found += self._effects_of(callee, index, depth - 1)
            self._effects[key] = found
        return self._effects[key]

    def callees(self, func: Func, op: int) -> list[Func]:
        """Return the functions of the program that an operation calls here and now (not those it only schedules)."""
        found: list[Func] = []
        for site in func.calls_at.get(op, ()):
            for value in self.graph.evaluator.eval(site.call.func, Frame(func, op)):
                if isinstance(value, Function) and not is_test(value.func.module) and value.func not in found:
                    found.append(value.func)
        return found

    def ways(self, write: Write, marker: Marker) -> list[Way]:
        """Return the ways to a write.

        A variable lives for one call of its function, so only the events that this very call handles change it.
        """
        ways = self.events.ways(write.func, write.op)
        scope = marker.scope
        if scope is None or scope.index == 0:
            return ways
        return [way for way in ways if way.calls and scope in way.calls[0][0].enclosing()]

    def _is_same(self, marker: Marker, place: Place, func: Func) -> bool:
        if marker.name != place.name or marker.scope is not place.scope:
            return False
        if marker.scope is not None:
            return True
        owners = self.owners(place, func)
        if not owners or not marker.owners:
            return True  # an object that could not be told: the name decides
        return any(self._related(one, other) for one in marker.owners for other in owners)

    def _related(self, one: Class, other: Class) -> bool:
        """Say whether an object can be of both classes: one derives from the other, or a third from both."""
        key = (one, other)
        if key not in self._families:
            evaluator = self.graph.evaluator
            ones, others = ({c, *evaluator.subclasses(c)} for c in (one, other))
            bases_one = {c for c in evaluator.mro(one) if isinstance(c, Class)}
            bases_other = {c for c in evaluator.mro(other) if isinstance(c, Class)}
            self._families[key] = bool(ones & others) or one in bases_other or other in bases_one
        return self._families[key]
