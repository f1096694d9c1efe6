"""Shares work on many files between two processes: a child does half of it and tells the parent what it made."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from pipeline_guard.discovery import SourceFile

# Bytes below which a second process costs more than it saves (some 10 ms).
WORTHWHILE = 8_000_000
T = TypeVar("T")


def is_worthwhile(files: Sequence[SourceFile]) -> bool:
    """Say whether there is enough to read, and a processor to read it.

    A process with threads is not copied: what they hold would stay locked in the copy.
    """
    return sum(file.size for file in files) > WORTHWHILE and may_split()


def may_split() -> bool:
    """Say whether this process can be copied, and whether there is a processor for the copy."""
    return hasattr(os, "fork") and threading.active_count() == 1 and len(_processors()) > 1


def start(work: Callable[[], T], kind: type[T]) -> Callable[[], T | None]:
    """Begin some work in a child; the function that is returned waits for it and returns what it made, a ``kind``.

    It returns None where the child came to grief: then the parent has to do the work itself.
    """
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:  # there can be no more processes
        os.close(reading)
        os.close(writing)
        return lambda: None
    if child == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as stream:
                stream.write(msgspec.msgpack.encode(work()))
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's is to be written or closed twice
    os.close(writing)

    def wait() -> T | None:
        with os.fdopen(reading, "rb") as stream:
            data = stream.read()
        try:
            _, status = os.waitpid(child, 0)
        except ChildProcessError:  # whoever ignores SIGCHLD, or started us so, is told nothing of a child
            status = 0
        try:
            return msgspec.msgpack.decode(data, type=kind) if status == 0 else None
        except msgspec.DecodeError:
            return None

    return wait


def _processors() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
