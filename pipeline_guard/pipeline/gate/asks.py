"""Which markers are asked on the way to an operation, through aliases, properties and helper functions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.gate.clauses import Clause, Test, any_of, before, on_one_run, split
from pipeline_guard.pipeline.gate.events import CREATED, DONE, PARTS
from pipeline_guard.pipeline.gate.markers import Marker, Markers
from pipeline_guard.pipeline.gate.states import asked, bare, constant_text
from pipeline_guard.program.code import Func
from pipeline_guard.program.values import Frame, Function, Instance
from pipeline_guard.vocabulary import Vocabulary

MAX_DEPTH = 4
DIRECT = 3  # calls from the branch of an event to the write it makes
KEPT = 3  # clauses of one way through a helper that are looked at together with those of the others
_ALIASED = (ir.Compare, ir.Bool, ir.Not, ir.Call, ir.Attr, ir.Await, ir.Sub)

# Functions in which a mark may be set, each with the operation it must be on the way of (None: any).
Around = Mapping[Func, "int | None"]


class Ask(msgspec.Struct, frozen=True):
    """A marker asked on the way to an operation; ``others`` are the tests that let control past all the same."""

    marker: Marker
    test: Test
    others: tuple[Test, ...]


class Follows(msgspec.Struct, frozen=True):
    """How a marker follows the server: busy on ``response.created``, idle at the end, or the other way round.

    ``directly``: the branch for an event of the response, or a function that it calls, makes it idle.
    """

    begins: bool
    ends: bool
    directly: bool
    inverted: bool


class Asks:
    """Reads the tests before an operation down to the markers they ask."""

    def __init__(self, markers: Markers, vocabulary: Vocabulary, names: frozenset[str]) -> None:
        self.markers = markers
        self.evaluator = markers.graph.evaluator
        self.vocabulary = vocabulary
        self.contract_names = names
        self._follows: dict[Marker, Follows] = {}

    def before(self, func: Func, op: int, around: Around) -> list[Ask]:
        """Return the markers asked before an operation.  ``around`` are the functions in which a mark may be set."""
        clauses = [e for clause in before(func, op) for e in any_of([self.expanded(test) for test in clause])]
        found = [ask for clause in _reduced(clauses) for ask in self._of_clause(clause, around)]
        found.sort(key=lambda ask: len(ask.others))
        return found

    def _of_clause(self, clause: Clause, around: Around) -> list[Ask]:
        held: list[tuple[Marker, Test]] = []
        others: list[Test] = []
        for test in clause:
            marker = self.marker_of(test)
            if marker is not None and self.is_marker(marker, {**dict.fromkeys(_own(test.func)), **around}):
                held.append((marker, test))
            else:
                others.append(test)
        if held and any(self._repeats(test, held) for test in others):
            others = [test for test in others if not self._repeats(test, held)]
        return [Ask(marker, test, tuple(others)) for marker, test in held]

    def _repeats(self, test: Test, held: list[tuple[Marker, Test]]) -> bool:
        """Say whether a test asks the same place for something else: ``hasattr(self, "active") and self.active``."""
        found = self.marker_of(test)
        return found is not None and any(found.name == marker.name for marker, _ in held)

    def marker_of(self, test: Test) -> Marker | None:
        """Return the place that a test asks, with the state in which it lets control through."""
        found = asked(test.node, test.wanted, test.func)
        return self.markers.marker(*found, test.func) if found is not None else None

    # -- what is a marker

    def is_marker(self, marker: Marker, around: Around) -> bool:
        """Say whether a place means "a response is active or asked for": by what sets and clears it, or by its name."""
        if marker.scope is not None and marker.name in marker.scope.params:
            return False
        follows = self.follows(marker)
        if follows.inverted:
            return False
        if follows.ends and follows.begins:
            return True
        places = [(f, target) for f, target in around.items() if target is not None or f is not marker.scope]
        if follows.directly and any(self.marks(func, marker, target) for func, target in places):
            return True
        return marker.name in self.contract_names or self.vocabulary.is_guard_name(marker.name)

    def follows(self, marker: Marker) -> Follows:
        """Return how a marker follows the server's events."""
        if marker not in self._follows:
            begins = ends = directly = early = wrong = False
            for write in self.markers.writes(marker):
                if write.idle is None:
                    continue
                ways = self.markers.ways(write, marker)
                events = frozenset(event for way in ways for event in way.events)
                ending = [way for way in ways if way.events & (CREATED | DONE | PARTS)]
                directly = directly or (write.idle and any(len(way.calls) <= DIRECT for way in ending))
                begins = begins or (bool(events & CREATED) and not write.idle)
                ends = ends or (bool(events & DONE) and write.idle)
                early = early or (bool(events & PARTS) and write.idle)
                here = any(way.events & (DONE | PARTS) and len(way.calls) == 1 for way in ways)
                wrong = wrong or (here and not write.idle)
            # What a test lets through while it is set is a guard only if the end of a response sets it.
            inverted = wrong and not ends
            if marker.idle.kind == "truthy":
                first = self.markers.first_states(marker)
                inverted = wrong or not ends or not (True in first or (begins and not first))
            self._follows[marker] = Follows(begins, ends or (begins and early), directly, inverted)
        return self._follows[marker]

    def marks(self, func: Func, marker: Marker, target: int | None = None) -> list[int]:
        """Return the operations of a function (on the way through ``target``) that turn a marker busy.

        They do so themselves, or through what they call.
        """
        return [
            op
            for op in range(len(func.ir.ops))
            if not func.is_dead(op)
            and (target is None or on_one_run(func, op, target))
            and any(idle is False for idle in self.markers.effects(func, op, marker, 1))
        ]

    # -- aliases, properties, helpers

    def expanded(self, test: Test, depth: int = 0) -> list[Clause]:
        """Return a test as clauses over the places it goes back to."""
        if depth > MAX_DEPTH:
            return [(test,)]
        node = bare(test.node)
        test = test._replace(node=node)
        if type(node) is ir.Compare and len(node.ops) == 1:
            return self._expanded_compare(node, test, depth)
        alias = self._alias(node, test, depth)
        if alias is not None:
            return self._all(split(alias), depth)
        targets = self._targets(node, test.func)
        if targets:
            ways = [self._through(target, test, None, depth) for target in targets]
            return any_of(ways) if all(ways) else [(test,)]
        return [(test,)]

    def _all(self, clauses: list[Clause], depth: int) -> list[Clause]:
        return [c for clause in clauses for c in any_of([self.expanded(test, depth + 1) for test in clause])]

    def _expanded_compare(self, node: ir.Compare, test: Test, depth: int) -> list[Clause]:
        left, op, right = bare(node.left), node.ops[0], node.rights[0]
        alias = self._alias(left, test, depth)
        if alias is not None:
            return self.expanded(alias._replace(node=ir.Compare(alias.node, node.ops, node.rights)), depth + 1)
        targets = self._targets(left, test.func) if op in ("is", "is not", "==", "!=") else []
        text = constant_text(right)
        if type(right) is ir.Const and not isinstance(right.value, str):
            wanted = (op in ("is", "==")) is (bool(right.value) is test.wanted)
            ways = [self._through(target, test._replace(wanted=wanted), None, depth) for target in targets]
        elif text is not None:
            same = (op in ("is", "==")) is test.wanted
            ways = [self._through(target, test, (text, same), depth) for target in targets]
        else:
            return [(test,)]
        return any_of(ways) if ways and all(ways) else [(test,)]

    def _alias(self, node: ir.Expr, test: Test, depth: int) -> Test | None:
        """Return what a local name was given: ``busy = self.active_response_id is not None``."""
        func = test.func
        if type(node) is not ir.Name or node.id in func.params or node.id not in func.definitions:
            return None
        found, _ = func.reaching(node.id, test.op)
        operation = func.ir.ops[found[0]] if len(found) == 1 else None
        if operation is None or operation.kind != "assign" or type(operation.value) not in _ALIASED:
            return None
        if len(operation.targets) != 1 or type(operation.targets[0]) is not ir.Name or operation.value is None:
            return None
        at = found[0] if depth == 0 else test.at
        return Test(operation.value, test.wanted, func, found[0], at)

    def _targets(self, node: ir.Expr, func: Func) -> list[Func]:
        """Return the functions of the program whose result an expression is: a call, or a property."""
        evaluator = self.evaluator
        if type(node) is ir.Call:
            values = evaluator.eval(node.func, Frame(func, None))
            return [value.func for value in values if isinstance(value, Function)]
        if type(node) is ir.Attr:
            bases = evaluator.settled(evaluator.eval(node.base, Frame(func, None)))
            methods = [evaluator.method(base.cls, node.name) for base in bases if isinstance(base, Instance)]
            return [method for method in methods if method is not None and method.is_property]
        return []

    def functions_of(self, node: ir.Expr, func: Func) -> list[Func]:
        """Return the functions of the program that an expression names or calls."""
        values = self.evaluator.eval(node.func if type(node) is ir.Call else node, Frame(func, None))
        return [value.func for value in values if isinstance(value, Function)]

    def _through(self, target: Func, test: Test, text: tuple[str, bool] | None, depth: int) -> list[Clause]:
        """Return what held inside a helper when it returned what the test wants of it.

        ``text`` is the constant it is compared with, and whether it must be that one.
        """
        ways: list[list[Clause]] = []
        for op, operation in enumerate(target.ir.ops):
            if operation.kind != "return" or target.is_dead(op):
                continue
            value = operation.value if operation.value is not None else ir.Const(None)
            fits = _fits(value, test.wanted, text)
            if fits is False:
                continue
            clauses = [tuple(t._replace(at=test.at) for t in clause) for clause in before(target, op)]
            if fits is None and text is None:
                clauses += split(Test(value, test.wanted, target, op, test.at))
            ways.append(self._all(clauses, depth))
        if _fits(ir.Const(None), test.wanted, text) is not False and not target.ir.blocks[0].leaves:
            ways.append(self._all(_off_the_end(target, test.at), depth))
        ways = [self._telling(way, target) for way in ways] if len(ways) > 1 else ways
        return any_of(ways) if ways else []

    def _telling(self, clauses: list[Clause], func: Func) -> list[Clause]:
        """Return the clauses of one way that speak of markers, else the first ones."""
        around: Around = {func: None}

        def rank(clause: Clause) -> int:
            marker = [self.marker_of(test) for test in clause]
            held = sum(m is not None and self.is_marker(m, around) for m in marker)
            return 0 if held == len(clause) else 1 if held else 2

        return sorted(clauses, key=rank)[:KEPT]


