"""Proves that a rewritten file is still the program it was outside of what was edited, or says what went wrong."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator

from pipeline_guard.fixes.edits import Replacement
from pipeline_guard.fixes.source import Source
from pipeline_guard.fixes.tree import FUNCTIONS, Tree, own_nodes

_ALWAYS = frozenset((*dir(builtins), "__file__", "__path__", "__builtins__", "__annotations__", "WindowsError"))
_KIND = {ast.FunctionDef: "function", ast.AsyncFunctionDef: "coroutine"}


def complaint_about(before: Source, after: Source, replacements: Iterable[Replacement]) -> str | None:
    """Return why a rewritten file must not be written, or None: it compiles, nothing else changed, kinds stayed.

    Every statement that no replacement touches has to be there as before, and every function that is still there has
    to be the same kind: function, coroutine, generator or asynchronous generator.  The code is compiled, never run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Only where the file compiled before: code for a newer Python is judged by its syntax tree.
            if _compiles(before.text):
                compile(after.text, after.path, "exec", dont_inherit=True)
        old, new = Tree(before), Tree(after)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the result would not compile ({getattr(error, 'msg', None) or type(error).__name__})"
    unknown = sorted(unknown_names(after) - unknown_names(before))
    if unknown:
        return f"{unknown[0]} would mean nothing where it is used"
    spans = [(each.start, each.end) for each in replacements]
    lost = _untouched(old, spans) - _all_statements(new)
    if lost:
        return "a statement outside of the edits would change"
    before_kinds, after_kinds = _kinds(old), _kinds(new)
    for name, kind in before_kinds.items():
        if after_kinds.get(name, kind) != kind:
            return f"{name} would turn from {kind} into {after_kinds[name]}"
    return None


def unknown_names(source: Source) -> set[str]:
    """Return the names that functions read and that neither they, the module nor Python itself gives a value."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = symtable.symtable(source.text, source.path, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    tables = list(_tables(module))
    if re.search(r"^[ \t]*from[ \t].*\bimport[ \t(]*\*", source.text, re.MULTILINE):
        return set()  # anything may come from there
    given = {each.get_name() for each in module.get_symbols() if each.is_assigned() or each.is_imported()}
    given |= {each.get_name() for table in tables for each in table.get_symbols()
              if each.is_declared_global() and each.is_assigned()}  # fmt: skip
    read = {each.get_name() for table in tables for each in table.get_symbols()
            if each.is_global() and each.is_referenced()}  # fmt: skip
    return read - given - _ALWAYS


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _compiles(text: str) -> bool:
    try:
        compile(text, "before", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class _Counted(dict[str, int]):
    """How often each statement occurs; subtracting leaves what the other has fewer of."""

    def __sub__(self, other: _Counted) -> list[str]:
        return [key for key, count in self.items() if other.get(key, 0) < count]


def _untouched(tree: Tree, spans: list[tuple[int, int]]) -> _Counted:
    """Count the simple statements that lie outside of every span."""
    counted = _Counted()
    for statement in tree.suites:
        if hasattr(statement, "body"):
            continue
        start, end = tree.start(statement), tree.end(statement)
        if all(end <= first or start >= last for first, last in spans):
            _count(counted, statement)
    return counted


def _all_statements(tree: Tree) -> _Counted:
    counted = _Counted()
    for statement in tree.suites:
        if not hasattr(statement, "body"):
            _count(counted, statement)
    return counted


def _count(counted: _Counted, statement: ast.stmt) -> None:
    key = ast.dump(statement)
    counted[key] = counted.get(key, 0) + 1


def _kinds(tree: Tree) -> dict[str, str]:
    """Return the kind of each function by its qualified name (and its number among those of one name)."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for node in sorted((n for n in tree.parents if isinstance(n, FUNCTIONS)), key=lambda n: (n.lineno, n.col_offset)):
        above = [each.name for each in tree.above(node) if isinstance(each, (*FUNCTIONS, ast.ClassDef))]
        name = ".".join(reversed([node.name, *above]))
        counts[name] = number = counts.get(name, 0) + 1
        yields = any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in own_nodes(node))
        found[f"{name}#{number}"] = f"{'generating ' if yields else ''}{_KIND[type(node)]}"
    return found
