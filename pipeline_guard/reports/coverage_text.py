"""Says how much of the project was looked at, and names everything that was not."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from pipeline_guard.pipeline.model import Gap, PipelineMap
from pipeline_guard.reports import words
from pipeline_guard.reports.terminal import QUIET_STYLE, aligned, count, place, styled

_ALARMING = frozenset({"syntax", "encoding", "recursion", "unreadable", "size", "contract"})


def render(pipeline_map: PipelineMap, console: Console) -> None:
    """Print one line of numbers and one line per gap; nothing is cut short, since silence about a file is a defect."""
    coverage = pipeline_map.coverage
    console.print(
        Text.assemble(
            ("Looked at  ", "bold"),
            f"{count(coverage.discovered, 'Python file')} found, {coverage.analysed:,} read in depth, "
            f"{coverage.set_aside:,} set aside because nothing in them touches audio or responses",
        )
    )
    if not pipeline_map.gaps:
        console.print(Text("Not judged  nothing: there are no gaps", style=QUIET_STYLE))
        return
    console.print(Text.assemble(("Not judged  ", "bold"), count(len(pipeline_map.gaps), "place")))
    console.print(aligned([_row(gap) for gap in pipeline_map.gaps], console))


def _row(gap: Gap) -> tuple[Text, ...]:
    reason = words.GAP_REASONS.get(gap.reason, gap.reason)
    style = "yellow" if gap.reason in _ALARMING else ""
    return (Text(""), Text(place(gap.path, gap.line)), styled(reason, style), styled(gap.detail))
