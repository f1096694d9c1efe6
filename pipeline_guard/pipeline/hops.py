"""Sites on the way of audio and of triggers to Realtime, and the way up that is walked to find them."""

from __future__ import annotations

from collections import deque

import msgspec

from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.program.calls import Edge
from pipeline_guard.program.code import Func


class Hop(msgspec.Struct, frozen=True):
    """A site on the way of one kind of sink: a primitive, or a call that leads to one.

    ``edge`` is the call-graph edge of a call, ``also`` what else that call may lead to (a virtual call, a conditional
    class); ``top`` says that the way up ends in this site's function.
    """

    kind: str
    func: Func
    op: int
    line: int
    end_line: int
    column: int
    sink: Sink | None
    edge: Edge | None
    top: bool
    confidence: Confidence
    sinks: tuple[Sink, ...] = ()
    note: str = ""
    also: tuple[Func, ...] = ()

    @property
    def callees(self) -> tuple[Func, ...]:
        """The functions that a call may lead to; empty for a primitive."""
        return (self.edge.callee, *self.also) if self.edge is not None else ()


class Walk:
    """The way up of one kind of sink: the hops so far, and for each function what its operations lead to."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.hops: list[Hop] = []
        self.ops: dict[Func, dict[int, list[Sink]]] = {}
        self.queue: deque[Func] = deque()
        self.queued: set[Func] = set()
        self._places: dict[tuple[Func, int, int], int] = {}

    def enqueue(self, func: Func) -> None:
        """Have the callers of a function looked at, once for everything that is new in it."""
        if func not in self.queued:
            self.queued.add(func)
            self.queue.append(func)

    def take(self, hop: Hop) -> bool:
        """Record a hop; say whether it leads to a sink that its place was not yet known to lead to."""
        key = (hop.func, hop.line, hop.column)
        leads = self.ops.setdefault(hop.func, {}).setdefault(hop.op, [])
        fresh = [sink for sink in hop.sinks if sink not in leads]
        leads.extend(fresh)
        if key not in self._places:
            self._places[key] = len(self.hops)
            self.hops.append(hop)
            return True
        index = self._places[key]
        old = self.hops[index]
        others = tuple(callee for callee in hop.callees if callee not in old.callees)
        if fresh or others:
            also = (*old.also, *others) if old.edge is not None else ()
            self.hops[index] = msgspec.structs.replace(old, sinks=(*old.sinks, *fresh), also=also)
        return bool(fresh)

    def pass_on(self, func: Func, op: int, sinks: tuple[Sink, ...]) -> None:
        """Let a function lead to sinks without a hop of its own."""
        leads = self.ops.setdefault(func, {}).setdefault(op, [])
        fresh = [sink for sink in sinks if sink not in leads]
        if fresh:
            leads.extend(fresh)
            self.enqueue(func)

    def below(self, func: Func, off: set[int]) -> list[Sink]:
        """Return the sinks that a function leads to, leaving out the operations in ``off``."""
        found: list[Sink] = []
        for op, sinks in self.ops.get(func, {}).items():
            if op not in off:
                found.extend(sink for sink in sinks if sink not in found)
        return found
