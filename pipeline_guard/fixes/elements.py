"""Takes one element out of a list that stands in the code: a display, or the arguments of a call."""

from __future__ import annotations

import ast

from pipeline_guard.fixes.edits import CannotRewrite, Replacement, TakeElement
from pipeline_guard.fixes.tree import Tree, first_line

_BY_HAND = "take it out of the list by hand"


def taken_element(tree: Tree, operation: TakeElement) -> list[Replacement]:
    """Return the replacements for an operation; raises CannotRewrite where the element cannot go by itself."""
    element, siblings = _find(tree, operation)
    index = siblings.index(element)
    statement = tree.statement_of(element)
    if len(siblings) < 2 or not tree.stands_alone(statement):
        raise CannotRewrite("it is the only element, or shares its line with other code", _BY_HAND)
    source = tree.source
    if index + 1 < len(siblings):
        start, end = tree.start(element), tree.start(siblings[index + 1])
    else:
        start, end = tree.end(siblings[index - 1]), tree.end(element)
    if "#" in source.text[start:end]:
        raise CannotRewrite("a comment stands beside it", _BY_HAND)
    line = first_line(statement)
    begin = source.line_start(line)
    comment = f"{tree.indentation(line)}{operation.comment}{source.newline_near(line)}"
    above = source.line(line - 1).strip() if line > 1 else ""
    said = [] if above == operation.comment else [Replacement(begin, begin, comment)]
    return [*said, Replacement(start, end, "")]


def _find(tree: Tree, operation: TakeElement) -> tuple[ast.expr, list[ast.expr]]:
    for node in tree.parents:
        if not isinstance(node, ast.expr) or node.lineno != operation.line or tree.column(node) != operation.column:
            continue
        above = tree.parents[node]
        if isinstance(above, (ast.List, ast.Tuple, ast.Set)):
            if isinstance(above, ast.Tuple) and len(above.elts) == 2:
                raise CannotRewrite("one element would be left of a tuple", _BY_HAND)
            return node, list(above.elts)
        if isinstance(above, ast.Call) and node in above.args:
            return node, list(above.args)
    raise CannotRewrite("there is no such element any more", _BY_HAND)
