"""Prints findings one per line and nothing else, in the form that editors and grep read."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_guard.findings import Finding
from pipeline_guard.reports.formats import shown, writable
from pipeline_guard.reports.terminal import clean


def render(findings: Sequence[Finding]) -> str:
    """Return ``path:line:col: RULE severity message`` for each finding that is not suppressed."""
    return "".join(f"{_line(finding)}\n" for finding in shown(findings))


def _line(finding: Finding) -> str:
    where = f"{finding.path}:{finding.line}:{finding.column}"
    return clean(writable(f"{where}: {finding.rule} {finding.severity} {finding.message}"))
