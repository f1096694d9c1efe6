"""A primitive: one statement that hands a typed client event, or caller audio, to a Realtime transport."""

from __future__ import annotations

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.program.code import Func
from pipeline_guard.program.values import Value


class Sink(msgspec.Struct, frozen=True):
    """A primitive: ``call`` in ``func`` hands over an event of ``kind``.

    ``payload`` is the event (or the settings, for an SDK call), ``argument`` the expression that it is handed over as;
    ``engine`` names a speech engine beside Realtime.
    """

    kind: str
    func: Func
    op: int
    call: ir.Call
    payload: Value | None
    provider: str
    confidence: Confidence
    note: str = ""
    argument: ir.Expr | None = None
    engine: str = ""


class SinkList(list[Sink]):
    """Sinks, each call and kind once."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[int, str]] = set()

    def add(self, sink: Sink) -> None:
        """Take in a sink that is not there yet."""
        key = (id(sink.call), sink.kind)
        if key not in self._seen:
            self._seen.add(key)
            self.append(sink)
