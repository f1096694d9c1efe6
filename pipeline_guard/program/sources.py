"""Reads the bytes of a project's files, once, and says which could not be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline_guard.discovery import SourceFile
from pipeline_guard.pipeline.model import Gap

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_MORE = 1 << 20


class Sources(NamedTuple):
    """The bytes of each file by its relative path (UTF-16 as UTF-8), and the files that could not be read."""

    data: dict[str, bytes]
    gaps: list[Gap]


def read_sources(files: Sequence[SourceFile], progress: Callable[[str, int, int], None] | None = None) -> Sources:
    """Return the bytes of the files."""
    sources = Sources({}, [])
    for index, file in enumerate(files):
        if progress is not None and index % 256 == 0:
            progress("reading", index, len(files))
        data = read_source(file, sources.gaps)
        if data is not None:
            sources.data[file.rel] = data
    return sources


def read_source(file: SourceFile, gaps: list[Gap]) -> bytes | None:
    """Return the bytes of a file, UTF-16 as UTF-8, or None and say why among the gaps."""
    try:
        data = _bytes_of(file)
    except OSError as error:
        detail = f"cannot be read: {error.strerror or error}"
        gaps.append(Gap(path=file.rel, reason="unreadable", detail=detail))
        return None
    return _recoded(data) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data


def _bytes_of(file: SourceFile) -> bytes:
    """Return the bytes of a file: of tens of thousands, each object that ``open`` makes counts."""
    handle = os.open(file.path, _FLAGS)
    try:
        data = os.read(handle, file.size + 1)
        if len(data) == file.size:
            return data
        # It grew since it was found, or came in pieces.
        parts = [data]
        while part := os.read(handle, _MORE):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def _recoded(data: bytes) -> bytes:
    """Return UTF-16 as UTF-8, so that literals can be looked for; bytes that are not UTF-16 stay as they are."""
    try:
        return data.decode("utf-16").encode("utf-8")
    except UnicodeDecodeError:
        return data
