"""Reads the gate of a trigger: asked on every way, marked in time, released, following the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.gate.asks import Ask, Asks
from pipeline_guard.pipeline.gate.bypass import BypassReader
from pipeline_guard.pipeline.gate.events import EventPlaces
from pipeline_guard.pipeline.gate.markers import Marker, Markers
from pipeline_guard.pipeline.gate.race import RaceReader
from pipeline_guard.pipeline.gate.tracking import Tracking, TrackingReader
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import Gate, Step
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.vocabulary import Vocabulary

MAX_CLIMB = 4
_ONCE = frozenset({"greeting"})


@dataclass
class Stand:
    """A place where the guard of a send stands: ``op`` of ``func`` is the send itself or the call that leads to it."""

    func: Func
    op: int
    asks: list[Ask]


@dataclass
class Verdict:
    """Where a send is guarded, and the ways to it that are not."""

    stands: list[Stand] = field(default_factory=list)
    open: list[Step] = field(default_factory=list)


class GateReader:
    """Reads gates.  ``names`` are the contract's own names for the marker of an active response."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary, names: frozenset[str]) -> None:
        self.graph = graph
        self.markers = Markers(graph, EventPlaces(graph))
        self.asks = Asks(self.markers, vocabulary, names)
        self.races = RaceReader(self.markers)
        self.tracking = TrackingReader(self.markers, self.asks)
        self.bypass = BypassReader(graph)

    def read(self, func: Func, sends: Sequence[Hop], above: dict[Func, list[tuple[Hop, str]]]) -> Gate:
        """Return the gate of a function that sends ``response.create`` at the given hops.

        ``above`` are the live calls that lead to a function, each with its cause.
        """
        verdict = Verdict()
        for hop in sends:
            self._stand(hop.func, hop.op, above, verdict, frozenset({func}), MAX_CLIMB)
        asks = [ask for stand in verdict.stands for ask in stand.asks]
        track = self.tracking.read(list(dict.fromkeys(ask.marker for ask in asks)), func)
        if not asks:
            return self._unguarded(func, verdict)
        lasting = [ask for ask in asks if self.tracking.lasts(ask.marker)]
        problem = "some_callers" if verdict.open else "" if lasting else "pending_only"
        primary = self._primary(lasting or asks, track)
        race = self.races.read(verdict.stands, sends)
        crossing = self.bypass.read(verdict.stands)
        return Gate(
            marker=primary.name,
            markers=tuple(dict.fromkeys(ask.marker.name for ask in asks)),
            checked=not problem,
            pending=race.pending,
            released_on_failure=race.released,
            set_on_created=bool(track.sets),
            cleared_on_done=bool(track.clears),
            same_id=track.same_id,
            bypass=crossing.name,
            problem=problem,
            race=race.kind,
            certain=track.certain,
            checks=self._steps((ask.test.func, ask.test.op) for ask in asks),
            unchecked=tuple(dict.fromkeys(verdict.open)),
            marks=race.marks,
            awaited=race.awaited,
            swallowed=race.swallowed,
            sets=track.sets,
            clears=track.clears,
            wrong_clears=track.wrong,
            bypasses=crossing.places,
            bypass_calls=crossing.calls,
        )

    def _stand(
        self,
        func: Func,
        op: int,
        above: dict[Func, list[tuple[Hop, str]]],
        verdict: Verdict,
        around: frozenset[Func],
        climb: int,
    ) -> None:
        """Find where the guard before an operation stands: in its function, in what it calls, or in every caller."""
        asks = self.asks.before(func, op, around) or self._in_callee(func, op, around) or self._in_decorator(func)
        if asks:
            verdict.stands.append(Stand(func, op, asks))
            return
        calls = [(hop, cause) for hop, cause in above.get(func, ()) if hop.func not in around]
        turns = [hop for hop, cause in calls if cause not in _ONCE]
        inner = Verdict()
        if turns and climb:
            for hop in turns:
                self._stand(hop.func, hop.op, above, inner, around | {hop.func}, climb - 1)
        if not inner.stands:
            verdict.open.append(step_at(func, func.ir.ops[op].line))
            return
        verdict.stands += inner.stands
        verdict.open += inner.open

    def _in_callee(self, func: Func, op: int, around: frozenset[Func]) -> list[Ask]:
        """Return the markers that what an operation calls asks before it sends."""
        found: list[Ask] = []
        for callee in self.markers.callees(func, op):
            for inner in range(len(callee.ir.ops)):
                if callee.calls_at.get(inner) and not callee.is_dead(inner):
                    for ask in self.asks.before(callee, inner, around | {callee}):
                        found.append(Ask(ask.marker, ask.test._replace(at=op), ask.others))
        return found

    def _in_decorator(self, func: Func) -> list[Ask]:
        """Return the markers that a decorator asks before it calls the function it wraps."""
        found: list[Ask] = []
        for decorator in func.ir.decorators:
            for factory in self.asks.functions_of(decorator, func):
                for wrapper in (f for f in factory.module.functions if factory in f.enclosing() and f is not factory):
                    for inner in range(len(wrapper.ir.ops)):
                        if wrapper.calls_at.get(inner):
                            for ask in self.asks.before(wrapper, inner, frozenset({func, wrapper})):
                                found.append(Ask(ask.marker, ask.test._replace(at=0), ask.others))
        return found

    def _unguarded(self, func: Func, verdict: Verdict) -> Gate:
        track = self.tracking.anywhere(func)
        return Gate(
            marker=track.markers[0].name if track.markers else None,
            problem="unchecked",
            unchecked=tuple(dict.fromkeys(verdict.open)),
            set_on_created=bool(track.sets),
            cleared_on_done=bool(track.clears),
            same_id=track.same_id,
            certain=track.certain,
            sets=track.sets,
            clears=track.clears,
        )

    def _primary(self, asks: list[Ask], track: Tracking) -> Marker:
        """Return the marker that follows the server, else the one that nothing can bypass."""
        following = [ask.marker for ask in asks if ask.marker in track.follows]
        return following[0] if following else asks[0].marker

    def _steps(self, places: object) -> tuple[Step, ...]:
        found = [step_at(func, func.ir.ops[op].line) for func, op in places]  # type: ignore[attr-defined]
        return tuple(dict.fromkeys(found))
