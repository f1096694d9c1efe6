"""Names the places that a test asks and an operation writes, and the state in which each finds or leaves them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Func
from pipeline_guard.program.trees import last_name

# Methods that change what they are called on, and the state they leave it in.
_CHANGES = {
    "set": "truthy", "clear": "falsy", "add": "truthy", "append": "truthy", "acquire": "truthy", "put_nowait": "truthy",
    "discard": "falsy", "remove": "falsy", "pop": "falsy", "popleft": "falsy", "release": "falsy",
    "set_result": "done", "set_exception": "done", "cancel": "done", "get_nowait": "falsy",
}  # fmt: skip
_STORES = frozenset({"assign", "aug", "del"})
_EMPTY_CALLS = frozenset({"set", "dict", "list", "deque", "Event", "OrderedDict", "defaultdict"})
_ASKS = {"is_set": "truthy", "locked": "truthy", "wait": "truthy", "done": "done", "empty": "falsy"}
_OPPOSITE = {"truthy": "falsy", "falsy": "truthy", "done": "running", "running": "done"}


class Place(msgspec.Struct, frozen=True):
    """An attribute (or constant key) by its name, or a variable by name and the function it belongs to."""

    name: str
    scope: Func | None
    base: ir.Expr | None


class State(msgspec.Struct, frozen=True):
    """What a place holds: ``kind`` "truthy", "falsy", "done", "running", "slot", or "is"/"not" one of ``of``."""

    kind: str
    of: frozenset[str] = frozenset()

    def opposite(self) -> State:
        if self.kind in ("is", "not"):
            return State("not" if self.kind == "is" else "is", self.of)
        return State(_OPPOSITE.get(self.kind, self.kind))


class Change(msgspec.Struct, frozen=True):
    """What an operation leaves a place in; ``value`` is the expression that is stored, where one is."""

    place: Place
    state: State | None
    value: ir.Expr | None


def place_of(node: ir.Expr, func: Func) -> Place | None:
    """Return the place that an expression names: ``self.active``, ``state["active"]``, ``getattr(self, "active")``."""
    found = _named(node)
    if found is None:
        return None
    name, base = found
    return Place(name, scope_of(name, func) if base is None else None, base)


def _named(node: ir.Expr) -> tuple[str, ir.Expr | None] | None:
    """Return the name of the place that an expression names, and what it is a part of: None for a variable."""
    node = bare(node)
    if type(node) is ir.Attr:
        return node.name, node.base
    if type(node) is ir.Name:
        return node.id, None
    if type(node) is ir.Sub and type(node.key) is ir.Const and isinstance(node.key.value, str):
        return node.key.value, node.base
    if type(node) is ir.Call:
        name = ir.source(node.func)
        if name in ("getattr", "hasattr") and len(node.args) > 1:
            return _by_text(node.args[1], node.args[0])
        if name == "bool" and len(node.args) == 1:
            return _named(node.args[0])
        if type(node.func) is ir.Attr and node.func.name == "get" and node.args:
            return _by_text(node.args[0], node.func.base)
    return None


def scope_of(name: str, func: Func) -> Func:
    """Return the function to which a variable belongs; the module's body for a global."""
    for scope in func.enclosing():
        if name in scope.ir.globals:
            return scope.module.functions[0]
        if name in scope.ir.nonlocals:
            continue
        if name in scope.params or name in scope.definitions:
            return scope
    return func.module.functions[0]


def asked(node: ir.Expr, wanted: bool, func: Func) -> tuple[Place, State] | None:
    """Return the place that a test asks and the state that ``wanted`` means, or None for a test of another kind."""
    node = bare(node)
    found = _compared(node, func) if type(node) is ir.Compare else _truth(node, func)
    if found is None:
        return None
    place, state = found
    return place, state if wanted else state.opposite()


def _truth(node: ir.Expr, func: Func) -> tuple[Place, State] | None:
    if type(node) is ir.Call and type(node.func) is ir.Attr:
        if node.func.name in _ASKS and not (node.args and node.func.name != "wait"):
            place = place_of(node.func.base, func)
            return (place, State(_ASKS[node.func.name])) if place is not None else None
        if node.func.name == "acquire":
            place = place_of(node.func.base, func)
            return (place, State("slot")) if place is not None else None
    if type(node) is ir.Call and last_name(node.func) == "len" and len(node.args) == 1:
        node = node.args[0]
    place = place_of(node, func)
    return (place, State("truthy")) if place is not None else None


def _compared(node: ir.Compare, func: Func) -> tuple[Place, State] | None:
    if len(node.ops) != 1:
        return None
    left, op, right = node.left, node.ops[0], node.rights[0]
    if type(left) is ir.Const and type(right) is not ir.Const:
        left, right = right, left
        op = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(op, op)
    if type(left) is ir.Call and last_name(left.func) == "len" and len(left.args) == 1:
        left = left.args[0]
    if type(left) is ir.Attr and left.name in ("value", "name"):
        left = left.base
    place = place_of(left, func)
    if place is None:
        return None
    if op in ("in", "not in", "match"):
        items = right.items if type(right) is ir.Seq else []
        texts = frozenset(filter(None, map(constant_text, items)))
        return (place, State("not" if op == "not in" else "is", texts)) if texts else None
    return _against(place, op, right)


