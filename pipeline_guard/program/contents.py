"""Knows what stands in the files of a project, and reads only those that changed since it was asked last.

What an earlier run knew of a file holds as long as the file system says the same of it: size, time of the last change
of its content and of its entry, and its number on the disk.  As in git's index ("racily clean"), a file that changed
just before it was read may change once more without any of this showing, so it is read again the next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from pipeline_guard.cache import Cache
from pipeline_guard.discovery import SourceFile
from pipeline_guard.file_times import IS_TRUSTED, is_settled
from pipeline_guard.folders import DOCUMENT_SUFFIXES
from pipeline_guard.hashing import blake2b
from pipeline_guard.pipeline.model import Gap
from pipeline_guard.program import halves
from pipeline_guard.program.sources import Sources, read_source

_KIND = "trees"
DIGEST_BYTES = 16
# Bytes of files that are kept in memory after they were looked at, in case that more than a look is needed.
KEPT_BYTES = 64_000_000
# Bytes from which on reading a file in depth takes so long (50 ms) that it should begin before all others are seen.
LARGE_FILE = 200_000
# What the bytes of a file show, as far as anybody asked; nobody does once a file has shown the sign.
SIGN, REMARK, NOT_ASKED = 1, 2, 4
_Row = tuple[int, int, int, int, bytes, int]
# Of each file the digest of its bytes and what they show, or None where it could not be read.
_Seen = list[tuple[bytes, int] | None]
_encode = msgspec.msgpack.Encoder().encode


class Contents:
    """The files of a project as they are now: a digest of each, and what its bytes show.

    ``look`` returns what the bytes of a file show: flags, or 0.  What it looks for is part of ``key``, under which
    ``cache`` keeps what is known.  ``on_large`` is told first of the largest files that changed, and what they show.
    ``gaps`` are the files that could not be read; a document that cannot be is none.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        documents: Sequence[SourceFile],
        cache: Cache | None,
        key: str,
        look: Callable[[str, bytes], int],
        progress: Callable[[str, int, int], None] | None = None,
        on_large: Callable[[SourceFile, bytes, int], None] | None = None,
    ) -> None:
        self.files = files
        self.documents = documents
        self.cache = cache
        self.key = key
        self.look = look
        self.progress = progress
        self.on_large = on_large
        self.digests: dict[str, bytes] = {}
        self.flags: dict[str, int] = {}
        self.gaps: list[Gap] = []
        self._shown = False  # whether any file shows the sign
        self._kept: dict[str, bytes] = {}
        self._room = KEPT_BYTES
        self._take_stock()

    def with_flag(self, flag: int) -> list[str]:
        """Return the files whose bytes show something."""
        return [rel for rel, flags in self.flags.items() if flags & flag]

    def sources(self, wanted: Iterable[str] | None = None) -> Sources:
        """Return the bytes of all files, or of some; digests are those of these bytes from here on."""
        chosen = None if wanted is None else set(wanted)
        found = Sources({}, [])
        for file in self.files:
            if chosen is not None and file.rel not in chosen:
                continue
            data = self._kept.get(file.rel)
            if data is None:
                data = read_source(file, found.gaps)
                if data is None:
                    self.digests.pop(file.rel, None)
                    continue
                self.digests[file.rel] = digest(data)
            found.data[file.rel] = data
        return found

    def _take_stock(self) -> None:
        known = self._known() if IS_TRUSTED else {}
        now = time.time_ns()
        unknown: list[SourceFile] = []
        digests, flags = self.digests, self.flags
        everything = [*self.files, *self.documents]
        for file in everything:
            rel = file.rel
            row = known.get(rel)
            if row is None or row[:4] != file.stamp:
                unknown.append(file)
            else:
                digests[rel], flags[rel] = row[4], row[5]
                self._shown = self._shown or bool(row[5] & SIGN)
        if not unknown and len(known) == len(everything):
            return
        self._take_in(self._see_all(unknown))
        if not self._shown and (again := [file for file in everything if flags.get(file.rel, 0) & NOT_ASKED]):
            self._take_in(self._see_all(again))
        rows: dict[str, _Row] = {
            file.rel: (*file.stamp, digests[file.rel], flags[file.rel])
            for file in everything
            if file.stamp is not None and file.rel in digests and is_settled(file.stamp[1], file.stamp[2], now)
        }
        if IS_TRUSTED and rows != known:
            self._keep(rows)

    def _take_in(self, seen: Mapping[str, tuple[bytes, int] | None]) -> None:
        for rel, what in seen.items():
            if what is not None:
                self.digests[rel], self.flags[rel] = what

    def _see_all(self, files: Sequence[SourceFile]) -> dict[str, tuple[bytes, int] | None]:
        """Read files and return what is seen in each, None for one that cannot be read."""
        seen: dict[str, tuple[bytes, int] | None] = {}
        if self.on_large is not None:
            large = [file for file in files if file.size >= LARGE_FILE]
            for file in sorted(large, key=lambda file: file.size, reverse=True):
                seen[file.rel] = what = self._see(file)
                if what is not None and file.rel in self._kept:
                    self.on_large(file, self._kept[file.rel], what[1])
            files = [file for file in files if file.rel not in seen]
        mine, others = files, files[:0]
        if halves.is_worthwhile(files):
            self.look("", b"")  # what looking needs is loaded once, not in both processes
            mine, others = files[::2], files[1::2]
            wait = halves.start(lambda: [self._see(file) for file in others], _Seen)
        for index, file in enumerate(mine):
            if self.progress is not None and index % 256 == 0:
                self.progress("reading", index * len(files) // len(mine), len(files))
            seen[file.rel] = self._see(file)
        told = wait() if others else []
        for file, answer in zip(others, told or [None] * len(others), strict=True):
            # The child's reasons for not reading a file are gone with it.
            seen[file.rel] = self._see(file) if answer is None else answer
        return seen

    def _see(self, file: SourceFile) -> tuple[bytes, int] | None:
        gaps: list[Gap] = []
        data = read_source(file, gaps)
        if data is None:
            if not file.path.endswith(DOCUMENT_SUFFIXES) or file.named:
                self.gaps += gaps
            return None
        if len(data) <= self._room:
            self._room -= len(data)
            self._kept[file.rel] = data
        shown = NOT_ASKED if self._shown else self.look(file.rel, data)
        self._shown = self._shown or bool(shown & SIGN)
        return digest(data), shown

    def _known(self) -> Mapping[str, _Row]:
        known = self.cache.data(_KIND, self.key, dict[str, _Row]) if self.cache is not None else None
        return known or {}

    def _keep(self, rows: Mapping[str, _Row]) -> None:
        if self.cache is not None:
            self.cache.put(_KIND, self.key, _encode(rows))


def digest(data: bytes) -> bytes:
    """Return what stands for the bytes of a file."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()
