"""Finds the import statements in the bytes of a file, without parsing it.

Statements inside strings are taken for imports too: what is asked is only whether a file is worth reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What stands behind ``import``, and before it.
_IMPORT = re.compile(rb"import\b[ \t]*(\([^)]*\)?|[^\n;]*)")
_FROM = re.compile(rb"from[ \t]+(\.*[\w.]*)[ \t]*\Z")
_BEFORE = (b"\n", b":", b";")
_LONGEST_HEAD = 200


def imports_in(data: bytes) -> Iterator[tuple[bytes | None, bytes]]:
    """Yield the module of each ``from module import names``, None for ``import names``, and the text of the names.

    That text ends with the line, or with the bracket that closes behind it.
    """
    for found in _IMPORT.finditer(data):
        before = data[max(0, found.start() - _LONGEST_HEAD) : found.start()]
        head = before[max(before.rfind(mark) for mark in _BEFORE) + 1 :].strip()
        parent = _FROM.match(head)
        if parent is not None:
            yield parent[1], found[1]
        elif not head:
            yield None, found[1]
