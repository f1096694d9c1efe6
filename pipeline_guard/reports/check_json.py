"""The findings as JSON: stable, versioned, for other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.ratchet.compared import Compared
from pipeline_guard.reports import words
from pipeline_guard.reports.map_json import to_json

VERSION = 1
# The keys and their order are a promise to other programs; more may be added.
FINDING_KEYS = (
    "rule",
    "severity",
    "path",
    "line",
    "end_line",
    "column",
    "symbol",
    "message",
    "evidence",
    "confidence",
    "fingerprint",
    "fix",
    "suppressed",
    "lane",
)


def render(findings: Sequence[Finding], pipeline_map: PipelineMap, compared: Compared | None = None) -> str:
    """Return the findings as indented JSON that ends in a newline; ``compared`` is there where they are new to it."""
    document: dict[str, Any] = {
        "version": VERSION,
        "root": pipeline_map.root,
        "findings": [_finding(finding) for finding in findings],
        "errors": msgspec.to_builtins(pipeline_map.gaps),
        "summary": _summary(findings, pipeline_map),
    }
    if compared is not None:
        document["compared"] = {
            "with": compared.name,
            "known": compared.known,
            "stale": [msgspec.to_builtins(known) for known in compared.stale],
        }
    return to_json(document)


def _finding(finding: Finding) -> dict[str, Any]:
    table: dict[str, Any] = msgspec.to_builtins(finding)
    return {key: table[key] for key in FINDING_KEYS}


def _summary(findings: Sequence[Finding], pipeline_map: PipelineMap) -> dict[str, Any]:
    """Count what is to be acted on; suppressed findings are counted apart.

    ``realtime`` tells a project without findings from one with nothing to check; ``lanes`` cannot, since it also counts
    those of other providers.
    """
    acting = [finding for finding in findings if not finding.suppressed]
    severities = Counter(finding.severity for finding in acting)
    return {
        "findings": len(acting),
        "errors": severities["error"],
        "warnings": severities["warning"],
        "notes": severities["note"],
        "suppressed": len(findings) - len(acting),
        "by_rule": dict(sorted(Counter(finding.rule for finding in acting).items())),
        "lanes": len(pipeline_map.lanes),
        "realtime": words.has_session(pipeline_map),
        "coverage": msgspec.to_builtins(pipeline_map.coverage),
    }
