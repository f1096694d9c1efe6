"""Turns what a check noticed into findings: severity from the rule, a fingerprint from the code, duplicates out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline_guard.checks.per_path import PerPath
from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import Confidence, Lane, PipelineMap, Site, Step
from pipeline_guard.rulebook import Rule

_OWN_COMMENT = re.compile(r"\s#\s*pipeline-guard:.*", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")


class Draft(NamedTuple):
    """A finding before severity and fingerprint: where, what, and the way that leads there."""

    path: str
    line: int
    end_line: int
    column: int
    symbol: str
    message: str
    evidence: tuple[Step, ...] = ()
    confidence: Confidence = "high"
    downgrade: bool = False


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

    def __init__(self, pipeline_map: PipelineMap, config: Config, rules: Mapping[str, Rule]) -> None:
        self.root = Path(pipeline_map.root)
        self.per_path = PerPath(config, self.root)
        self.rules = rules
        self._found: dict[tuple[str, str, int, int], Finding] = {}
        self._prints: dict[str, int] = {}
        self._lines: dict[str, list[str]] = {}

    def add(self, rule_id: str, draft: Draft, lane: Lane | None) -> None:
        """Record a draft of a rule."""
        key = (rule_id, draft.path, draft.line, draft.column)
        if key in self._found or not self.per_path.is_selected(rule_id, draft.path):
            return
        wanted = self.per_path.severity(rule_id, draft.path)
        severity = wanted or self.rules[rule_id].severity
        unsure = draft.downgrade or draft.confidence == "low"
        if unsure and severity == "error" and wanted is None:
            severity = "warning"
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
            fingerprint=self._fingerprint(rule_id, draft),
            lane=lane.name if lane is not None else "",
        )

    def findings(self) -> list[Finding]:
        """Return the findings, ordered by place."""
        return sorted(self._found.values(), key=lambda f: (f.path, f.line, f.column, f.rule))

    def _fingerprint(self, rule_id: str, draft: Draft) -> str:
        """Return 16 hexadecimal digits of rule, path, symbol and the statement's text without white space.

        A copy of the same statement in the same function gets another one by its number.
        """
        lines = self._source(draft.path)[draft.line - 1 : draft.end_line]
        # A comment to this tool is no change of the statement: allowing a finding must not make it a new one.
        text = "".join("".join(_OWN_COMMENT.sub("", line).split()) for line in lines)
        base = "\0".join((rule_id, draft.path, draft.symbol, text))
        count = self._prints.get(base, 0)
        self._prints[base] = count + 1
        return hashlib.blake2b(f"{base}\0{count}".encode(), digest_size=8).hexdigest()

    def _source(self, path: str) -> list[str]:
        if path not in self._lines:
            try:
                data = (self.root / path).read_bytes()
            except OSError:
                data = b""
            # Not ``splitlines``: Python's lines end at line feeds and carriage returns, not at form feeds.
            self._lines[path] = _LINE_END.split(data.decode("utf-8", "replace"))
        return self._lines[path]
