"""Lists what matters in folders, and remembers it: a folder that has not changed since is not read again.

Adding, removing and renaming an entry changes the times of the folder; what a file holds does not.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from pipeline_guard.file_times import IS_TRUSTED, is_settled

if TYPE_CHECKING:
    from pipeline_guard.cache import Cache

PYTHON_SUFFIXES = (".py", ".pyw")
# Documents that a backend may answer a call with (TwiML).
DOCUMENT_SUFFIXES = (".xml",)
LISTED_SUFFIXES = (*PYTHON_SUFFIXES, *DOCUMENT_SUFFIXES)
# Files that say something of the folder they are in.
ENVIRONMENT, IGNORES = "pyvenv.cfg", ".gitignore"
_MARKS = frozenset({ENVIRONMENT, IGNORES})
_KIND = "folders"

# Time of the last change of the content and of the entry (both in nanoseconds), and number on the disk.
_Stamp = tuple[int, int, int]


class Held(NamedTuple):
    """The names in a folder that matter: its folders, its files of listed suffixes and links, its marks."""

    folders: list[str]
    files: list[str]
    marks: list[str]


_Row = tuple[_Stamp, Held]


class Folders:
    """Lists folders of a project.  What an earlier run saw is taken from ``cache``, where it is kept under ``key``."""

    def __init__(self, cache: Cache | None = None, key: str = "") -> None:
        self._cache = cache if IS_TRUSTED else None
        self._key = key
        self._earlier: dict[str, _Row] | None = None
        self._now: dict[str, _Row] = {}
        self._is_new = False

    def held(self, path: str) -> Held:
        """Return what a folder holds; raises OSError for one that cannot be read."""
        if self._cache is None:
            return self._list(path)
        if self._earlier is None:
            self._earlier = self._stored(self._cache)
        status = os.stat(path)  # noqa: PTH116 - one for every folder of a project
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        row = self._earlier.get(path)
        if row is None or row[0] != stamp:
            self._is_new = True
            row = (stamp, self._list(path))
        self._now[path] = row
        return row[1]

    def keep(self) -> None:
        """Store what this run has seen for the next one, if it saw anything new."""
        if self._cache is None or not self._is_new:
            return
        import msgspec

        now = time.time_ns()
        rows = {path: row for path, row in self._now.items() if is_settled(row[0][0], row[0][1], now)}
        with contextlib.suppress(UnicodeEncodeError):  # a name that is no text: such a project is read anew each time
            self._cache.put(_KIND, self._key, msgspec.msgpack.encode(rows))

    @staticmethod
    def _list(path: str) -> Held:
        held = Held([], [], [])
        folders, files, special = held
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif name.endswith(LISTED_SUFFIXES) or entry.is_symlink():
                    files.append(name)
                if name in _MARKS:
                    special.append(name)
        return held

    def _stored(self, cache: Cache) -> dict[str, _Row]:
        return cache.data(_KIND, self._key, dict[str, _Row]) or {}
