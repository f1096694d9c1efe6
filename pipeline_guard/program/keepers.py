"""Tells classes that the program keeps as values, in a registry of its own: who makes them then cannot be told."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Class
from pipeline_guard.program.link import Program
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name

# Decorators that return the class and forget it.
_FORGETFUL = frozenset({
    "dataclass", "define", "frozen", "mutable", "attrs", "s", "final", "runtime_checkable", "total_ordering", "unique",
    "deprecated", "dataclass_transform",
})  # fmt: skip


class Keepers:
    """Answers for the classes of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: dict[Class, bool] = {}

    def keeps(self, cls: Class) -> bool:
        """Say whether a decorator may keep a class, or a function of the program that it is handed to."""
        if cls not in self._known:
            self._known[cls] = self._is_decorated(cls) or self._is_handed_on(cls)
        return self._known[cls]

    def _is_decorated(self, cls: Class) -> bool:
        names = (last_name(node.func if type(node) is ir.Call else node) for node in cls.ir.decorators)
        return any(name not in _FORGETFUL for name in names)

    def _is_handed_on(self, cls: Class) -> bool:
        return any(
            reference.outer and last_name(reference.outer[0].func) in self._program.functions_by_name
            for func in self._program.functions_with(cls.name)
            if not is_test(func.module)
            for reference in func.references_named.get(cls.name, ())
        )
