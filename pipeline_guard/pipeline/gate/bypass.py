"""Reads what lets a call past the check of an active response: an argument, a flag, a timeout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.gate.clauses import FAILURE, TIMEOUT, Test
from pipeline_guard.pipeline.gate.events import asks_clock
from pipeline_guard.pipeline.gate.states import asked
from pipeline_guard.pipeline.model import Step
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import combined_truth, names_in
from pipeline_guard.program.places import is_test
from pipeline_guard.program.questions import Bindings
from pipeline_guard.program.values import Frame, Literal, Parameter, Value

if TYPE_CHECKING:
    from pipeline_guard.pipeline.gate.reader import Stand

FORCE = r"(?i:force|bypass|skip|override|ignore|unguarded|urgent|unconditional)"


class Crossing(msgspec.Struct, frozen=True):
    """What gets past a check: its name (None: nothing does), where it is asked, and the calls that make it true."""

    name: str | None = None
    places: tuple[Step, ...] = ()
    calls: tuple[Step, ...] = ()


class BypassReader:
    """Reads what gets past the checks of a gate."""

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph

    def read(self, stands: Sequence[Stand]) -> Crossing:
        """Return what gets past the markers of every stand; a stand that one marker holds shut has no bypass."""
        for stand in stands:
            if any(not ask.others for ask in stand.asks):
                continue
            for test in sorted((test for ask in stand.asks for test in ask.others), key=self._rank):
                name = self._name(test)
                if name and self._is_way_past(test, name):
                    place = step_at(test.func, test.func.ir.ops[test.op].line, name)
                    return Crossing(name, (place,), self._calls(test))
        return Crossing()

    @staticmethod
    def _rank(test: Test) -> int:
        names = list(names_in(test.node))
        if any(re.search(FORCE, name) for name in names):
            return 0
        return 1 if any(name in test.func.params and name != test.func.self_name for name in names) else 2

    @staticmethod
    def _is_way_past(test: Test, name: str) -> bool:
        """Say whether a test is made to let calls past: a timeout, an argument, a switch with a telling name.

        Other state of the session may be a further reason to wait, and is no way past for anyone to take.
        """
        if name in (TIMEOUT, FAILURE):
            return True
        names = list(names_in(test.node))
        return any(re.search(FORCE, n) for n in names) or any(
            n in test.func.params and n != test.func.self_name for n in names
        )

    @staticmethod
    def _name(test: Test) -> str:
        if type(test.node) is ir.Const:
            return test.node.value if test.node.value in (TIMEOUT, FAILURE) else ""
        if asks_clock(test.node):
            return TIMEOUT
        names = list(names_in(test.node))
        for telling in (*(n for n in names if re.search(FORCE, n)), *(n for n in names if n in test.func.params)):
            if telling != test.func.self_name:
                return telling
        found = asked(test.node, test.wanted, test.func)
        if found is not None:
            return found[0].name
        return next(iter(names_in(test.node)), "")

    def _calls(self, test: Test, depth: int = 3) -> tuple[Step, ...]:
        """Return the calls whose arguments make a test come out so that the check is passed by."""
        func = test.func
        names = [name for name in names_in(test.node) if name in func.params]
        found: list[Step] = []
        for edge in self.graph.calls_of(func) if names else ():
            if edge.call is None or edge.kind in ("register", "escape") or is_test(edge.caller.module):
                continue
            bound = self.graph.evaluator.bind(func, edge.call, Frame(edge.caller, edge.op), edge.bound)
            values = {name: self._given(name, func, bound) for name in names}
            handed = values[names[0]]
            if isinstance(handed, Parameter) and type(test.node) is ir.Name and depth:
                found += self._calls(test._replace(node=ir.Name(handed.name), func=handed.func), depth - 1)
            elif truth(test.node, values) is test.wanted:
                found.append(step_at(edge.caller, edge.line, f"calls {ir.source(edge.call.func)}() past the check"))
        return tuple(dict.fromkeys(found))

    def _given(self, name: str, func: Func, bound: Bindings) -> Value | None:
        """Return the one value that a call gives a parameter, or its default; None where there are several."""
        if name in bound:
            values = self.graph.evaluator.force(bound[name])
            return values[0] if len(values) == 1 else None
        default = func.params[name].default
        return Literal(default.value) if type(default) is ir.Const else None


def truth(node: ir.Expr, values: Mapping[str, Value | None]) -> bool | None:
    """Return how a test of parameters comes out for the given arguments; None where that cannot be told."""
    if type(node) is ir.Name:
        value = values.get(node.id)
        return bool(value.value) if isinstance(value, Literal) else None
    if type(node) is ir.Compare and len(node.ops) == 1 and type(node.left) is ir.Name:
        value = values.get(node.left.id)
        if not isinstance(value, Literal):
            return None
        right = node.rights[0]
        items = [i.value for i in (right.items if type(right) is ir.Seq else [right]) if type(i) is ir.Const]
        op = node.ops[0]
        if items and op in ("==", "is", "in"):
            return value.value in items
        if items and op in ("!=", "is not", "not in"):
            return value.value not in items
        return None
    return combined_truth(node, lambda part: truth(part, values))
