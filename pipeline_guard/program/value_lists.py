"""Lists of abstract values: without doubles and without None, one dict laid over another, texts put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline_guard.program.values import (
    External,
    Function,
    Instance,
    Literal,
    Mapping,
    Sequence,
    Text,
    Thunk,
    Value,
    Values,
)


def unique(values: Iterable[Value]) -> Values:
    """Return the values without doubles; dicts and sequences are each their own."""
    given = list(values)
    if len(given) < 2:
        return given
    result: Values = []
    seen: set[tuple[object, ...]] = set()
    for value in given:
        key = _identity(value)
        if (key not in seen) if key is not None else (value not in result):
            result.append(value)
            if key is not None:
                seen.add(key)
    return result


def _identity(value: Value) -> tuple[object, ...] | None:
    """Return what a value has in common with the same one found elsewhere; None where only comparing tells."""
    if type(value) is External:
        return (External, value.path, id(value.call))
    if type(value) is Literal:
        return (Literal, type(value.value), value.value)
    if type(value) is Instance:
        return (Instance, id(value.cls), id(value.call), value.exact)
    if type(value) is Function and not value.partial:
        return (Function, id(value.func))
    if type(value) in (Function, Mapping, Sequence):
        return (id(value),)
    return None


def is_none(value: Value) -> bool:
    """Say whether a value is the constant None."""
    return isinstance(value, Literal) and value.value is None


def without_none(values: Values) -> Values:
    """Return the values that are not None; all of them when nothing else is left."""
    kept = [v for v in values if not is_none(v)]
    return kept or values


def overlay(base: Mapping, added: Mapping, sure: bool) -> Mapping:
    """Return a dict with entries stored into it: in place of its own when that is sure, else beside them."""
    entries = dict(base.entries)
    for key, thunks in added.entries.items():
        entries[key] = thunks if sure else [*entries.get(key, ()), *thunks]
    return Mapping(entries, base.open or added.open, base.line, base.func)


def merge_into(entries: dict[str, list[Thunk]], values: Values) -> bool:
    """Lay every dict among ``values`` over ``entries``; say whether keys may be there that are not known."""
    is_open = False
    for value in values:
        if isinstance(value, Mapping):
            entries.update(value.entries)
            is_open = is_open or value.open
        else:
            is_open = True
    return is_open


def text_of(parts: Iterable[str | None]) -> Value:
    """Return a Literal when every part is known, else a Text with neighbouring parts merged."""
    merged: list[str | None] = []
    for part in parts:
        if part is not None and merged and merged[-1] is not None:
            merged[-1] += part
        else:
            merged.append(part)
    if all(part is not None for part in merged):
        return Literal("".join(part for part in merged if part is not None))
    return Text(tuple(merged))


def text_with_gaps(value: Value) -> str:
    """Return a constant or a partly known string as text, ``*`` for what is not known; empty for anything else."""
    if isinstance(value, Literal):
        return str(value.value)
    return "".join(part or "*" for part in value.parts) if isinstance(value, Text) else ""


def parse_json(text: str) -> Any:
    """Return the object in a JSON text, or None when it is none."""
    import json  # few programs hold a text that is asked about, and loading it takes as long as reading one small file

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
