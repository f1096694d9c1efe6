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
        say = self.console.print
        options = {"markup": False, "highlight": False, "soft_wrap": True}
        for done in outcome.done:
            say(
                f"{'fixed' if written else 'would fix'} {done.path}:{done.line} {done.unit.rule}: {done.unit.why}",
                **options,
            )
        for refusal in outcome.refused:
            by_hand = f"; {refusal.by_hand}" if refusal.by_hand else ""
            say(f"left alone {refusal.path}:{refusal.line} {refusal.rule}: {refusal.why}{by_hand}", **options)
        for unit in outcome.unsafe:
            place = unit.operations[0]
            say(f"with --unsafe-fixes {place.path}:{place.line} {unit.rule}: {unit.why}", **options)
        left = sum(finding.severity != "note" for finding in outcome.program.findings)
        verb = "changed" if written else "would change"
        say(
            f"{len(outcome.done)} fixed, {len(outcome.unsafe)} need --unsafe-fixes, {len(outcome.refused)} left alone; "
            f"{changed} {'file' if changed == 1 else 'files'} {verb}; {left} {'finding' if left == 1 else 'findings'} "
            "left",
            **options,
        )
        if changed and written:
            say("'pipeline-guard undo' puts the files back as they were", **options)


def unified(path: str, old: bytes, new: bytes) -> list[str]:
    """Return the lines of a unified diff between two contents of a file, without line ends."""
    before, after = _lines(old), _lines(new)
    return list(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm=""))


def _lines(data: bytes) -> list[str]:
    return re.split(r"\r\n|\r|\n", data.decode("utf-8", "replace"))
