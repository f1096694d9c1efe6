"""The findings as a GitLab Code Quality report, which a merge request shows beside the changed lines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline_guard.findings import Finding
from pipeline_guard.reports.formats import shown, writable

# "blocker" stays free: whether a finding stops a merge is the pipeline's to say.
_SEVERITIES = {"error": "critical", "warning": "major", "note": "info"}


def render(findings: Sequence[Finding], *, prefix: str = "") -> str:
    """Return the report as an indented JSON array.

    ``prefix`` leads from the top of the repository to the scanned root.
    """
    used: set[str] = set()
    issues = [_issue(finding, prefix, used) for finding in shown(findings)]
    return msgspec.json.format(msgspec.json.encode(issues), indent=2).decode() + "\n"


def _issue(finding: Finding, prefix: str, used: set[str]) -> dict[str, Any]:
    return {
        "description": writable(f"{finding.rule} {finding.message}"),
        "check_name": finding.rule,
        "fingerprint": _unique(finding.fingerprint, used),
        "severity": _SEVERITIES[finding.severity],
        "location": {"path": writable(prefix + finding.path), "lines": {"begin": max(1, finding.line)}},
    }


def _unique(fingerprint: str, used: set[str]) -> str:
    """Return the fingerprint, or one made of it: GitLab drops the second issue with the same one."""
    candidate, copies = fingerprint, 0
    while candidate in used:
        copies += 1
        candidate = hashlib.blake2b(f"{fingerprint}\0{copies}".encode(), digest_size=8).hexdigest()
    used.add(candidate)
    return candidate
