"""Reads many files with two processes: a child reads half of them and tells the parent what it saw."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

import msgspec

from pipeline_guard.discovery import SourceFile

# Bytes below which a second process costs more than it saves (some 10 ms).
WORTHWHILE = 8_000_000
# Of each file the digest of its bytes and what they show, or None where it could not be read.
Seen = list[tuple[bytes, int] | None]


def is_worthwhile(files: Sequence[SourceFile]) -> bool:
    """Say whether there is enough to read, and a processor to read it.

    A process with threads is not copied: what they hold would stay locked in the copy.
    """
    size = sum(file.stamp[0] for file in files if file.stamp is not None)
    return size > WORTHWHILE and may_split()


def may_split() -> bool:
    """Say whether this process can be copied, and whether there is a processor for the copy."""
    return hasattr(os, "fork") and threading.active_count() == 1 and len(_processors()) > 1


def start(files: Sequence[SourceFile], see: Callable[[SourceFile], tuple[bytes, int] | None]) -> Callable[[], Seen]:
    """Begin to look at files in a child; the function that is returned waits for it.

    What it returns is empty where the child came to grief: then the parent has to look itself.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as stream:
                stream.write(msgspec.msgpack.encode([see(file) for file in files]))
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's is to be written or closed twice
    os.close(writing)

    def wait() -> Seen:
        with os.fdopen(reading, "rb") as stream:
            data = stream.read()
        _, status = os.waitpid(child, 0)
        if status != 0:
            return []
        return msgspec.msgpack.decode(data, type=Seen)

    return wait


def _processors() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
