"""Finds the code that reads the server's events, and where in it every event passes before it is told apart."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline_guard.fixes.edits import CannotRewrite
from pipeline_guard.fixes.tree import FunctionNode, Tree, own_nodes

_PREFIXES = ("response.", "input_audio_buffer.", "conversation.item.", "session.")
_NOT_FROM_SERVER = frozenset(
    """
    response.create response.cancel session.update input_audio_buffer.append input_audio_buffer.commit
    input_audio_buffer.clear conversation.item.create conversation.item.truncate
    """.split()
)


# Keys of server events, as they are read out of the dict that an event is.
_KEYS = "response|error|delta|item|item_id|transcript|call_id|arguments|name"


class Reader(NamedTuple):
    """A function that tells server events apart: before ``statement`` each of them passes.

    ``kind`` is the text of the event's type, ``event`` that of the event; ``typed`` says that it has attributes, not
    keys.
    """

    path: str
    function: FunctionNode
    statement: ast.stmt
    kind: str
    event: str
    typed: bool


def event_names(trees: Iterable[Tree]) -> frozenset[str]:
    """Return the constants that hold the names of server events: ``NAME`` of a file, ``Class.NAME`` of a class."""
    found: set[str] = set()
    for tree in trees:
        for owner in tree.parents:
            if isinstance(owner, (ast.Assign, ast.AnnAssign)) and owner.value is not None and _is_event(owner.value):
                target = owner.targets[0] if isinstance(owner, ast.Assign) else owner.target
                above = tree.parents[owner]
                if isinstance(target, ast.Name) and isinstance(above, ast.ClassDef):
                    found.add(f"{above.name}.{target.id}")
                elif isinstance(target, ast.Name) and isinstance(above, ast.Module):
                    found.add(target.id)
    return frozenset(found)


def readers(tree: Tree, path: str, names: frozenset[str] = frozenset()) -> list[tuple[int, Reader]]:
    """Return the readers in a file, each with the number of events that it tells apart.

    ``names`` are the constants that hold names of events.
    """
    found: list[tuple[int, Reader]] = []
    for function in tree.functions:
        tests = list(_tests(function, names))
        if not tests:
            continue
        reader = _reader(tree, path, function, tests)
        if reader is not None:
            found.append((len(tests), reader))
    return found


def _tests(function: FunctionNode, known: frozenset[str]) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Yield the comparisons of something with a server event's name, with that something."""
    for node in own_nodes(function):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.In)):
            sides = (node.left, node.comparators[0])
            if isinstance(node.ops[0], ast.In):
                sides = (node.left, node.comparators[0])
                names = [each for each in ast.walk(sides[1]) if _is_event(each, known)]
                if names and not _is_event(sides[0], known):
                    yield node, sides[0]
            elif _is_event(sides[1], known):
                yield node, sides[0]
            elif _is_event(sides[0], known):
                yield node, sides[1]
        elif isinstance(node, ast.Match):
            names = [each for case in node.cases for each in ast.walk(case.pattern) if _is_event(each, known)]
            if names:
                yield node, node.subject


def _is_event(node: ast.AST, known: frozenset[str] = frozenset()) -> bool:
    if isinstance(node, (ast.Name, ast.Attribute)) and known:
        return ast.unparse(node).removesuffix(".value") in known
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(_PREFIXES)
        and node.value not in _NOT_FROM_SERVER
    )


def _reader(tree: Tree, path: str, function: FunctionNode, tests: list[tuple[ast.AST, ast.expr]]) -> Reader | None:
    ordered = sorted(tests, key=lambda each: (each[0].lineno, each[0].col_offset))  # type: ignore[attr-defined]
    for node, subject in ordered:
        event = _event_of(tree, function, subject)
        statement = _outermost(tree, function, _top_of_chain(tree, node), tree.text(subject))
        statement = _before_early_exits(tree, statement, tree.text(subject))
        if event is not None and statement is not None and tree.stands_alone(statement):
            if event[1]:
                # A class of the program around the event's own dict, not the SDK's classes.
                inner = re.search(rf"\b{event[0]}\.(\w+)(?:\.get\(|\[)[\"'](?:{_KEYS})[\"']", tree.text(function))
                event = (f"{event[0]}.{inner[1]}", False) if inner is not None else event
            return Reader(path, function, statement, tree.text(subject), *event)
    return None


