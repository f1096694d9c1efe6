"""Tells from the stored facts of a file where its functions and their suites stand, without the rest of them."""

from __future__ import annotations

import msgspec

from pipeline_guard.cache import Cache
from pipeline_guard.facts.store import known_entry

# Suites whose first line is a clause of a statement that begins above it.
_CLAUSES = frozenset({"except", "case"})


class _Suite(msgspec.Struct, array_like=True, gc=False):
    """The beginning of ir.Block: what follows is not decoded."""

    kind: str
    parent: int
    group: int
    line: int
    end_line: int


class _Function(msgspec.Struct, array_like=True):
    """The beginning of ir.Function, of its operations only where they end."""

    name: str
    qualname: msgspec.Raw
    line: int
    end_line: int
    params: msgspec.Raw
    decorators: msgspec.Raw
    returns: msgspec.Raw
    is_async: bool
    is_generator: bool
    parent: int
    owner: int
    ops: msgspec.Raw
    blocks: msgspec.Raw


class _Outline(msgspec.Struct, array_like=True):
    """ir.ModuleFacts as far as the places of functions go."""

    functions: list[_Function]
    classes: msgspec.Raw
    truncated: bool
    newer: bool


_decode_outline = msgspec.msgpack.Decoder(_Outline).decode
_decode_suites = msgspec.msgpack.Decoder(list[_Suite]).decode


class Place:
    """A function: the line of its ``def``, and its last one."""

    def __init__(self, function: _Function) -> None:
        self.line = function.line
        self.end_line = function.end_line
        self._blocks = function.blocks

    def suites(self) -> list[tuple[int, int]]:
        """Return the first and the last line of its suites that are whole statements, one after the other."""
        return [(suite.line, suite.end_line) for suite in _decode_suites(self._blocks) if suite.kind not in _CLAUSES]


def known_functions(cache: Cache, data: bytes) -> list[Place]:
    """Return the functions of a file whose facts are known.

    There are none for a file that the running Python cannot parse as it stands.
    """
    entry = known_entry(cache, data)
    if entry is None:
        return []
    try:
        outline = _decode_outline(entry)
    except msgspec.DecodeError:
        return []  # written by something else than this tool
    if outline.newer:
        return []
    return [Place(each) for each in outline.functions[1:] if each.name != "<lambda>"]
