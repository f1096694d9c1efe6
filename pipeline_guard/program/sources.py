"""Reads the bytes of a project's files, once, and says which could not be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline_guard.discovery import SourceFile
from pipeline_guard.pipeline.model import Gap


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
        try:
            with open(file.path, "rb") as handle:  # noqa: PTH123 - a Path for each of tens of thousands costs more
                data = handle.read()
        except OSError as error:
            detail = f"cannot be read: {error.strerror or error}"
            sources.gaps.append(Gap(path=file.rel, reason="unreadable", detail=detail))
            continue
        sources.data[file.rel] = _recoded(data) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data
    return sources


def _recoded(data: bytes) -> bytes:
    """Return UTF-16 as UTF-8, so that literals can be looked for; bytes that are not UTF-16 stay as they are."""
    try:
        return data.decode("utf-16").encode("utf-8")
    except UnicodeDecodeError:
        return data
