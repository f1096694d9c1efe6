"""What must have come out how for control to reach an operation, as clauses: of each clause, one test holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions
from pipeline_guard.program.trees import last_name, walk

MAX_CLAUSES = 24
_THROUGH = ("try", "with", "body", "finally")  # who comes past one of these was in it
TIMEOUT = "a timeout"
FAILURE = "an error while it waits"


class Test(NamedTuple):
    """One test and how it came out.  ``at`` is the operation of the outermost function that it is evaluated in."""

    node: ir.Expr
    wanted: bool
    func: Func
    op: int
    at: int


Clause = tuple[Test, ...]


def split(test: Test) -> list[Clause]:
    """Return a test as clauses: ``and``, ``or`` and ``not`` are taken apart."""
    node = test.node
    if type(node) is ir.Not:
        return split(test._replace(node=node.value, wanted=not test.wanted))
    if type(node) is ir.Bool:
        parts = [split(test._replace(node=value)) for value in node.values]
        if test.wanted is (node.op == "and"):
            return [clause for part in parts for clause in part][:MAX_CLAUSES]
        return any_of(parts)
    return [(test,)]


def any_of(choices: list[list[Clause]]) -> list[Clause]:
    """Return what holds when one of several lists of clauses holds."""
    if any(not choice for choice in choices):
        return []  # one way asks nothing
    result: list[Clause] = [()]
    for choice in choices:
        result = [(*left, *right) for left in result for right in choice][:MAX_CLAUSES]
    return result


def before(func: Func, op: int) -> Iterator[Clause]:
    """Yield what holds whenever operation ``op`` runs: tests around it, exits, waits and waiting loops before it."""
    for condition in conditions(func, op):
        at = _place_of_test(func, condition.block)
        yield from split(Test(condition.test, condition.wanted, func, at, at))
    for block in func.ancestors(func.ir.ops[op].block):
        entry = func.ir.blocks[block]
        if entry.kind == "for" and entry.test is not None:  # there is something to send: what made the list said so
            yield (Test(entry.test, True, func, entry.first, max(entry.first - 1, 0)),)
    yield from _side_exits(func, op)
    yield from _waiting_loops(func, op)
    yield from _waits(func, op)


def on_one_run(func: Func, op: int, target: int) -> bool:
    """Say whether one run can pass ``op`` and go on to ``target``: not from another arm, nor from one that leaves."""
    if func.exclusive(func.ir.ops[op].block, func.ir.ops[target].block):
        return False
    around = set(func.ancestors(func.ir.ops[target].block))
    for block in func.ancestors(func.ir.ops[op].block):
        entry = func.ir.blocks[block]
        if block not in around and entry.leaves and entry.kind in ("if", "else", "case", "except") and op < target:
            return False
    return True


def _place_of_test(func: Func, block: int) -> int:
    """Return the operation that evaluates the test of a block: the one just before the first arm of its statement."""
    entry = func.ir.blocks[block]
    if entry.kind == "else":
        for other in func.ir.blocks:
            if other.group == entry.group and other.kind == "if" and other.parent == entry.parent:
                entry = other
                break
    return entry.first if entry.kind == "while" else max(entry.first - 1, 0)


def _gap(func: Func, block: int, op: int) -> list[Test] | None:
    """Return the tests under which control comes past a block without being in it, on the way to ``op``.

    Empty where it surely was in it; None where that cannot be told (a loop, a handler).
    """
    around = func.ancestors(func.ir.ops[op].block)
    tests: list[Test] = []
    while block not in around:
        entry = func.ir.blocks[block]
        if entry.kind in ("if", "else") and entry.test is not None:
            at = _place_of_test(func, block)
            tests.append(Test(entry.test, entry.kind == "else", func, at, at))
        elif entry.kind not in _THROUGH:
            return None
        block = entry.parent
    return tests


def _side_exits(func: Func, op: int) -> Iterator[Clause]:
    """Yield the exits that stand under a condition of their own: ``if not force: if busy: return``."""
    for index, entry in enumerate(func.ir.blocks):
        if not entry.leaves or entry.last > op or entry.kind not in ("if", "else") or entry.test is None:
            continue
        if entry.first >= entry.last or func.exclusive(index, func.ir.ops[op].block) or func.dead_blocks[index]:
            continue
        gap = _gap(func, entry.parent, op)
        if gap:
            at = _place_of_test(func, index)
            own = split(Test(entry.test, entry.kind == "else", func, at, at))
            yield from any_of([own, *(split(test) for test in gap)])


def _waiting_loops(func: Func, op: int) -> Iterator[Clause]:
    """Yield what a loop before the operation waited for: ``while busy: await sleep(0.05)``."""
    for index, entry in enumerate(func.ir.blocks):
        if entry.kind != "while" or entry.last > op or entry.test is None or func.dead_blocks[index]:
            continue
        gap = _gap(func, entry.parent, op)
        if gap is None or func.exclusive(index, func.ir.ops[op].block):
            continue
        choices = [split(test) for test in gap]
        over = max(entry.last - 1, entry.first)  # the test that ends the loop comes after all that it does
        if type(entry.test) is not ir.Const:
            choices.append(split(Test(entry.test, False, func, entry.first, over)))
        for exit_op in range(entry.first, entry.last):
            if func.ir.ops[exit_op].kind == "exit" and func.loop_of(exit_op) == index:
                arm = func.ir.blocks[func.ir.ops[exit_op].block]
                if arm.kind in ("if", "else") and arm.test is not None:
                    at = _place_of_test(func, func.ir.ops[exit_op].block)
                    choices.append(split(Test(arm.test, arm.kind == "if", func, at, over)))
        if choices:
            yield from any_of(choices)


def _waits(func: Func, op: int) -> Iterator[Clause]:
    """Yield the events and locks that were waited for: ``await self.idle.wait()``, ``await slot.acquire()``."""
    for index in range(op):
        value = func.ir.ops[index].value
        if value is None or func.ir.ops[index].kind in ("def", "class") or func.is_dead(index):
            continue
        found = waited_for(value)
        if found is None or func.exclusive(func.ir.ops[index].block, func.ir.ops[op].block):
            continue
        gap = _gap(func, func.ir.ops[index].block, op)
        if gap is None:
            continue
        call, limited = found
        choices = [_when_over(func, call, index), *(split(test) for test in gap)]
        outlet = _swallowed(func, index, op)
        if outlet or (limited and not _holds_await(value)):
            reason = TIMEOUT if limited else FAILURE
            choices.append([(Test(ir.Const(reason), True, func, index, index),)])
        yield from any_of(choices)


def _when_over(func: Func, call: ir.Call, op: int) -> list[Clause]:
    """Return what holds when a wait is over: the event is set, or what ``condition.wait_for(lambda: …)`` says."""
    if call.args and type(call.args[0]) is ir.Lambda:
        inner = func.module.functions[call.args[0].function]
        said = inner.ir.ops[-1].value
        if said is not None:
            return split(Test(said, True, inner, len(inner.ir.ops) - 1, op))
    return [(Test(call, True, func, op, op),)]


def waited_for(value: ir.Expr) -> tuple[ir.Call, bool] | None:
    """Return the ``x.wait()``, ``x.acquire()`` or ``x.wait_for(lambda: …)`` in an expression.

    The flag says whether the waiting has a limit in time.
    """
    limited = False
    for node in walk(value):
        if type(node) is not ir.Call:
            continue
        name = last_name(node.func)
        if name == "wait_for" and type(node.func) is ir.Attr and ir.source(node.func.base) == "asyncio":
            limited = True
        elif name == "wait_for" and node.args and type(node.args[0]) is ir.Lambda:
            return node, limited
        elif name in ("wait", "acquire") and type(node.func) is ir.Attr and ir.source(node.func.base) != "asyncio":
            timed = bool(node.args) or any(keyword.name == "timeout" for keyword in node.keywords)
            return node, limited or timed
    return None


def _holds_await(value: ir.Expr) -> bool:
    return any(type(node) is ir.Await for node in walk(value))


def _swallowed(func: Func, wait: int, op: int) -> bool:
    """Say whether an exception while waiting is caught in such a way that control goes on to ``op``."""
    below = set(func.ancestors(func.ir.ops[op].block))
    for block in func.ancestors(func.ir.ops[wait].block):
        entry = func.ir.blocks[block]
        if entry.kind != "try" or block in below:
            continue
        arms = [b for b in func.ir.blocks if b.group == entry.group and b.kind == "except"]
        if any(not arm.leaves for arm in arms):
            return True
    return False
