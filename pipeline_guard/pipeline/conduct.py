"""How each response is asked for: awaited or dropped, on whose loop, once per tool, behind a cancel, twice per turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pipeline_guard.pipeline.cancels import Cancels
from pipeline_guard.pipeline.coroutines import Coroutines, Dropped
from pipeline_guard.pipeline.events import field_values, has_field
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import DoubleTurn, Step
from pipeline_guard.pipeline.per_tool import PerTool, PerToolReader
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.pipeline.recursion import Recursion
from pipeline_guard.pipeline.server_events import Branches
from pipeline_guard.pipeline.threads import Threads
from pipeline_guard.pipeline.triggers import Cause, GuardReader
from pipeline_guard.pipeline.turns import Turns
from pipeline_guard.pipeline.waits import Waits
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.values import JsonText, Literal, Value

_EVENT_ID = "event_id"
_DEPTH = 3
# The Agents SDK makes its events itself: nobody can give them an id.
_OWN_EVENTS = "agents-sdk"


class Conduct(msgspec.Struct, frozen=True):
    """What a site of kind "response_create" says of how the response is asked for; see ``model.Site``."""

    dropped: Dropped | None = None
    own_loop: str | None = None
    per_tool: PerTool | None = None
    after_cancel: tuple[Step, ...] = ()


class ConductReader:
    """Reads the conduct of hops.  ``hops`` are all of a program, ``relays`` the functions that send for others."""

    def __init__(
        self,
        graph: CallGraph,
        reach: Reachability,
        guards: GuardReader,
        hops: Iterable[Hop],
        relays: Iterable[Func],
    ) -> None:
        self.graph = graph
        self.evaluator = graph.evaluator
        self.reach = reach
        self.guards = guards
        self.relays = list(relays)
        self.coroutines = Coroutines(graph, reach)
        self.threads = Threads(graph)
        self.recursion = Recursion(graph)
        self.branches = Branches(graph.evaluator)
        self.hops = [hop for hop in hops if not (hop.sinks and all(self._is_aside(sink) for sink in hop.sinks))]
        self.names: frozenset[str] | None = None
        self.declare(frozenset())

    def declare(self, names: frozenset[str]) -> None:
        """Take names for those of the flag "a response is active", as the contract declares them."""
        if self.names == names:
            return
        self.names = names
        waits = Waits(self.graph, self.guards, names)
        self.cancels = Cancels(self.graph, waits, self.hops)
        self.tools = PerToolReader(self.branches, self.reach.pumps, self.cancels)
        self.turns = Turns(self.graph, self.branches, waits, self.guards, self.cancels)

    def of(self, hop: Hop, cause: Cause) -> Conduct:
        """Return the conduct of a hop of kind "response_create"."""
        if hop.func.is_dead(hop.op):
            return Conduct()
        aside = bool(hop.sinks) and all(self._is_aside(sink) for sink in hop.sinks)
        return Conduct(
            self.coroutines.dropped(hop),
            self.coroutines.own_loop(hop),
            None if aside else self.tools.read(hop, cause.name),
            () if aside else self.cancels.before(hop),
        )

    def double_turns(self, hops: Iterable[Hop], causes: dict[int, Cause]) -> tuple[DoubleTurn, ...]:
        """Return the utterances that the hops of one lane answer twice."""
        own = [hop for hop in hops if not (hop.sinks and all(self._is_aside(sink) for sink in hop.sinks))]
        return tuple(
            DoubleTurn(event=event, place=_place(hop), first_event=before, first_place=_place(first))
            for event, hop, before, first in self.turns.doubles(own, causes)
        )

    def endless(self, hops: Iterable[Hop], names: Iterable[str]) -> tuple[tuple[Step, ...], ...]:
        """Return the ways round of the triggers, and of what sends for them, that only ever call themselves.

        ``names`` are what a trigger is called, the likeliest first: one that has lost its send is no hop any more.
        """
        hops = list(hops)
        modules = dict.fromkeys(hop.func.module for hop in hops)
        wanted = {name: index for index, name in enumerate(names)}
        named = [func for module in modules for func in module.functions if func.name.lstrip("_") in wanted]
        named.sort(key=lambda func: wanted[func.name.lstrip("_")])
        relays = [func for func in self.relays if func.module in modules]
        functions = dict.fromkeys([*named, *relays, *(hop.func for hop in hops)])
        return tuple(steps for _, steps in self.recursion.cycles(f for f in functions if not is_test(f.module)))

    def uncorrelated(self, hops: Iterable[Hop]) -> Iterator[Step]:
        """Yield the sends of a trigger of which an error cannot be told to belong to them."""
        for hop in hops:
            sink = hop.sink
            if sink is not None and self._says_no_id(sink):
                yield step_at(hop.func, hop.line)

    def _says_no_id(self, sink: Sink) -> bool:
        if sink.note.startswith(_OWN_EVENTS):
            return False
        payload = sink.payload
        values = list(payload.inner) if isinstance(payload, JsonText) else [payload]
        of_sdk = sink.note.endswith(".create()")  # there the event is made by the call, not given to it
        if not of_sdk and any(value is None or has_field(value, _EVENT_ID) for value in values):
            return False
        if any(keyword.name == _EVENT_ID for keyword in sink.call.keywords):
            return False
        return not self._adds_id(sink.func, sink)

    def _adds_id(self, func: Func, sink: Sink) -> bool:
        """Say whether what a send goes through, or the function it stands in, puts an id into events."""
        todo, seen = [func], {func}
        for _ in range(_DEPTH):
            if any(_EVENT_ID in f.strings or _EVENT_ID in f.names_used for f in todo):
                return True
            ways = [
                e.callee
                for f in todo
                for e in self.graph.outgoing.get(f, ())
                if e.callee not in seen and (f is not func or e.op == sink.op)
            ]
            seen.update(ways)
            todo = ways
        return False

    def _is_aside(self, sink: Sink) -> bool:
        """Say whether a response is made outside the conversation: it collides with no other."""
        if sink.payload is None or sink.kind != "response_create":
            return False
        inner: list[Value] = [sink.payload, *field_values(self.evaluator, sink.payload, "response")]
        return any(
            isinstance(value, Literal) and value.value == "none"
            for part in inner
            for value in field_values(self.evaluator, part, "conversation")
        )


def _place(hop: Hop) -> tuple[str, int, int]:
    return hop.func.module.rel, hop.line, hop.column
