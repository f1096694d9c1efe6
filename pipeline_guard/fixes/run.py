"""Plans, tries and accepts fixes in rounds until nothing is left to do; nothing is written here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.findings import Finding
from pipeline_guard.fixes.edits import CannotRewrite, Refusal, Replacement, Unit, splice
from pipeline_guard.fixes.orphans import orphaned_imports
from pipeline_guard.fixes.plan import can_be_mended, plan
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.rewrite import Rewriter
from pipeline_guard.fixes.source import Source
from pipeline_guard.fixes.verify import complaint_about

MAX_ROUNDS = 12
_ONE_PER_PIECE = frozenset({"PG105", "PG215", "PG304", "PG405"})
# What a finding hides: a guard is judged where there is one, and what goes past a trigger where it sends.
_HIDES = {"PG203": ("PG204", "PG206"), "PG205": ("PG206",), "PG217": ("PG201", "PG204", "PG206", "PG303")}
# Fixes that others build upon: those wait until these are made.
_FIRST = ({"PG107"}, {"PG203", "PG204", "PG206"}, {"PG209", "PG214"}, {"PG205"})
_SECOND = ({"PG101", "PG102"}, {"PG209", "PG214", "PG219"}, {"PG219"}, {"PG204"})


class Done(NamedTuple):
    """One accepted unit and where it applies: path and line before this round's edits."""

    unit: Unit
    path: str
    line: int


class Outcome(NamedTuple):
    """The program after all accepted fixes, those fixes, what was refused, and what waits for --unsafe-fixes."""

    program: Program
    done: list[Done]
    refused: list[Refusal]
    unsafe: list[Unit]


Approve = Callable[[Unit, Program, Program], bool]


def fix(
    program: Program, wanted: Callable[[Finding], bool], *, unsafe: bool, approve: Approve | None = None
) -> Outcome:
    """Return what comes of fixing the wanted findings.

    ``approve`` is asked for each unit, with the program before and after it alone.
    """
    done: list[Done] = []
    failed: dict[tuple[str, ...], Refusal] = {}
    refused: list[Refusal] = []
    waiting: list[Unit] = []
    declined: set[Unit] = set()
    for _ in range(MAX_ROUNDS):
        units, refused = plan(program, wanted)
        waiting = [unit for unit in units if unit.safety == "unsafe" and not unsafe]
        units = [unit for unit in units if unit not in waiting and unit not in declined and unit.mends not in failed]
        # The aids describe the pipeline, so they wait until it is what they say.
        units = _in_turn([unit for unit in units if not _is_late(unit)] or units)
        if approve is not None:
            units = _approved(program, units, approve, declined)
        if not units:
            break
        accepted, program, trouble = _apply(program, units)
        failed.update({refusal.mends: refusal for refusal in trouble})
        done += [Done(unit, unit.operations[0].path, unit.operations[0].line) for unit in accepted]
    left = {finding.fingerprint for finding in program.findings}
    refused += [refusal for key, refusal in failed.items() if left & set(key)]
    return Outcome(program, done, refused, waiting)


def _is_late(unit: Unit) -> bool:
    return unit.rule.startswith(("PG5", "PG106"))


def _in_turn(units: list[Unit]) -> list[Unit]:
    """Return the units of this round: without those that build upon others of the same round."""
    rules = {rule for unit in units for rule in unit.rule.split(", ")}
    waiting = {rule for first, second in zip(_FIRST, _SECOND, strict=True) if rules & first for rule in second}
    return [unit for unit in units if not waiting & set(unit.rule.split(", "))]


def _approved(program: Program, units: list[Unit], approve: Approve, declined: set[Unit]) -> list[Unit]:
    wanted: list[Unit] = []
    for unit in units:
        new, _ = _rewrite(program, [unit])
        if new and not approve(unit, program, program.edited(new)):
            declined.add(unit)
        else:
            wanted.append(unit)
    return wanted


def _apply(program: Program, units: list[Unit]) -> tuple[list[Unit], Program, list[Refusal]]:
    """Return the units that together mend what they set out to and break nothing, and the program with them."""
    good, refusals = _possible(program, units)
    if not good:
        return [], program, refusals
    after = program.edited(_rewrite(program, good)[0])
    if _objection(program, after, good) is None:
        return good, after, refusals
    # Some unit is at fault: take them one by one, each on top of those that were found to be good.
    accepted: list[Unit] = []
    best = program
    for unit in good:
        trial = [*accepted, unit]
        new, _ = _rewrite(program, trial)
        candidate = program.edited(new)
        objection = _objection(program, candidate, trial)
        if objection is None:
            accepted, best = trial, candidate
        else:
            place = unit.operations[0]
            refusals.append(Refusal(place.path, place.line, unit.rule, objection, "look at it by hand", unit.mends))
    return accepted, best, refusals


