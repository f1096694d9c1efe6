"""A source file as text and back to the very same bytes, with the places that the parser speaks of."""

from __future__ import annotations

import codecs
import io
import itertools
import re
import tokenize
from functools import cached_property

from pipeline_guard.facts.extract import Unreadable, decode

# What ends a line for Python's parser; form feeds and Unicode's separators do not.
_LINE_END = re.compile(r"\r\n|\r|\n")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Source:
    """One file.  Offsets count characters of ``text``, which holds no byte-order mark; lines and columns are 1-based.

    Raises Unreadable("encoding") for bytes that are no text, or that would not come back as they were.
    """

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data
        self.mark, self.encoding = b"", ""
        for mark, encoding in _MARKS:
            if data.startswith(mark):
                self.mark, self.encoding = mark, encoding
                break
        else:
            decode(data)  # says in a sentence what is wrong with the bytes
            self.encoding = _declared_encoding(data)
        try:
            self.text = data[len(self.mark) :].decode(self.encoding)
        except UnicodeDecodeError as error:
            raise Unreadable("encoding", f"is not valid {self.encoding}: {error.reason}") from None
        if self.encode(self.text) != data:
            raise Unreadable("encoding", f"cannot be written back as it is in {self.encoding}")

    def encode(self, text: str) -> bytes:
        """Return text as the bytes of this file; raises UnicodeEncodeError where its encoding lacks a character."""
        return self.mark + text.encode(self.encoding)

    def holds(self, text: str) -> bool:
        """Say whether the file's encoding has every character of a text."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    @cached_property
    def line_starts(self) -> list[int]:
        """The offset of each line; one more entry stands for the end of the text."""
        starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        if starts[-1] != len(self.text):
            starts.append(len(self.text))
        return starts

    def line_start(self, line: int) -> int:
        """Return the offset at which a line begins; one past the last line is the end of the text."""
        return self.line_starts[min(line, len(self.line_starts)) - 1]

    def line(self, number: int) -> str:
        """Return a line with its end."""
        return self.text[self.line_start(number) : self.line_start(number + 1)]

    def newline_near(self, line: int) -> str:
        """Return the line end in use at a line: its own, else that of the lines above, else of the file."""
        for number in range(min(line, len(self.line_starts)), 0, -1):
            found = _LINE_END.search(self.line(number))
            if found is not None:
                return found[0]
        return "\n"


def lines_of(text: str) -> list[str]:
    """Return the lines of a text with their ends, as Python's parser counts them."""
    starts = [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(starts) if end > start]


def _declared_encoding(data: bytes) -> str:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError:
        # Like the interpreter, and unlike ``tokenize``, the decoder lets the first two lines hold more than UTF-8.
        for line in data.split(b"\n", 2)[:2]:
            found = re.match(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", line, re.ASCII)
            if found is not None:
                return found[1].decode("ascii")
        return "utf-8"
    return encoding
