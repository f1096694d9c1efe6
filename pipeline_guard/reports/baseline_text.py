"""Prints what a baseline holds: the findings that are known, and what each pipeline has that it must not lose."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from pipeline_guard.ratchet.answers import summary
from pipeline_guard.ratchet.state import Baseline, LaneState
from pipeline_guard.reports.formats import rule_name
from pipeline_guard.reports.terminal import QUIET_STYLE, clean, count

_GUARD = {
    "checked": "asks before it sends",
    "pending": "marked before the send",
    "released_on_failure": "released when the send fails",
    "set_on_created": "set on response.created",
    "cleared_on_done": "cleared on response.done",
    "same_id": "of the same id",
    "no_bypass": "no bypass",
}
_SHOWN_LANES = 6


def render(baseline: Baseline, before: Baseline | None, console: Console, *, refused: int = 0) -> None:
    """Print the baseline, and how it differs from the one it replaces.

    ``refused`` is how many new findings an update has left out.
    """
    then = Counter(before.counts) if before is not None else Counter[str]()
    total = len(baseline.findings)
    console.print(Text(f"{count(total, 'known finding')}", style="bold"))
    for rule in sorted(baseline.counts.keys() | then.keys()):
        number = baseline.counts.get(rule, 0)
        change = number - then[rule]
        changed = f"  ({change:+d})" if before is not None and change else ""
        console.print(Text(f"  {number:>4}  {rule_name(rule)}{changed}"), soft_wrap=True)
    for lane in baseline.lanes[:_SHOWN_LANES]:
        console.print()
        _lane(lane, console)
    if len(baseline.lanes) > _SHOWN_LANES:
        console.print(Text(f"and {count(len(baseline.lanes) - _SHOWN_LANES, 'more pipeline')}", style=QUIET_STYLE))
    for other in summary(baseline):
        console.print()
        console.print(Text(clean(other.lane), style="bold underline"))
        said = f"from {count(other.places, 'place')} in {count(other.functions, 'function')}"
        twice = f", {other.second} of them a second time on one way" if other.second else ""
        console.print(Text.assemble(("  answers     ", QUIET_STYLE), said + twice), soft_wrap=True)
    if refused:
        console.print()
        console.print(
            Text(f"{count(refused, 'new finding')} stayed out: an update only takes away. 'check' shows them."),
            soft_wrap=True,
        )


def _lane(lane: LaneState, console: Console) -> None:
    console.print(Text(clean(lane.name), style="bold underline"))
    guard = ", ".join(_GUARD.get(each, each) for each in lane.guard) or "none that holds"
    sessions = ", ".join(sorted({value for _, value in lane.sessions})) or "none seen"
    for name, said in (
        ("one trigger", lane.trigger or "none"),
        ("its guard", guard if lane.trigger else "none"),
        ("one sender", lane.sender or "none"),
        ("queue", lane.queue or "none"),
        ("normal turn", f"answered by {lane.policy} (create_response: {sessions})"),
    ):
        console.print(Text.assemble((f"  {name:<12}", QUIET_STYLE), clean(said)), soft_wrap=True)