def _top_of_chain(tree: Tree, node: ast.AST) -> ast.stmt | None:
    """Return the ``if`` (or ``match``) that a test belongs to; of an ``elif``, the ``if`` it follows."""
    statement = tree.statement_of(node)
    if not isinstance(statement, ast.If) and not (hasattr(ast, "Match") and isinstance(statement, ast.Match)):
        return None
    while True:
        suite = tree.suites[statement]
        begins = tree.source.text.startswith("elif", tree.start(statement))
        if not begins or not isinstance(suite.owner, ast.stmt):
            return statement
        statement = suite.owner


def _outermost(tree: Tree, function: FunctionNode, statement: ast.stmt | None, subject: str) -> ast.stmt | None:
    """Return the test of the same event's type that a statement stands behind, if any: there all events pass."""
    if statement is None:
        return None
    found = statement
    for above in tree.above(statement):
        if above is function:
            break
        if isinstance(above, ast.If) and subject in tree.text(above.test):
            found = _top_of_chain(tree, above.test) or found
    return found


def _before_early_exits(tree: Tree, statement: ast.stmt | None, subject: str) -> ast.stmt | None:
    """Return the first test of the event's type above a statement that lets some event go no further, else itself.

    An error that is logged and passed over (``if kind == "error": …; continue``) may be the refusal of a response.
    """
    if statement is None:
        return None
    suite = tree.suites[statement].statements
    first = statement
    for above in reversed(suite[: suite.index(statement)]):
        if isinstance(above, (ast.Assign, ast.AnnAssign)):
            targets = above.targets if isinstance(above, ast.Assign) else [above.target]
            if any(tree.text(target) == subject for target in targets):
                break
        leaves = isinstance(above, ast.If) and isinstance(above.body[-1], (ast.Continue, ast.Return, ast.Break))
        if leaves and subject in tree.text(above.test):  # type: ignore[attr-defined]
            first = above
    return first


def _event_of(tree: Tree, function: FunctionNode, subject: ast.expr) -> tuple[str, bool] | None:
    """Return the text of the event whose type an expression is, and whether it has attributes."""
    if isinstance(subject, ast.Name):
        for statement in tree.statements_of(function):
            targets = statement.targets if isinstance(statement, ast.Assign) else ()
            if any(isinstance(target, ast.Name) and target.id == subject.id for target in targets):
                assert isinstance(statement, ast.Assign)
                if not isinstance(statement.value, ast.Name):
                    return _event_of(tree, function, statement.value)
        return None
    if isinstance(subject, ast.BoolOp) and isinstance(subject.op, ast.Or):
        return _event_of(tree, function, subject.values[0])
    if isinstance(subject, ast.Attribute) and subject.attr == "type" and isinstance(subject.value, ast.Name):
        return subject.value.id, True
    if isinstance(subject, ast.Subscript) and _is_type(subject.slice) and isinstance(subject.value, ast.Name):
        return subject.value.id, False
    if isinstance(subject, ast.Call) and isinstance(subject.func, ast.Attribute) and subject.args:
        base = subject.func.value
        if subject.func.attr == "get" and _is_type(subject.args[0]) and isinstance(base, ast.Name):
            return base.id, False
    return None


def _is_type(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == "type"


def main_reader(trees: dict[str, Tree], names: frozenset[str] = frozenset()) -> Reader:
    """Return the reader that tells the most events apart; raises CannotRewrite where there is none."""
    found = [each for path, tree in trees.items() for each in readers(tree, path, names)]
    if not found:
        raise CannotRewrite(
            "the code that reads the server's events was not found, so nothing could say when a response is over",
            "add trigger_response with its guard, and the bookkeeping where events are read",
        )
    return max(found, key=lambda each: each[0])[1]
