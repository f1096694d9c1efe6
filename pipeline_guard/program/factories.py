"""Tells application factories: functions that a server runs for an application, whoever else asks for it."""

from __future__ import annotations

from pipeline_guard.program.code import Func
from pipeline_guard.vocabulary import Vocabulary


class Factories:
    """The application factories, by their names and by what they do: make an application, register its handlers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._names = frozenset(vocabulary.names.get("factories", ()))
        self._applications = frozenset(vocabulary.names.get("applications", ()))

    def has(self, func: Func) -> bool:
        """Say whether a function is an application factory."""
        if func.name not in self._names or (func.parent is not None and func.parent.index != 0):
            return False
        return func.has_words(self._applications) or any(inner.is_registered for inner in func.nested)
