"""Turns the byte offsets of ``ast`` into columns that people, editors and SARIF count: characters, from 1."""

from __future__ import annotations

import re

_LINE_END = re.compile(r"\r\n|\r|\n")


class Columns:
    """The lines of one source text; without a text every line is ASCII, where bytes and characters are the same.

    A character is a Unicode code point.  ``ast`` counts bytes of UTF-8, whatever the encoding of the file is:
    https://docs.python.org/3/library/ast.html#ast.AST.col_offset
    """

    def __init__(self, text: str = "") -> None:
        # Python's lines end at line feeds and carriage returns, not at form feeds.
        self._lines = (_LINE_END.split(text) if "\r" in text else text.split("\n")) if text else []

    def at(self, line: int, offset: int) -> int:
        """Return the 1-based column of the byte ``offset`` in a 1-based line."""
        if not 1 <= line <= len(self._lines) or self._lines[line - 1].isascii():
            return offset + 1
        data = self._lines[line - 1].encode("utf-8", "surrogatepass")
        before = data[:offset].decode("utf-8", "surrogatepass" if offset >= len(data) else "ignore")
        return len(before) + max(offset - len(data), 0) + 1
