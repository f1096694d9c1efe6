"""Turns findings into the text of a format for another program; only that format's module is imported."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.ratchet.compared import Compared
from pipeline_guard.reports.formats import repository_prefix


def render(
    output_format: str,
    findings: Sequence[Finding],
    pipeline_map: PipelineMap,
    *,
    rule_ids: Collection[str],
    check_command: str,
    compared: Compared | None = None,
) -> str:
    """Return the report.

    ``rule_ids`` are the rules that were checked; ``check_command`` checks the same again in the scanned root;
    ``compared`` says what the findings are new to, if they are.
    """
    if output_format == "json":
        from pipeline_guard.reports import check_json

        return check_json.render(findings, pipeline_map, compared)
    if output_format == "concise":
        from pipeline_guard.reports import check_concise

        return check_concise.render(findings)
    if output_format == "sarif":
        from pipeline_guard.reports import check_sarif

        prefix = repository_prefix(pipeline_map.root)
        return check_sarif.render(findings, pipeline_map, rule_ids=rule_ids, prefix=prefix)
    if output_format == "github":
        from pipeline_guard.reports import check_github

        return check_github.render(findings, prefix=repository_prefix(pipeline_map.root))
    if output_format == "gitlab":
        from pipeline_guard.reports import check_gitlab

        return check_gitlab.render(findings, prefix=repository_prefix(pipeline_map.root))
    if output_format == "junit":
        from pipeline_guard.reports import check_junit

        return check_junit.render(findings, pipeline_map, rule_ids=rule_ids)
    if output_format == "markdown":
        from pipeline_guard.reports import check_markdown

        return check_markdown.render(findings, pipeline_map)
    if output_format == "prompt":
        from pipeline_guard.reports import check_prompt

        return check_prompt.render(findings, pipeline_map, check_command=check_command)
    raise ValueError(f"there is no format {output_format!r}")
