"""Tells from its bytes whether a file may speak to this tool, before anything is loaded that could read it."""

from __future__ import annotations

import re

NAME = re.compile(r"pipeline[-_ ]?guard", re.IGNORECASE)
_HINT = b"uard"  # found much faster than the pattern
_NAME_IN_BYTES = re.compile(NAME.pattern.encode(), re.IGNORECASE)


def may_hold_remarks(data: bytes) -> bool:
    """Say whether a line of a file names the tool behind a "#", be it in a comment or a string."""
    if _HINT not in data or _NAME_IN_BYTES.search(data) is None:
        return False
    return any(_NAME_IN_BYTES.search(line, line.find(b"#")) for line in data.split(b"\n") if b"#" in line)
