"""Tells whether two places in the code are the same statement: by its syntax tree, so that neither moving it nor
formatting it makes another one of it."""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from pipeline_guard.cache import Cache

ReadFile = Callable[[str], bytes]

_KIND = "statements"
_decode = msgspec.msgpack.Decoder(dict[str, tuple[str, str]]).decode
_DIGITS = 12
_SHOWN = 100
_OWN_COMMENT = re.compile(r"\s#\s*pipeline-guard:.*", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
# Lists of statements: of a compound statement only the head is taken.
_SUITES = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})
# What differs between versions of Python, or in spelling alone (``u"…"``), and says nothing about the code.
_SPELLING = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "decorator_list", "str"})


def read_below(root: str) -> ReadFile:
    """Return a reader of files by their path relative to a folder."""
    return lambda path: (Path(root) / path).read_bytes()


class Statement(NamedTuple):
    """A statement: ``key`` is the same for the same code however it is laid out, ``code`` its beginning on one line."""

    key: str
    code: str


class Statements:
    """Finds the statements at places of files; each file is read and parsed once.

    ``found`` holds those found so far by path, line and column.  ``read`` returns the content of a file by its path
    relative to the root, and raises ``OSError`` where there is none.  With a ``cache``, places of the same file that an
    earlier run asked for need no parsing; :meth:`keep` stores those of this one.
    """

    def __init__(self, read: ReadFile, cache: Cache | None = None) -> None:
        self.read = read
        self.cache = cache
        self._known: dict[str, dict[str, tuple[str, str]]] = {}
        self._news: set[str] = set()
        self._bytes: dict[str, bytes] = {}
        self._lines: dict[str, list[str]] = {}
        self._trees: dict[str, ast.Module | None] = {}
        self.found: dict[tuple[str, int, int], Statement] = {}

    def at(self, path: str, line: int, column: int = 1, end_line: int | None = None) -> Statement:
        """Return the innermost statement at a place (1-based), of a compound statement its head.

        Where the file cannot be parsed, these are the lines up to ``end_line`` without their white space.
        """
        key = (path, line, column)
        if key not in self.found:
            known = self._stored(path)
            place = f"{line}:{column}:{end_line or line}"
            if place not in known:
                known[place] = self._statement(path, line, column, end_line or line)
                self._news.add(path)
            self.found[key] = Statement(*known[place])
        return self.found[key]

    def keep(self) -> None:
        """Store what was found in this run for the next one."""
        if self.cache is not None:
            for path in self._news:
                self.cache.put(_KIND, self._key(path), msgspec.msgpack.encode(self._known[path]))
            self._news.clear()

    def _stored(self, path: str) -> dict[str, tuple[str, str]]:
        """Return the statements of a file by "line:column:end", as far as an earlier run asked for them."""
        if path not in self._known:
            stored = self.cache.get(_KIND, self._key(path)) if self.cache is not None else None
            try:
                self._known[path] = _decode(stored) if stored is not None else {}
            except msgspec.DecodeError:
                self._known[path] = {}  # written by something else than this tool
        return self._known[path]

    def _key(self, path: str) -> str:
        from pipeline_guard.cache import code_version, content_key

        try:
            return content_key(code_version(), self._content(path))
        except OSError:
            return content_key(code_version(), b"", path.encode("utf-8", "surrogatepass"))

    def _content(self, path: str) -> bytes:
        """Return the bytes of a file, the same ones however often; raises OSError."""
        if path not in self._bytes:
            self._bytes[path] = self.read(path)
        return self._bytes[path]

    def _statement(self, path: str, line: int, column: int, end_line: int) -> Statement:
        tree = self._tree(path)
        node = None if tree is None else _innermost(tree, line, column)
        lines = self._source(path)
        if node is None:
            shown = lines[line - 1 : end_line]
            # A comment to this tool is no change of the statement: allowing a finding must not make it a new one.
            text = "".join("".join(_OWN_COMMENT.sub("", part).split()) for part in shown)
        else:
            text = _spell(node)
            shown = lines[node.lineno - 1 : _head_end(node)]
        code = " ".join(_OWN_COMMENT.sub("", " ".join(shown)).split())
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGITS // 2).hexdigest()
        return Statement(digest, code if len(code) <= _SHOWN else code[: _SHOWN - 1] + "…")

    def _source(self, path: str) -> list[str]:
        if path not in self._lines:
            try:
                data = self._content(path)
            except OSError:
                data = b""
            # Not ``splitlines``: Python's lines end at line feeds and carriage returns, not at form feeds.
            self._lines[path] = _LINE_END.split(data.decode("utf-8", "replace"))
        return self._lines[path]

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._trees[path] = ast.parse(self._content(path))
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                self._trees[path] = None
        return self._trees[path]


_Node = ast.stmt | ast.ExceptHandler


def _innermost(tree: ast.Module, line: int, column: int) -> _Node | None:
    """Return the innermost statement that covers a place."""
    found: _Node | None = None
    level: ast.AST = tree
    while True:
        inner = next((node for node in _suites(level) if _covers(node, line, column)), None)
        if inner is None:
            return found
        found = level = inner


def _suites(node: ast.AST) -> Iterator[_Node]:
    for name in ("body", "handlers", "orelse", "finalbody"):
        yield from getattr(node, name, None) or ()
    for case in getattr(node, "cases", ()):
        yield from case.body


def _covers(node: _Node, line: int, column: int) -> bool:
    start = node.lineno
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        start = min([start, *(each.lineno for each in node.decorator_list)])
    if not start <= line <= (node.end_lineno or node.lineno):
        return False
    # Several on one line: the one whose columns hold the place.  Columns are bytes in ``ast`` and characters here,
    # which is the same up to the first letter that is not ASCII, and statements begin before that.
    after_start = line > node.lineno or node.col_offset < column or column == 1
    before_end = line < (node.end_lineno or line) or column <= (node.end_col_offset or column) or column == 1
    return after_start and before_end


def _head_end(node: _Node) -> int:
    """Return the last line of a statement, of a compound one that of its head."""
    first = next(iter(_suites(node)), None)
    end = node.end_lineno or node.lineno
    return end if first is None else max(node.lineno, min(end, first.lineno - 1))


def _spell(node: ast.AST) -> str:
    """Return the tree of a statement's head as text: the same on every version of Python, without recursion."""
    parts: list[str] = []
    pending: list[object] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, ast.AST):
            parts.append(type(item).__name__)
            skipped = _SPELLING | _SUITES if isinstance(item, (ast.stmt, ast.ExceptHandler)) else _SPELLING
            for name in reversed(item._fields):
                value = getattr(item, name, None)
                if name not in skipped and value is not None and value != []:
                    pending += [value, f"{name}="]
        elif isinstance(item, list):
            parts.append(f"[{len(item)}")
            pending += reversed(item)
        else:
            parts.append(item if isinstance(item, str) and item.endswith("=") else repr(item))
    return " ".join(parts)
