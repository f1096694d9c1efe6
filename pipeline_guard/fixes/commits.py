"""Finds where the client commits or clears the audio buffer itself: frames in a queue must not come behind that."""

from __future__ import annotations

import ast
import re

from pipeline_guard.fixes.edits import CannotRewrite, Insert
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.references import references
from pipeline_guard.fixes.scope import functions_around
from pipeline_guard.fixes.tree import FunctionNode, Tree, is_docstring
from pipeline_guard.pipeline.model import Lane

_EVENT = re.compile(r"input_audio_buffer\.(commit|clear)\b(?!ted)")
_BY_HAND = "send the commit through the same queue, behind the frames"


def waits_before_commits(program: Program, lane: Lane, handler: FunctionNode, path: str, queue: str) -> list[Insert]:
    """Return the lines that let the queue run empty before each commit in the handler of frames.

    Raises CannotRewrite for a commit elsewhere, where the queue is not at hand; one that nothing calls does not count.
    """
    waits: list[Insert] = []
    for where in dict.fromkeys(site.path for site in lane.sites if site.context not in ("test", "example")):
        if _EVENT.search(program.source(where).text) is None:
            continue
        tree = program.tree(where)
        for node in list(tree.parents):
            if not _is_commit(tree, node):
                continue
            around = functions_around(tree, node)
            statement = tree.statement_of(node)
            if not _runs(program, where, tree, statement):
                continue
            awaits = isinstance(handler, ast.AsyncFunctionDef) and tree.stands_alone(statement)
            if where == path and around and around[0] is handler and awaits:
                line = f"await asyncio.wait_for({queue}.join(), 2)  # what the caller has said comes before this"
                waits.append(Insert(where, statement.lineno, (line,)))
                continue
            raise CannotRewrite(
                f"the client commits the audio itself ({where}:{statement.lineno}), and frames in the queue would come "
                "after it",
                _BY_HAND,
            )
    return list(dict.fromkeys(waits))


def _runs(program: Program, path: str, tree: Tree, statement: ast.stmt) -> bool:
    """Say whether something uses the function, or the constant, in which a commit stands."""
    around = functions_around(tree, statement)
    if around:
        return bool(around[0].decorator_list) or any(True for _ in references(program, path, around[0]))
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return True
    name = statement.targets[0].id
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in tree.parents)


def _is_commit(tree: Tree, node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("commit", "clear") and getattr(node.value, "attr", "") == "input_audio_buffer"
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or _EVENT.search(node.value) is None:
        return False
    above = tree.parents[node]
    return not isinstance(above, ast.Compare) and not (isinstance(above, ast.stmt) and is_docstring(above))
