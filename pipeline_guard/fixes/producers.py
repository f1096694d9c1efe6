"""Finds what fills a buffer whose only reader is taken out: it would grow for as long as the call lasts."""

from __future__ import annotations

import ast

from pipeline_guard.fixes.edits import CannotRewrite, Operation, Remove
from pipeline_guard.fixes.effects import kept_effects
from pipeline_guard.fixes.scope import functions_around, method_around, self_name
from pipeline_guard.fixes.tree import FunctionNode, Tree

_DRAIN = frozenset({"clear", "pop", "popleft"})
_FILL = frozenset({"append", "extend", "appendleft", "put", "put_nowait", "write"})
_BY_HAND = "take the buffer out together with the recogniser"


def without_producers(tree: Tree, function: FunctionNode) -> tuple[Operation, ...]:
    """Return the removal of the statements that fill what a method alone empties, each a statement of its own.

    Raises CannotRewrite where a buffer is filled in another way, or read by somebody else as well.
    """
    found = method_around(tree, function)
    own = self_name(function)
    if found is None or own is None:
        return ()
    owner = found[0]
    operations: list[Operation] = []
    for name in sorted(_emptied(function, own)):
        uses = [node for node in ast.walk(owner) if isinstance(node, ast.Attribute) and node.attr == name]
        outside = [node for node in uses if function not in functions_around(tree, node)]
        outside = [node for node in outside if functions_around(tree, node)[:1] and not _is_made(tree, node)]
        fills = [statement for node in outside if (statement := _fill(tree, node)) is not None]
        if not fills:
            continue
        if len(fills) < len(outside) or not all(tree.stands_alone(each) for each in fills):
            raise CannotRewrite(f"{owner.name}.{name} would grow, or is read elsewhere as well", _BY_HAND)
        operations += [Remove(tree.source.path, each.lineno) for each in fills]
    return tuple(operations)


def _emptied(function: FunctionNode, own: str) -> set[str]:
    """Return the attributes that a method gives a new value, or takes something out of."""
    found: set[str] = set()
    for node in ast.walk(function):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id == own and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        base = node.value
        of_own = isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == own
        if node.attr in _DRAIN and of_own:
            assert isinstance(base, ast.Attribute)
            found.add(base.attr)
    return found


def _is_made(tree: Tree, node: ast.Attribute) -> bool:
    """Say whether a use is the attribute's first value, given in the constructor."""
    return isinstance(node.ctx, ast.Store) and functions_around(tree, node)[0].name == "__init__"


def _fill(tree: Tree, node: ast.Attribute) -> ast.stmt | None:
    """Return the statement that only adds to an attribute: ``self.heard += …``, ``self.heard.append(…)``."""
    statement = tree.statement_of(node)
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add) and statement.target is node:
        # Fetching what is added may be an effect of its own.
        whole = ast.Expr(ast.Call(ast.Name("added", ast.Load()), [statement.value], []))
        return None if kept_effects(whole) else statement
    above = tree.parents[node]
    call = tree.parents[above]
    adds = (
        isinstance(above, ast.Attribute) and above.attr in _FILL and isinstance(call, ast.Call) and call.func is above
    )
    return statement if adds and isinstance(statement, ast.Expr) and statement.value is call else None
