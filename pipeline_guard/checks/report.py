"""Turns what a check noticed into findings: severity from the rule, a fingerprint from the code, duplicates out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline_guard.checks.per_path import PerPath
from pipeline_guard.config import Config, SeverityName
from pipeline_guard.findings import Finding, Fix
from pipeline_guard.fix_kinds import FIX_KINDS, first_to_do
from pipeline_guard.hashing import blake2b
from pipeline_guard.pipeline.model import Confidence, Lane, PipelineMap, Site, Step
from pipeline_guard.rulebook import Rule
from pipeline_guard.statements import Statements


class Draft(NamedTuple):
    """A finding before severity and fingerprint: where, what, and the way that leads there.

    ``severity`` goes before the rule's own, where one rule finds graver and lesser things; so does ``by_hand``, where
    ``fix`` would mend only some of what a rule finds.
    """

    path: str
    line: int
    end_line: int
    column: int
    symbol: str
    message: str
    evidence: tuple[Step, ...] = ()
    confidence: Confidence = "high"
    downgrade: bool = False
    severity: SeverityName | None = None
    by_hand: bool = False


def at_site(site: Site, message: str, *, downgrade: bool = False) -> Draft:
    """Return a draft at a site of the map, with the site's own evidence."""
    return Draft(
        site.path,
        site.line,
        site.end_line,
        site.column,
        site.symbol,
        message,
        site.reached_from,
        site.confidence,
        downgrade,
    )


def at_step(step: Step, message: str, evidence: tuple[Step, ...] = ()) -> Draft:
    """Return a draft at a place that is no site of its own."""
    return Draft(step.path, step.line, step.line, 1, step.symbol, message, evidence or (step,))


class Reporter:
    """Collects drafts as findings.  The same rule at the same place is reported once."""

    def __init__(
        self, pipeline_map: PipelineMap, config: Config, rules: Mapping[str, Rule], statements: Statements
    ) -> None:
        self.per_path = PerPath(config, Path(pipeline_map.root))
        self.rules = rules
        self.statements = statements
        self._found: dict[tuple[str, str, int, int], Finding] = {}

    def add(self, rule_id: str, draft: Draft, lane: Lane | None) -> None:
        """Record a draft of a rule."""
        key = (rule_id, draft.path, draft.line, draft.column)
        if key in self._found or not self.per_path.is_selected(rule_id, draft.path):
            return
        wanted = self.per_path.severity(rule_id, draft.path)
        severity = wanted or draft.severity or self.rules[rule_id].severity
        unsure = draft.downgrade or draft.confidence == "low"
        if unsure and severity == "error" and wanted is None:
            severity = "warning"
        statement = self.statements.at(draft.path, draft.line, draft.column, draft.end_line)
        self._found[key] = Finding(
            rule=rule_id,
            severity=severity,
            path=draft.path,
            line=draft.line,
            end_line=draft.end_line,
            column=draft.column,
            symbol=draft.symbol,
            message=draft.message,
            evidence=draft.evidence,
            confidence=draft.confidence,
            fingerprint="",
            lane=lane.name if lane is not None else "",
            statement=statement.key,
            code=statement.code,
            fix=None if draft.by_hand else _fix(self.rules[rule_id], lane),
        )

    def findings(self) -> list[Finding]:
        """Return the findings with their fingerprints, ordered by place."""
        found = sorted(self._found.values(), key=lambda f: (f.path, f.line, f.column, f.rule))
        seen: dict[str, int] = {}
        return [msgspec.structs.replace(finding, fingerprint=fingerprint(finding, seen)) for finding in found]


def _fix(rule: Rule, lane: Lane | None) -> Fix | None:
    """Return what the codemod would do about a rule's finding, None where it leaves that to a person."""
    kind = FIX_KINDS.get(rule.id)
    if kind is None or rule.fix_safety == "manual":
        return None
    return Fix(kind, rule.fix_safety, first_to_do(rule.id, lane) if lane is not None else "")


def fingerprint(finding: Finding, seen: dict[str, int]) -> str:
    """Return 16 hexadecimal digits of rule, path, symbol and statement.

    A copy of the same statement in the same function gets another one by its number; ``seen`` counts them.
    """
    base = "\0".join((finding.rule, finding.path, finding.symbol, finding.statement))
    count = seen.get(base, 0)
    seen[base] = count + 1
    return blake2b(f"{base}\0{count}".encode(), digest_size=8).hexdigest()
