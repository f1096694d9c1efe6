"""Keeps what reading a file or a whole program led to between runs, outside the scanned project, as plain data.

An entry is found by the hash of everything that it depends on, so it is never stale and never has to be corrected.
Entries are data for msgspec, not pickles: whatever stands in one, reading it runs nothing.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pipeline_guard.hashing import blake2b
from pipeline_guard.whole_files import replace_file

T = TypeVar("T")

FOLDER_VARIABLE = "PIPELINE_GUARD_CACHE_DIR"
_MAGIC = b"PGC1"
_DIGEST_BYTES = 16
_DAY = 86_400
# Entries that nobody read for so long go; so do the least recently read ones above the size.
MAX_AGE_DAYS = 30
MAX_BYTES = 256 * 1024 * 1024
_PRUNED_MARK = "pruned"


def content_key(*parts: bytes) -> str:
    """Return a key for data: 40 hexadecimal digits over all parts and their lengths."""
    digest = blake2b(digest_size=20)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


class Cache:
    """A folder of entries.  Any number of processes may share it: an entry appears whole or not at all.

    ``kind`` is a word that names a sort of entry; keys are those of :func:`content_key`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the payload of an entry, or None where there is none or what is there is damaged."""
        path = self._path(kind, key)
        try:
            with open(path, "rb") as handle:  # noqa: PTH123 - one for every file of a project
                data = handle.read()
                if os.fstat(handle.fileno()).st_mtime < time.time() - _DAY:
                    os.utime(path)  # it is still of use; once a day is often enough to know that
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST_BYTES
        payload = data[start:]
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : start] != _digest(payload):
            return None
        return payload

    def data(self, kind: str, key: str, shape: type[T]) -> T | None:
        """Return what an entry holds as data of a type; None where there is none, or something else wrote it."""
        stored = self.get(kind, key)
        if stored is None:
            return None
        import msgspec

        try:
            return msgspec.msgpack.decode(stored, type=shape)
        except msgspec.DecodeError:
            return None

    def has(self, kind: str, key: str) -> bool:
        """Say whether there is an entry; it may still turn out to be damaged."""
        return os.path.exists(self._path(kind, key))  # noqa: PTH110 - one for every file of a project

    def put(self, kind: str, key: str, payload: bytes) -> None:
        """Store an entry.  Where that is not possible nothing happens: the next run reads the code again."""
        path = self._path(kind, key)
        entry = _MAGIC + _digest(payload) + payload
        with suppress(OSError):
            try:
                replace_file(path, entry)
            except FileNotFoundError:  # the first one there
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
                replace_file(path, entry)

    def _path(self, kind: str, key: str) -> str:
        return os.path.join(self.folder, kind, key[:2], key[2:])  # noqa: PTH118

    def prune(self, *, force: bool = False) -> int:
        """Remove entries out of use, at most once a day unless forced; return how many went."""
        mark = self.folder / _PRUNED_MARK
        now = time.time()
        try:
            if not force and mark.exists() and mark.stat().st_mtime > now - _DAY:
                return 0
            mark.touch()
        except OSError:
            return 0
        entries = sorted(_entries(self.folder), key=lambda entry: entry[1], reverse=True)
        removed = total = 0
        for path, read_at, size in entries:
            total += size
            if read_at < now - MAX_AGE_DAYS * _DAY or total > MAX_BYTES:
                try:
                    path.unlink()
                except OSError:
                    continue
                removed += 1
        return removed


def open_cache(scanned: Path) -> Cache | None:
    """Return the user's cache for a run over ``scanned``, or None where none can be used.

    A cache inside the scanned folder is not used: what a repository brings along must not decide what is found in it.
    Neither is one that belongs to somebody else.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        folder = Path(named).absolute()
    else:
        from platformdirs import user_cache_path

        folder = user_cache_path("pipeline-guard", appauthor=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = folder.resolve()
        status = real.stat()
    except (OSError, RuntimeError):
        return None
    if real.is_relative_to(scanned.resolve()):
        return None
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    return Cache(real)


@lru_cache(maxsize=1)
def code_version() -> bytes:
    """Return what tells this very tool from any other: its own files, as they are on disk, and the Python it runs on.

    A version number would do for an installed tool, but not for one that somebody is changing.
    """
    from pipeline_guard.rulebook import rules_dir

    digest = blake2b(repr(sys.version_info[:3]).encode(), digest_size=20)
    for top in (Path(__file__).parent, rules_dir()):
        digest.update(repr(sorted(_files_below(str(top)))).encode())
    return digest.digest()


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _files_below(top: str) -> Iterable[tuple[str, int, int]]:
    pending = [top]
    while pending:
        folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        pending.append(entry.path)
                elif entry.name.endswith((".py", ".toml")):
                    status = entry.stat()
                    yield entry.path, status.st_size, status.st_mtime_ns


def _entries(folder: Path) -> Iterable[tuple[Path, float, int]]:
    """Yield path, time of last use and size of everything that was stored, leftovers of broken writes included."""
    for path in folder.glob("*/*/*"):
        try:
            status = path.stat()
        except OSError:
            continue
        yield path, status.st_mtime, status.st_size
