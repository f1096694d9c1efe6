"""What two places of one function know of the state: whether their conditions can hold in the same call."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.trees import last_name


class Known(msgspec.Struct):
    """What holds where an operation runs, by the text of what is tested.

    ``truths`` are plain tests, ``among`` the constants that something is one of, ``besides`` those that it is not.
    ``names`` are all names that the conditions read.
    """

    truths: dict[str, bool] = msgspec.field(default_factory=dict)
    among: dict[str, frozenset[object]] = msgspec.field(default_factory=dict)
    besides: dict[str, frozenset[object]] = msgspec.field(default_factory=dict)
    names: set[str] = msgspec.field(default_factory=set)

    def contradicts(self, other: Known) -> bool:
        """Say whether both cannot hold at once."""
        if any(other.truths.get(text, value) is not value for text, value in self.truths.items()):
            return True
        for text, values in self.among.items():
            theirs = other.among.get(text)
            if theirs is not None and values.isdisjoint(theirs):
                return True
        return _excludes(self, other) or _excludes(other, self)

    def without(self, changed: set[str]) -> Known:
        """Return the same without what is said of names that have changed since."""

        def kept(text: str) -> bool:
            return changed.isdisjoint(_names_of(text))

        return Known(
            {text: value for text, value in self.truths.items() if kept(text)},
            {text: value for text, value in self.among.items() if kept(text)},
            {text: value for text, value in self.besides.items() if kept(text)},
            self.names,
        )

    def only(self, keep: set[str]) -> Known:
        """Return the same with only what is said of the given texts."""
        return Known(
            {text: value for text, value in self.truths.items() if text in keep},
            {text: value for text, value in self.among.items() if text in keep},
            {text: value for text, value in self.besides.items() if text in keep},
            self.names,
        )

    @property
    def texts(self) -> set[str]:
        """What anything is known of."""
        return {*self.truths, *self.among, *self.besides}


def known_at(func: Func, op: int) -> Known:
    """Return what the conditions around and before an operation say."""
    known = Known()
    for condition in conditions(func, op):
        known.names.update(names_in(condition.test))
        for test, wanted in _parts(condition.test, condition.wanted):
            _learn(known, test, wanted)
    return known


def _parts(test: ir.Expr, wanted: bool) -> Iterator[tuple[ir.Expr, bool]]:
    stack = [(test, wanted)]
    while stack:
        node, truth = stack.pop()
        if type(node) is ir.Not:
            stack.append((node.value, not truth))
        elif type(node) is ir.Bool:
            if truth is (node.op == "and"):
                stack.extend((part, truth) for part in node.values)
        else:
            yield node, truth


def _learn(known: Known, test: ir.Expr, wanted: bool) -> None:
    if type(test) is ir.Compare and len(test.ops) == 1:
        text = subject(test.left)
        right, op = test.rights[0], test.ops[0]
        items = right.items if type(right) is ir.Seq else [right]
        values = {item.value for item in items if type(item) is ir.Const}
        if text is None or len(values) != len(items) or not values:
            return
        if values == {None}:
            if op in ("is", "==", "is not", "!="):
                known.truths.setdefault(text, wanted is not (op in ("is", "==")))
            return
        same = op in ("==", "is", "in", "match")
        if not same and op not in ("!=", "is not", "not in"):
            return
        if same is wanted:
            known.among[text] = known.among[text] & values if text in known.among else frozenset(values)
        else:
            known.besides[text] = known.besides.get(text, frozenset()) | values
        return
    text = subject(test)
    if text is not None:
        known.truths.setdefault(text, wanted)


def subject(node: ir.Expr) -> str | None:
    """Return a text for what is tested that is the same wherever the same thing is tested; None for anything else."""
    if type(node) is ir.Name:
        return node.id
    if type(node) is ir.Attr:
        base = subject(node.base)
        return None if base is None else f"{base}.{node.name}"
    if type(node) is ir.Sub and type(node.key) is ir.Const:
        base = subject(node.base)
        return None if base is None else f"{base}[{node.key.value!r}]"
    if type(node) is ir.Call:
        name = last_name(node.func)
        if name in ("getattr", "hasattr") and len(node.args) > 1 and type(node.args[1]) is ir.Const:
            base = subject(node.args[0])
            return None if base is None else f"{base}.{node.args[1].value}"
        if name == "bool" and len(node.args) == 1:
            return subject(node.args[0])
        if type(node.func) is ir.Attr:
            base = subject(node.func.base)
            if base is not None and name == "get" and node.args and type(node.args[0]) is ir.Const:
                return f"{base}[{node.args[0].value!r}]"
            if base is not None and not node.args and not node.keywords:
                return f"{base}.{name}()"
    if type(node) is ir.Walrus:
        return node.name
    return None


def written(graph: CallGraph, func: Func, first: int, last: int, depth: int = 2) -> set[str]:
    """Return the names that operations ``first`` to ``last`` change, in themselves and in the functions they call.

    Attributes go by their last name.
    """
    found: set[str] = set().union(*func.names_written[first : last + 1])
    if depth:
        for edge in graph.outgoing.get(func, ()):
            if first <= edge.op <= last and edge.callee is not func and edge.kind != "escape":
                inner = written(graph, edge.callee, 0, len(edge.callee.ir.ops), depth - 1)
                # Plain names are the callee's own; what is read elsewhere is an attribute.
                found |= {name for name in inner if name not in edge.callee.definitions}
    return found


def _excludes(one: Known, other: Known) -> bool:
    return any(values <= other.besides[text] for text, values in one.among.items() if text in other.besides)


def _names_of(text: str) -> set[str]:
    """Return the names in a text of ``subject``: "self", "state" and "busy" of ``self.state.busy``."""
    return {part for part in text.replace("(", ".").replace(")", "").replace("[", ".").split(".") if part}
