"""Commits by hand while turn detection is on, audio put in as a conversation item, cancels that name no response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline_guard.pipeline.events import field_values, has_field
from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Misuse
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in, strings_in
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.values import External, Instance, JsonText, Literal, Mapping, Value
from pipeline_guard.vocabulary import Vocabulary

_VAD = frozenset({"default_on", "on", "off"})
_ITEM = "conversation.item.create"
_MAX_WAY = 12  # callers above a commit that are asked for the mode
# Settings that are only written down, or that a browser's own session is minted with, say nothing about this session.
_NOT_SENT = ("settings of", "written down", "session minted")


class TurnReader:
    """Reads how turns are ended and responses cancelled."""

    def __init__(self, graph: CallGraph, reach: Reachability, evidence: Evidence, vocabulary: Vocabulary) -> None:
        self.graph = graph
        self.reach = reach
        self.evidence = evidence
        self.evaluator = graph.evaluator
        self.ended = vocabulary.ended_messages
        self.manual = vocabulary.hygiene.manual_turns
        self.item_classes = frozenset(name for event in vocabulary.events.get(_ITEM, ()) for name in event.classes)

    def manual_commits(self, lane: Lane, hops: Iterable[Hop]) -> Iterator[Misuse]:
        """Yield the commits that run while the lane's turn detection commits as well."""
        values = {
            site.value
            for site in lane.sites
            if site.kind == "auto_response" and site.role is None and site.context not in QUIET_CONTEXTS
            if not site.note.startswith(_NOT_SENT)
        }
        if not values or not values <= _VAD:
            return
        for hop in hops:
            if hop.kind == "audio_commit" and self._is_open(hop.func, hop.op, set()):
                yield self._misuse("manual_commit", hop)

    def _is_open(self, func: Func, op: int, seen: set[Func]) -> bool:
        """Say whether a way from an entry point leads here that no mode of its own keeps apart."""
        seen.add(func)
        if len(seen) > _MAX_WAY or self.evidence.context_at(func, op, None) in (*QUIET_CONTEXTS, "post_call"):
            return False
        if self._is_apart(func, op):
            return False
        edges = [
            edge for edge in self.graph.calls_of(func) if edge.kind != "escape" and not is_test(edge.caller.module)
        ]
        if not edges or self.reach.entry_of(func) is not None:
            return True
        return any(self._is_open(edge.caller, edge.op, seen) for edge in edges if edge.caller not in seen)

    def _is_apart(self, func: Func, op: int) -> bool:
        """Say whether an operation runs in a mode without turn detection only, or when the stream is over."""
        for condition in conditions(func, op):
            words = [word.lower() for word in (*names_in(condition.test), *strings_in(condition.test))]
            if any(name.search(word) for word in words for name in self.manual):
                return True
            if condition.wanted and not condition.early and not self.ended.isdisjoint(words):
                return True
        return any(name.search(func.name.lower()) for name in self.manual)

    def audio_items(self, hops: Iterable[Hop]) -> Iterator[Misuse]:
        """Yield the places that put audio into the conversation as an item."""
        sends = [hop for hop in hops if hop.kind == "audio_send" and hop.sink is not None and self._runs(hop)]
        items = [hop for hop in sends if hop.sink is not None and self._is_item(hop.sink)]
        for hop in items:
            yield self._misuse("audio_item", hop, alone=len(items) == len(sends))

    def _is_item(self, sink: Sink) -> bool:
        if sink.note.endswith(f"{_ITEM}()"):
            return True
        return sink.payload is not None and self._is_item_event(sink.payload)

    def _is_item_event(self, value: Value) -> bool:
        if isinstance(value, JsonText):
            return any(self._is_item_event(inner) for inner in value.inner)
        if isinstance(value, (External, Instance)):
            name = value.cls.name if isinstance(value, Instance) else value.path.removesuffix("()").rpartition(".")[2]
            if name in self.item_classes:
                return True
        kinds = field_values(self.evaluator, value, "type")
        return any(isinstance(kind, Literal) and kind.value == _ITEM for kind in kinds)

    def cancels(self, hops: Iterable[Hop]) -> Iterator[Misuse]:
        """Yield the cancels that surely name no response."""
        for hop in hops:
            if (
                hop.kind == "response_cancel"
                and hop.sink is not None
                and self._runs(hop)
                and self._names_none(hop.sink)
            ):
                yield self._misuse("cancel_without_id", hop)

    def _names_none(self, sink: Sink) -> bool:
        if sink.note.endswith("response.cancel()"):
            given = {keyword.name for keyword in sink.call.keywords}
            return None not in given and "response_id" not in given and not sink.call.args
        return sink.payload is not None and self._lacks_id(sink.payload)

    def _lacks_id(self, value: Value) -> bool:
        if isinstance(value, JsonText):
            return bool(value.inner) and all(self._lacks_id(inner) for inner in value.inner)
        if isinstance(value, Mapping):
            return not value.open and not has_field(value, "response_id") and "\0data" not in value.entries
        if isinstance(value, External) and value.call is not None:
            given = {keyword.name for keyword in value.call.keywords}
            return None not in given and "response_id" not in given
        return False

    def _runs(self, hop: Hop) -> bool:
        return self.evidence.context(hop) not in QUIET_CONTEXTS

    def _misuse(self, kind: str, hop: Hop, *, alone: bool = False) -> Misuse:
        return Misuse(
            kind=kind,  # type: ignore[arg-type]
            path=hop.func.module.rel,
            line=hop.line,
            end_line=hop.end_line,
            column=hop.column,
            symbol=hop.func.symbol,
            alone=alone,
            confidence=self.evidence.confidence(hop),
            reached_from=self.evidence.path(hop),
        )
