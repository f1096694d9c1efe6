"""Reads a log of any size in pieces: lines that may say something one by one, all others in whole blocks.

Most lines of a call's log are noise, and there may be a gigabyte of it; so a block is searched for the markers' texts
at once, and only lines that hold one are looked at.  Nothing is left out: blocks and lines together are the whole log.
"""

from __future__ import annotations

import codecs
import gzip
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

CHUNK = 1 << 20
# A line that is longer is taken as several.
LONGEST_LINE = 1 << 20
_REPLIT_TIME = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{2,6}\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Lines in which nothing was found; ``lines`` is how many, ``data`` ends with a line feed (but for the last)."""

    data: bytes
    lines: int


@dataclass(frozen=True)
class Line:
    """A line to look at; ``data`` has no line feed."""

    data: bytes


def open_log(path: str) -> BinaryIO:
    """Open a log, compressed or not.  Raises OSError."""
    with Path(path).open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else Path(path).open("rb")


def read_log(stream: BinaryIO, literals: tuple[bytes, ...]) -> Iterator[Block | Line]:
    """Yield the whole log in order, as blocks and lines."""
    for chunk in _whole_lines(_as_utf8(_pieces(stream))):
        yield from _split(chunk, literals)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    # `read1` hands over what a pipe has; `read` would wait for a full piece.
    read = getattr(stream, "read1", stream.read)
    while piece := read(CHUNK):
        yield piece


def _as_utf8(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Leave out a byte order mark, and turn UTF-16 (what PowerShell redirects to) into UTF-8."""
    first = next(pieces, b"")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        yield decoder.decode(first).encode("utf-8", "replace")
        for piece in pieces:
            yield decoder.decode(piece).encode("utf-8", "replace")
        return
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from pieces


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, cut after line feeds."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join([*waiting, piece[:end]])
            waiting, size = ([piece[end:]], len(piece) - end) if end < len(piece) else ([], 0)
        else:
            waiting.append(piece)
            size += len(piece)
            if size > LONGEST_LINE:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _split(chunk: bytes, literals: tuple[bytes, ...]) -> Iterator[Block | Line]:
    starts = _line_starts_of_hits(chunk, literals)
    done = 0
    for start in starts:
        if start > done:
            block = chunk[done:start]
            yield Block(block, block.count(b"\n"))
        end = chunk.find(b"\n", start)
        yield Line(chunk[start:] if end < 0 else chunk[start:end])
        done = len(chunk) if end < 0 else end + 1
    if done < len(chunk):
        block = chunk[done:]
        yield Block(block, block.count(b"\n") + (not block.endswith(b"\n")))


def _line_starts_of_hits(chunk: bytes, literals: tuple[bytes, ...]) -> list[int]:
    starts: set[int] = set()
    for literal in literals:
        position = chunk.find(literal)
        while position >= 0:
            starts.add(chunk.rfind(b"\n", 0, position) + 1)
            # On to the next line: one text per line is enough.
            end = chunk.find(b"\n", position)
            position = chunk.find(literal, end) if end >= 0 else -1
    if starts and (times := [match.start() for match in _REPLIT_TIME.finditer(chunk)]):
        # The three lines above a message of Replit's say when it was; they are needed where the message is.
        for start in list(starts):
            place = bisect_right(times, start) - 1
            if place >= 0 and start - times[place] < 4096:
                header = times[place]
                for _ in range(3):
                    starts.add(header)
                    header = chunk.find(b"\n", header) + 1
                    if header == 0 or header >= start:
                        break
    return sorted(starts)
