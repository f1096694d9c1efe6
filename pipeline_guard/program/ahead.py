"""Has the facts of files ready before they are asked for: a second process reads some while this one goes on.

Both take from one list and put down which file they are at.  If both put down the same one at the same time, it is read
twice, and that is all.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from pipeline_guard.discovery import SourceFile
from pipeline_guard.facts.store import FactStore
from pipeline_guard.program.contents import DIGEST_BYTES, digest
from pipeline_guard.program.halves import may_split
from pipeline_guard.program.sources import read_source

if TYPE_CHECKING:  # few runs are worth a second process
    import mmap

    from pipeline_guard.program.forked import Forked

# Bytes below which a second process costs more than it saves: reading so much takes some 50 ms.
WORTHWHILE = 400_000
_WORTH_TELLING = 20_000  # the same for a process that there is already
_MAX_FILES = 1 << 16
_ORDER = struct.Struct("<IH")  # number of the file, length of its path
_RESULT = struct.Struct(f"<I{DIGEST_BYTES}sI")  # number of the file, digest of what was read, length of its entry


class Ahead:
    """Files that a second process reads.  ``store`` makes their entries there, and keeps them in its cache."""

    def __init__(self, store: FactStore) -> None:
        self._store = store
        self._files: list[bytes] = []
        self._numbers: dict[bytes, int] = {}  # of the files that nobody asked for yet
        self._results: dict[int, tuple[bytes, bytes]] = {}
        self._heard = bytearray()
        self._child: Forked | None = None
        self._taken: mmap.mmap | None = None  # one byte for every file, seen by both

    def add(self, files: Iterable[tuple[bytes, str | None]]) -> None:
        """Have files read, the first one first; each comes with its path where it stands on the disk as it is.

        A child that runs can only be told of paths.
        """
        for data, path in files:
            number = len(self._files)
            if data in self._numbers or number >= _MAX_FILES:
                continue
            if self._child is not None and not (path is not None and _tell(self._child, number, path)):
                continue
            self._files.append(data)
            self._numbers[data] = number

    def start(self) -> None:
        """Let the child begin, unless it has or there can be none."""
        if self._child is not None or not self._files or not may_split():
            return
        import mmap

        from pipeline_guard.program.forked import fork

        try:
            taken = self._taken = mmap.mmap(-1, _MAX_FILES)
            self._child = fork(lambda told, telling: _serve(self._store, self._files, taken, told, telling))
        except OSError:
            self._taken = None  # no memory, or no more processes: this one does it all

    @property
    def is_running(self) -> bool:
        """Say whether there is a child."""
        return self._child is not None

    def has(self, data: bytes) -> bool:
        """Say whether a file was added and not asked for yet."""
        return data in self._numbers

    def entry(self, data: bytes) -> bytes | None:
        """Return the entry of a file, waiting for it where the child is at it.

        None where it was never added or the child has not come to it: the caller has to read it then.
        """
        number = self._numbers.pop(data, None)
        if number is None or self._taken is None:
            return None
        self._hear(wait=False)
        if number not in self._results and not self._taken[number]:
            self._taken[number] = 1
            return None
        while number not in self._results and self._child is not None:
            self._hear(wait=True)
        seen, entry = self._results.pop(number, (b"", b""))
        return entry if seen == digest(data) else None  # else the file has changed since

    def end(self) -> None:
        """End the child, whatever it is at."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _hear(self, *, wait: bool) -> None:
        """Take in what the child has told; ``wait`` until there is something."""
        told = self._child.hear(wait=wait) if self._child is not None else b""
        if told is None:
            self.end()  # it came to grief
            return
        self._heard += told
        at = 0
        while len(self._heard) - at >= _RESULT.size:
            number, seen, length = _RESULT.unpack_from(self._heard, at)
            end = at + _RESULT.size + length
            if len(self._heard) < end:
                break
            self._results[number] = seen, bytes(self._heard[end - length : end])
            at = end
        del self._heard[:at]


def ahead_of(store: FactStore) -> Ahead:
    """Return what reads ahead for a store."""
    if store.ahead is None:
        store.ahead = Ahead(store)
    return store.ahead


def read_ahead(store: FactStore, files: Sequence[tuple[bytes, str | None]]) -> None:
    """Have the facts of files ready in a store, where that is worth a second process."""
    ahead = ahead_of(store)
    todo = sorted({data: path for data, path in files if not store.knows(data)}.items(), key=_size, reverse=True)
    if len(todo) < 2 or sum(map(_size, todo)) < (_WORTH_TELLING if ahead.is_running else WORTHWHILE):
        return
    ahead.add(todo)
    ahead.start()
    for data, _ in reversed(todo):  # the child begins with the largest
        store.read(data)


def _size(file: tuple[bytes, str | None]) -> int:
    return len(file[0])


def _tell(child: Forked, number: int, path: str) -> bool:
    from pipeline_guard.program.forked import MAX_MESSAGE

    name = os.fsencode(path)
    order = _ORDER.pack(number, len(name)) + name if len(name) < MAX_MESSAGE - _ORDER.size else b""
    return bool(order) and child.tell(order)


def _serve(store: FactStore, files: Sequence[bytes], taken: mmap.mmap, told: BinaryIO, telling: BinaryIO) -> None:
    """Read the files at hand, then those that the parent tells of, until it tells no more."""

    def take(number: int) -> bool:
        if taken[number]:
            return False
        taken[number] = 1
        return True

    def tell(number: int, data: bytes) -> None:
        entry = store.entry(data)
        telling.write(_RESULT.pack(number, digest(data), len(entry)) + entry)
        telling.flush()

    for number, data in enumerate(files):
        if take(number):
            tell(number, data)
    while len(order := told.read(_ORDER.size)) == _ORDER.size:
        number, length = _ORDER.unpack(order)
        path = os.fsdecode(told.read(length))
        if not take(number):
            continue
        # Of what cannot be read any more the parent sees that these are not the bytes that it has.
        tell(number, read_source(SourceFile(path, path), []) or b"")
