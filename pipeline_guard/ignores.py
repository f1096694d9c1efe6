"""Says which names ``.gitignore`` files name, and remembers it: reading their patterns costs more than the whole walk.

Whether a name is ignored depends on the name and on the patterns on the way to it, so a verdict holds as long as these
files say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_guard.folders import Folders
from pipeline_guard.hashing import blake2b

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from pipeline_guard.cache import Cache

_KIND = "ignored"

# By the patterns on the way, the verdicts about names below the root.
Verdicts = dict[str, dict[str, bool]]


class Memory:
    """Verdicts of earlier runs, where a cache holds some under a key, and those that this run has come to.

    ``folders`` lists folders, and remembers what they held.
    """

    def __init__(self, cache: Cache | None = None, key: str = "") -> None:
        self.folders = Folders(cache, key)
        self._cache = cache
        self._key = key
        self._earlier: Verdicts | None = None
        self._used: Verdicts = {}
        self.is_new = False

    def about(self, patterns: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return the verdicts under some patterns: those of earlier runs, and those that this run has used."""
        if self._earlier is None:
            self._earlier = self._stored()
        return self._earlier.get(patterns, {}), self._used.setdefault(patterns, {})

    def keep(self) -> None:
        """Store what this run has used for the next one, if it came to anything new."""
        self.folders.keep()
        if self._cache is not None and self.is_new:
            import msgspec

            self._cache.put(_KIND, self._key, msgspec.msgpack.encode(self._used))

    def _stored(self) -> Verdicts:
        known = self._cache.data(_KIND, self._key, Verdicts) if self._cache is not None else None
        return known or {}


def remembered(cache: Cache | None, root: Path) -> Memory:
    """Return what earlier runs over a root know."""
    if cache is None:
        return Memory()
    from pipeline_guard.cache import code_version, content_key

    return Memory(cache, content_key(code_version(), str(root).encode("utf-8", "surrogatepass")))


class Ignores:
    """The ``.gitignore`` files on the way from the root to a folder; the innermost that says anything decides."""

    def __init__(
        self, memory: Memory, outer: Ignores | None = None, prefix: str = "", lines: Iterable[str] = ()
    ) -> None:
        self.memory = memory
        self.outer = outer
        self.prefix_length = len(prefix)
        self.lines = tuple(lines)
        self._spec: GitIgnoreSpec | None = None
        if outer is None:
            self.key = ""
            return
        said = "\0".join((outer.key, prefix, *self.lines)).encode("utf-8", "surrogateescape")
        self.key = blake2b(said, digest_size=16).hexdigest()
        self._earlier, self._used = memory.about(self.key)

    def below(self, prefix: str, text: str) -> Ignores:
        """Return these and the file with this text in the folder ``prefix``, which ends in a slash or is empty."""
        return Ignores(self.memory, self, prefix, text.splitlines())

    def name(self, name: str) -> bool:
        """Say whether a name relative to the root is ignored; that of a folder ends in a slash."""
        if self.outer is None:
            return False
        verdict = self._used.get(name)
        if verdict is None:
            verdict = self._earlier.get(name)
            if verdict is None:
                verdict = self._judge(name)
                self.memory.is_new = True
            self._used[name] = verdict
        return verdict

    def _judge(self, name: str) -> bool:
        # As in git, the innermost file that says anything about a name has the last word.
        level: Ignores = self
        while level.outer is not None:
            verdict = level._patterns().check_file(name[level.prefix_length :]).include
            if verdict is not None:
                return bool(verdict)
            level = level.outer
        return False

    def _patterns(self) -> GitIgnoreSpec:
        if self._spec is None:
            from pathspec import GitIgnoreSpec

            try:
                self._spec = GitIgnoreSpec.from_lines(self.lines)
            except ValueError:
                # git passes over a line that it cannot read and obeys the others.
                self._spec = GitIgnoreSpec.from_lines(line for line in self.lines if _is_pattern(line))
        return self._spec


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
