"""Lets ``# pipeline-guard: ignore[PG201] reason`` answer for findings, and judges such comments themselves.

PG902 is a suppression that nothing needs: an id that no finding there has, or that no rule has.  PG903 is a comment
that somebody believes to be a suppression and that is none, so that the finding is not silenced for a reason nobody
reads: without a reason, without ids, misspelt, or about the gate's own rules.  The last is no PG902, because such a
comment is not superfluous, it asks for something that cannot be had: a file that cannot be read, a comment without a
reason and a contract that got worse are what the gate is there for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pipeline_guard.checks.report import Draft
from pipeline_guard.config import did_you_mean
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap, Remark, Step

NEVER_SUPPRESSED = frozenset({"PG901", "PG902", "PG903", "PG904", "PG905"})
# Files of which not everything was read: what is not found there may still be there.
_HALF_READ = frozenset({"syntax", "encoding", "unreadable", "recursion"})

# A comment may hold several, each behind its own "#", for more than one tool.  "#123" is a ticket and part of a reason.
_PART = re.compile(r"(?:^#+|(?<=\s)#+(?!\d))\s*")
_SUPPRESSION = re.compile(r"pipeline-guard\s*:\s*ignore\s*\[([^\[\]]*)\](.*)", re.IGNORECASE | re.DOTALL)
_HEAD = re.compile(r"pipeline(?:[-_]|\s?)guard(?P<colon>\s*[:=]\s*|\s+|(?=[\[(]))", re.IGNORECASE)
_VERB = r"(?:(?:ign|ing|igor)[\w-]*|no-?qa|disabled?|suppress\w*|skip\w*|allow\w*|off)"
# What turns a mention into an attempt: brackets behind the verb, or a rule's id, or nothing but the verb.
_BRACKETS = re.compile(rf"{_VERB}\s*[:=]?\s*(?:[\[{{<]|\(\s*PG\d)|\[\s*PG\d", re.IGNORECASE)
_VERB_AND_ID = re.compile(rf"{_VERB}\s*[:=,]?\s*PG\d{{3}}\b", re.IGNORECASE)
_PLAIN = re.compile(r"(?:ignore|no-?qa|disable)\b\s*[:=,]?\s*(?P<id>PG\d{3}\b)?", re.IGNORECASE)
_ID = re.compile(r"PG\d{3}", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]")


class Verdict(NamedTuple):
    """The findings with those marked that a suppression covers, and what is wrong with the comments, by rule."""

    findings: list[Finding]
    complaints: list[tuple[str, Draft]]


class Suppression(NamedTuple):
    """A suppression that counts: where it is, and the ids it names."""

    remark: Remark
    column: int
    ids: tuple[str, ...]

    def covers(self, finding: Finding) -> bool:
        """Say whether the comment stands in the finding's lines, behind its statement or directly above it."""
        remark = self.remark
        return (
            finding.path == remark.path
            and finding.rule in self.ids
            and finding.rule not in NEVER_SUPPRESSED
            and (remark.first <= finding.line <= remark.last or finding.line <= remark.line <= finding.end_line)
        )


class Mistake(NamedTuple):
    """A comment, or part of one, that is no suppression although it looks like one."""

    remark: Remark
    column: int
    message: str


