"""The findings as JUnit XML: one test suite per rule, so that any CI server can show which promises are kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from xml.etree import ElementTree

from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.reports import words
from pipeline_guard.reports.formats import checked_rules, place_key, rule_name, shown, writable
from pipeline_guard.reports.terminal import clean
from pipeline_guard.rulebook import Rule

# XML has no way to write these, not even as a reference.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOTHING_TO_CHECK = "No Realtime session here: nothing to check"
# The rules that ask about files and comments, not about a session.
_ABOUT_FILES = "PG9"


def render(findings: Sequence[Finding], pipeline_map: PipelineMap, *, rule_ids: Collection[str] | None = None) -> str:
    """Return the XML: a failing test case per finding, a passing one for each rule of ``rule_ids`` without findings.

    Suppressed findings, and rules that had nothing to look at, are skipped test cases.
    """
    top = ElementTree.Element("testsuites", name="pipeline-guard")
    rules = checked_rules(findings, rule_ids)
    titles = {rule.id: rule.title for rule in rules}
    judged = words.has_session(pipeline_map)
    for rule_id in sorted({*titles, *(finding.rule for finding in findings)}):
        found = sorted((finding for finding in findings if finding.rule == rule_id), key=place_key)
        suite = ElementTree.SubElement(top, "testsuite", name=rule_name(rule_id))
        for finding in found:
            _finding(suite, finding, next((rule for rule in rules if rule.id == rule_id), None))
        if not shown(found):
            kept = _case(suite, rule_id, titles.get(rule_id, rule_id))
            if not judged and not rule_id.startswith(_ABOUT_FILES):
                ElementTree.SubElement(kept, "skipped", message=_NOTHING_TO_CHECK)
        _count(suite, [suite])
    _count(top, list(top))
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"


def xml_text(text: str) -> str:
    """Return text that XML can hold."""
    return _NOT_XML.sub("\ufffd", writable(text))


def _case(suite: ElementTree.Element, rule_id: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=rule_id, name=_line(name), time="0")


def _finding(suite: ElementTree.Element, finding: Finding, rule: Rule | None) -> None:
    where = f"{finding.path}:{finding.line}:{finding.column}"
    case = _case(suite, finding.rule, where)
    case.set("file", _line(finding.path))
    case.set("line", str(max(1, finding.line)))
    if finding.suppressed:
        ElementTree.SubElement(case, "skipped", message=f"suppressed: {_line(finding.message)}")
        return
    failure = ElementTree.SubElement(case, "failure", type=finding.severity, message=_line(finding.message))
    lines = [f"{where}  {finding.symbol}", finding.message]
    lines += [_step_line(number, *parts) for number, parts in enumerate(_steps(finding), start=1)]
    if rule is not None:
        lines.append("What to do: " + " ".join(rule.fix.split()))
    failure.text = "\n".join(_line(line) for line in lines)


def _steps(finding: Finding) -> list[tuple[str, str, str]]:
    return [(f"{step.path}:{step.line}", step.symbol, step.note) for step in finding.evidence]


def _step_line(number: int, where: str, symbol: str, note: str) -> str:
    return f"{number}. " + "  ".join(part for part in (where, symbol, note) if part)


def _line(text: str) -> str:
    return xml_text(clean(writable(text)))


def _count(element: ElementTree.Element, suites: Sequence[ElementTree.Element]) -> None:
    """Write down how many test cases there are, and how many of them failed."""
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", "0")
    element.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    element.set("time", "0")
