"""Prints findings as workflow commands, which GitHub Actions turns into annotations of the changed files."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_guard.findings import Finding
from pipeline_guard.reports.formats import rule_name, shown, worst_first, writable

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
# As in escapeData and escapeProperty of the actions toolkit.
_DATA = {ord("%"): "%25", ord("\r"): "%0D", ord("\n"): "%0A"}
_PROPERTY = {**_DATA, ord(":"): "%3A", ord(","): "%2C"}


def render(findings: Sequence[Finding], *, prefix: str = "") -> str:
    """Return one command per finding, the worst first, since a step shows only ten of each severity.

    ``prefix`` leads from the top of the repository to the scanned root.
    """
    return "".join(f"{_command(finding, prefix)}\n" for finding in worst_first(shown(findings)))


def escape_data(text: str) -> str:
    """Return text as the message of a command."""
    return writable(text).translate(_DATA)


def escape_property(text: str) -> str:
    """Return text as the value of a command's property."""
    return writable(text).translate(_PROPERTY)


def _command(finding: Finding, prefix: str) -> str:
    line = max(1, finding.line)
    properties = {
        "file": prefix + finding.path,
        "line": str(line),
        "endLine": str(max(line, finding.end_line)),
        "col": str(max(1, finding.column)),
        "title": rule_name(finding.rule),
    }
    listed = ",".join(f"{name}={escape_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[finding.severity]} {listed}::{escape_data(finding.message)}"
