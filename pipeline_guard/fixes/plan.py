"""Asks the fixer of each rule what to do about a finding: a function that takes both and yields units."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.findings import Finding
from pipeline_guard.fixes import audio, responses
from pipeline_guard.fixes.edits import CannotRewrite, Refusal, Unit
from pipeline_guard.fixes.program import Program

Fixer = Callable[[Program, Finding], Iterator[Unit]]
FIXERS: dict[str, Fixer] = {**audio.FIXERS, **responses.FIXERS}


def plan(program: Program, wanted: Callable[[Finding], bool]) -> tuple[list[Unit], list[Refusal]]:
    """Return what can be done about the wanted findings of a program, and what is refused and why."""
    units: list[Unit] = []
    refusals: list[Refusal] = []
    for finding in program.findings:
        fixer = FIXERS.get(finding.rule)
        if fixer is None or not wanted(finding):
            continue
        try:
            units += fixer(program, finding)
        except CannotRewrite as error:
            refusals.append(_refusal(finding, str(error), error.by_hand))
        except (Unreadable, SyntaxError, KeyError):
            refusals.append(_refusal(finding, "the file cannot be edited as text", "edit it by hand"))
    return units, refusals


def _refusal(finding: Finding, why: str, by_hand: str) -> Refusal:
    return Refusal(finding.path, finding.line, finding.rule, why, by_hand, (finding.fingerprint,))
