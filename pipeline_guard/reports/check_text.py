"""Prints findings for people: where, what, the line itself, and the way there step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from pipeline_guard.findings import Finding, Fix, Severity
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.reports import coverage_text, other_speech, words
from pipeline_guard.reports.page import Page, Part
from pipeline_guard.reports.source_frame import frame
from pipeline_guard.reports.terminal import QUIET_STYLE, SEVERITY_STYLES, clean, count, place

if TYPE_CHECKING:
    from pipeline_guard.ratchet.compared import Compared

# A rule with more findings than that is told in full this many times.
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
MANY, TOLD_IN_FULL = 5, 3
_SAFETIES = {"safe": "safe", "unsafe": "unsafe, look at the diff", "manual": "by hand"}


def render_lines(findings: Sequence[Finding], page: Page) -> None:
    """Print one line per finding, in the form that editors read."""
    for finding in _shown(findings):
        where = f"{clean(finding.path)}:{finding.line}:{finding.column}"
        rule = (finding.rule, SEVERITY_STYLES[finding.severity])
        page.line(f"{where}: ", rule, f" {finding.severity}: ", clean(finding.message), fold=False)


def render(
    findings: Sequence[Finding],
    pipeline_map: PipelineMap,
    page: Page,
    *,
    group_by: str = "file",
    elsewhere: int = 0,
    full: bool = False,
    compared: Compared | None = None,
) -> None:
    """Print the findings in groups, a line that sums them up, and what was not looked at.

    ``elsewhere`` is how many more there are in files that nobody asked about.  Of a rule with many findings only the
    first are told with their code and the way there, unless all are wanted in ``full``.  ``compared`` is what the
    findings are new to.
    """
    shown = _shown(findings)
    many = {rule for rule, number in Counter(finding.rule for finding in shown).items() if number > MANY and not full}
    told: Counter[str] = Counter()
    key: Callable[[Finding], str] = (lambda found: found.path) if group_by == "file" else (lambda found: found.rule)
    for name, members in groupby(
        sorted(shown, key=lambda found: (key(found), found.path, found.line, found.column)), key
    ):
        page.line(*_group_title(name, group_by))
        for finding in members:
            told[finding.rule] += 1
            brief = finding.rule in many and told[finding.rule] > TOLD_IN_FULL
            _show_finding(finding, pipeline_map.root, page, brief=brief)
        page.line()
    _summary(shown, len(findings) - len(shown), elsewhere, pipeline_map, page, compared)
    for sentence in (compared.sentence(), compared.stale_sentence()) if compared is not None else ():
        if sentence:
            page.line((clean(sentence), QUIET_STYLE), fold=False)
    if many:
        short = sum(told[rule] - TOLD_IN_FULL for rule in many)
        said = (
            f"{count(short, 'finding')} of {', '.join(sorted(many))} told in short: --full shows code and paths of all"
        )
        page.line((said, QUIET_STYLE))
    page.line()
    coverage_text.render(pipeline_map, page)


def _shown(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.suppressed]


def _group_title(name: str, group_by: str) -> list[Part]:
    if group_by == "file":
        return [(clean(name), "bold underline")]
    from pipeline_guard.rulebook import find_rule

    rule = find_rule(name)
    return [(name, "bold underline"), f"  {rule.title}" if rule else ""]


def _show_finding(finding: Finding, root: str, page: Page, *, brief: bool) -> None:
    style = SEVERITY_STYLES[finding.severity]
    page.line()
    page.line(
        f"{place(finding.path, finding.line)}:{finding.column}  ",
        (f"{finding.rule} {finding.severity}", style),
        (f"  in {clean(finding.symbol)}" if finding.symbol else "", QUIET_STYLE),
        indent=2,
    )
    page.line(clean(finding.message), indent=4)
    if brief:
        return
    for line in frame(root, finding.path, finding.line, finding.end_line, style):
        page.cut(*line, indent=6)
    _show_evidence(finding, page)
    if finding.confidence != "high":
        page.line((f"    confidence: {finding.confidence}", QUIET_STYLE))
    if finding.fix is not None:
        page.line((f"    fix: {_fix(finding.fix)}", QUIET_STYLE))


def _show_evidence(finding: Finding, page: Page) -> None:
    # A path of one step only repeats the line above it.
    if len(finding.evidence) < 2:
        return
    page.line(("    how it gets there:", QUIET_STYLE))
    places = [place(step.path, step.line) for step in finding.evidence]
    width = max(map(len, places))
    lines: list[list[Part]] = [
        [f"{where:<{width}}  ", clean(step.symbol), (f"  {clean(step.note)}" if step.note else "", QUIET_STYLE)]
        for where, step in zip(places, finding.evidence, strict=True)
    ]
    page.steps(lines, indent=6)


def _fix(fix: Fix) -> str:
    return f"{clean(fix.kind)} ({_SAFETIES[fix.safety]}{f'; once {fix.after}' if fix.after else ''})"


def _summary(
    shown: list[Finding],
    hidden: int,
    elsewhere: int,
    pipeline_map: PipelineMap,
    page: Page,
    compared: Compared | None,
) -> None:
    new = "new " if compared is not None else ""
    tail = []
    if hidden:
        tail.append(f"{hidden} suppressed")
    if elsewhere:
        tail.append(f"{elsewhere} more in files you did not ask about")
    aside = f" ({', '.join(tail)})" if tail else ""
    if shown:
        numbers = Counter(finding.severity for finding in shown)
        parts = [count(numbers[name], name) for name in _ORDER if numbers[name]]
        files = count(len({finding.path for finding in shown}), "file")
        page.line((f"{count(len(shown), f'{new}finding')} in {files}: {', '.join(parts)}{aside}", "bold red"))
        first = min(shown, key=lambda found: _ORDER.index(found.severity)).rule
        page.line((f"pipeline-guard explain {first} says what the caller hears and what to do", QUIET_STYLE))
    elif not words.has_session(pipeline_map):
        instead = other_speech.speech_instead(pipeline_map)
        said = f" ({instead})" if instead else ""
        page.line((f"No Realtime session here: nothing to check{said}{aside}", "bold"), fold=False)
    else:
        lanes = count(sum(map(words.is_realtime, pipeline_map.lanes)), "pipeline")
        page.line((f"No {new}findings in {lanes}{aside}", "bold green"))
