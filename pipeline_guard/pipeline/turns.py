"""Finds the utterance that is answered twice: two of its events lead to a trigger, or one of them does so twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline_guard.pipeline.apart import Known, known_at, written
from pipeline_guard.pipeline.cancels import Cancels
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.server_events import TURN_EVENTS, Branches
from pipeline_guard.pipeline.triggers import Cause, GuardReader
from pipeline_guard.pipeline.waits import Waits
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import meet

# Causes that no ordinary turn has, although they may be told from what the caller said.
_OTHER_CAUSES = frozenset({"greeting", "end_call", "dtmf", "tool_result", "operator_http"})
_WAY_UP = 3


class Turn:
    """A hop in the branch of an event of the caller's turn."""

    def __init__(self, event: str, hop: Hop, known: Known, branch: tuple[int, int]) -> None:
        self.event = event
        self.hop = hop
        self.known = known
        self.branch = branch


class Turns:
    """Compares the hops of one lane that answer the caller's turn."""

    def __init__(
        self, graph: CallGraph, branches: Branches, waits: Waits, guards: GuardReader, cancels: Cancels
    ) -> None:
        self.graph = graph
        self.branches = branches
        self.waits = waits
        self.guards = guards
        self.cancels = cancels

    def doubles(self, hops: Iterable[Hop], causes: dict[int, Cause]) -> Iterator[tuple[str, Hop, str, Hop]]:
        """Yield what answers a turn once more: its event and hop, and the event and hop that answer it already."""
        hops = list(hops)
        turns = [turn for hop in hops for turn in self._turns(hop, causes)]
        late = [turn for turn in turns if not self.cancels.asks_soon(turn.hop)]
        turns = [turn for turn in turns if turn not in late]
        late = [turn for turn in late if self._comes_later(turn.hop, hops)]
        order = {event: index for index, event in enumerate(TURN_EVENTS)}
        turns.sort(key=lambda t: (order[t.event], t.hop.func.module.rel, t.hop.line))
        told: set[tuple[Func, int]] = set()
        for index, later in enumerate(turns):
            for first in turns[:index]:
                key = (later.hop.func, later.branch[0])
                if first.event != later.event and key not in told and self._together(first, later):
                    told.add(key)
                    yield later.event, later.hop, first.event, first.hop
        for first, second in self._in_one_branch(turns, late):
            if (second.hop.func, second.branch[0]) not in told:
                yield second.event, second.hop, first.event, first.hop

    def _turns(self, hop: Hop, causes: dict[int, Cause]) -> Iterator[Turn]:
        if causes[id(hop)].name in _OTHER_CAUSES or hop.func.is_dead(hop.op):
            return
        if hop.edge is not None and hop.edge.kind in ("register", "escape", "job"):
            return
        events = self.branches.events(hop.func, hop.op)
        found = [event for event in TURN_EVENTS if event in events]
        if len(found) == len(events) and found:
            branch = self._branch(hop.func, hop.op)
            known = known_at(hop.func, hop.op)
            for event in found:
                yield Turn(event, hop, self._lasting(hop.func, hop.op, known), branch)

    def _branch(self, func: Func, op: int) -> tuple[int, int]:
        """Return the operations of the outermost block around one that stands in the same branch on events."""
        events = self.branches.events(func, op)
        best = (0, len(func.ir.ops))
        for block in func.ancestors(func.ir.ops[op].block):
            entry = func.ir.blocks[block]
            if entry.kind in ("if", "else", "case") and entry.first < entry.last:
                if self.branches.events(func, entry.first) == events:
                    return entry.first, entry.last
                best = (entry.first, entry.last)
        return best

    def _lasting(self, func: Func, op: int, known: Known) -> Known:
        """Return what is known of the state of the call, not of the message just read."""
        loop = next((b for b in func.ancestors(func.ir.ops[op].block) if func.ir.blocks[b].kind in LOOPS), None)
        first, last = (func.ir.blocks[loop].first, func.ir.blocks[loop].last) if loop is not None else (0, op)
        local = {
            name for name, places in func.definitions.items() if any(first <= place < last for place in places)
        } | (set() if loop is not None else set(func.params) - {func.self_name or ""})
        keep = {text for text in known.texts if text.replace("[", ".").partition(".")[0] not in local}
        return known.only(keep)

    # -- two events

    def _together(self, one: Turn, other: Turn) -> bool:
        """Say whether both run for one utterance: in one session and one mode, neither in place of the other."""
        if not self._same_session(one.hop.func, other.hop.func):
            return False
        if one.known.contradicts(other.known):
            return False
        return not (self._gives_way(one, other) or self._gives_way(other, one))

    def _same_session(self, one: Func, other: Func) -> bool:
        if one is other:
            return True
        cls = one.owner_class
        if cls is not None and cls is other.owner_class and self._is_kept(one) and self._is_kept(other):
            return True
        if one.parent is not None and one.parent is other.parent and self._is_kept(one) and self._is_kept(other):
            return True
        ours, theirs = self._ways(one), self._ways(other)
        return any(
            mine != yours and meet(func, mine, yours)
            for func in ours
            for mine in ours[func]
            for yours in theirs.get(func, ())
        )

    def _is_kept(self, func: Func) -> bool:
        """Say whether a function is registered under an event, not called from a branch."""
        return any(True for _ in self.branches.events(func, 0)) if func.ir.ops else False

    def _ways(self, func: Func) -> dict[Func, set[int]]:
        """Return the functions that lead to one, a few calls up, each with the operations that do."""
        found: dict[Func, set[int]] = {}
        edge = {func}
        for _ in range(_WAY_UP):
            calls = [
                e for f in edge for e in self.graph.incoming.get(f, ()) if e.kind == "call" and e.caller.index != 0
            ]
            edge = {call.caller for call in calls} - found.keys()
            for call in calls:
                found.setdefault(call.caller, set()).add(call.op)
        return found

    def _gives_way(self, one: Turn, other: Turn) -> bool:
        """Say whether what one branch writes down keeps the other from asking once more."""
        first, last = other.branch
        names = written(self.graph, other.hop.func, first, last - 1)
        reads = {name for name in one.known.names if not self.guards.is_guard(name, self.waits.names)}
        local = set(one.hop.func.definitions) | set(one.hop.func.params)
        return not names.isdisjoint(reads - local - {"self"})

    # -- one event

    def _in_one_branch(self, turns: list[Turn], late: list[Turn]) -> Iterator[tuple[Turn, Turn]]:
        """Yield the pairs of hops in one branch that both run in one pass: the trigger, and behind it another one.

        The other one may also be put off: a task, started for this turn, that asks once it has slept.
        """
        told: set[Func] = set()
        for first in turns:
            func = first.hop.func
            if not self._asks_itself(first.hop) or func in told:
                continue
            waiting = self.waits.waiting(func)
            reached = self.waits.paths(func).after(first.hop.op, waiting)
            for second in (*turns, *late):
                if second.hop.func is not func or second.event != first.event or second.hop.op not in reached:
                    continue
                changed = written(self.graph, func, first.hop.op, second.hop.op - 1, 1)
                mine, theirs = known_at(func, first.hop.op), known_at(func, second.hop.op)
                if mine.contradicts(theirs) or not (theirs.names - mine.names).isdisjoint(changed):
                    continue
                told.add(func)
                yield first, second
                break

    def _comes_later(self, hop: Hop, hops: list[Hop]) -> bool:
        """Say whether a hop starts a task which asks for a response itself, and not again and again."""
        edge = hop.edge
        if edge is None or edge.kind not in ("task", "timer"):
            return False
        return any(
            inner.func is edge.callee and edge.callee.loop_of(inner.op) is None and self._asks_itself(inner)
            for inner in hops
        )

    def _asks_itself(self, hop: Hop) -> bool:
        """Say whether a hop plainly asks for a response: it or what it calls sends, and its result is not read."""
        op = hop.func.ir.ops[hop.op]
        if op.kind != "expr":
            return False
        if hop.sink is not None:
            return True
        edge = hop.edge
        return edge is not None and edge.kind in ("call", "task") and any(s.func is edge.callee for s in hop.sinks)
