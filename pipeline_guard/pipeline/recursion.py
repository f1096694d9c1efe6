"""Finds triggers, and the wrappers that send for them, which end in a call of themselves on every way through."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.model import Step
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.trees import last_name, walk

_MAX_CYCLE = 6


class Recursion:
    """Follows the calls that a function cannot get around.

    An early ``return`` (the guard) is a way out only where what it tests can have changed by the next round; a call in
    a branch, a loop or an ``except`` is a retry and has its way out.
    """

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph

    def cycles(self, functions: Iterable[Func]) -> list[tuple[Func, tuple[Step, ...]]]:
        """Return the functions that call themselves for ever, each with the calls that lead round."""
        found: list[tuple[Func, tuple[Step, ...]]] = []
        told: set[Func] = set()
        for func in functions:
            if func in told:
                continue
            way = self._round(func, func, (), frozenset())
            if way:
                told.update(edge.caller for edge in way)
                steps = tuple(step_at(e.caller, e.line, f"calls {e.callee.name}()") for e in way)
                found.append((func, steps))
        return found

    def _round(self, start: Func, current: Func, way: tuple[Edge, ...], seen: frozenset[Func]) -> tuple[Edge, ...]:
        if len(way) >= _MAX_CYCLE:
            return ()
        for edge in self._unavoidable(current):
            if edge.callee is start:
                return (*way, edge)
            if edge.callee not in seen:
                found = self._round(start, edge.callee, (*way, edge), seen | {edge.callee})
                if found:
                    return found
        return ()

    def _unavoidable(self, func: Func) -> list[Edge]:
        """Return the calls that a function makes on every way through it, apart from its early exits."""
        for site in func.calls:  # what leads to no send may not have been resolved yet
            for target in self.graph.program.functions_by_name.get(last_name(site.call.func), ()):
                if target.module is func.module:
                    self.graph.calls_of(target)
        return [edge for edge in self.graph.outgoing.get(func, ()) if self._is_plain(edge) and self._is_bound(edge)]

    def _is_plain(self, edge: Edge) -> bool:
        """Say whether an edge is a call of a function by its own name, or of a method on ``self``."""
        if edge.kind != "call" or edge.confidence != "high" or edge.site is None or edge.caller.is_dead(edge.op):
            return False
        if edge.callee.ir.is_generator or (edge.callee.ir.is_async and not self._is_run(edge)):
            return False
        node = edge.site.func
        if type(node) is ir.Name:
            return edge.callee.cls is None
        same = edge.caller.owner_class is edge.callee.owner_class
        return type(node) is ir.Attr and type(node.base) is ir.Name and node.base.id == edge.caller.self_name and same

    @staticmethod
    def _is_run(edge: Edge) -> bool:
        """Say whether the coroutine that a call makes is awaited or returned at once."""
        op = edge.caller.ir.ops[edge.op]
        value = op.value.value if type(op.value) is ir.Await else op.value
        return value is edge.site and (type(op.value) is ir.Await or op.kind == "return")

    def _is_bound(self, edge: Edge) -> bool:
        func, op = edge.caller, edge.op
        blocks = func.ir.blocks
        for block in func.ancestors(func.ir.ops[op].block):
            if blocks[block].kind not in ("body", "try", "with", "finally"):
                return False
        exits = [index for index, o in enumerate(func.ir.ops[:op]) if o.kind in ("return", "raise", "exit")]
        tested = {name for index in exits for c in conditions(func, index) for name in names_in(c.test)}
        if not tested:
            return True
        before = func.ir.ops[:op]
        changed = {ir.source(target).rpartition(".")[2] for o in before for target in o.targets}
        paused = any(type(node) is ir.Await for o in before if o.value is not None for node in walk(o.value))
        # What is tested may come out otherwise next time: it is passed on, changed here, or by others meanwhile.
        return not paused and tested.isdisjoint(changed) and tested.isdisjoint(set(func.params) - {func.self_name})