def judge(
    pipeline_map: PipelineMap,
    findings: Sequence[Finding],
    rules: Collection[str],
    is_selected: Callable[[str, str], bool],
) -> Verdict:
    """Apply the map's suppressions to the findings of a run; ``rules`` are the ids that exist.

    An id is called unused only where its rule was selected in this run, for the file that the comment stands in.
    """
    suppressions: list[Suppression] = []
    complaints: list[tuple[str, Draft]] = []
    for remark in pipeline_map.remarks:
        for part in read(remark):
            if isinstance(part, Suppression):
                suppressions.append(part)
            if isinstance(part, Mistake):
                complaints.append(("PG903", _draft(part.remark, part.column, part.message)))
            elif gate := [rule for rule in part.ids if rule in NEVER_SUPPRESSED]:
                complaints.append(("PG903", _draft(remark, part.column, _about_the_gate(gate))))
    by_path: dict[str, list[Suppression]] = {}
    for suppression in suppressions:
        by_path.setdefault(suppression.remark.path, []).append(suppression)
    used: set[tuple[Suppression, str]] = set()
    judged: list[Finding] = []
    for finding in findings:
        covering = [each for each in by_path.get(finding.path, ()) if each.covers(finding)]
        used.update((each, finding.rule) for each in covering)
        judged.append(msgspec.structs.replace(finding, suppressed=True) if covering else finding)
    half_read = {gap.path for gap in pipeline_map.gaps if gap.reason in _HALF_READ}
    for each in suppressions:
        idle = [
            rule
            for rule in each.ids
            if rule in rules
            and rule not in NEVER_SUPPRESSED
            and is_selected(rule, each.remark.path)
            and (each, rule) not in used
        ]
        if each.remark.path in half_read:
            idle = []
        unknown = [rule for rule in each.ids if rule not in rules and rule not in NEVER_SUPPRESSED]
        if idle or unknown:
            complaints.append(("PG902", _draft(each.remark, each.column, _unused(idle, unknown, rules))))
    return Verdict(judged, complaints)


def read(remark: Remark) -> Iterator[Suppression | Mistake]:
    """Yield what a comment holds: suppressions, and what was meant as one.

    On a line of its own only the start of a comment counts: what follows there belongs to code that is commented out.
    """
    starts = list(_PART.finditer(remark.text))
    ends = [start.start() for start in starts[1:]] + [len(remark.text)]
    for start, end in list(zip(starts, ends, strict=True))[: 1 if remark.alone else None]:
        words = remark.text[start.end() : end].split()  # patterns are slow on many blanks
        found = _read_part(remark, remark.column + start.start(), " ".join(words))
        if found is not None:
            yield found


def _read_part(remark: Remark, column: int, text: str) -> Suppression | Mistake | None:
    match = _SUPPRESSION.match(text)
    if match is None:
        return Mistake(remark, column, _misspelt(text)) if _is_attempt(text) else None
    ids = tuple(dict.fromkeys(word.upper() for word in re.split(r"[\s,;]+", match[1]) if word))
    if not ids:
        return Mistake(remark, column, f"this suppression names no rule, so it does not count. {_write(())}")
    if not _WORD.search(match[2]):
        message = f"this suppression of {' and '.join(ids)} has no reason, so it does not count. {_write(ids)}"
        return Mistake(remark, column, message)
    return Suppression(remark, column, ids)


def _is_attempt(text: str) -> bool:
    """Say whether somebody would believe that a comment suppresses something; one that mentions the tool is no such."""
    head = _HEAD.match(text)
    if head is None:
        return False
    rest = text[head.end() :]
    plain = _PLAIN.match(rest)
    if _BRACKETS.match(rest) or (plain is not None and (plain["id"] or not rest[plain.end() :])):
        return True
    return head["colon"].strip() != "" and (plain is not None or _VERB_AND_ID.match(rest) is not None)


def _misspelt(text: str) -> str:
    ids = tuple(dict.fromkeys(word.upper() for word in _ID.findall(text)))
    if not ids:
        return f"this looks like a suppression but names no rule, so it does not count. {_write(())}"
    return f"this looks like a suppression but is not spelt like one, so it does not count. {_write(ids)}"


def _write(ids: Sequence[str]) -> str:
    if not ids:
        return "Write the rules in brackets and a reason behind them: # pipeline-guard: ignore[PG201] reason"
    return f"Write: # pipeline-guard: ignore[{', '.join(ids)}] and why it may stay"


def _about_the_gate(ids: Sequence[str]) -> str:
    return f"{' and '.join(ids)} cannot be suppressed: what the gate says about itself would go unseen. Mend the cause."


def _unused(idle: Sequence[str], unknown: Sequence[str], rules: Collection[str]) -> str:
    parts = []
    if idle:
        parts.append(
            f"nothing here is a finding of {' or '.join(idle)}. Take that out: a suppression left behind hides what is "
            "written here next."
        )
    parts += [f"no rule is called {word!r}{did_you_mean(word, rules)}." for word in unknown]
    return " ".join(parts)


def _draft(remark: Remark, column: int, message: str) -> Draft:
    step = Step(remark.path, remark.line, "", "the comment")
    return Draft(remark.path, remark.line, remark.line, column, "", message, (step,))