def _against(place: Place, op: str, right: ir.Expr) -> tuple[Place, State] | None:
    """Return what a comparison with one value says: with None, a bool, a number, or a constant of an enum."""
    equal = {"is": True, "==": True, "is not": False, "!=": False}.get(op)
    if type(right) is ir.Const and not isinstance(right.value, str):
        if equal is not None:
            return place, State("truthy" if bool(right.value) is equal else "falsy")
        zero = {">": "truthy", "<=": "falsy"} if right.value == 0 else {">=": "truthy", "<": "falsy"}
        return (place, State(zero[op])) if op in zero and right.value in (0, 1) else None
    text = constant_text(right)
    if text is not None and equal is not None:
        return (place, State("is" if equal else "not", frozenset({text}))) if text else (place, State("falsy"))
    return None


def constant_text(node: ir.Expr) -> str | None:
    """Return the text by which constants are told apart: a string, or the last name of ``Phase.IDLE``."""
    if type(node) is ir.Const and isinstance(node.value, str):
        return node.value
    name = last_name(node)
    if name in ("value", "name") and type(node) is ir.Attr:
        name = last_name(node.base)
    return name if name and (name[:1].isupper() or name.isupper()) else None


def changing(func: Func) -> dict[str, list[int]]:
    """Return the operations of a function that may write a place, by its name and in source order."""
    found: dict[str, set[int]] = {}
    for index, op in enumerate(func.ir.ops):
        if op.kind in _STORES:
            for target in op.targets:
                for item in target.items if type(target) is ir.Seq else (target,):
                    _add(found, _named(item), index)
    for name in (*_CHANGES, "setattr"):
        for site in func.calls_named.get(name, ()):
            call = site.call
            if name == "setattr":
                _add(found, _by_text(call.args[1], call.args[0]) if len(call.args) == 3 else None, site.op)
            elif type(call.func) is ir.Attr:
                _add(found, _named(call.func.base), site.op)
    return {name: sorted(ops) for name, ops in found.items()}


def _add(found: dict[str, set[int]], named: tuple[str, ir.Expr | None] | None, op: int) -> None:
    if named is not None:
        found.setdefault(named[0], set()).add(op)


def changes(func: Func, index: int) -> Iterator[Change]:
    """Yield what an operation writes: assignments, ``setattr``, and methods such as ``.set()`` and ``.clear()``."""
    op = func.ir.ops[index]
    if op.kind in ("assign", "aug") and op.value is not None:
        for target, value in _pairs(op):
            place = place_of(target, func)
            if place is not None:
                yield Change(place, None if op.kind == "aug" else _left_by(value), value)
    elif op.kind == "del":
        for target in op.targets:
            place = place_of(target, func)
            if place is not None:
                yield Change(place, State("falsy"), None)
    for site in func.calls_at.get(index, ()):
        change = _by_call(site.call, func)
        if change is not None:
            yield change


def _pairs(op: ir.Op) -> Iterator[tuple[ir.Expr, ir.Expr]]:
    assert op.value is not None
    for target in op.targets:
        if type(target) is not ir.Seq:
            yield target, op.value
            continue
        values = op.value.items if type(op.value) is ir.Seq and len(op.value.items) == len(target.items) else None
        for position, item in enumerate(target.items):
            yield item, values[position] if values is not None else op.value


def _by_call(node: ir.Call, func: Func) -> Change | None:
    name = last_name(node.func)
    if name == "setattr" and len(node.args) == 3:
        found = _by_text(node.args[1], node.args[0])
        return Change(Place(found[0], None, found[1]), _left_by(node.args[2]), node.args[2]) if found else None
    if type(node.func) is not ir.Attr or name not in _CHANGES:
        return None
    if name == "set" and node.args:
        return None
    place = place_of(node.func.base, func)
    return Change(place, State(_CHANGES[name]), None) if place is not None else None


def _left_by(value: ir.Expr) -> State | None:
    """Return the state that storing an expression leaves; None where it may be either."""
    value = bare(value)
    if type(value) is ir.Const:
        if isinstance(value.value, str) and value.value:
            return State("is", frozenset({value.value}))
        return State("truthy" if value.value else "falsy")
    if type(value) in (ir.Seq, ir.DictNode):
        return State("truthy" if value.items or False else "falsy") if type(value) is ir.Seq else State("falsy")
    if type(value) is ir.Call and last_name(value.func) in _EMPTY_CALLS and not value.args:
        return State("falsy")
    text = constant_text(value)
    if text is not None:
        return State("is", frozenset({text}))
    if type(value) in (ir.IfExp, ir.Compare, ir.Not, ir.Other):
        return None
    return State("truthy")


def matches(idle: State, change: State | None) -> bool | None:
    """Say whether a change leaves a place in its idle state; None where that cannot be told."""
    if change is None or "slot" in (idle.kind, change.kind):
        if change is not None and idle.kind == "slot":
            return {"falsy": True, "truthy": False}.get(change.kind)
        return None
    if idle.kind in ("is", "not"):
        if change.kind != "is":
            return None if change.kind != "falsy" or idle.kind == "is" else True
        return bool(idle.of & change.of) is (idle.kind == "is")
    if idle.kind in ("done", "running"):
        if change.kind in ("done", "falsy"):
            return idle.kind == "done"
        return idle.kind != "done" if change.kind == "truthy" else None
    if change.kind in ("is", "truthy"):
        return idle.kind == "truthy"
    return idle.kind == "falsy" if change.kind == "falsy" else None


def _by_text(node: ir.Expr, base: ir.Expr) -> tuple[str, ir.Expr] | None:
    return (node.value, base) if type(node) is ir.Const and isinstance(node.value, str) else None


def bare(node: ir.Expr) -> ir.Expr:
    """Return an expression without the ``await`` or ``:=`` around it."""
    while isinstance(node, (ir.Await, ir.Walrus, ir.Star)):
        node = node.value
    return node
