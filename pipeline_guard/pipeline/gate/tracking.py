"""Reads how the markers of a gate follow the server: set on created, cleared on done, or elsewhere."""

from __future__ import annotations

import re

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.gate.asks import Asks
from pipeline_guard.pipeline.gate.clauses import Test
from pipeline_guard.pipeline.gate.events import CREATED, DONE, ENDS, PARTS, Way
from pipeline_guard.pipeline.gate.markers import Marker, Markers, Write
from pipeline_guard.pipeline.gate.states import State
from pipeline_guard.pipeline.model import GuardClear, Step
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import names_in, strings_in
from pipeline_guard.program.trees import walk

_SPEECH = frozenset({"input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"})
_ACTIVE_CODE = "conversation_already_has_active_response"
# Few gates ask for these, which are compiled, once, where one does.
_CORRELATES = r"event_id|code|message|active|err_?type|error_?type"
_ENDS_CALL = r"close|stop|clean|reset|disconnect|shut|end|hang|start|connect|init|tear|finish|exit"
_ID = r"(^|_)(id|rid)$"


class Tracking(msgspec.Struct, frozen=True):
    """What sets and clears the markers of a gate."""

    markers: tuple[Marker, ...] = ()
    follows: frozenset[Marker] = frozenset()
    sets: tuple[Step, ...] = ()
    clears: tuple[Step, ...] = ()
    same_id: bool = False
    certain: bool = True
    wrong: tuple[GuardClear, ...] = ()


