"""Asks the questions of the contract of a pipeline map and returns the findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline_guard.checks import (
    audio,
    coroutines,
    gate,
    guards,
    hearing,
    misuses,
    proof,
    protocol,
    responses,
    turns,
    voices,
)
from pipeline_guard.checks.report import Draft, Reporter
from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import Lane, PipelineMap
from pipeline_guard.rulebook import RulesById
from pipeline_guard.statements import Statements, read_below

LaneCheck = Callable[[Lane], Iterator[Draft]]
LANE_CHECKS: dict[str, LaneCheck] = {
    **audio.CHECKS,
    **misuses.CHECKS,
    **responses.CHECKS,
    **turns.CHECKS,
    **coroutines.CHECKS,
    **guards.CHECKS,
    **voices.CHECKS,
    **hearing.CHECKS,
    **proof.CHECKS,
    **protocol.CHECKS,
}


def run_checks(
    pipeline_map: PipelineMap,
    config: Config,
    statements: Statements | None = None,
) -> list[Finding]:
    """Return the findings of the selected rules, each once, ordered by place.

    Lanes of other services than OpenAI Realtime are shown in the map and never judged.  What a suppression covers stays
    in the list, marked as such.  ``statements`` are those of the files below the map's root where none are given.
    """
    rules = RulesById()
    statements = statements or Statements(read_below(pipeline_map.root))
    reporter = Reporter(pipeline_map, config, rules, statements)
    for rule_id, check in LANE_CHECKS.items():
        if config.is_selected(rule_id):
            for lane in pipeline_map.lanes:
                if lane.provider == "openai":
                    for draft in check(lane):
                        reporter.add(rule_id, draft, lane)
    if config.is_selected("PG901"):
        for draft in gate.cannot_parse(pipeline_map):
            reporter.add("PG901", draft, None)
    found = reporter.findings()
    if not pipeline_map.remarks:
        return found
    from pipeline_guard.checks import suppressions  # few programs speak to this tool

    verdict = suppressions.judge(pipeline_map, found, rules, reporter.per_path.is_selected)
    complaints = Reporter(pipeline_map, config, rules, statements)
    for rule_id, draft in verdict.complaints:
        if config.is_selected(rule_id):
            complaints.add(rule_id, draft, None)
    return sorted([*verdict.findings, *complaints.findings()], key=lambda f: (f.path, f.line, f.column, f.rule))
