"""What belongs to a lane besides its sites: its modules, those they import, and what the code there says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.grouping import Group
from pipeline_guard.pipeline.model import QUIET_CONTEXTS
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import walk

_MAX_CLIMB = 200
_IMPORTS_DEEP = 3  # a package's settings lie behind its __init__


class Word(msgspec.Struct, frozen=True):
    """A string constant: where it stands; ``built`` says that it is the type of a message that is made there."""

    text: str
    built: bool
    func: Func
    op: int | None
    line: int
    end_line: int


class Surroundings:
    """The code around one lane.

    ``modules`` hold sites of the lane, ``near`` also those that these import from: settings and names of events often
    have a file of their own.
    """

    def __init__(self, group: Group, graph: CallGraph, evidence: Evidence) -> None:
        self.graph = graph
        self.program = graph.program
        self.evidence = evidence
        own = [hop.func.module for hop in group.hops] + [config.func.module for config in group.configs]
        self.modules = list(dict.fromkeys(own))
        self._words: dict[Func, list[Word]] = {}

    @cached_property
    def near(self) -> list[Module]:
        found = dict.fromkeys(self.modules)
        level = list(self.modules)
        for _ in range(_IMPORTS_DEEP):
            fresh = dict.fromkeys(o for module in level for o in self._imports_of(module) if o not in found)
            level = list(fresh)
            found.update(fresh)
        return [module for module in found if not is_test(module)]

    def _imports_of(self, module: Module) -> list[Module]:
        return [other for f in module.functions for imp in f.ir.imports for other in self._imported(module, imp)]

    def _imported(self, module: Module, imp: ir.Import) -> Iterator[Module]:
        dotted = [imp.module] if imp.attr in (None, "*") else [imp.module, f"{imp.module}.{imp.attr}".lstrip(".")]
        for name in dotted:
            rel = self.program.find(name, module, imp.level)
            if rel is not None and rel in self.program.modules:
                yield self.program.modules[rel]

    def texts_with(self, parts: Iterable[str]) -> list[str]:
        """Return the string constants that hold one of several parts, in code that runs, here and in files near."""
        return [text for text in sorted(self._held(parts)) if self.words(text)]

    def says(self, parts: Iterable[str], *, any_case: bool = False) -> bool:
        """Say whether there is a string constant that holds one of several parts, in code that runs."""
        return any(self.words(text) for text in self._held(parts, any_case=any_case))

    def _held(self, parts: Iterable[str], *, any_case: bool = False) -> set[str]:
        """Return the string constants that hold one of several parts, in code that is dead too."""
        everything = self._everything.lower() if any_case else self._everything
        wanted = [part for part in parts if part in everything]
        return {
            text for part in wanted for text in self._texts if part in (text.lower() if any_case else text)
        }  # fmt: skip

    def words(self, text: str) -> list[Word]:
        """Return the places of a string constant in code that runs, in the lane's files and those near them."""
        if text not in self._texts:
            return []
        found: list[Word] = []
        for module in self.near:
            for func in module.functions:
                if text in func.ir.strings:
                    found += [word for word in self._words_of(func) if word.text == text]
            for cls in module.classes:
                for field in cls.ir.fields if text in cls.scope.ir.strings else ():
                    for here, built in _strings(field.value) if field.value is not None else ():
                        if here == text:
                            found.append(Word(text, built, cls.scope, None, field.line, field.line))
        return found

    def _words_of(self, func: Func) -> list[Word]:
        if func not in self._words:
            self._words[func] = list(_words_of(func))
        return self._words[func]

    @cached_property
    def _texts(self) -> frozenset[str]:
        """The string constants of the files here and near, those in code that is dead among them."""
        return frozenset().union(*(func.ir.strings for module in self.near for func in module.functions))

    @cached_property
    def _everything(self) -> str:
        return "\0".join(self._texts)

    @cached_property
    def imported(self) -> frozenset[str]:
        """The dotted names of all that the lane's own files import."""
        return frozenset(name for module in self.modules for name in module.imported)

    def runs(self, func: Func, op: int | None) -> bool:
        """Say whether an operation runs during calls, or before them; a module's own code runs when it is loaded."""
        if op is not None and func.is_dead(op):
            return False
        if func.index == 0 or self.evidence.context_at(func, op, None) not in QUIET_CONTEXTS:
            return True
        if self.evidence.reach.flags.closed(func, op or 0) is not None:
            return False
        return self._is_called(func)

    def _is_called(self, func: Func) -> bool:
        """Say whether running code calls a function that leads to no event, and so to nothing that was followed."""
        seen = {func}
        stack = [func]
        while stack and len(seen) < _MAX_CLIMB:
            current = stack.pop()
            if current.is_property or current.name in ("__init__", "__post_init__", "__aenter__", "__enter__"):
                return True  # called without its name
            for edge in list(self.graph.calls_of(current)):
                caller = edge.caller
                if edge.kind == "escape" or caller in seen or is_test(caller.module):
                    continue
                seen.add(caller)
                if caller.index == 0 or self.evidence.context_at(caller, edge.op, None) not in QUIET_CONTEXTS:
                    return True
                stack.append(caller)
        return False


def _words_of(func: Func) -> Iterator[Word]:
    for index, op in enumerate(func.ir.ops):
        if func.is_dead(index):
            continue
        for node in (op.value, *op.targets):
            for text, built in _strings(node) if node is not None else ():
                yield Word(text, built, func, index, op.line, op.line if op.kind == "test" else op.end_line)
    for block in func.ir.blocks:
        if block.kind == "case" and block.test is not None:
            for text, built in _strings(block.test):
                yield Word(text, built, func, None, block.line, block.line)


def _strings(node: ir.Expr) -> Iterator[tuple[str, bool]]:
    made: set[int] = set()
    for current in walk(node):  # each node before its children
        if type(current) is ir.DictNode:
            for key, value in zip(current.keys, current.values, strict=True):
                if type(key) is ir.Const and key.value in ("type", "event"):
                    made.add(id(value))
        elif type(current) is ir.Const and isinstance(current.value, str):
            yield current.value, id(current) in made
