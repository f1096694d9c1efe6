"""Finds responses that are asked for right behind a ``response.cancel``, before the server has said that it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.apart import known_at, written
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import Step
from pipeline_guard.pipeline.waits import NOT_VOID, Void, Waits
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.paths import EXIT
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name, walk

_SOON = frozenset({"call", "task", "callback"})
_THREADS = frozenset({"thread", "executor"})
_MAX_WAY = 12


class Holds(msgspec.Struct, frozen=True):
    """What holds a create back besides waiting: the guard, as far as it is not ``void``; a flag that lets one by.

    ``threads`` says that a way through another thread counts; what happens there happens at its own time.  ``cases``
    says that a branch which what is passed decides (``if isinstance(event, …)``) counts, whatever is passed here.
    """

    guard: bool = True
    latch: bool = False
    threads: bool = False
    cases: bool = False
    void: Void = NOT_VOID


_NO_GUARD = Holds(guard=False, latch=True)
_ALL = Holds(latch=True, threads=True, cases=True)


class Cancels:
    """Pairs what cancels with what creates, function by function.

    A call counts as a cancel when what it calls can return with the cancel sent and nobody having waited, and as a
    create when what it calls can send one before it waits or finds that no response is active.
    """

    def __init__(self, graph: CallGraph, waits: Waits, hops: Iterable[Hop]) -> None:
        self.graph = graph
        self.waits = waits
        self._cancels: dict[Func, list[Hop]] = {}
        self._creates: dict[Func, list[Hop]] = {}
        for hop in hops:
            if not is_test(hop.func.module):
                table = {"response_cancel": self._cancels, "response_create": self._creates}.get(hop.kind)
                if table is not None:
                    table.setdefault(hop.func, []).append(hop)
        self._dangling: dict[Func, tuple[Step, ...] | None] = {}
        self._prompt: dict[tuple[Func, Holds, bool], tuple[Step, ...] | None] = {}

    def before(self, hop: Hop) -> tuple[Step, ...]:
        """Return the way from a cancel to the create of a hop in the same function; empty when there is none."""
        for cancel in sorted(self._cancels.get(hop.func, ()), key=lambda cancel: -cancel.op):  # the nearest first
            if cancel.op == hop.op or hop.func.is_dead(cancel.op):
                continue
            way = self._from(cancel, hop)
            if way:
                return way
        return ()

    def _from(self, cancel: Hop, create: Hop) -> tuple[Step, ...]:
        func = cancel.func
        if create.op not in self.waits.paths(func).after(cancel.op):
            return ()  # nothing has to be known of what waits
        waiting = self.waits.waiting(func)
        if cancel.op in waiting and cancel.sink is None:
            return ()
        sent = self._sent(cancel)
        if sent is None or create.op not in self.waits.paths(func).after(cancel.op, waiting):
            return ()
        if create.op in waiting and create.sink is None and self._all_wait(create):
            return ()
        changed = written(self.graph, func, cancel.op, create.op - 1)
        if known_at(func, cancel.op).without(changed).contradicts(known_at(func, create.op).without(changed)):
            return ()
        between = [place for place in range(cancel.op, create.op) if not self._exclusive(func, place, create.op)]
        holds = Holds(void=Void(self.waits.cleared(func, between), pending=True))
        if self._is_held(create, holds):
            return ()
        asked = self._asked(create, holds)
        return (*sent, *asked) if asked is not None else ()

    @staticmethod
    def _exclusive(func: Func, one: int, other: int) -> bool:
        return func.exclusive(func.ir.ops[one].block, func.ir.ops[other].block)

    def _all_wait(self, hop: Hop) -> bool:
        return all(self.waits.always_waits(callee) for callee in hop.callees)

    # -- down to the sends

    def _sent(self, hop: Hop, seen: frozenset[Func] = frozenset()) -> tuple[Step, ...] | None:
        """Return the way from a hop down to the cancel that it leaves open; None when it waits."""
        here = step_at(hop.func, hop.line, "sends response.cancel" if hop.sink is not None else "")
        if hop.sink is not None:
            return (here,)
        if hop.edge is None or hop.edge.kind != "call":
            return None  # when a task gets to its cancel nobody knows
        for callee in hop.callees:
            below = self._left_open(callee, seen)
            if below is not None:
                return (here, *below)[:_MAX_WAY]
        return None

    def _left_open(self, func: Func, seen: frozenset[Func]) -> tuple[Step, ...] | None:
        if func in seen:
            return None
        if func not in self._dangling:
            self._dangling[func] = self._open_in(func, seen | {func})
        return self._dangling[func]

    def _open_in(self, func: Func, seen: frozenset[Func]) -> tuple[Step, ...] | None:
        waiting = self.waits.waiting(func)
        creates = {hop.op for hop in self._creates.get(func, ())}
        for hop in self._cancels.get(func, ()):
            if _is_case(func, hop.op):
                continue
            after = self.waits.paths(func).after(hop.op, waiting)
            if EXIT in after and after.isdisjoint(creates):  # one that creates itself is told of in there
                way = self._sent(hop, seen)
                if way is not None:
                    return way
        return None

    def asks_soon(self, hop: Hop) -> bool:
        """Say whether a hop can send a create before it waits for anything; the guard on the way does not count."""
        return not self._is_held(hop, _NO_GUARD) and self._asked(hop, _NO_GUARD) is not None

    def prompt(self, hop: Hop) -> bool:
        """Say whether a hop can send a create each time it runs: nothing waits, asks the guard, or lets one by."""
        return not self._is_held(hop, _ALL) and self._asked(hop, _ALL) is not None

    def _is_held(self, hop: Hop, holds: Holds) -> bool:
        if holds.guard and self.waits.is_idle(hop.func, hop.op, holds.void):
            return True
        return holds.latch and self.waits.is_latched(hop.func, hop.op)

    def _asked(
        self, hop: Hop, holds: Holds, spawned: bool = False, seen: frozenset[Func] = frozenset()
    ) -> tuple[Step, ...] | None:
        """Return the way from a hop down to a create that nothing holds back; None when something does.

        ``holds`` says what holds a create back besides waiting, ``spawned`` that the way has led into a task: what
        sleeps there runs at another time.
        """
        here = step_at(hop.func, hop.line, "sends response.create" if hop.sink is not None else "")
        if hop.sink is not None:
            return (here,)
        if hop.edge is None or not (hop.edge.kind in _SOON or (holds.threads and hop.edge.kind in _THREADS)):
            return None
        spawned = spawned or hop.edge.kind != "call"
        for callee in hop.callees:
            below = self._free(callee, holds, spawned, seen)
            if below is not None:
                return (here, *below)[:_MAX_WAY]
        return None

    def _free(self, func: Func, holds: Holds, spawned: bool, seen: frozenset[Func]) -> tuple[Step, ...] | None:
        if func in seen:
            return None
        key = (func, holds, spawned)
        if key not in self._prompt:
            self._prompt[key] = next(self._free_in(func, holds, spawned, seen | {func}), None)
        return self._prompt[key]

    def _free_in(self, func: Func, holds: Holds, spawned: bool, seen: frozenset[Func]) -> Iterator[tuple[Step, ...]]:
        waiting = self.waits.waiting(func)
        stops = waiting | self.waits.sleeping(func) if spawned else waiting
        reached = self.waits.paths(func).from_top(stops)
        for hop in self._creates.get(func, ()):
            held = hop.op not in reached or (hop.op in waiting and hop.sink is None)
            if held or self._is_held(hop, holds) or (not holds.cases and _is_case(func, hop.op)):
                continue
            way = self._asked(hop, holds, spawned, seen)
            if way is not None:
                yield way


def _is_case(func: Func, op: int) -> bool:
    """Say whether an operation stands in a branch that compares a parameter: one call takes it, another does not."""
    own = set(func.params) - {func.self_name}
    for condition in conditions(func, op):
        for node in walk(condition.test):
            compared: list[ir.Expr] = []
            if type(node) is ir.Compare and node.ops[0] not in ("is", "is not"):
                compared = [node.left]
            elif type(node) is ir.Call and last_name(node.func) == "isinstance":
                compared = node.args[:1]
            if any(not own.isdisjoint(names_in(part)) for part in compared):
                return True
    return False
