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
            if around and where == path and around[0] is handler and isinstance(handler, ast.AsyncFunctionDef):
                if tree.stands_alone(statement):
                    line = f"await asyncio.wait_for({queue}.join(), 2)  # what the caller has said comes before this"
                    waits.append(Insert(where, statement.lineno, (line,)))
                    continue
            elif around and not around[0].decorator_list and not any(references(program, where, around[0])):
                continue
            raise CannotRewrite(
                f"the client commits the audio itself ({where}:{statement.lineno}), and frames in the queue would come "
                "after it",
                _BY_HAND,
            )
    return list(dict.fromkeys(waits))


def _is_commit(tree: Tree, node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("commit", "clear") and getattr(node.value, "attr", "") == "input_audio_buffer"
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or _EVENT.search(node.value) is None:
        return False
    above = tree.parents[node]
    return not isinstance(above, ast.Compare) and not (isinstance(above, ast.stmt) and is_docstring(above))
