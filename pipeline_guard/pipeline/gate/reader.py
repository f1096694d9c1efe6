"""Reads the gate of a trigger: asked on every way, marked in time, released, following the server."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.events import field_values
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.gate.asks import Around, Ask, Asks
from pipeline_guard.pipeline.gate.bypass import BypassReader
from pipeline_guard.pipeline.gate.events import DONE, ENDS, EventPlaces
from pipeline_guard.pipeline.gate.markers import Marker, Markers
from pipeline_guard.pipeline.gate.race import RaceReader
from pipeline_guard.pipeline.gate.tracking import Tracking, TrackingReader
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import Gate, Step
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.trees import walk
from pipeline_guard.program.values import Literal, Sequence
from pipeline_guard.vocabulary import Vocabulary

MAX_CLIMB = 4
MAX_STANDS = 8
_ONCE = frozenset({"greeting"})
_KEPT_BY_SDK = Gate(checked=True, pending=True, set_on_created=True, cleared_on_done=True, same_id=True)
_AFTER_RESPONSE = msgspec.structs.replace(_KEPT_BY_SDK, markers=("response.done",))


class Stand(msgspec.Struct):
    """A place where the guard of a send stands: ``op`` of ``func`` is the send itself or the call that leads to it."""

    func: Func
    op: int
    asks: list[Ask]


class Verdict(msgspec.Struct):
    """Where a send is guarded, and the ways to it that are not."""

    stands: list[Stand] = msgspec.field(default_factory=list)
    open: list[Step] = msgspec.field(default_factory=list)


class GateReader:
    """Reads gates.  ``names`` are the contract's own names for the marker of an active response."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary, names: frozenset[str]) -> None:
        self.graph = graph
        self.markers = Markers(graph, EventPlaces(graph))
        self.asks = Asks(self.markers, vocabulary, names)
        self.races = RaceReader(self.markers)
        self.tracking = TrackingReader(self.markers, self.asks)
        self.bypass = BypassReader(graph)
        self._gated = {
            f"{c.name}: {call.method}()": c.name for c in vocabulary.connections for call in c.calls if call.gated
        }

    def read(self, func: Func, sends: SequenceOf[Hop], above: dict[Func, list[tuple[Hop, str]]]) -> Gate:
        """Return the gate of a function that sends ``response.create`` at the given hops.

        ``above`` are the live calls that lead to a function, each with its cause.
        """
        keepers = {self._gated.get(hop.sink.note, "") if hop.sink is not None else "" for hop in sends}
        if keepers and "" not in keepers:
            return msgspec.structs.replace(_KEPT_BY_SDK, markers=tuple(sorted(keepers)))
        verdict = Verdict()
        for hop in sends:
            self._stand(hop.func, hop.op, above, verdict, {hop.func: hop.op}, MAX_CLIMB)
        asks = [ask for stand in verdict.stands for ask in stand.asks]
        track = self.tracking.read(list(dict.fromkeys(ask.marker for ask in asks)), func)
        if not asks:
            return self._unguarded(func, verdict) if verdict.open else _AFTER_RESPONSE
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
            pending_marker=race.marker if race.marks else None,
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

    def is_text_only(self, hop: Hop) -> bool:
        """Say whether a request asks for text and no speech: ``{"response": {"output_modalities": ["text"]}}``."""
        evaluator = self.graph.evaluator
        payload = hop.sink.payload if hop.sink is not None else None
        for response in field_values(evaluator, payload, "response") if payload is not None else ():
            for name in ("output_modalities", "modalities"):
                for value in field_values(evaluator, response, name):
                    if isinstance(value, Sequence) and evaluator.force_all(value.items) == [Literal("text")]:
                        return True
        return False

    def _stand(
        self,
        func: Func,
        op: int,
        above: dict[Func, list[tuple[Hop, str]]],
        verdict: Verdict,
        around: Around,
        climb: int,
    ) -> None:
        """Find where the guard before an operation stands: in its function, in what it calls, or in every caller."""
        asks = self.asks.before(func, op, around)
        if self._holds(asks):
            verdict.stands.append(Stand(func, op, asks))
            return
        below = self._in_callee(func, op, around) or self._in_decorator(func)
        if below and (not asks or any(self._holds(stand.asks) for stand in below)):
            verdict.stands += below
            return
        if asks:
            verdict.stands.append(Stand(func, op, asks))
            return
        calls = [(hop, cause) for hop, cause in above.get(func, ()) if hop.func not in around]
        turns = [hop for hop, cause in calls if cause not in _ONCE]
        inner = Verdict()
        if turns and climb:
            for hop in turns:
                self._stand(hop.func, hop.op, above, inner, {**around, hop.func: hop.op}, climb - 1)
        if not inner.stands and self._after_response(func, op):
            return
        if not inner.stands:
            verdict.open.append(step_at(func, func.ir.ops[op].line))
            return
        verdict.stands += inner.stands
        verdict.open += inner.open

    def _holds(self, asks: list[Ask]) -> bool:
        """Say whether one of the markers is asked without exception and held until the response is over."""
        return any(not ask.others and self.tracking.lasts(ask.marker) for ask in asks)

    def _in_callee(self, func: Func, op: int, around: Around, depth: int = 3) -> list[Stand]:
        """Return where the functions that an operation hands the request to ask before they pass it on."""
        found: list[Stand] = []
        for callee in self.markers.callees(func, op) if depth else ():
            if callee in around:
                continue
            for inner in range(len(callee.ir.ops)):
                if not callee.is_dead(inner) and _hands_on(callee, inner):
                    below = {**around, callee: inner}
                    asks = self.asks.before(callee, inner, below)
                    if asks:
                        found.append(Stand(callee, inner, asks))
                    else:
                        found += self._in_callee(callee, inner, below, depth - 1)
        return found[:MAX_STANDS]

    def _in_decorator(self, func: Func) -> list[Stand]:
        """Return the markers that a decorator asks before it calls the function it wraps."""
        found: list[Stand] = []
        for decorator in func.ir.decorators:
            for factory in self.asks.functions_of(decorator, func):
                for wrapper in (f for f in factory.module.functions if factory in f.enclosing() and f is not factory):
                    for inner in range(len(wrapper.ir.ops)):
                        asks = self.asks.before(wrapper, inner, {func: None, wrapper: inner})
                        if wrapper.calls_at.get(inner) and asks:
                            found.append(Stand(wrapper, inner, asks))
        return found[:MAX_STANDS]

    def _after_response(self, func: Func, op: int) -> bool:
        """Say whether a request is sent on ``response.done`` only: then the last response has just ended."""
        ways = self.markers.events.ways(func, op)
        return bool(ways) and all(way.events & DONE and way.events <= ENDS for way in ways)

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


def _hands_on(func: Func, op: int) -> bool:
    """Say whether an operation hands an argument of its function (or what became of it) to a call."""
    for site in func.calls_at.get(op, ()):
        for value in [*site.call.args, *(keyword.value for keyword in site.call.keywords)]:
            if any(type(n) is ir.Name and (n.id in func.params or n.id in func.definitions) for n in walk(value)):
                return True
    return False
