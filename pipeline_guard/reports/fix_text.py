"""Tells a person what the codemod did, what it left alone and why, and shows changes as a unified diff."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_guard.reports.terminal import make_console

if TYPE_CHECKING:
    from pipeline_guard.fixes.run import Outcome

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class FixReport:
    """Prints to standard output; colour only where a person looks."""

    def __init__(self, *, no_color: bool) -> None:
        self.console = make_console(no_color=no_color)

    def diff(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        """Print a unified diff of files given by their path."""
        for path, data in new.items():
            for line in unified(path, old[path], data):
                style = "bold" if line.startswith(("---", "+++")) else _STYLES.get(line[:1], "")
                self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def summary(self, outcome: Outcome, *, changed: int, written: bool) -> None:
        """Print one line per fix and refusal, then how many there were."""
        verb = "fixed" if written else "would fix"
        for done in outcome.done:
            self._say(f"{verb} {done.path}:{done.line} {done.unit.rule}: {done.unit.why}")
        for refusal in outcome.refused:
            by_hand = f"; {refusal.by_hand}" if refusal.by_hand else ""
            self._say(f"left alone {refusal.path}:{refusal.line} {refusal.rule}: {refusal.why}{by_hand}")
        for unit in outcome.unsafe:
            place = unit.operations[0]
            self._say(f"with --unsafe-fixes {place.path}:{place.line} {unit.rule}: {unit.why}")
        left = sum(finding.severity != "note" for finding in outcome.program.findings)
        self._say(
            f"{len(outcome.done)} fixed, {len(outcome.unsafe)} need --unsafe-fixes, {len(outcome.refused)} left alone; "
            f"{_count(changed, 'file')} {'changed' if written else 'would change'}; {_count(left, 'finding')} left"
        )
        if changed and written:
            self._say("'pipeline-guard undo' puts the files back as they were")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def unified(path: str, old: bytes, new: bytes) -> list[str]:
    """Return the lines of a unified diff between two contents of a file, without line ends."""
    before, after = _lines(old), _lines(new)
    return list(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm=""))


def _lines(data: bytes) -> list[str]:
    return re.split(r"\r\n|\r|\n", data.decode("utf-8", "replace"))
