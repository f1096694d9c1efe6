"""Finds the line on which a key of a TOML file stands, which the standard library's reader does not tell.

Good enough to point at the mistake: where a file is written in a way that this does not follow, the answer is a line of
the table around the key, or none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_ARRAY_HEADER = re.compile(r"\s*\[\[(.*?)\]\]\s*(?:#.*)?$")
_HEADER = re.compile(r"\s*\[(.*?)\]\s*(?:#.*)?$")
_MULTILINE = ('"""', "'''")

Key = tuple[str | int, ...]


def line_of(text: str, key: Sequence[str | int]) -> int | None:
    """Return the 1-based line of a key, given part by part (a number counts the tables of an array), or ``None``."""
    wanted = tuple(key)
    best: tuple[int, int] | None = None
    for line, path in _entries(text):
        if wanted[: len(path)] == path and (best is None or len(path) > best[0]):
            best = (len(path), line)
    # A line that has only the outermost table in common says nothing.
    return best[1] if best is not None and best[0] > 0 else None


def sections(text: str) -> Iterator[tuple[int, int, Key]]:
    """Yield the sections of a file: first and last line (1-based) and the key of the table that each header opens.

    Comments and blank lines above the next header are that one's.
    """
    lines = text.split("\n")
    headers = [(line, path) for line, path in _entries(text) if _HEADER.match(lines[line - 1].rstrip("\r"))]
    for index, (first, path) in enumerate(headers):
        last = headers[index + 1][0] - 1 if index + 1 < len(headers) else len(lines)
        while last > first and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
            last -= 1
        yield first, last, path


def _entries(text: str) -> Iterator[tuple[int, Key]]:
    """Yield the lines that open a table or begin a value, each with its full key."""
    table: Key = ()
    counts: dict[Key, int] = {}
    quotes = ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if quotes:
            quotes = "" if quotes in line else quotes
            continue
        header = _ARRAY_HEADER.match(line)
        if header is not None:
            name = _split(header[1])
            if name is not None:
                index = counts[name] = counts.get(name, -1) + 1
                table = (*name, index)
                yield number, table
            continue
        header = _HEADER.match(line)
        if header is not None:
            name = _split(header[1])
            if name is not None:
                table = _numbered(name, counts)
                yield number, table
            continue
        path = _key_before_equals(line)
        if path is not None:
            yield number, (*table, *path)
            quotes = next((mark for mark in _MULTILINE if line.count(mark) % 2), "")


def _numbered(name: Key, counts: dict[Key, int]) -> Key:
    """Return the key of a table that may lie in the latest table of an array."""
    for length in range(len(name) - 1, 0, -1):
        if name[:length] in counts:
            return (*name[:length], counts[name[:length]], *name[length:])
    return name


def _key_before_equals(line: str) -> Key | None:
    position, parts = 0, []
    while (match := _PART.match(line, position)) is not None:
        parts.append(_text(match))
        position = match.end()
        if line[position : position + 1] == "=":
            return tuple(parts)
        if line[position : position + 1] != ".":
            return None
        position += 1
    return None


def _split(name: str) -> Key | None:
    return _key_before_equals(f"{name} =")


def _text(match: re.Match[str]) -> str:
    return next((part for part in match.groups() if part is not None), "")
