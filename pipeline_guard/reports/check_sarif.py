"""The findings as SARIF 2.1.0, within the limits that GitHub code scanning documents."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from pipeline_guard import __version__
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import Gap, PipelineMap, Step
from pipeline_guard.reports import words
from pipeline_guard.reports.check_sarif_rules import descriptors
from pipeline_guard.reports.formats import place_key, worst_first, writable
from pipeline_guard.reports.terminal import count

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# GitHub rejects more than 25,000 results and shows 5,000 of them; it rejects more than 10,000 steps of one flow and
# shows 1,000.  https://docs.github.com/code-security/code-scanning/troubleshooting-sarif-uploads/results-exceed-limit
MAX_RESULTS = 5_000
MAX_FLOW_STEPS = 1_000
# The limit is one of the compressed file; a reader should not have to compress to be sure.
MAX_BYTES = 10_000_000
MAX_NOTIFICATIONS = 5_000
FINGERPRINT_KEY = "pipelineGuard/v1"
_BASE = "%SRCROOT%"
_LEFT_OUT = "left-out"
_UNREAD = frozenset({"syntax", "encoding", "recursion", "unreadable", "size", "contract"})


def render(
    findings: Sequence[Finding],
    pipeline_map: PipelineMap,
    *,
    rule_ids: Collection[str] | None = None,
    prefix: str = "",
) -> str:
    """Return one run as JSON, indented where there is room; what is left out is the least severe, and is said.

    ``rule_ids`` are the rules that were checked (all when left out).  ``prefix`` leads from the top of the repository
    to the scanned root; paths then count from that top.
    """
    keep = MAX_RESULTS
    while True:
        data = msgspec.json.encode(_document(findings, pipeline_map, rule_ids, prefix, keep))
        readable = msgspec.json.format(data, indent=2) if len(data) <= MAX_BYTES else data
        text = readable if len(readable) < MAX_BYTES else data
        size = len(text) + 1
        if size <= MAX_BYTES or keep == 0:
            return text.decode() + "\n"
        keep = min(keep, len(findings)) * MAX_BYTES // size * 9 // 10


def _document(
    findings: Sequence[Finding],
    pipeline_map: PipelineMap,
    rule_ids: Collection[str] | None,
    prefix: str,
    keep: int,
) -> dict[str, Any]:
    kept = sorted(worst_first(findings)[:keep], key=place_key)
    rules = descriptors(findings, rule_ids)
    numbers = {rule["id"]: number for number, rule in enumerate(rules)}
    # Either every result says whether it is suppressed, or none does.
    told = any(finding.suppressed for finding in kept)
    notices = _notices(pipeline_map.gaps, prefix, len(findings) - len(kept))
    run = {
        "tool": {
            "driver": {
                "name": "pipeline-guard",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": rules,
                "notifications": _notice_kinds(notices),
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_BASE: {"uri": _root_uri(pipeline_map.root, prefix)}},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notices}],
        "results": [_result(finding, numbers, prefix, told=told) for finding in kept],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Finding, numbers: dict[str, int], prefix: str, *, told: bool) -> dict[str, Any]:
    line = max(1, finding.line)
    region = {"startLine": line, "startColumn": max(1, finding.column), "endLine": max(line, finding.end_line)}
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": numbers[finding.rule],
        "level": finding.severity,
        "message": {"text": message_text(finding.message)},
        "locations": [_location(finding.path, region, prefix, finding.symbol)],
        "partialFingerprints": {FINGERPRINT_KEY: finding.fingerprint},
        "properties": {"confidence": finding.confidence, **({"lane": writable(finding.lane)} if finding.lane else {})},
    }
    if finding.evidence:
        result["codeFlows"] = [{"threadFlows": [{"locations": _flow(finding.evidence, prefix)}]}]
    if told:
        result["suppressions"] = [{"kind": "inSource"}] if finding.suppressed else []
    return result


def _flow(evidence: Sequence[Step], prefix: str) -> list[dict[str, Any]]:
    """Return the steps of a flow; of one that is too long the ends are kept, where it begins and where it arrives."""
    steps = list(evidence)
    if len(steps) > MAX_FLOW_STEPS:
        half = MAX_FLOW_STEPS // 2
        steps = [*steps[:half], *steps[-half:]]
    flow = []
    for step in steps:
        location = _location(step.path, {"startLine": max(1, step.line)}, prefix, step.symbol)
        text = ": ".join(part for part in (step.symbol, step.note) if part) or step.path
        flow.append({"location": {**location, "message": {"text": message_text(text)}}})
    return flow


def _location(path: str, region: dict[str, int] | None, prefix: str, symbol: str = "") -> dict[str, Any]:
    artifact = {"uri": path_uri(prefix + path), "uriBaseId": _BASE}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if region is not None:
        physical["region"] = region
    location: dict[str, Any] = {"physicalLocation": physical}
    if symbol:
        location["logicalLocations"] = [{"fullyQualifiedName": writable(symbol)}]
    return location


def path_uri(path: str) -> str:
    """Return a relative path as a URI reference: a colon in its first part must not look like a scheme."""
    return quote(os.fsencode(writable(path)), safe="/")


def message_text(text: str) -> str:
    """Return text as the text of a message: braces are placeholders unless doubled (SARIF 2.1.0, 3.11.5)."""
    return writable(text).replace("{", "{{").replace("}", "}}")


def _root_uri(root: str, prefix: str) -> str:
    folder = Path(os.path.realpath(root))
    for _ in Path(prefix).parts:
        folder = folder.parent
    return folder.as_uri().rstrip("/") + "/"


def _notices(gaps: Sequence[Gap], prefix: str, left_out: int) -> list[dict[str, Any]]:
    notices = [_gap(gap, prefix) for gap in gaps[:MAX_NOTIFICATIONS]]
    if left_out:
        text = f"{count(left_out, 'finding')} left out: code scanning takes no more; the JSON format has them all"
        notices.append(_notice(_LEFT_OUT, "warning", text))
    if len(gaps) > MAX_NOTIFICATIONS:
        text = f"{count(len(gaps) - MAX_NOTIFICATIONS, 'place')} not judged left out; the JSON format has them all"
        notices.append(_notice(_LEFT_OUT, "warning", text))
    return notices


def _gap(gap: Gap, prefix: str) -> dict[str, Any]:
    region = None if gap.line is None else {"startLine": max(1, gap.line)}
    notice = _notice(f"gap/{gap.reason}", "warning" if gap.reason in _UNREAD else "note", gap.detail)
    return {**notice, "locations": [_location(gap.path, region, prefix)]}


def _notice(kind: str, level: str, text: str) -> dict[str, Any]:
    return {"descriptor": {"id": kind}, "level": level, "message": {"text": message_text(text)}}


def _notice_kinds(notices: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = sorted({str(notice["descriptor"]["id"]) for notice in notices})
    return [{"id": kind, "shortDescription": {"text": _kind_text(kind)}} for kind in kinds]


def _kind_text(kind: str) -> str:
    if kind == _LEFT_OUT:
        return "The report was cut"
    reason = kind.partition("/")[2]
    return f"Not judged: {words.GAP_REASONS.get(reason, reason)}"
