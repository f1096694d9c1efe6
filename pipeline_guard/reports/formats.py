"""What the formats for other programs share: which findings, in which order, and text that any file can hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline_guard.findings import Finding
from pipeline_guard.rulebook import Rule, find_rule, load_rules

SEVERITY_ORDER = ("error", "warning", "note")


def shown(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that somebody has to act on."""
    return [finding for finding in findings if not finding.suppressed]


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings by severity, each severity ordered by place; suppressed ones come last."""
    return sorted(findings, key=lambda f: (f.suppressed, SEVERITY_ORDER.index(f.severity), place_key(f)))


def place_key(finding: Finding) -> tuple[str, int, int, str, str]:
    """Return what findings are ordered by within a severity; the fingerprint settles a tie."""
    return (finding.path, finding.line, finding.column, finding.rule, finding.fingerprint)


def checked_rules(findings: Sequence[Finding], rule_ids: Collection[str] | None) -> list[Rule]:
    """Return the rules a report speaks of, ordered by id: those that were checked, or all, and those with findings."""
    found = {finding.rule for finding in findings}
    return [rule for rule in load_rules() if rule_ids is None or rule.id in rule_ids or rule.id in found]


def rule_name(rule_id: str) -> str:
    """Return id and name of a rule; a rule without a file has only its id."""
    rule = find_rule(rule_id)
    return f"{rule_id} {rule.name}" if rule is not None else rule_id


def evidence_title(finding: Finding) -> str:
    """Return what the evidence is: every hop of a call path but the place itself says what happens there."""
    return "call path" if sum(not step.note for step in finding.evidence) < 2 else "places"


def writable(text: str) -> str:
    """Return text that UTF-8 has bytes for: what a file's name cannot express is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def repository_prefix(root: str) -> str:
    """Return what stands between the top of the repository and the scanned root: empty, or a path that ends in a slash.

    Forges count paths from the top of the repository, findings from the scanned folder.
    """
    folder = Path(os.path.realpath(root))
    for candidate in (folder, *folder.parents):
        if os.path.lexists(candidate / ".git"):
            inside = folder.relative_to(candidate).as_posix()
            return "" if inside == "." else f"{inside}/"
    return ""