def _possible(program: Program, units: Sequence[Unit]) -> tuple[list[Unit], list[Refusal]]:
    good: list[Unit] = []
    refusals: list[Refusal] = []
    for unit in units:
        new, refusal = _rewrite(program, [unit])
        if refusal is not None:
            refusals.append(refusal)
        elif new:
            good.append(unit)
    return good, refusals


def _objection(before: Program, after: Program, units: Iterable[Unit]) -> str | None:
    """Return why the edits must not stand: something they set out to mend is still there, or something is new."""
    mended = {fingerprint for unit in units for fingerprint in unit.mends}
    there = {finding.fingerprint: _home(finding) for finding in before.findings}
    goals = Counter(there[each] for each in mended if each in there)
    counts = Counter(map(_home, before.findings))
    left = Counter(map(_home, after.findings))
    # Like lines are told apart by their order, so that one that stays may bear the name of one that went.
    for finding in after.findings:
        home = _home(finding)
        if finding.fingerprint in mended and left[home] > counts[home] - goals[home]:
            return "the finding would still be there"
    known = Counter(_identity(finding) for finding in before.findings)
    for finding in after.findings:
        identity = _identity(finding)
        if known[identity]:
            known[identity] -= 1
        elif finding.severity != "note" and not _was_dormant(before, finding) and not _was_open(before, after, finding):
            return f"it would bring a new {finding.rule} ({finding.path}:{finding.line})"
    return None


def _was_dormant(before: Program, finding: Finding) -> bool:
    """Say whether a finding about dead code only comes to light: one is reported for each piece of it."""
    return finding.rule in _ONE_PER_PIECE and any(
        site.context == "dormant" and (site.path, site.symbol) == (finding.path, finding.symbol)
        for site in before.map.sites()
    )


def _was_open(before: Program, after: Program, finding: Finding) -> bool:
    """Say whether a finding only comes to light: there was no guard to judge, or no trigger that others go past."""
    mended = [rule for rule in _HIDES if _has(before, rule, finding.lane) and not _has(after, rule, finding.lane)]
    return any(finding.rule in _HIDES[rule] for rule in mended) and can_be_mended(after, finding)


def _has(program: Program, rule: str, lane: str) -> bool:
    return any(each.rule == rule and each.lane == lane for each in program.findings)


def _home(finding: Finding) -> tuple[str, str, str]:
    return finding.rule, finding.path, finding.symbol


def _identity(finding: Finding) -> tuple[str, str, str]:
    return finding.rule, finding.path, finding.fingerprint


def _rewrite(program: Program, units: Sequence[Unit]) -> tuple[dict[str, bytes], Refusal | None]:
    """Return the new content of the files that units edit, or why that cannot be (then of the first unit at fault)."""
    rewriters: dict[str, Rewriter] = {}
    for unit in units:
        for operation in unit.operations:
            try:
                if operation.path not in rewriters:
                    rewriters[operation.path] = Rewriter(program.source(operation.path))
                rewriters[operation.path].add(operation)
            except CannotRewrite as error:
                return {}, Refusal(operation.path, operation.line, unit.rule, str(error), error.by_hand, unit.mends)
            except (Unreadable, SyntaxError, RecursionError, KeyError) as error:
                why = f"the file cannot be edited ({error})"
                return {}, Refusal(operation.path, operation.line, unit.rule, why, "edit it by hand", unit.mends)
    new: dict[str, bytes] = {}
    unit = units[0]
    for path, rewriter in rewriters.items():
        try:
            replacements = rewriter.finish()
            replacements += orphaned_imports(rewriter.tree, replacements, program.sources.data, path)
            data = _content(rewriter.source, replacements)
        except CannotRewrite as error:
            return {}, Refusal(path, unit.operations[0].line, unit.rule, str(error), error.by_hand, unit.mends)
        if data != rewriter.source.data:
            new[path] = data
    return new, None


def _content(source: Source, replacements: list[Replacement]) -> bytes:
    text = splice(source.text, replacements)
    if not source.holds(text):
        raise CannotRewrite(f"the comment cannot be written in the file's encoding ({source.encoding})")
    data = source.encode(text)
    complaint = complaint_about(source, Source(source.path, data), replacements)
    if complaint is not None:
        raise CannotRewrite(complaint)
    return data
