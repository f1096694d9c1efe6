"""What every text output needs: a console that is plain when piped, and text that cannot control the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it takes as long to load as a small file takes to be checked
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
DUPLICATE_STYLE = "bold red"
DORMANT_STYLE = "yellow"
QUIET_STYLE = "dim"
# Lines for a pipe are as long as they need to be: grep and less want whole lines.
_PIPE_WIDTH = 2_000
_TRAILING = r"(?m)[ \t]+$"
# Control characters, and those that reorder what a reader sees, are shown as a mark instead of being obeyed: names and
# source lines come from the scanned code, and that may come from anybody.
_UNSAFE = dict.fromkeys(
    [*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)


class _Trimmed:
    """A stream that leaves out the spaces with which tables fill their last column."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        return int(self.stream.write(re.sub(_TRAILING, "", text)))


def make_console(*, no_color: bool) -> Console:
    """Return a console on standard output: styled on a terminal, unless ``--no-color`` or ``NO_COLOR`` is given."""
    stream: Any = sys.stdout
    if hasattr(stream, "reconfigure"):
        # A terminal without Unicode gets question marks rather than a traceback.
        stream.reconfigure(errors="replace")
    import shutil

    from rich.console import Console

    plain = no_color or bool(os.environ.get("NO_COLOR"))
    on_terminal = stream.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else _PIPE_WIDTH
    return Console(
        file=stream if on_terminal else _Trimmed(stream),  # type: ignore[arg-type]
        color_system=None if plain else "auto",
        width=width,
        markup=False,
        highlight=False,
        emoji=False,
    )


def clean(text: str) -> str:
    """Return text from the scanned code on one line and without characters that a terminal would act on."""
    return text.translate(_UNSAFE)


def place(path: str, line: int | None) -> str:
    """Return ``path:line``, the form that editors and terminals turn into a link."""
    return clean(path) if line is None else f"{clean(path)}:{line}"


def styled(text: str, style: str = "") -> Text:
    """Return cleaned text in a style."""
    from rich.text import Text

    return Text(clean(text), style=style)


def arrow(console: Console) -> str:
    """Return a downward arrow, or its ASCII stand-in where the terminal has none."""
    return "v" if console.options.ascii_only else "↓"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``2 files``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def aligned(rows: Iterable[Sequence[Text]], console: Console, indent: int = 0, *, filled: bool = False) -> Table:
    """Return rows in columns where the terminal is wide enough, else each row's parts below one another.

    ``filled`` lines then hold as many parts as fit; else the row's head and two parts share one, the others get their
    own.
    Either way every name and every place is complete: a path with an ellipsis in it is of no use to anybody.
    """
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    wide = Table.grid(padding=(0, 2))
    for _ in range(max(map(len, cells), default=0)):
        wide.add_column(overflow="fold")
    for row in cells:
        wide.add_row(*row)
    if Measurement.get(console, console.options.update(max_width=_PIPE_WIDTH), wide).maximum <= console.width - indent:
        return wide
    narrow = Table.grid(padding=(0, 2))
    narrow.add_column(no_wrap=True)
    narrow.add_column(overflow="fold")
    room = console.width - indent - max((row[0].cell_len for row in cells), default=0) - 2
    for head, *rest in cells:
        lines = _filled(rest, room) if filled else [_beside(rest[:2]), *rest[2:]]
        narrow.add_row(head, Text("\n").join(line for line in lines if line))
    return narrow


def _beside(parts: Iterable[Text]) -> Text:
    from rich.text import Text

    return Text("  ").join(part for part in parts if part)


def _filled(parts: Iterable[Text], room: int) -> list[Text]:
    lines: list[Text] = []
    for part in parts:
        longer = _beside([*lines[-1:], part])
        if lines and longer.cell_len <= room:
            lines[-1] = longer
        elif part:
            lines.append(part)
    return lines