class TrackingReader:
    """Reads tracking."""

    def __init__(self, markers: Markers, asks: Asks) -> None:
        self.markers = markers
        self.asks = asks

    def read(self, markers: list[Marker], trigger: Func) -> Tracking:
        """Return how the given markers follow the server's events."""
        sets: list[Step] = []
        clears: list[Step] = []
        wrong: list[GuardClear] = []
        follows: set[Marker] = set()
        same_id = bool(markers)
        unknown: set[bool | None] = set()
        held = [marker for marker in markers if self.lasts(marker)]
        for marker in markers:
            holds_id = self._holds_id(marker)
            for write in self.markers.writes(marker):
                for way in self.markers.ways(write, marker):
                    if self._is_unknown(way, write, trigger):
                        unknown.add(write.idle)
                    place = step_at(write.func, write.func.ir.ops[write.op].line)
                    if write.idle is not True and way.events & CREATED and marker in held:
                        sets.append(place)
                        follows.add(marker)
                    if write.idle is not False and way.events & ENDS and marker in held:
                        clears.append(place) if way.events & DONE else None
                        compared = self._compares(way, write, marker)
                        same_id = same_id and compared
                        if holds_id and not compared and way.events & DONE:
                            wrong.append(self._clear("any_response", marker, way, write))
                    if write.idle and marker in held and self._stands_for_response(marker, trigger):
                        on = self._wrongly(way, write, trigger, alone=len(held) == 1)
                        if on:
                            wrong.append(self._clear(on, marker, way, write))
        certain = (bool(sets) or not unknown - {True}) and (bool(clears) or not unknown - {False})
        return Tracking(
            tuple(markers), frozenset(follows), tuple(dict.fromkeys(sets)), tuple(dict.fromkeys(clears)),
            same_id and bool(clears), certain, tuple(dict.fromkeys(wrong)),
        )  # fmt: skip

    def anywhere(self, trigger: Func) -> Tracking:
        """Return what follows ``response.created`` around a trigger that asks nothing."""
        writes = [
            (func.index, op, position, func, change.place)
            for name in self.markers.names_in(trigger.module)
            if name in self.asks.contract_names or self.asks.vocabulary.is_guard_name(name)
            for position, (func, op, change) in enumerate(self.markers.written(name))
            if func.module is trigger.module
        ]
        writes.sort(key=lambda write: write[:3])
        markers = [self.markers.marker(place, State("falsy"), func) for _, _, _, func, place in writes]
        found = list(dict.fromkeys(markers))
        following = [marker for marker in found if self._follows_created(marker)]
        return self.read(following, trigger)

    @staticmethod
    def _is_unknown(way: Way, write: Write, trigger: Func) -> bool:
        """Say whether nothing tells when a write happens: it is neither the trigger's nor that of a session's end."""
        if way.events or way.by or any(func is trigger for func, _ in way.calls):
            return False
        return not (write.idle and any(re.search(_ENDS_CALL, func.name, re.IGNORECASE) for func, _ in way.calls))

    # -- one marker

    def lasts(self, marker: Marker) -> bool:
        """Say whether a marker stays busy past ``response.created``; one that nothing is known to write counts."""
        if marker.idle.kind == "slot":
            return True
        for write in self.markers.writes(marker):
            if write.idle and any(way.events & CREATED for way in self.markers.ways(write, marker)):
                return False
        return True

    def _follows_created(self, marker: Marker) -> bool:
        return self.asks.follows(marker).begins

    def _stands_for_response(self, marker: Marker, trigger: Func) -> bool:
        follows = self.asks.follows(marker)
        return follows.begins or bool(self.asks.marks(trigger, marker))

    def _holds_id(self, marker: Marker) -> bool:
        """Say whether a marker holds the id of the response, not only that there is one."""
        if not re.search(_ID, marker.name):
            return False
        return any(
            write.idle is False and any(way.events & CREATED for way in self.markers.ways(write, marker))
            for write in self.markers.writes(marker)
        )

    def _compares(self, way: Way, write: Write, marker: Marker) -> bool:
        """Say whether a clear is taken only for the response that the marker stands for."""
        value = write.func.ir.ops[write.op].value
        if value is not None and type(value) is ir.Call and value.args:
            return True  # ``active.discard(response_id)``
        tests = [test for clause in way.clauses for test in clause]
        return any(self._compares_id(test, marker) for test in tests)

    @staticmethod
    def _compares_id(test: Test, marker: Marker) -> bool:
        for node in walk(test.node):
            if type(node) is ir.Compare and _is_equal(node, test.wanted):
                sides = [node.left, *node.rights]
                if any(type(side) is ir.Const for side in sides):
                    continue
                names = {name for side in sides for name in names_in(side)}
                if marker.name in names or sum(bool(re.search(_ID, name)) for name in names) >= 2:
                    return True
        return False

    # -- clears at the wrong time

    def _wrongly(self, way: Way, write: Write, trigger: Func, *, alone: bool) -> str:
        """Return on what a marker is cleared although the response may still run; empty where that is right."""
        if write.func is trigger:
            return ""
        parts = sorted(way.events & PARTS)
        if parts:
            return parts[0]
        if "error" in way.events:
            return "" if self._correlated(way, alone) else "error"
        if way.events & _SPEECH or way.by == "barge_in":
            return "barge_in"
        return "timeout" if way.by == "timeout" else ""

    @staticmethod
    def _correlated(way: Way, alone: bool) -> bool:
        """Say whether only an error about the own request clears; "already active" says that one *is* active."""
        correlated = False
        for clause in way.clauses:
            for test in clause:
                words = set(strings_in(test.node))
                if any(_ACTIVE_CODE in word for word in words) and alone and _is_equal(test.node, test.wanted):
                    return False
                if words == {"error"}:
                    continue
                names = [*names_in(test.node), *words]
                correlated = correlated or any(re.search(_CORRELATES, name, re.IGNORECASE) for name in names)
        return correlated

    def _clear(self, on: str, marker: Marker, way: Way, write: Write) -> GuardClear:
        place = step_at(write.func, write.func.ir.ops[write.op].line, f"{marker.name} is cleared")
        path = tuple(step_at(func, func.ir.ops[op].line) for func, op in way.calls[:-1])
        return GuardClear(on=on, marker=marker.name, place=place, path=(*path, place))


def _is_equal(node: ir.Expr, wanted: bool) -> bool:
    """Say whether a comparison came out equal."""
    if type(node) is not ir.Compare or len(node.ops) != 1:
        return False
    return node.ops[0] in (("==", "is", "in") if wanted else ("!=", "is not", "not in"))
