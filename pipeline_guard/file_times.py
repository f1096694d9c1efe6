"""Says when the times that a file system keeps tell that nothing has changed."""

from __future__ import annotations

import os

# Clocks of file systems move in steps: of 2 s on FAT, of some milliseconds elsewhere.
SETTLED_NS = 2_000_000_000
# Windows keeps no time of a change that a program cannot set back.
IS_TRUSTED = os.name == "posix"


def is_settled(content_ns: int, entry_ns: int, now_ns: int) -> bool:
    """Say whether a file or folder has been as it is for so long that a later change cannot bear the same times.

    ``content_ns`` and ``entry_ns`` are when its content and its entry changed last, in nanoseconds since 1970.
    """
    return max(content_ns, entry_ns) + SETTLED_NS <= now_ns
