"""Shows the lines of source code that a finding speaks of."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from tokenize import detect_encoding

from pipeline_guard.reports.page import Line
from pipeline_guard.reports.terminal import QUIET_STYLE, clean

CONTEXT_LINES = 1
# A call that spans a whole configuration is recognised by its first lines.
MAX_MARKED_LINES = 6
MAX_COLUMNS = 160
_LINE_END = re.compile(r"\r\n|\r|\n")
_TWO_LINES = re.compile(rb"(?:[^\r\n]*(?:\r\n|\r|\n)){2}")


def frame(root: str, path: str, line: int, end_line: int, style: str) -> list[Line]:
    """Return the marked lines with their neighbours, or nothing where the file cannot be read any more."""
    lines = _lines(str(Path(root) / path))
    if not 1 <= line <= len(lines):
        return []
    last = min(max(line, end_line), line + MAX_MARKED_LINES - 1, len(lines))
    first_shown, last_shown = max(1, line - CONTEXT_LINES), min(len(lines), last + CONTEXT_LINES)
    digits = len(str(last_shown))
    shown: list[Line] = []
    for number in range(first_shown, last_shown + 1):
        marked = line <= number <= last
        code = clean(lines[number - 1].expandtabs(4).rstrip())
        code = code if len(code) <= MAX_COLUMNS else code[: MAX_COLUMNS - 1] + "…"
        gutter = f"{'>' if marked else ' '} {number:>{digits}} | "
        shown.append([(gutter, style if marked else QUIET_STYLE), (code, "" if marked else QUIET_STYLE)])
    return shown


def source_line(root: str, path: str, line: int) -> str:
    """Return one line of a file, or nothing where there is none any more."""
    lines = _lines(str(Path(root) / path))
    return lines[line - 1] if 1 <= line <= len(lines) else ""


@lru_cache(maxsize=32)
def _lines(path: str) -> tuple[str, ...]:
    try:
        data = Path(path).read_bytes()
    except OSError:
        return ()
    try:
        encoding = detect_encoding(iter(_head(data).splitlines(keepends=True)).__next__)[0]
    except (SyntaxError, UnicodeDecodeError):
        encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "latin-1"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # Only the line ends that Python itself knows, so that numbers agree with those of the analysis.
    return tuple(_LINE_END.split(text) if "\r" in text else text.split("\n"))


def _head(data: bytes) -> bytes:
    """Return the lines that may say in what a file is encoded, the first two."""
    found = _TWO_LINES.match(data)
    return found.group() if found is not None else data
