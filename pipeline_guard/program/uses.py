"""What a function's own code uses: its calls, what it hands on as a value, and the words it is written with."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline_guard.facts import ir

# Longer strings are texts, not names or event types.
MAX_WORD = 60


class CallSite(msgspec.Struct, frozen=True):
    """A call, its operation, and the calls it is an argument of (innermost first)."""

    call: ir.Call
    op: int
    outer: tuple[ir.Call, ...]


class Reference(msgspec.Struct, frozen=True):
    """A function-like expression (name, attribute or lambda) that is used as a value, not called."""

    node: ir.Expr
    op: int
    outer: tuple[ir.Call, ...]


class Uses(msgspec.Struct, frozen=True):
    """What a function's operations use.

    ``calls`` and ``references`` stand in source order, outer calls before those in their arguments.  ``names`` are
    called or handed on (arguments, dict values, plain aliases), ``chains`` the last one to four parts of every called
    access path (``a.b.c()`` → ``c``, ``b.c``), ``strings`` the short strings, ``texts`` the long ones.
    """

    calls: list[CallSite]
    references: list[Reference]
    names: set[str]
    chains: set[str]
    strings: set[str]
    texts: set[str]


def uses_of(ops: Iterable[ir.Op]) -> Uses:
    """Return the uses of a function's operations."""
    reader = _Reader()
    collect, hand_on = reader.collect, reader.hand_on
    for index, op in enumerate(ops):
        value = op.value
        # The operation before this one, in which the iterable is evaluated, holds all that is in it.
        looped = op.kind == "assign" and type(value) is ir.Elem and value.how == "iter"
        if value is not None and not looped and op.kind not in ("def", "class"):
            hand_on(value)
            collect(value, index, ())
        for target in op.targets:
            if type(target) is not ir.Name:
                collect(target, index, ())
    return reader.uses


class _Reader:
    """Reads expressions: every node of the program passes here, each once."""

    def __init__(self) -> None:
        self.uses = Uses([], [], set(), set(), set(), set())

    def hand_on(self, node: ir.Expr) -> None:
        if type(node) is ir.Name:
            self.uses.names.add(node.id)
        elif type(node) is ir.Attr:
            self.uses.names.add(node.name)
            if type(node.base) is ir.Name:
                self.uses.names.add(node.base.id)

    def collect(self, node: ir.Expr, op: int, outer: tuple[ir.Call, ...]) -> None:
        kind = type(node)
        uses = self.uses
        if kind is ir.Const:
            value = node.value  # type: ignore[union-attr]
            if type(value) is str:
                (uses.strings if len(value) < MAX_WORD else uses.texts).add(value)
        elif kind is ir.Name or kind is ir.Lambda:
            uses.references.append(Reference(node, op, outer))
        elif kind is ir.Attr:
            uses.references.append(Reference(node, op, outer))
            self.collect(node.base, op, outer)  # type: ignore[union-attr]
        elif kind is ir.Call:
            self.call(node, op, outer)  # type: ignore[arg-type]
        else:
            children = ir.children(node)
            if kind in _HANDING_ON:
                for child in children:
                    self.hand_on(child)
            for child in children:
                self.collect(child, op, outer)

    def call(self, node: ir.Call, op: int, outer: tuple[ir.Call, ...]) -> None:
        function = node.func
        self.uses.calls.append(CallSite(node, op, outer))
        self.hand_on(function)
        if type(function) is ir.Attr:
            if type(function.base) is ir.Name:
                self.uses.chains.add(function.name)
            else:
                parts = ir.source(function).split(".")
                self.uses.chains.update(".".join(parts[-count:]) for count in (1, 2, 3, 4) if len(parts) > count)
            self.collect(function.base, op, outer)
        elif type(function) is not ir.Name:
            self.collect(function, op, outer)
        if node.args or node.keywords:
            inner = (node, *outer)
            for arg in node.args:
                self.hand_on(arg)
                self.collect(arg, op, inner)
            for keyword in node.keywords:
                self.hand_on(keyword.value)
                self.collect(keyword.value, op, inner)


_HANDING_ON = (ir.DictNode, ir.Seq, ir.Join)
