"""The sites at which an active-response flag or id is set, cleared and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.model import Kind, Site
from pipeline_guard.pipeline.triggers import GuardReader, set_names
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in

_CHANGES: tuple[tuple[bool, Kind], ...] = ((False, "guard_set"), (True, "guard_clear"))

_SETS = frozenset({"assign", "expr"})  # the kinds of operations that can set a name


class GuardSites:
    """Collects guard sites in the classes and files of a lane."""

    def __init__(self, reader: GuardReader, evidence: Evidence) -> None:
        self.reader = reader
        self.evidence = evidence

    def sites(self, functions: Iterable[Func], names: frozenset[str]) -> Iterator[Site]:
        """Yield the guard sites of the code around the given functions."""
        modules = {func.module for func in functions}
        classes = {func.owner_class for func in functions}
        for module in modules:
            for func in module.functions:
                if func.owner_class in classes or func.owner_class is None:
                    yield from self._in(func, names)

    def _in(self, func: Func, names: frozenset[str]) -> Iterator[Site]:
        for index, op in enumerate(func.ir.ops):
            for kind in self._kinds(op, names):
                if not func.is_dead(index):
                    yield self._site(kind, func, index, op)

    def _kinds(self, op: ir.Op, names: frozenset[str]) -> list[Kind]:
        """Return what an operation does with a flag."""
        if op.kind == "test":
            asked = names_in(op.value) if op.value is not None else ()
            return ["guard_check"] if any(self.reader.is_guard(name, names) for name in asked) else []
        if op.kind not in _SETS:
            return []
        return [
            kind
            for clearing, kind in _CHANGES
            if any(self.reader.is_guard(name, names) for name in set_names(op, clearing=clearing))
        ]

    def _site(self, kind: Kind, func: Func, index: int, op: ir.Op) -> Site:
        return Site(
            kind=kind,
            path=func.module.rel,
            line=op.line,
            end_line=op.line if op.kind == "test" else op.end_line,
            column=1,
            symbol=func.symbol,
            context=self.evidence.context_at(func, index, None),
            value=self._event(func, index),
        )

    def _event(self, func: Func, op: int) -> str:
        """Return the event under whose test an operation stands, else the name of its function."""
        for condition in conditions(func, op):
            if condition.wanted and not condition.early and type(condition.test) is ir.Compare:
                for right in condition.test.rights:
                    items = right.items if type(right) is ir.Seq else [right]
                    for item in items:
                        if type(item) is ir.Const and isinstance(item.value, str) and "." in item.value:
                            return item.value
        return func.name
