"""Reads whether a marker is set between the check and the first moment at which another caller can pass the check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.gate.asks import Ask
from pipeline_guard.pipeline.gate.clauses import on_one_run, waited_for
from pipeline_guard.pipeline.gate.markers import Marker, Markers
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import Step
from pipeline_guard.program.code import Func
from pipeline_guard.program.trees import walk

if TYPE_CHECKING:
    from pipeline_guard.pipeline.gate.reader import Stand

_LOCK = r"(?i:lock|mutex|sema|gate|guard|cond)"


class Race(NamedTuple):
    """Whether the gap between check and send is closed.

    ``kind`` says how it is not: "unmarked", "awaited" (marked, but control changes hands first), "late" (marked only
    when the send has returned), "dropped" (given up as soon as the send has returned).
    """

    pending: bool
    released: bool
    kind: str = ""
    marks: tuple[Step, ...] = ()
    awaited: tuple[Step, ...] = ()
    swallowed: tuple[Step, ...] = ()
    marker: str = ""


class RaceReader:
    """Reads races."""

    def __init__(self, markers: Markers) -> None:
        self.markers = markers

    def read(self, stands: Sequence[Stand], sends: Sequence[Hop]) -> Race:
        """Return the worst race among the places where the guard stands."""
        found = [self._at(stand, sends) for stand in stands]
        open_ones = [race for race in found if not race.pending]
        if open_ones:
            return open_ones[0]
        unreleased = [race for race in found if not race.released]
        return (unreleased or found)[0]

    def _at(self, stand: Stand, sends: Sequence[Hop]) -> Race:
        best = Race(False, True, "unmarked")
        order = ["unmarked", "late", "awaited", "dropped", ""]
        for ask in stand.asks:
            race = self._of(ask, stand, sends)._replace(marker=ask.marker.name)
            if race.pending:
                return race
            if order.index(race.kind) > order.index(best.kind):
                best = race
        return best

    def _of(self, ask: Ask, stand: Stand, sends: Sequence[Hop]) -> Race:
        func, target, marker = stand.func, stand.op, ask.marker
        if marker.idle.kind == "slot":
            return Race(True, True)
        lock = self._lock_around(func, ask.test.at, target)
        marks = self._marks(func, target, marker)
        if lock is not None and (self._waits_under(func, lock, target) or any(self._in(func, lock, m) for m in marks)):
            return Race(True, True, "", self._steps(func, marks))
        if not marks:
            return self._below(marker, func, sends)
        first = min(marks, key=lambda m: (m > target, abs(m - ask.test.at)))
        between = [o for o in self._awaits(func, ask.test.at, first) if not (lock and self._in(func, lock, o))]
        if not between and self._drops(func, target, marker):
            return Race(False, True, "dropped", self._steps(func, marks))
        if not between:
            swallowed = self._swallowed(func, target, marker) if first < target else []
            released = not swallowed and (first >= target or self._releases(func, target, marker))
            return Race(True, released, "", self._steps(func, [first]), (), self._steps(func, swallowed))
        kind = "late" if first > target and between == [target] else "awaited"
        return Race(False, True, kind, self._steps(func, [first]), self._steps(func, between))

    def _below(self, marker: Marker, func: Func, sends: Sequence[Hop]) -> Race:
        """Look for the mark in the sending function, where the check stands in its caller."""
        for hop in sends:
            if hop.func is func:
                continue
            marks = [m for m in self._marks(hop.func, hop.op, marker) if m <= hop.op]
            if marks and not self._awaits(hop.func, -1, marks[0]):
                return Race(True, True, "", self._steps(hop.func, marks[:1]))
        return Race(False, True, "unmarked")

    def _marks(self, func: Func, target: int, marker: Marker) -> list[int]:
        """Return the operations on the way through ``target`` that turn the marker busy."""
        return [
            op
            for op in range(len(func.ir.ops))
            if not func.is_dead(op)
            and not self._in_handler(func, op, target)
            and on_one_run(func, op, target)
            and any(idle is False for idle in self.markers.effects(func, op, marker))
        ]

    @staticmethod
    def _in_handler(func: Func, op: int, target: int) -> bool:
        around = set(func.ancestors(func.ir.ops[target].block))
        return any(
            func.ir.blocks[b].kind == "except" and b not in around for b in func.ancestors(func.ir.ops[op].block)
        )

    def _awaits(self, func: Func, check: int, mark: int) -> list[int]:
        """Return the operations after the check at which another task can run before the mark is set."""
        found = []
        for op in range(check + 1, mark):
            value = func.ir.ops[op].value
            if value is None or func.is_dead(op) or not on_one_run(func, op, mark):
                continue
            if any(type(node) is ir.Await for node in walk(value)):
                found.append(op)
        return found

    # -- locks

    def _lock_around(self, func: Func, check: int, target: int) -> int | None:
        """Return the lock that is held over the check and the send."""
        around = func.ancestors(func.ir.ops[check].block) if check >= 0 else ()
        for block in reversed(func.ancestors(func.ir.ops[target].block)):
            entry = func.ir.blocks[block]
            if entry.kind != "with" or entry.test is None or block not in around:
                continue
            if any(re.search(_LOCK, name) for node in walk(entry.test) for name in _name(node)):
                return block
        return None

    def _waits_under(self, func: Func, lock: int, target: int) -> bool:
        """Say whether the lock is kept until the server has answered: something is waited for after the send."""
        entry = func.ir.blocks[lock]
        return any(
            (value := func.ir.ops[op].value) is not None
            and any(type(node) is ir.Await for node in walk(value))
            and (waited_for(value) is not None or "wait_for" in {n for node in walk(value) for n in _name(node)})
            for op in range(target, entry.last)
        )

    @staticmethod
    def _in(func: Func, block: int, op: int) -> bool:
        return block in func.ancestors(func.ir.ops[op].block)

    # -- failure

    def _tries(self, func: Func, target: int) -> Iterator[dict[int, list[int]]]:
        """Yield the handlers of each ``try`` around an operation, innermost first: block → its operations."""
        for block in reversed(func.ancestors(func.ir.ops[target].block)):
            entry = func.ir.blocks[block]
            if entry.kind == "try":
                yield {
                    index: list(range(arm.first, arm.last))
                    for index, arm in enumerate(func.ir.blocks)
                    if arm.group == entry.group and arm.kind in ("except", "finally")
                }

    def _clears(self, func: Func, ops: Sequence[int], marker: Marker) -> bool:
        return any(idle is True for op in ops for idle in self.markers.effects(func, op, marker))

    def _releases(self, func: Func, target: int, marker: Marker) -> bool:
        """Say whether a failed send gives the marker up; where nothing catches it, the session ends with it."""
        arms = [ops for handlers in self._tries(func, target) for ops in handlers.values()]
        return not arms or any(self._clears(func, ops, marker) for ops in arms)

    def _swallowed(self, func: Func, target: int, marker: Marker) -> list[int]:
        """Return where a failed send is caught without giving the marker up."""
        for handlers in self._tries(func, target):
            caught = {i: ops for i, ops in handlers.items() if func.ir.blocks[i].kind == "except" and ops}
            clearing = {i for i, ops in handlers.items() if self._clears(func, ops, marker)}
            if any(func.ir.blocks[index].kind == "finally" for index in clearing):
                return []
            swallowing = [
                ops[0]
                for index, ops in caught.items()
                if index not in clearing
                and not _is_cancel(func.ir.blocks[index].test)
                and not any(func.ir.ops[op].kind == "raise" for op in ops)
            ]
            if swallowing or clearing:
                return swallowing
        return []

    def _drops(self, func: Func, target: int, marker: Marker) -> bool:
        """Say whether the marker is given up again as soon as the send has returned."""
        waits = any(
            (value := func.ir.ops[op].value) is not None and any(type(node) is ir.Await for node in walk(value))
            for op in range(target + 1, len(func.ir.ops))
            if not func.exclusive(func.ir.ops[op].block, func.ir.ops[target].block)
            and not self._in_handler(func, op, target)
        )
        if waits:
            return False
        if any(
            func.ir.blocks[index].kind == "finally" and self._always_clears(func, index, ops, marker)
            for handlers in self._tries(func, target)
            for index, ops in handlers.items()
        ):
            return True
        return any(
            True in self.markers.effects(func, op, marker)
            for op in range(target + 1, len(func.ir.ops))
            if func.ir.ops[op].block == func.ir.ops[target].block
        )

    def _always_clears(self, func: Func, block: int, ops: Sequence[int], marker: Marker) -> bool:
        return any(func.ir.ops[op].block == block and True in self.markers.effects(func, op, marker) for op in ops)

    def _steps(self, func: Func, ops: Sequence[int]) -> tuple[Step, ...]:
        return tuple(step_at(func, func.ir.ops[op].line) for op in ops)


def _is_cancel(test: ir.Expr | None) -> bool:
    return test is not None and "Cancelled" in ir.source(test)


def _name(node: ir.Expr) -> list[str]:
    if type(node) is ir.Attr:
        return [node.name]
    return [node.id] if type(node) is ir.Name else []
