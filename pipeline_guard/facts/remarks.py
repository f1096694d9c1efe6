"""Finds the comments that name this tool, and the lines of code that each of them stands behind or above.

Nearly no file holds such a comment, so the bytes are searched first and tokens are only made of files with a hit.
Tokens, because the same text in a string is no comment.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable, Mapping

import msgspec

from pipeline_guard.facts.extract import Unreadable, decode
from pipeline_guard.facts.hints import NAME, may_hold_remarks
from pipeline_guard.pipeline.model import Remark

_LAYOUT = frozenset({
    tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER,
})  # fmt: skip


def read_remarks(files: Mapping[str, bytes]) -> tuple[Remark, ...]:
    """Return the comments that name the tool in files given by their path, ordered by place."""
    found = [remark for path, data in files.items() if may_hold_remarks(data) for remark in remarks_in(path, data)]
    return tuple(sorted(found, key=lambda remark: (remark.path, remark.line)))


def remarks_in(path: str, data: bytes) -> list[Remark]:
    """Return the comments of one file that name the tool.

    None in a file that cannot be read to its end: there the tokenizer may have taken a string for a comment, and a
    suppression that is passed over hides nothing.
    """
    try:
        # The parser takes every line end for "\n", a lone "\r" as well; the tokenizer does not.
        text = decode(data).replace("\r\n", "\n").replace("\r", "\n")
        reader = _Reader(path, text.split("\n"))
        return reader.read(tokenize.generate_tokens(io.StringIO(text).readline))
    except (Unreadable, tokenize.TokenError, SyntaxError, ValueError, RecursionError):
        return []


class _Comment(msgspec.Struct):
    """A comment whose lines of code are still being looked for."""

    line: int
    column: int
    text: str
    alone: bool
    first: int
    last: int


class _Reader:
    """Follows the tokens of one file through statements and brackets.

    A comment behind a statement speaks of all its lines, one inside brackets of its own line, one on a line of its own
    of the statement below it (through decorators down to what they decorate), or inside brackets of the line below.
    """

    def __init__(self, path: str, lines: list[str]) -> None:
        self.path = path
        self.lines = lines
        self.depth = 0
        self.start: int | None = None  # the first line of the statement that is being read
        self.decorates = False
        self.above: list[_Comment] = []  # wait for the statement, or inside brackets for the line, below them
        self.inside: list[_Comment] = []
        self.behind: list[_Comment] = []
        self.found: list[_Comment] = []

    def read(self, tokens: Iterable[tokenize.TokenInfo]) -> list[Remark]:
        for token in tokens:
            if token.type == tokenize.ERRORTOKEN and not token.string.isspace():
                raise tokenize.TokenError(f"not Python: {token.string!r}", token.start)
            if token.type == tokenize.COMMENT:
                self.comment(token)
            elif token.type == tokenize.NEWLINE:
                self.end_statement(token.start[0])
            elif token.type == tokenize.NL:
                self.blank(token.start[0])
            elif token.type not in _LAYOUT:
                self.code(token)
        return [
            Remark(path=self.path, line=c.line, column=c.column, text=c.text, alone=c.alone, first=c.first, last=c.last)
            for c in self.found
        ]

    def comment(self, token: tokenize.TokenInfo) -> None:
        if not NAME.search(token.string):
            return
        line, offset = token.start
        alone = not self.lines[line - 1][:offset].strip()
        comment = _Comment(line, offset + 1, token.string, alone, line, line)
        self.found.append(comment)
        if self.depth:
            if alone:
                self.inside.append(comment)
        elif alone:
            self.above.append(comment)
        else:
            self.behind.append(comment)

    def code(self, token: tokenize.TokenInfo) -> None:
        line = token.start[0]
        if self.start is None:
            self.start = line
            self.decorates = token.string == "@"
            for comment in self.above:
                if comment.first == comment.line:
                    comment.first = line
        for comment in self.inside:
            comment.first = comment.last = line
        self.inside.clear()
        if token.type == tokenize.OP:
            if token.string in {"(", "[", "{"}:
                self.depth += 1
            elif token.string in {")", "]", "}"}:
                self.depth = max(self.depth - 1, 0)

    def end_statement(self, line: int) -> None:
        start = self.start or line
        for comment in self.behind:
            comment.first, comment.last = start, line
        self.behind.clear()
        for comment in self.above:
            comment.last = line
        if not self.decorates:
            self.above.clear()
        self.start = None

    def blank(self, line: int) -> None:
        """Let go of the comments above an empty line; between a decorator and its function one means nothing."""
        if self.lines[line - 1].strip():
            return
        self.inside.clear()
        if self.start is None and not self.decorates:
            self.above.clear()