def _fits(value: ir.Expr, wanted: bool, text: tuple[str, bool] | None) -> bool | None:
    """Say whether a returned expression is what a test wants; None where its value decides."""
    if text is not None:
        own = constant_text(value)
        if own is not None:
            return (own == text[0]) is text[1]
        return not text[1] if type(value) is ir.Const else None
    if type(value) is ir.Const:
        return bool(value.value) is wanted
    if type(value) is ir.Seq:
        return bool(value.items) is wanted
    if type(value) is ir.DictNode or (type(value) is ir.Attr and constant_text(value) is not None):
        return wanted
    return None


def _off_the_end(target: Func, at: int) -> list[Clause]:
    """Return what holds when control runs off the end of a function."""
    clauses: list[Clause] = []
    for index in target.exits.get(0, ()):
        entry = target.ir.blocks[index]
        if entry.test is not None:
            clauses += split(Test(entry.test, entry.kind == "else", target, max(entry.first - 1, 0), at))
    return clauses


def _reduced(clauses: list[Clause]) -> list[Clause]:
    """Return the clauses without the alternatives that another clause rules out."""
    known = {_text(clause[0]): clause[0].wanted for clause in clauses if len(clause) == 1}
    result: list[Clause] = []
    for clause in clauses:
        left = tuple(test for test in clause if known.get(_text(test), test.wanted) is test.wanted)
        result.append(left or clause)
    return result


def _text(test: Test) -> tuple[str, str]:
    """Return a test as text by which the same test is recognised: its source, in the function of its names."""
    node = test.node
    text = ir.source(node)
    if type(node) is ir.Compare and len(node.ops) == 1:
        text = f"{ir.source(node.left)} {node.ops[0]} {ir.source(node.rights[0])}"
    scope = test.func.parent if test.func.name == "<lambda>" and test.func.parent is not None else test.func
    return (scope.place if "…" not in text else f"{id(node)}", text)


def _own(func: Func) -> list[Func]:
    """Return a function and those it is nested in."""
    return [scope for scope in func.enclosing() if scope.index != 0]
