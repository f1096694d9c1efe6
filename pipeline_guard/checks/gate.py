"""PG901: a file that cannot be read fails the gate, because a second path could hide in it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.report import Draft
from pipeline_guard.pipeline.model import PipelineMap, Step

_FATAL = frozenset({"syntax", "encoding", "unreadable", "recursion"})


def cannot_parse(pipeline_map: PipelineMap) -> Iterator[Draft]:
    """Yield one finding per file that could not be parsed."""
    for gap in pipeline_map.gaps:
        if gap.reason in _FATAL:
            line = gap.line or 1
            message = f"{gap.path} {gap.detail}; nobody can say what it sends. Mend the file or exclude it."
            yield Draft(gap.path, line, line, 1, "<module>", message, (Step(gap.path, line, "<module>", gap.detail),))
