"""Tells from its bytes whether a file may speak to this tool, before anything is loaded that could read it."""

from __future__ import annotations

import re

NAME = re.compile(r"pipeline[-_ ]?guard", re.IGNORECASE)
_HINT = b"uard"  # found much faster than the pattern
_BEFORE_HINT = len("pipeline-g")
_NAME_IN_BYTES = re.compile(NAME.pattern.encode(), re.IGNORECASE)


def may_hold_remarks(data: bytes) -> bool:
    """Say whether a line of a file names the tool behind a "#", be it in a comment or a string."""
    at = data.find(_HINT)
    while at >= 0:
        if _NAME_IN_BYTES.search(data, max(0, at - _BEFORE_HINT), at + len(_HINT)):
            break
        at = data.find(_HINT, at + 1)
    else:
        return False
    return any(_NAME_IN_BYTES.search(line, line.find(b"#")) for line in data.split(b"\n") if b"#" in line)
