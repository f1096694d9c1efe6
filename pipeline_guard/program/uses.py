"""What a function's own code uses: its calls, what it hands on as a value, and the words it is written with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline_guard.facts import ir

# Longer strings are texts, not names or event types.
MAX_WORD = 60


class CallSite(NamedTuple):
    """A call, its operation, and the calls it is an argument of (innermost first)."""

    call: ir.Call
    op: int
    outer: tuple[ir.Call, ...]


class Reference(NamedTuple):
    """A function-like expression (name, attribute or lambda) that is used as a value, not called."""

    node: ir.Expr
    op: int
    outer: tuple[ir.Call, ...]


class Words(NamedTuple):
    """The names that are called or handed on, the access paths that are called, the short strings and the texts."""

    names: set[str]
    chains: set[str]
    strings: set[str]
    texts: set[str]


def words_of(ops: Iterable[ir.Op]) -> Words:
    """Return the words of a function's operations."""
    words = Words(set(), set(), set(), set())
    stack: list[ir.Expr] = []
    for op in ops:
        if op.value is not None:
            stack.append(op.value)
            _hand_on(op.value, words.names)
        stack.extend(op.targets)
    while stack:
        node = stack.pop()
        if type(node) is ir.Const:
            if isinstance(node.value, str):
                (words.strings if len(node.value) < MAX_WORD else words.texts).add(node.value)
            continue
        if type(node) is ir.Name:
            continue
        children = ir.children(node)
        if type(node) is ir.Call:
            for part in children:
                _hand_on(part, words.names)
            if type(node.func) is ir.Attr:
                parts = ir.source(node.func).split(".")
                words.chains.update(".".join(parts[-count:]) for count in (1, 2, 3, 4) if len(parts) > count)
        elif type(node) in (ir.DictNode, ir.Seq, ir.Join):
            for part in children:
                _hand_on(part, words.names)
        stack.extend(children)
    return words


def _hand_on(node: ir.Expr, names: set[str]) -> None:
    if type(node) is ir.Name:
        names.add(node.id)
    elif type(node) is ir.Attr:
        names.add(node.name)
        if type(node.base) is ir.Name:
            names.add(node.base.id)


def uses_of(ops: Iterable[ir.Op]) -> tuple[list[CallSite], list[Reference]]:
    """Return the calls and the references of a function's operations, outer calls before those in their arguments."""
    calls: list[CallSite] = []
    references: list[Reference] = []
    for index, op in enumerate(ops):
        looped = op.kind == "assign" and type(op.value) is ir.Elem and op.value.how == "iter"
        if op.value is not None and op.kind not in ("def", "class") and not looped:
            _collect(op.value, index, (), calls, references)
        for target in op.targets:
            if type(target) is not ir.Name:
                _collect(target, index, (), calls, references)
    return calls, references


def _collect(
    node: ir.Expr,
    op: int,
    outer: tuple[ir.Call, ...],
    calls: list[CallSite],
    references: list[Reference],
) -> None:
    if type(node) is ir.Call:
        calls.append(CallSite(node, op, outer))
        function = node.func
        if type(function) is ir.Attr:
            _collect(function.base, op, outer, calls, references)
        elif type(function) is not ir.Name:
            _collect(function, op, outer, calls, references)
        inner = (node, *outer)
        for arg in node.args:
            _collect(arg, op, inner, calls, references)
        for keyword in node.keywords:
            _collect(keyword.value, op, inner, calls, references)
    elif type(node) is ir.Await:
        _collect(node.value, op, outer, calls, references)
    elif type(node) in (ir.Name, ir.Lambda):
        references.append(Reference(node, op, outer))
    elif type(node) is ir.Attr:
        references.append(Reference(node, op, outer))
        _collect(node.base, op, outer, calls, references)
    elif type(node) is not ir.Const:
        for child in ir.children(node):
            _collect(child, op, outer, calls, references)
