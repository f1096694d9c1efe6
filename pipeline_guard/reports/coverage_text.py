"""Says how much of the project was looked at, and names everything that was not."""

from __future__ import annotations

from pipeline_guard.pipeline.model import Gap, PipelineMap
from pipeline_guard.reports import words
from pipeline_guard.reports.page import Page, Part
from pipeline_guard.reports.terminal import QUIET_STYLE, clean, count, place

_ALARMING = frozenset({"syntax", "encoding", "recursion", "unreadable", "size", "contract"})


def render(pipeline_map: PipelineMap, page: Page) -> None:
    """Write one line of numbers and one line per gap; nothing is cut short, since silence about a file is a defect."""
    coverage = pipeline_map.coverage
    page.line(
        ("Looked at  ", "bold"),
        f"{count(coverage.discovered, 'Python file')} found, {coverage.analysed:,} read in depth, "
        f"{coverage.set_aside:,} set aside because nothing in them touches audio or responses",
    )
    if not pipeline_map.gaps:
        page.line(("Not judged  nothing: there are no gaps", QUIET_STYLE))
        return
    page.line(("Not judged  ", "bold"), count(len(pipeline_map.gaps), "place"))
    page.rows([_row(gap) for gap in pipeline_map.gaps])


def _row(gap: Gap) -> tuple[Part, ...]:
    reason = words.GAP_REASONS.get(gap.reason, gap.reason)
    style = "yellow" if gap.reason in _ALARMING else ""
    return ("", place(gap.path, gap.line), (clean(reason), style), clean(gap.detail))
