"""Begins to read the largest files of a program in depth while all the others are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_guard.cache import Cache
from pipeline_guard.config import Config
from pipeline_guard.discovery import SourceFile

if TYPE_CHECKING:
    from pipeline_guard.facts.store import FactStore


class EarlyReading:
    """The store in which facts are going to be, made when it is asked for, and a second process that fills it."""

    def __init__(self, config: Config, cache: Cache | None) -> None:
        self._config = config
        self._cache = cache
        self._store: FactStore | None = None

    def begin(self, file: SourceFile, data: bytes, shown: int) -> None:
        """Have a file read in another process, if it may touch a Realtime session and is not known.

        ``shown`` are the flags that say so, if anybody asked.
        """
        from pipeline_guard.pipeline import unjudged
        from pipeline_guard.program.ahead import ahead_of
        from pipeline_guard.program.contents import NOT_ASKED, SIGN

        if shown == 0 or shown & NOT_ASKED:
            shown = unjudged.look_for_sessions(self._config, self._cache)(file.rel, data)
        store = self.store()
        if shown & SIGN and not store.knows(data):
            ahead = ahead_of(store)
            ahead.add([(data, file.path)])
            ahead.start()

    def store(self) -> FactStore:
        """Return the store."""
        if self._store is None:
            from pipeline_guard.facts.store import FactStore

            self._store = FactStore(self._cache)
        return self._store

    def end(self) -> None:
        """End the other process, if there is one."""
        if self._store is not None and self._store.ahead is not None:
            self._store.ahead.end()
