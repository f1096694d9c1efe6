"""Finds the other loops that read the server's events for a class: one session class often serves several routes."""

from __future__ import annotations

import ast

from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reader import Reader, readers
from pipeline_guard.fixes.scope import instance_at, is_subclass, knows_class, method_around, self_name
from pipeline_guard.fixes.tree import Tree

_QUIET = ("dormant", "test", "example")


def receiver_at(program: Program, path: str, owner: ast.ClassDef, reader: Reader) -> str | None:
    """Return the expression by which the reader reaches an instance of the class, or None."""
    tree = program.tree(reader.path)
    method = method_around(tree, reader.function)
    if method is not None:
        own = self_name(method[1])
        if own is not None and (method[0] is owner or is_subclass(tree, method[0], owner.name)):
            return own
    if knows_class(tree, reader.path, owner.name, path):
        return instance_at(tree, reader.statement, owner.name)
    return None


def other_pumps(program: Program, path: str, owner: ast.ClassDef, main: Reader) -> list[tuple[Reader, str]]:
    """Return the loops beside the main reader through which the events of a class's instances pass.

    Each comes with the expression that holds the instance there.  Without the bookkeeping in all of them, a call that
    goes by one of the others would never learn that its response is over.
    """
    found: list[tuple[Reader, str]] = []
    for where in dict.fromkeys(site.path for site in program.map.sites() if site.context not in _QUIET):
        try:
            tree = program.tree(where)
        except (Unreadable, SyntaxError, RecursionError):
            continue
        if where != path and owner.name not in tree.source.text:
            continue
        for _, reader in readers(tree, where, program.event_names):
            same = where == main.path and reader.function is main.function
            if same or not _is_pump(tree, reader):
                continue
            receiver = receiver_at(program, path, owner, reader)
            if receiver is not None:
                found.append((reader, receiver))
    return found


def _is_pump(tree: Tree, reader: Reader) -> bool:
    """Say whether a reader takes its events itself, one after the other, and is not handed them."""
    event = reader.event.partition(".")[0]
    for above in tree.above(reader.statement):
        if above is reader.function:
            return False
        if isinstance(above, (ast.For, ast.AsyncFor)) and event in _names(above.target):
            return True
        if isinstance(above, (ast.For, ast.AsyncFor, ast.While)) and event in _given_in(above):
            return True
    return False


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _given_in(loop: ast.For | ast.AsyncFor | ast.While) -> set[str]:
    return {
        name
        for statement in ast.walk(loop)
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        for name in _names(target)
    }
