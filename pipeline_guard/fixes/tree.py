"""The syntax tree of one source with what edits need to know: parents, blocks, and places counted in characters."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple, Union

from pipeline_guard.fixes.source import Source

FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef]  # noqa: UP007 - isinstance needs the tuple below
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Nodes that hold statements in lists, and the names of those lists.
_SUITES = ("body", "orelse", "finalbody")


class Suite(NamedTuple):
    """A list of statements and the node that holds it: the module, a function, an arm of an ``if``, a handler, …"""

    owner: ast.AST
    name: str
    statements: list[ast.stmt]


class Tree:
    """The tree of a source.  Raises SyntaxError where the source does not parse."""

    def __init__(self, source: Source) -> None:
        self.source = source
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.module = ast.parse(source.text)
        self.parents: dict[ast.AST, ast.AST] = {}
        self.suites: dict[ast.stmt, Suite] = {}
        stack: list[ast.AST] = [self.module]
        while stack:
            node = stack.pop()
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
                stack.append(child)
            for name in _SUITES:
                statements = getattr(node, name, None)
                if isinstance(statements, list):
                    suite = Suite(node, name, statements)
                    self.suites.update((statement, suite) for statement in statements)

    @cached_property
    def functions(self) -> list[FunctionNode]:
        """Every function, in the order of the text."""
        found = [node for node in self.parents if isinstance(node, FUNCTIONS)]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    @cached_property
    def imports(self) -> list[ast.Import | ast.ImportFrom]:
        """Every import, in the order of the text."""
        found = [node for node in self.parents if isinstance(node, (ast.Import, ast.ImportFrom))]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    def statements_of(self, function: FunctionNode) -> list[ast.stmt]:
        """Return the statements of a function that belong to no function or class inside it, in their order."""
        found = [node for node in own_nodes(function) if isinstance(node, ast.stmt)]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    @cached_property
    def _calls(self) -> dict[tuple[int, int], list[ast.Call]]:
        found: dict[tuple[int, int], list[ast.Call]] = {}
        for node in self.parents:
            if isinstance(node, ast.Call):
                found.setdefault((node.lineno, self.column(node)), []).append(node)
        return found

    def calls_at(self, line: int, column: int) -> list[ast.Call]:
        """Return the calls that begin at a place, the widest first (``a.b().c()`` holds two)."""
        return sorted(self._calls.get((line, column), ()), key=self.end, reverse=True)

    def calls_on_line(self, line: int) -> list[ast.Call]:
        """Return the calls that begin on a line, in their order."""
        found = [call for (row, _), calls in self._calls.items() if row == line for call in calls]
        return sorted(found, key=lambda call: (call.col_offset, -(call.end_col_offset or 0)))

    def function_at(self, line: int) -> FunctionNode | None:
        """Return the function whose ``def`` (or first decorator) stands at a line."""
        for node in self.parents:
            if isinstance(node, FUNCTIONS):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first <= line <= node.body[0].lineno and (line in (first, node.lineno)):
                    return node
        return None

    def statement_at(self, line: int) -> ast.stmt | None:
        """Return the outermost statement that begins at a line."""
        found = [node for node in self.suites if first_line(node) == line]
        return min(found, key=lambda node: (node.col_offset, -(node.end_lineno or 0)), default=None)

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """Return the innermost statement that a node is part of."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def function_of(self, node: ast.AST) -> ast.AST | None:
        """Return the function or lambda that a node's code belongs to, or None at module and class level."""
        for above in self.above(node):
            if isinstance(above, (*FUNCTIONS, ast.Lambda)):
                return above
            if isinstance(above, ast.ClassDef):
                return None
        return None

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what a node stands in, from the inside to the module."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    # -- places

    def _offset(self, line: int, byte_column: int) -> int:
        start = self.source.line_start(line)
        text = self.source.line(line)
        if text.isascii():
            return start + byte_column
        return start + len(text.encode()[:byte_column].decode("utf-8", "replace"))

    def start(self, node: ast.AST) -> int:
        """Return the offset at which a node begins (a decorated function: at ``def``)."""
        return self._offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Return the offset just behind a node."""
        return self._offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def column(self, node: ast.AST) -> int:
        """Return the 1-based column of a node, in characters."""
        line: int = node.lineno  # type: ignore[attr-defined]
        return self.start(node) - self.source.line_start(line) + 1

    def text(self, node: ast.AST) -> str:
        """Return the source text of a node."""
        return self.source.text[self.start(node) : self.end(node)]

    def indentation(self, line: int) -> str:
        """Return the blanks at the start of a line."""
        text = self.source.line(line)
        return text[: len(text) - len(text.lstrip(" \t\f"))]

    @cached_property
    def unit(self) -> str:
        """One level of indentation as this file writes it."""
        for node in self.suites:
            suite = self.suites[node]
            if isinstance(suite.owner, (*FUNCTIONS, ast.ClassDef)) and node.lineno > suite.owner.lineno:
                outer, inner = self.indentation(suite.owner.lineno), self.indentation(node.lineno)
                if inner.startswith(outer) and len(inner) > len(outer):
                    return inner[len(outer) :]
        return "    "

    # -- how statements stand in their lines

    def stands_alone(self, statement: ast.stmt) -> bool:
        """Say whether a statement has its lines to itself, comments aside."""
        before = self.source.text[self.source.line_start(first_line(statement)) : self._first_offset(statement)]
        if before.strip(" \t\f"):
            return False
        line = statement.end_lineno or statement.lineno
        behind = self.source.text[self.end(statement) : self.source.line_start(line + 1)].strip()
        return not behind or behind.startswith("#")

    def _first_offset(self, statement: ast.stmt) -> int:
        decorators = getattr(statement, "decorator_list", ())
        if not decorators:
            return self.start(statement)
        return self.source.text.rindex("@", 0, self.start(decorators[0]))


def first_line(statement: ast.stmt) -> int:
    """Return the line at which a statement begins, its decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def is_docstring(statement: ast.stmt) -> bool:
    """Say whether a statement is nothing but a string."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def is_generator(function: FunctionNode) -> bool:
    """Say whether a function's own code yields."""
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own_nodes(function))


def own_nodes(function: FunctionNode) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body that belong to no function, lambda or class inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))
