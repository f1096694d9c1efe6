"""Asks the fixer of each rule what to do about a finding: a function that takes both and yields units."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.findings import Finding
from pipeline_guard.fixes import aids, audio, bypass, engines, guards, responses, sending, sessions, tracking, turns
from pipeline_guard.fixes.edits import CannotRewrite, NoOpBody, Operation, Refusal, Unit
from pipeline_guard.fixes.marks import without_marks
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.spawns import without_spawns
from pipeline_guard.rulebook import find_rule

Fixer = Callable[[Program, Finding], Iterator[Unit]]
FIXERS: dict[str, Fixer] = {
    **audio.FIXERS,
    **responses.FIXERS,
    **guards.FIXERS,
    **sessions.FIXERS,
    **turns.FIXERS,
    **bypass.FIXERS,
    **tracking.FIXERS,
    **sending.FIXERS,
    **engines.FIXERS,
    **aids.FIXERS,
}


def plan(program: Program, wanted: Callable[[Finding], bool]) -> tuple[list[Unit], list[Refusal]]:
    """Return what can be done about the wanted findings of a program, and what is refused and why."""
    units: list[Unit] = []
    refusals: list[Refusal] = []
    for finding in program.findings:
        if not wanted(finding):
            continue
        fixer = FIXERS.get(finding.rule)
        if fixer is None:
            if finding.severity != "note" and not finding.rule.startswith("PG9"):
                refusals.append(
                    _refusal(finding, "what stands there instead has to be decided", _by_hand(finding.rule))
                )
            continue
        try:
            units += [_with_what_belongs(program, finding, unit) for unit in fixer(program, finding)]
        except CannotRewrite as error:
            refusals.append(_refusal(finding, str(error), error.by_hand))
        except (Unreadable, SyntaxError, KeyError):
            refusals.append(_refusal(finding, "the file cannot be edited as text", "edit it by hand"))
    return _merged(units), refusals


def can_be_mended(program: Program, finding: Finding) -> bool:
    """Say whether the fixer of a finding knows what to do about it."""
    try:
        return any(True for _ in FIXERS[finding.rule](program, finding))
    except (CannotRewrite, Unreadable, SyntaxError, KeyError):
        return False


def _with_what_belongs(program: Program, finding: Finding, unit: Unit) -> Unit:
    """Return a unit that also takes away what starts the functions that it empties, and the marks of its requests."""
    starts: list[Operation] = []
    for operation in unit.operations:
        if isinstance(operation, NoOpBody):
            starts += without_spawns(program, operation)
    marks = without_marks(program, finding.lane, unit)
    added = [each for each in dict.fromkeys((*starts, *marks)) if each not in unit.operations]
    why = unit.why
    if any(each in starts for each in added):
        why += "; what only starts it goes with it"
    if any(each in marks for each in added):
        why += "; so does its mark, which would hold back the next response"
    return unit._replace(operations=(*unit.operations, *added), why=why)


def _by_hand(rule_id: str) -> str:
    """Return what a rule's own text says to do, its first sentence."""
    rule = find_rule(rule_id)
    text = " ".join(rule.fix.split()) if rule is not None else ""
    return text.partition(". ")[0].rstrip(".")


def _merged(units: list[Unit]) -> list[Unit]:
    """Return units with those that do the same thing made one: it mends what they all mend."""
    found: dict[tuple[Operation, ...], Unit] = {}
    for unit in units:
        known = found.get(unit.operations)
        if known is None:
            found[unit.operations] = unit
        else:
            mends = tuple(dict.fromkeys((*known.mends, *unit.mends)))
            rule = known.rule if unit.rule in known.rule else f"{known.rule}, {unit.rule}"
            found[unit.operations] = known._replace(mends=mends, rule=rule)
    return list(found.values())


def _refusal(finding: Finding, why: str, by_hand: str) -> Refusal:
    return Refusal(finding.path, finding.line, finding.rule, why, by_hand, (finding.fingerprint,))
