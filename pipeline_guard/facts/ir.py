"""The intermediate representation: a module's code reduced to the nodes that the analysis reads, as plain data.

Every struct can be written and read with msgspec, so facts can be cached without running code of the scanned project.
Lines are 1-based.  Expressions form trees; statements of a function form one flat list of operations in source order,
and a tree of blocks says under which conditions, loops and handlers each operation stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import msgspec


class Node(msgspec.Struct, array_like=True, gc=False):
    """Base of every expression node."""


class Const(Node, tag="c"):
    """A literal.  Bytes are read as latin-1 text; numbers keep their value; an ellipsis is None."""

    value: str | int | float | bool | None


class Name(Node, tag="n"):
    """A bare name."""

    id: str


class Attr(Node, tag="a"):
    """``base.name``."""

    base: Expr
    name: str


class Keyword(msgspec.Struct, array_like=True, gc=False):
    """A keyword argument; ``name`` is None for ``**value``."""

    name: str | None
    value: Expr


class Call(Node, tag="k"):
    """A call with its place."""

    func: Expr
    args: list[Expr]
    keywords: list[Keyword]
    line: int
    end_line: int
    column: int


class DictNode(Node, tag="d"):
    """A dict display; a None key is a ``**`` splat."""

    keys: list[Expr | None]
    values: list[Expr]
    line: int
    end_line: int


class Seq(Node, tag="s"):
    """A list, tuple or set display."""

    items: list[Expr]


class Sub(Node, tag="x"):
    """``base[key]``."""

    base: Expr
    key: Expr


class Join(Node, tag="j"):
    """String building: an f-string or a chain of ``+``, part by part."""

    parts: list[Expr]


class Merge(Node, tag="m"):
    """``left | right`` on mappings (or any other ``|``)."""

    left: Expr
    right: Expr


class Bool(Node, tag="b"):
    """``and`` / ``or``."""

    op: str
    values: list[Expr]


class Not(Node, tag="!"):
    """``not value``."""

    value: Expr


class Compare(Node, tag="="):
    """A comparison chain; ``ops`` are the source symbols, ``match`` for a case pattern."""

    left: Expr
    ops: list[str]
    rights: list[Expr]


class IfExp(Node, tag="?"):
    """``then if test else other``."""

    test: Expr
    then: Expr
    other: Expr


class Await(Node, tag="w"):
    """``await value``."""

    value: Expr


class Lambda(Node, tag="l"):
    """A lambda; its body is function number ``function`` of the module."""

    function: int


class Walrus(Node, tag=":"):
    """``(name := value)``."""

    name: str
    value: Expr


class Star(Node, tag="*"):
    """``*value`` in a call or display."""

    value: Expr


class Elem(Node, tag="e"):
    """A value derived from another: ``how`` is "iter", "enter", "except" or "item:N" (tuple unpacking)."""

    how: str
    value: Expr


class Other(Node, tag="o"):
    """Anything else: only its children are kept, so that calls inside it are seen."""

    children: list[Expr]


Expr = Union[  # noqa: UP007 - msgspec resolves the forward references of this union by name
    Const, Name, Attr, Call, DictNode, Seq, Sub, Join, Merge, Bool, Not, Compare, IfExp, Await, Lambda, Walrus, Star,
    Elem, Other,
]  # fmt: skip


class Op(msgspec.Struct, array_like=True, gc=False):
    """One statement, or one part of a compound statement.

    ``kind``: "assign" (targets ← value; also loop targets, ``with … as``, ``except … as``), "aug", "expr", "test",
    "return", "yield", "raise", "del", "exit" (break or continue), "def", "class".
    """

    kind: str
    line: int
    end_line: int
    block: int
    value: Expr | None
    targets: list[Expr]
    annotation: Expr | None


class Block(msgspec.Struct, array_like=True, gc=False):
    """A suite.  Operations ``first`` to ``last`` (half open) of the function lie in it or below it.

    ``kind``: "body", "if", "else", "while", "for", "try", "except", "finally", "with", "case", "dead".  ``test`` is the
    condition of an ``if``/``else``/``while``/``case`` arm (the ``else`` arm carries the same test), the iterable of a
    ``for``, the class of an ``except``.  ``group`` numbers the compound statement, so that the arms of one ``if`` can
    be told apart from another's.  ``leaves`` says that control never runs off its end.
    """

    kind: str
    parent: int
    group: int
    line: int
    end_line: int
    test: Expr | None
    first: int
    last: int
    leaves: bool


class Param(msgspec.Struct, array_like=True, gc=False):
    """A parameter; ``kind`` is "pos", "kw", "*" or "**"."""

    name: str
    kind: str
    default: Expr | None
    annotation: Expr | None


class Import(msgspec.Struct, array_like=True, gc=False):
    """``import module as name`` (``attr`` None) or ``from module import attr as name`` (``attr`` "*" for a star)."""

    name: str
    module: str
    attr: str | None
    level: int
    line: int


class Function(msgspec.Struct, array_like=True, gc=False):
    """A function, lambda or the module's own body (``name`` "<module>", always number 0).

    The last four are an index of its operations and blocks, by which most questions about most functions are answered
    without reading them: ``words`` holds every bare name and attribute, ``strings`` every string, ``called`` the last
    name of every callee in source order ("" for a callee without one).  Each may name more than the operations do (the
    parts of a class body, annotations), never less.
    """

    name: str
    qualname: str
    line: int
    end_line: int
    params: list[Param]
    decorators: list[Expr]
    returns: Expr | None
    is_async: bool
    is_generator: bool
    parent: int
    owner: int
    ops: list[Op]
    blocks: list[Block]
    imports: list[Import]
    globals: list[str]
    nonlocals: list[str]
    words: set[str]
    strings: set[str]
    called: list[str]
    has_walrus: bool


class Field(msgspec.Struct, array_like=True, gc=False):
    """A class-level assignment or annotation."""

    name: str
    value: Expr | None
    annotation: Expr | None
    line: int


class Class(msgspec.Struct, array_like=True, gc=False):
    """A class; ``function`` is the function it stands in (0: the module), ``owner`` the class around it or -1."""

    name: str
    qualname: str
    line: int
    end_line: int
    bases: list[Expr]
    decorators: list[Expr]
    function: int
    owner: int
    fields: list[Field]
    methods: dict[str, int]


class ModuleFacts(msgspec.Struct, array_like=True, gc=False):
    """Everything the later steps know of one file.

    ``truncated``: an expression was too deep to follow; ``newer``: the running Python cannot parse it, this tool can.
    """

    functions: list[Function]
    classes: list[Class]
    truncated: bool
    newer: bool = False


def children(node: Expr) -> list[Expr]:
    """Return the direct sub-expressions of ``node``, in evaluation order."""
    getter = CHILDREN.get(type(node))
    return getter(node) if getter else []


def _parts_of_call(node: Call) -> list[Expr]:
    if node.keywords:
        return [node.func, *node.args, *[keyword.value for keyword in node.keywords]]
    return [node.func, *node.args]


# The direct sub-expressions by the type of the node; what has none has no entry.
CHILDREN: dict[type, Callable[[Any], list[Expr]]] = {
    Call: _parts_of_call,
    Attr: lambda n: [n.base],
    DictNode: lambda n: [*(k for k in n.keys if k is not None), *n.values],
    Seq: lambda n: n.items,
    Sub: lambda n: [n.base, n.key],
    Join: lambda n: n.parts,
    Merge: lambda n: [n.left, n.right],
    Bool: lambda n: n.values,
    Not: lambda n: [n.value],
    Compare: lambda n: [n.left, *n.rights],
    IfExp: lambda n: [n.test, n.then, n.other],
    Await: lambda n: [n.value],
    Walrus: lambda n: [n.value],
    Star: lambda n: [n.value],
    Elem: lambda n: [n.value],
    Other: lambda n: n.children,
}


def source(node: Expr | None) -> str:
    """Return ``node`` as short source text, for names in messages and for name heuristics."""
    kind = type(node)
    if kind is Name:
        return node.id  # type: ignore[union-attr]
    if kind is Attr:
        return f"{source(node.base)}.{node.name}"  # type: ignore[union-attr]
    if kind is Call:
        return f"{source(node.func)}()"  # type: ignore[union-attr]
    if kind is Sub:
        return f"{source(node.base)}[…]"  # type: ignore[union-attr]
    if kind is Const:
        return repr(node.value)  # type: ignore[union-attr]
    if kind in (Await, Star, Elem, Walrus):
        return source(node.value)  # type: ignore[union-attr, arg-type]
    return "…"
