"""Tells whether two places in the code are the same statement: by its syntax tree, so that neither moving it nor
formatting it makes another one of it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pipeline_guard.hashing import blake2b

if TYPE_CHECKING:
    from pipeline_guard.cache import Cache
    from pipeline_guard.facts.outline import Place

ReadFile = Callable[[str], bytes]

_KIND = "statements"
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
    earlier run asked for need no parsing, and others only that of the function around them; :meth:`keep` stores those
    of this one.
    """

    def __init__(self, read: ReadFile, cache: Cache | None = None) -> None:
        self.read = read
        self.cache = cache
        self._known: dict[str, dict[str, tuple[str, str]]] = {}
        self._news: set[str] = set()
        self._bytes: dict[str, bytes] = {}
        self._lines: dict[str, list[str]] = {}
        self._trees: dict[str, ast.Module | None] = {}
        self._functions: dict[str, list[Place]] = {}
        self._parts: dict[tuple[str, int, int], tuple[_Suite | None, int]] = {}
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
            known = (
                self.cache.data(_KIND, self._key(path), dict[str, tuple[str, str]]) if self.cache is not None else None
            )
            self._known[path] = known or {}
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
        lines = self._source(path)
        node, above = self._in_function(path, line, column)
        if node is None:
            node, above = self._in_file(path, line, column), 0
        if node is None:
            shown = lines[line - 1 : end_line]
            # A comment to this tool is no change of the statement: allowing a finding must not make it a new one.
            text = "".join("".join(_OWN_COMMENT.sub("", part).split()) for part in shown)
        else:
            text = _spell(node)
            shown = lines[above + node.lineno - 1 : above + _head_end(node)]
        code = " ".join(_OWN_COMMENT.sub("", " ".join(shown)).split())
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGITS // 2).hexdigest()
        return Statement(digest, code if len(code) <= _SHOWN else code[: _SHOWN - 1] + "…")

    def _source(self, path: str) -> list[str]:
        if path not in self._lines:
            try:
                data = self._content(path)
            except OSError:
                data = b""
            # Not ``splitlines``: Python's lines end at line feeds and carriage returns, not at form feeds.
            text = data.decode("utf-8", "replace")
            self._lines[path] = _LINE_END.split(text) if "\r" in text else text.split("\n")
        return self._lines[path]

    def _in_file(self, path: str, line: int, column: int) -> _Node | None:
        tree = self._tree(path)
        return None if tree is None else _innermost(tree, line, column)

    def _in_function(self, path: str, line: int, column: int) -> tuple[_Node | None, int]:
        """Find a statement by parsing the suite or the function around it alone, where an earlier step told of them.

        Return it with the number of lines above what was parsed, from which its own lines count.  Files of a megabyte
        and functions of thousands of lines are common where the findings are, and parsing one takes as long as judging
        it.
        """
        inside = [place for place in self._places(path) if place.line <= line <= place.end_line]
        if not inside:
            return None, 0
        function = max(inside, key=lambda place: place.line)  # the innermost one begins last
        suites = [suite for suite in function.suites() if suite[0] <= line <= suite[1] and suite[0] > function.line]
        for first, last in (*suites[-1:], (function.line, function.end_line)):  # as is the innermost suite
            if (path, first, last) not in self._parts:
                self._parts[path, first, last] = _parse_lines(self._source(path)[first - 1 : last])
            tree, above = self._parts[path, first, last]
            above += first - 1
            found = _innermost(tree, line - above, column) if tree is not None else None
            # A place that is not covered after all (behind the end of the last line) is one of more than these lines.
            if found is not None:
                return found, above
        return None, 0

    def _places(self, path: str) -> list[Place]:
        if path not in self._functions:
            self._functions[path] = []
            data = self._content(path) if self.cache is not None and path not in self._trees else b""
            # What else a file may be encoded in is for the parser to say, and that reads all of it.
            if self.cache is not None and data and (data.isascii() or _is_utf8(data)):
                from pipeline_guard.facts.outline import known_functions

                self._functions[path] = known_functions(self.cache, data)
        return self._functions[path]

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            try:
                self._trees[path] = _parse(self._content(path))
            except OSError:
                self._trees[path] = None
        return self._trees[path]


_Node = ast.stmt | ast.ExceptHandler
_Suite = ast.Module | ast.If


def _is_utf8(data: bytes) -> bool:
    """Say whether a file is UTF-8 and claims to be nothing else."""
    if any(b"coding" in line for line in data.split(b"\n", 2)[:2]):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parse(source: bytes | str) -> ast.Module | None:
    """Return the tree of some code, None where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parse_lines(part: list[str]) -> tuple[_Suite | None, int]:
    """Return the tree of a function of these lines, and by how much less the lines in it count."""
    indented = part[0][:1].isspace()
    tree = _parse("\n".join(["if 1:", *part] if indented else part))
    around = tree.body[0] if indented and tree is not None else tree
    return (around, -int(indented)) if isinstance(around, (ast.Module, ast.If)) else (None, 0)


def _innermost(tree: _Suite, line: int, column: int) -> _Node | None:
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
