"""Where a text report is written: styled and wrapped on a terminal, plain lines of any length in a pipe.

A check in a commit hook writes to a pipe, and loading and running rich took it as long as all the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pipeline_guard.reports.terminal import QUIET_STYLE, aligned, make_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Text as it is, or text in a style.
Part = str | tuple[str, str]
Line = Sequence[Part]

_GAP = "  "
_TAB = 8


class Page(Protocol):
    """Takes a report line by line.  ``indent`` counts columns; texts are cleaned by whoever writes them."""

    def line(self, *parts: Part, indent: int = 0, fold: bool = True) -> None:
        """Write a line; where there is an edge, it is folded there, or else left to the terminal."""

    def cut(self, *parts: Part, indent: int = 0) -> None:
        """Write a line that ends at the edge where there is one: code that is wrapped reads like more code."""

    def steps(self, lines: Sequence[Line], indent: int) -> None:
        """Write numbered lines."""

    def rows(self, rows: Iterable[Sequence[Part]]) -> None:
        """Write rows in columns, all of them complete."""


def make_page(*, no_color: bool) -> Page:
    """Return a page on standard output."""
    stream = sys.stdout
    # FORCE_COLOR asks for a terminal's output in a pipe, as CI services do: https://force-color.org
    if stream.isatty() or os.environ.get("FORCE_COLOR"):
        return RichPage(make_console(no_color=no_color))
    return PlainPage(stream)


class PlainPage:
    """Writes lines as they are, for a pipe: grep and less want whole lines."""

    def __init__(self, stream: TextIO) -> None:
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A pipe without Unicode gets question marks rather than a traceback.
            reconfigure(errors="replace")
        self.stream = stream

    def line(self, *parts: Part, indent: int = 0, fold: bool = True) -> None:  # noqa: ARG002
        text = _plain(parts)
        self.stream.write(f"{' ' * indent if text else ''}{text}".rstrip(" \t") + "\n")

    def cut(self, *parts: Part, indent: int = 0) -> None:
        self.line(*parts, indent=indent)

    def steps(self, lines: Sequence[Line], indent: int) -> None:
        digits = len(str(len(lines)))
        for number, parts in enumerate(lines, 1):
            self.line(f"{number:>{digits}}. ", *parts, indent=indent)

    def rows(self, rows: Iterable[Sequence[Part]]) -> None:
        cells = [[_plain([part]) for part in row] for row in rows]
        widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
            self.line(_GAP.join(padded))


class RichPage:
    """Writes to a console of rich."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, *parts: Part, indent: int = 0, fold: bool = True) -> None:
        if indent and fold:
            self._indented(_text(parts), indent)
        else:
            self.console.print(_text((" " * indent, *parts)), soft_wrap=not fold)

    def cut(self, *parts: Part, indent: int = 0) -> None:
        text = _text(parts)
        text.no_wrap, text.overflow = True, "ellipsis"
        self._indented(text, indent)

    def steps(self, lines: Sequence[Line], indent: int) -> None:
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, justify="right", style=QUIET_STYLE)
        table.add_column(overflow="fold")
        for number, parts in enumerate(lines, start=1):
            table.add_row(f"{number}.", _text(parts))
        self._indented(table, indent)

    def rows(self, rows: Iterable[Sequence[Part]]) -> None:
        self.console.print(aligned([[_text([part]) for part in row] for row in rows], self.console))

    def _indented(self, what: Any, indent: int) -> None:
        from rich.padding import Padding

        self.console.print(Padding(what, (0, 0, 0, indent), expand=False))


def _plain(parts: Iterable[Part]) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in parts).expandtabs(_TAB)


def _text(parts: Iterable[Part]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts)


def _width(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
