"""Tells from its bytes whether a file has to do with what other files define: imports it, or names it by its path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

# Statements inside strings are taken for imports too; what is asked is only whether a file is worth reading.
_IMPORT = re.compile(
    rb"(?:^|[:;])[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]*import\b[ \t]*(\([^)]*\)?|[^\n;]*)|import[ \t]+([^\n;]+))",
    re.MULTILINE,
)
_NAME = re.compile(rb"\w+")
# Files that load others by names that are put together: any word may be part of one.
_DYNAMIC = (b"import_module(", b"__import__(", b"importlib.util")

# Name of a module, without those of the packages around it → names that it defines.
Defined = Mapping[bytes, AbstractSet[bytes]]


def names_any(data: bytes, defined: Defined) -> bool:
    """Say whether a file may use one of the names that some modules define, going by how it says so.

    ``from …module import name``, ``import …module`` with the name anywhere, ``"…module.name"`` and ``"…module:name"``.
    """
    there = {module: names for module, names in defined.items() if module in data}
    if not there:
        return False
    if any(mark in data for mark in _DYNAMIC):
        return True
    for parent, names, plain in _IMPORT.findall(data):
        if plain:
            if any(_uses(data, there, word) for part in plain.split(b",") for word in _NAME.findall(part)):
                return True
        else:
            taken = set(_NAME.findall(names))
            wanted = there.get(parent.rpartition(b".")[2], frozenset())
            # Names may follow behind a comment or on a further line.
            if not taken.isdisjoint(wanted) or (wanted and any(mark in names for mark in (b"*", b"#", b"\\"))):
                return True
            if any(_uses(data, there, word) for word in taken):
                return True
    return any(
        b"%s%s%s" % (module, mark, name) in data
        for module, names in there.items()
        for name in names
        if name in data
        for mark in (b".", b":")
    )


def _uses(data: bytes, there: Defined, module: bytes) -> bool:
    return any(name in data for name in there.get(module, ()))
