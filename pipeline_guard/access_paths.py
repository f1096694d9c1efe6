"""Patterns of access paths: ``*`` stands for anything, everything else for itself."""

from __future__ import annotations

import re


class PathGlob:
    """One pattern.  Most runs ask for few of them, so each is compiled when a path begins as it does."""

    __slots__ = ("_head", "_pattern", "glob")

    def __init__(self, glob: str) -> None:
        self.glob = glob
        self._head = glob.partition("*")[0]
        self._pattern: re.Pattern[str] | None = None

    def match(self, path: str) -> bool:
        """Say whether a whole access path is one of these."""
        return self.stars(path) is not None

    def stars(self, path: str) -> tuple[str, ...] | None:
        """Return what each ``*`` stands for in a whole access path; None where it is none of these."""
        if not path.startswith(self._head):
            return None
        if self._pattern is None:
            self._pattern = re.compile("(.*)".join(map(re.escape, self.glob.split("*"))) + r"\Z")
        match = self._pattern.match(path)
        return match.groups() if match is not None else None
