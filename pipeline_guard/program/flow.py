"""Control flow around one operation: the conditions it stands behind, and the flags that switch it off for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.program.code import LOOPS, Class, Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.models import PLAIN_BASES
from pipeline_guard.program.trees import walk
from pipeline_guard.program.values import (
    ClassValue,
    External,
    Frame,
    Instance,
    Literal,
    Missing,
    ModuleValue,
    Value,
    Values,
)

# Blocks around an operation that are looked at: a dispatcher with thousands of arms nests its ``elif``s as deep.
MAX_CONDITIONS = 40


class Condition(msgspec.Struct, frozen=True):
    """A test that must have come out ``wanted`` for control to get here.

    ``early`` says that the test itself left the function (``if busy: return``) instead of enclosing the operation.
    """

    test: ir.Expr
    wanted: bool
    early: bool
    block: int


def conditions(func: Func, op: int) -> Iterator[Condition]:
    """Yield the conditions that hold whenever operation ``op`` runs, innermost first."""
    blocks = func.ir.blocks
    ancestors = func.ancestors(func.ir.ops[op].block)
    exits = func.exits
    for block in reversed(ancestors[-MAX_CONDITIONS:]):
        entry = blocks[block]
        if entry.test is not None and entry.kind in ("if", "while", "case"):
            yield Condition(entry.test, True, False, block)
        elif entry.test is not None and entry.kind == "else":
            yield Condition(entry.test, False, False, block)
        for index in exits.get(block, ()):
            entry = blocks[index]
            if entry.last <= op and entry.test is not None:
                yield Condition(entry.test, entry.kind == "else", True, index)


def names_in(node: ir.Expr) -> Iterator[str]:
    """Yield the names, attribute names and ``hasattr``/``getattr`` names in an expression."""
    stack = [node]
    while stack:
        current = stack.pop()
        if type(current) is ir.Name:
            yield current.id
        elif type(current) is ir.Attr:
            yield current.name
            stack.append(current.base)
        elif type(current) is ir.Call and ir.source(current.func) in ("getattr", "hasattr") and len(current.args) > 1:
            if type(current.args[1]) is ir.Const:
                yield str(current.args[1].value)
        else:
            stack.extend(ir.children(current))


def strings_in(node: ir.Expr) -> Iterator[str]:
    """Yield the strings in an expression."""
    for current in walk(node):
        if type(current) is ir.Const and isinstance(current.value, str):
            yield current.value


class Flags:
    """Says which conditions are constant: a module constant, an attribute that only ever holds one value.

    ``is_named_outside`` says whether a file other than the one given names an attribute: it may set it there.
    """

    def __init__(self, evaluator: Evaluator, is_named_outside: Callable[[str, str], bool] | None = None) -> None:
        self.evaluator = evaluator
        self.is_named_outside = is_named_outside
        self._fixed: dict[tuple[Class, str], bool] = {}
        self._closed: dict[tuple[int, int], str | None] = {}
        self._truths: dict[tuple[int, int], bool | None] = {}

    def closed(self, func: Func, op: int) -> str | None:
        """Return why an operation never runs (the flag that is off), or None when it may run."""
        if not func.ir.blocks:
            return None
        key = (id(func), op)
        if key not in self._closed:
            self._closed[key] = self._why_closed(func, op)
        return self._closed[key]

    def _why_closed(self, func: Func, op: int) -> str | None:
        for condition in conditions(func, op):
            key = (id(func), condition.block)
            if key not in self._truths:  # one block stands around many operations
                self._truths[key] = self.truth(condition.test, _frame_of(func, condition.block))
            truth = self._truths[key]
            if truth is not None and truth is not condition.wanted:
                return _described(self._subject(condition.test, _frame_of(func, condition.block)))
        return None

    def _subject(self, test: ir.Expr, frame: Frame) -> ir.Expr:
        """Return the part of a condition that decides it."""
        while type(test) in (ir.Not, ir.Bool):
            if type(test) is ir.Not:
                test = test.value
            elif type(test) is ir.Bool:
                decides = test.op == "or"
                parts = [part for part in test.values if self.truth(part, frame) is decides]
                test = parts[0] if parts else test.values[0]
        return test

    def truth(self, test: ir.Expr, frame: Frame) -> bool | None:
        """Return the truth of a condition when it is the same on every run that reading can see."""
        if type(test) is ir.Const:
            return bool(test.value)
        if type(test) is ir.Name:
            return self._constant_name(test, frame)
        if type(test) is ir.Attr:
            values = self.evaluator.eval(test, frame)
            own = type(test.base) is ir.Name and test.base.id == frame.func.self_name
            if own and values and all(isinstance(value, Missing) for value in values):
                return False
            if self._is_module_constant(test, frame) or (own and self._is_fixed(test.name, frame)):
                return _agreed(values)
            return None
        if type(test) is ir.Call and ir.source(test.func) == "hasattr" and len(test.args) == 2:
            return self._has_attribute(test, frame)
        return combined_truth(test, lambda part: self.truth(part, frame))

    def _is_fixed(self, name: str, frame: Frame) -> bool:
        """Say whether an attribute of ``self`` is only ever set to constants, by the class's own code in one file.

        Fields can be given to the constructor, and what other files name they may set.
        """
        cls = frame.func.owner_class
        if cls is None or self.is_named_outside is None:
            return False
        key = (cls, name)
        if key not in self._fixed:
            self._fixed[key] = self._sets_one_constant(cls, name)
        return self._fixed[key]

    def _sets_one_constant(self, cls: Class, name: str) -> bool:
        family = [*self.evaluator.mro(cls), *self.evaluator.subclasses(cls)]
        own = [entry for entry in family if not isinstance(entry, External)]
        writes = [(func, op) for entry in own for func, op in entry.attribute_writes.get(name, ())]
        if not writes or any(type(func.ir.ops[op].value) is not ir.Const for func, op in writes):
            return False
        if any(isinstance(entry, External) and entry.path not in PLAIN_BASES for entry in family):
            return False
        if any(field.name == name for entry in own for field in entry.ir.fields):
            return False
        if len({func.module for func, _ in writes}) > 1 or self.evaluator.is_stored_outside(name):
            return False
        functions = [func for entry in own for func in entry.own_functions]
        if any("setattr" in func.names_used or "vars" in func.names_used for func in functions):
            return False
        return self.is_named_outside is None or not self.is_named_outside(f".{name}", cls.module.rel)

    def _constant_name(self, test: ir.Name, frame: Frame) -> bool | None:
        function: Func | None = frame.func
        while function is not None and function.index != 0:
            if test.id in function.params or test.id in function.definitions:
                return None
            function = function.parent
        module = frame.func.module
        if any(test.id in f.ir.globals for f in module.functions):
            return None
        values = self.evaluator.module_name(module, test.id)
        return _agreed(values)

    def _is_module_constant(self, test: ir.Attr, frame: Frame) -> bool:
        """Say whether ``test`` is ``module.NAME`` or ``Class.NAME`` in capitals.

        State of an instance changes, and fields of a settings object come from the environment.
        """
        if not test.name.isupper():
            return False
        bases = self.evaluator.eval(test.base, frame)
        return all(
            isinstance(base, (ModuleValue, ClassValue)) or self._is_class_constant(base, test.name) for base in bases
        )

    def _is_class_constant(self, base: Value, name: str) -> bool:
        """Say whether an attribute of an instance is only ever the constant that its class states."""
        if not isinstance(base, Instance):
            return False
        for entry in [*self.evaluator.mro(base.cls), *self.evaluator.subclasses(base.cls)]:
            if isinstance(entry, External):
                if entry.path not in PLAIN_BASES:
                    return False
            elif name in entry.attribute_writes:
                return False
        return True

    def _has_attribute(self, test: ir.Call, frame: Frame) -> bool | None:
        name = test.args[1]
        if type(name) is not ir.Const or not isinstance(name.value, str):
            return None
        values = self.evaluator.eval(ir.Attr(test.args[0], name.value), frame)
        return False if values and all(isinstance(value, Missing) for value in values) else None


def _frame_of(func: Func, block: int) -> Frame:
    """Return the frame in which the test of a block is read."""
    return Frame(func, func.ir.blocks[block].first or None)


def combined_truth(test: ir.Expr, truth: Callable[[ir.Expr], bool | None]) -> bool | None:
    """Return what ``not``, ``and`` and ``or`` make of the ``truth`` of their parts; None for any other expression."""
    if type(test) is ir.Not:
        inner = truth(test.value)
        return None if inner is None else not inner
    if type(test) is ir.Bool:
        truths = [truth(value) for value in test.values]
        stop = test.op == "or"
        if stop in truths:
            return stop
        return (not stop) if all(part is (not stop) for part in truths) else None
    return None


def _agreed(values: Values) -> bool | None:
    """Return the truth that several constants share."""
    truths = {bool(value.value) if isinstance(value, Literal) else None for value in values}
    return truths.pop() if len(truths) == 1 else None


def _described(test: ir.Expr) -> str:
    if type(test) is ir.Call and len(test.args) == 2 and type(test.args[1]) is ir.Const:
        return f"{ir.source(test.args[0])}.{test.args[1].value} is never assigned"
    text = ir.source(test)
    return f"switched off: {' '.join(dict.fromkeys(names_in(test))) if '…' in text else text}"


def held(func: Func, op: int, changing: frozenset[str] = frozenset()) -> dict[str, bool]:
    """Return what is known where an operation runs: source text of a test → its truth, for tests that can be named.

    Tests of ``changing`` names are left out.
    """
    known: dict[str, bool] = {}
    stack = [(condition.test, condition.wanted) for condition in conditions(func, op)]
    while stack:
        test, wanted = stack.pop()
        if type(test) is ir.Not:
            stack.append((test.value, not wanted))
        elif type(test) is ir.Bool:
            if wanted is (test.op == "and"):
                stack.extend((part, wanted) for part in test.values)
        else:
            text = _text_of_test(test)
            if "…" not in text and changing.isdisjoint(names_in(test)):
                known.setdefault(text, wanted)
    return known


def meet(func: Func, one: int, other: int) -> bool:
    """Say whether one run of a function can pass both operations: no ``if`` and no early exit keeps them apart.

    In a loop around both, a test of what changes from round to round (the message just read) keeps nothing apart.
    """
    blocks = func.ir.blocks
    left, right = func.ancestors(func.ir.ops[one].block), func.ancestors(func.ir.ops[other].block)
    around = [block for block in left if block in right and blocks[block].kind in LOOPS]
    changing = _assigned_in(func, around[0]) if around else frozenset()
    apart = next(((a, b) for a, b in zip(left, right, strict=False) if a != b), None)
    if apart is not None and func.exclusive(*apart):
        test = blocks[apart[0]].test or blocks[apart[1]].test
        if test is None or changing.isdisjoint(names_in(test)):
            return False
    early, late = sorted((one, other))
    if not around:
        below = set(func.ancestors(func.ir.ops[late].block))
        for block in func.ancestors(func.ir.ops[early].block):
            if block not in below and blocks[block].leaves and blocks[block].kind in ("if", "else", "case", "except"):
                return False
    first, second = held(func, early, changing), held(func, late, changing)
    return not any(second.get(text, wanted) is not wanted for text, wanted in first.items())


def _assigned_in(func: Func, block: int) -> frozenset[str]:
    """Return the names that are assigned inside a block (the target of a loop among them)."""
    entry = func.ir.blocks[block]
    return frozenset(
        name for name, places in func.definitions.items() if any(entry.first <= place < entry.last for place in places)
    )


def _text_of_test(test: ir.Expr) -> str:
    if type(test) is ir.Compare and len(test.ops) == 1 and test.ops[0] in ("==", "is"):
        return f"{ir.source(test.left)} {test.ops[0]} {ir.source(test.rights[0])}"
    return ir.source(test)
