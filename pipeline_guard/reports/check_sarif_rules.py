"""The rules as SARIF describes them, with the lengths that GitHub code scanning shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pipeline_guard.findings import Finding
from pipeline_guard.reports.formats import checked_rules
from pipeline_guard.rulebook import Rule

# What GitHub shows of a description.
MAX_DESCRIPTION = 1_024
_PROBLEM_SEVERITIES = {"error": "error", "warning": "warning", "note": "recommendation"}


def descriptors(findings: Sequence[Finding], rule_ids: Collection[str] | None) -> list[dict[str, Any]]:
    """Return the rules that were checked and those that findings name, ordered by id."""
    described = {rule.id: _descriptor(rule) for rule in checked_rules(findings, rule_ids)}
    for finding in findings:
        described.setdefault(finding.rule, {"id": finding.rule})
    return [described[rule_id] for rule_id in sorted(described)]


def _descriptor(rule: Rule) -> dict[str, Any]:
    caller, why, fix = (" ".join(text.split()) for text in (rule.caller, rule.why, rule.fix))
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": _cut(rule.title)},
        "fullDescription": {"text": _cut(why)},
        "help": {
            "text": f"What the caller hears: {caller}\n\nWhy: {why}\n\nWhat to do: {fix}",
            "markdown": f"**What the caller hears.** {caller}\n\n**Why.** {why}\n\n**What to do.** {fix}",
        },
        "defaultConfiguration": {"level": rule.severity},
        "properties": {
            "tags": ["phone-agent", "realtime", rule.family],
            "problem.severity": _PROBLEM_SEVERITIES[rule.severity],
        },
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1] + "…"
