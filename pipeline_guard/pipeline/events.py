"""Typed events: which client event an abstract value is, field by field, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.models import from_python
from pipeline_guard.program.value_lists import parse_json
from pipeline_guard.program.values import (
    UNKNOWN,
    Container,
    External,
    Frame,
    Instance,
    JsonText,
    Literal,
    Mapping,
    Missing,
    Parameter,
    Sequence,
    Text,
    Value,
    Values,
)
from pipeline_guard.vocabulary import Event, Vocabulary

_TYPE_FIELDS = ("type", "event_type")
# What an unknown part of an f-string is replaced by before the text is read as JSON: valid inside and outside quotes.
_HOLE = "0"


class Typed(NamedTuple):
    """A value that is a client event: its vocabulary entry, and the value to read its fields from."""

    event: Event
    value: Value


class EventReader:
    """Says which events a payload may be."""

    def __init__(self, evaluator: Evaluator, vocabulary: Vocabulary, frame: Frame) -> None:
        self.evaluator = evaluator
        self.vocabulary = vocabulary
        self.frame = frame

    def read(self, values: Values) -> tuple[list[Typed], list[Parameter]]:
        """Return the events among ``values`` and the parameters that decide what the payload is."""
        typed: list[Typed] = []
        parameters: list[Parameter] = []
        for value in values:
            self._read(value, typed, parameters)
        return typed, parameters

    def _read(self, value: Value, typed: list[Typed], parameters: list[Parameter]) -> None:
        if isinstance(value, JsonText):
            for inner in value.inner:
                self._read(inner, typed, parameters)
        elif isinstance(value, Parameter):
            parameters.append(value)
        elif isinstance(value, (Literal, Text)):
            parsed = self._parsed(value)
            if parsed is not None:
                self._read(parsed, typed, parameters)
        elif isinstance(value, External):
            self._read_external(value, typed, parameters)
        elif isinstance(value, (Mapping, Instance)):
            self._read_fields(value, typed, parameters)

    def _parsed(self, value: Literal | Text) -> Value | None:
        text = value.value if isinstance(value, Literal) else _HOLE.join(part or "" for part in _with_holes(value))
        if not isinstance(text, str) or "{" not in text or "type" not in text:
            return None
        data = parse_json(text)
        return from_python(data, self.frame) if isinstance(data, dict) else None

    def _read_external(self, value: External, typed: list[Typed], parameters: list[Parameter]) -> None:
        if value.call is None or value.frame is None or not value.path.endswith("()"):
            return
        name = value.path[:-2].rpartition(".")[2]
        wrapped = self.vocabulary.wrappers.get(name)
        if wrapped is not None:
            for inner in field_values(self.evaluator, value, wrapped):
                self._read(inner, typed, parameters)
            return
        for event in self.vocabulary.event_classes.get(name, ()):
            if self._has_content(event, value):
                typed.append(Typed(event, value))

    def _read_fields(self, value: Mapping | Instance, typed: list[Typed], parameters: list[Parameter]) -> None:
        kinds: Values = []
        for field in _TYPE_FIELDS:
            kinds = field_values(self.evaluator, value, field)
            if kinds:
                break
        for kind in kinds:
            if isinstance(kind, Parameter):
                parameters.append(kind)
            elif isinstance(kind, Literal) and isinstance(kind.value, str):
                for event in self.vocabulary.events.get(kind.value, ()):
                    if self._has_content(event, value):
                        typed.append(Typed(event, value))
        if not kinds and isinstance(value, Instance):
            for event in self.vocabulary.event_classes.get(value.cls.name, ()):
                if self._has_content(event, value):
                    typed.append(Typed(event, value))

    def _has_content(self, event: Event, value: Value) -> bool:
        if isinstance(value, Mapping) and any(name in value.entries for name in event.never):
            return False
        return event.content is None or mentions(self.evaluator, value, event.content)


def _with_holes(value: Text) -> list[str | None]:
    """Return the parts of a text such that joining them with a stand-in fills every hole."""
    parts: list[str | None] = []
    pending: str | None = None
    for part in value.parts:
        if part is None:
            parts.append(pending or "")
            pending = None
        else:
            pending = part
    parts.append(pending or "")
    return parts


def field_values(evaluator: Evaluator, value: Value, name: str) -> Values:
    """Return what a field of an event, dict, data class or SDK object may hold; empty when it is not there."""
    if isinstance(value, Mapping):
        return evaluator.force_all(value.entries.get(name, ()))
    if isinstance(value, Instance):
        return [v for v in evaluator.instance_attribute(value, name) if not isinstance(v, Missing) and v is not UNKNOWN]
    if isinstance(value, External) and value.call is not None and value.frame is not None:
        for keyword in value.call.keywords:
            if keyword.name == name:
                return evaluator.eval(keyword.value, value.frame)
    if isinstance(value, JsonText):
        return [v for inner in value.inner for v in field_values(evaluator, inner, name)]
    return []


def has_field(value: Value, name: str) -> bool:
    """Say whether a field is written down, whatever it holds."""
    if isinstance(value, Mapping):
        return name in value.entries
    if isinstance(value, External) and value.call is not None:
        return any(keyword.name == name for keyword in value.call.keywords)
    return False


def mentions(evaluator: Evaluator, value: Value, word: str, depth: int = 6) -> bool:
    """Say whether ``word`` stands as a string anywhere inside an event."""
    if depth <= 0:
        return False
    if isinstance(value, Literal):
        return value.value == word
    return any(mentions(evaluator, item, word, depth - 1) for item in _inside(evaluator, value))


def _inside(evaluator: Evaluator, value: Value) -> Iterator[Value]:
    """Yield the values right inside an event, each read when it is its turn."""
    if isinstance(value, Mapping):
        for thunks in value.entries.values():
            for thunk in thunks:
                yield from evaluator.force(thunk)
    elif isinstance(value, Sequence):
        for thunk in value.items:
            yield from evaluator.force(thunk)
    elif isinstance(value, Container):
        yield from value.elements
    elif isinstance(value, JsonText):
        yield from value.inner
    elif isinstance(value, External) and value.call is not None and value.frame is not None:
        for keyword in value.call.keywords:
            yield from evaluator.eval(keyword.value, value.frame)
    elif isinstance(value, Instance):
        for field in value.cls.ir.fields:
            yield from field_values(evaluator, value, field.name)
