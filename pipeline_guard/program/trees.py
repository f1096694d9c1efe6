"""Expression trees as they stand in the code: all nodes below one, and the last name of an access path."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.facts import ir


def walk(node: ir.Expr) -> Iterator[ir.Expr]:
    """Yield a node and everything below it, each node before its children, the last child first."""
    stack = [node]
    pop, extend, children_of = stack.pop, stack.extend, ir.CHILDREN.get
    while stack:
        current = pop()
        yield current
        children = children_of(type(current))
        if children is not None:
            extend(children(current))


def last_name(node: ir.Expr) -> str:
    """Return the last name of an access path; empty for anything but a name or an attribute (``table[key]()``)."""
    if type(node) is ir.Attr:
        return node.name
    return node.id if type(node) is ir.Name else ""
