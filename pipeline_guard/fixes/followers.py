"""Finds every place that reads the events of a session class: a trigger that one of them does not follow locks up."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.fixes.edits import CannotRewrite
from pipeline_guard.fixes.new_trigger import BY_HAND, receiver_at
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reader import Reader, readers
from pipeline_guard.fixes.tree import FUNCTIONS, Tree

_TESTS = ("tests", "test", "examples", "example")


def followers(program: Program, path: str, owner: ast.ClassDef, main: Reader) -> Iterator[tuple[Reader, str]]:
    """Yield the readers beside the main one, each with the expression for the session there.

    ``path`` is the file of the class.  Raises CannotRewrite where the session is read and not at hand.
    """
    for other, data in program.sources.data.items():
        if owner.name.encode() not in data or _is_test(other):
            continue
        tree = program.tree(other)
        for reader in _one_of_each_home(program, tree, other):
            if _home(tree, reader) is _home(program.tree(main.path), main):
                continue
            made_here = f"{owner.name}(" in tree.text(_home(tree, reader))
            if not made_here and not _is_in_loop(tree, reader):
                continue  # it looks at an event that a reader of the connection gives it
            receiver = receiver_at(program, path, owner, reader)
            if receiver is not None:
                yield reader, receiver
            elif made_here:
                where = f"{other}:{reader.function.lineno}"
                raise CannotRewrite(
                    f"events are read at {where} as well, and the session is not at hand there", BY_HAND
                )


def _is_test(path: str) -> bool:
    *folders, name = path.split("/")
    return name.startswith("test_") or any(each in _TESTS for each in folders)


def _one_of_each_home(program: Program, tree: Tree, path: str) -> list[Reader]:
    """Return of each class, and of each function outside of one, the reader that tells the most events apart."""
    best: dict[int, tuple[int, Reader]] = {}
    for count, reader in readers(tree, path, program.event_names):
        home = id(_home(tree, reader))
        if home not in best or best[home][0] < count:
            best[home] = count, reader
    return [reader for _, reader in best.values()]


def _is_in_loop(tree: Tree, reader: Reader) -> bool:
    for each in tree.above(reader.statement):
        if each is reader.function:
            return False
        if isinstance(each, (ast.For, ast.AsyncFor, ast.While)):
            return True
    return False


def _home(tree: Tree, reader: Reader) -> ast.stmt:
    """Return the outermost class or function that a reader stands in."""
    around = [each for each in tree.above(reader.function) if isinstance(each, (*FUNCTIONS, ast.ClassDef))]
    return around[-1] if around else reader.function
