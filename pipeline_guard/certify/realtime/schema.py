"""A small language for the shape of client events, with the error that the Realtime API sends when one is wrong.

The texts and codes follow the API's errors as seen in public issue threads; the SDK has no list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """What is wrong with a client event: the ``code``, ``message`` and ``param`` of the ``error`` event."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True)
class Text:
    """A string."""


@dataclass(frozen=True)
class Choice:
    """One of a few strings."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A number within bounds."""

    low: float | None = None
    high: float | None = None
    integer: bool = True


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Anything:
    """Whatever JSON can say: what the simulator passes on without reading it."""


@dataclass(frozen=True)
class ListOf:
    """An array."""

    item: Schema


@dataclass(frozen=True)
class Table:
    """An object with these keys and no others."""

    keys: Mapping[str, Schema]
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class MapOf:
    """An object with any keys, at most ``most`` of them."""

    value: Schema
    most: int


@dataclass(frozen=True)
class Tagged:
    """An object whose ``tag`` says which keys it has."""

    tag: str
    tables: Mapping[str, Table]


@dataclass(frozen=True)
class Either:
    """A value of one of several JSON types."""

    options: tuple[Schema, ...] = field(default=())


@dataclass(frozen=True)
class Nullable:
    """A value, or null."""

    inner: Schema


Schema = Text | Choice | Number | Flag | Anything | ListOf | Table | MapOf | Tagged | Either | Nullable


def problem(schema: Schema, value: Any, path: str) -> Problem | None:
    """Return the first thing that is wrong with ``value``, or None."""
    if isinstance(schema, Nullable):
        return None if value is None else problem(schema.inner, value, path)
    if isinstance(schema, Anything):
        return None
    if isinstance(schema, Either):
        fitting = next((option for option in schema.options if _fits(option, value)), None)
        return problem(fitting, value, path) if fitting else _wrong_type(schema.options[0], value, path)
    if not _fits(schema, value):
        return _wrong_type(schema, value, path)
    if isinstance(schema, Choice):
        return None if value in schema.values else unsupported(value, schema.values, path)
    if isinstance(schema, Number):
        return _out_of_bounds(schema, value, path)
    if isinstance(schema, ListOf):
        return _first(problem(schema.item, item, f"{path}[{index}]") for index, item in enumerate(value))
    if isinstance(schema, MapOf):
        if len(value) > schema.most:
            limit = f"Expected an object with at most {schema.most} properties, but got {len(value)} instead."
            return Problem("object_above_max_properties", f"Invalid '{path}': too many properties. {limit}", path)
        return _first(problem(schema.value, item, f"{path}.{key}") for key, item in value.items())
    if isinstance(schema, Tagged):
        return _tagged(schema, value, path)
    return _keys(schema, value, path) if isinstance(schema, Table) else None


def unsupported(value: object, supported: tuple[str, ...], path: str) -> Problem:
    """Return the problem of a value that is none of those known."""
    names = [f"'{name}'" for name in supported]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"
    return Problem("invalid_value", f"Invalid value: '{value}'. Supported values are: {listed}.", path)


def missing(path: str) -> Problem:
    """Return the problem of a parameter that has to be there."""
    return Problem("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def _first(problems: Any) -> Problem | None:
    return next((found for found in problems if found is not None), None)


def _keys(schema: Table, value: Mapping[str, Any], path: str) -> Problem | None:
    below = f"{path}." if path else ""
    for key in value:
        if key not in schema.keys:
            return Problem("unknown_parameter", f"Unknown parameter: '{below}{key}'.", f"{below}{key}")
    for key in schema.required:
        if key not in value:
            return missing(below + key)
    return _first(problem(schema.keys[key], item, below + key) for key, item in value.items())


def _tagged(schema: Tagged, value: Mapping[str, Any], path: str) -> Problem | None:
    tag_path = f"{path}.{schema.tag}" if path else schema.tag
    if schema.tag not in value:
        return missing(tag_path)
    tag = value[schema.tag]
    if not isinstance(tag, str) or tag not in schema.tables:
        return unsupported(tag, tuple(schema.tables), tag_path)
    return _keys(schema.tables[tag], value, path)


def _out_of_bounds(schema: Number, value: float, path: str) -> Problem | None:
    kind = "integer" if schema.integer else "decimal"
    if schema.low is not None and value < schema.low:
        text = f"{kind} below minimum value. Expected a value >= {schema.low:g}, but got {value:g} instead."
        return Problem(f"{kind}_below_min_value", f"Invalid '{path}': {text}", path)
    if schema.high is not None and value > schema.high:
        text = f"{kind} above maximum value. Expected a value <= {schema.high:g}, but got {value:g} instead."
        return Problem(f"{kind}_above_max_value", f"Invalid '{path}': {text}", path)
    return None


def _fits(schema: Schema, value: Any) -> bool:
    if isinstance(schema, (Text, Choice)):
        return isinstance(value, str)
    if isinstance(schema, Number):
        return isinstance(value, int if schema.integer else (int, float)) and not isinstance(value, bool)
    if isinstance(schema, Flag):
        return isinstance(value, bool)
    if isinstance(schema, ListOf):
        return isinstance(value, list)
    return isinstance(value, Mapping)


def _wrong_type(schema: Schema, value: Any, path: str) -> Problem:
    text = f"Invalid type for '{path}': expected {_name(schema)}, but got {_name_of(value)} instead."
    return Problem("invalid_type", text, path)


def _name(schema: Schema) -> str:
    if isinstance(schema, Number):
        return "an integer" if schema.integer else "a decimal"
    if isinstance(schema, Flag):
        return "a boolean"
    if isinstance(schema, ListOf):
        return "an array"
    return "a string" if isinstance(schema, (Text, Choice)) else "an object"


def _name_of(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a decimal", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")
