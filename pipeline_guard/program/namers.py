"""Tells from its bytes whether a file has to do with what other files define: imports it, or names it by its path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from pipeline_guard.import_lines import imports_in

_NAME = re.compile(rb"\w+")
# Files that load others by names that are put together: any word may be part of one.
_DYNAMIC = (b"import_module(", b"__import__(", b"importlib.util")
# Names that may go on behind a comment or on a further line, and all names.
_OPEN = (b"#", b"\\", b"*")

# Name of a module, without those of the packages around it → names that it defines.
Defined = Mapping[bytes, AbstractSet[bytes]]


class Namer:
    """What a file says of others: it is read once, and asked as often as more is known of what they define.

    ``words`` are the names in its text.
    """

    def __init__(self, data: bytes, words: Iterable[bytes]) -> None:
        self._data = data
        self._words = frozenset(words)
        self._is_dynamic = any(mark in data for mark in _DYNAMIC)
        self._taken: dict[bytes, set[bytes]] = {}  # module → names that are imported from it
        self._open: set[bytes] = set()  # modules of which more may be imported than is seen
        self._modules: set[bytes] = set()  # whatever an import binds, that may be a module
        for module, names in imports_in(data):
            self._take(module, names)

    def _take(self, module: bytes | None, names: bytes) -> None:
        """Take in what an import says."""
        words = _NAME.findall(names)
        self._modules.update(words)
        if module is not None:
            last = module.rpartition(b".")[2]
            self._taken.setdefault(last, set()).update(words)
            if any(mark in names for mark in _OPEN):
                self._open.add(last)

    def uses_any(self, defined: Defined) -> bool:
        """Say whether the file may use one of the names that some modules define, going by how it says so.

        ``from …module import name``, ``import …module`` with the name anywhere, ``"…module.name"`` and
        ``"…module:name"``.
        """
        there = [module for module in self._words if module in defined]
        if self._is_dynamic and there:
            return True
        for module in there:
            names = defined[module]
            if not names.isdisjoint(self._taken.get(module, ())) or (module in self._open and names):
                return True
            used = names & self._words
            if used and (module in self._modules or any(self._joins(module, name) for name in used)):
                return True
        return False

    def _joins(self, module: bytes, name: bytes) -> bool:
        return module + b"." + name in self._data or module + b":" + name in self._data
