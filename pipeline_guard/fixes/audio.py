"""What to do about surplus audio paths: their sends become nothing, the queue and its one loop stay."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import CannotRewrite, NoOpCall, Unit
from pipeline_guard.fixes.program import Program


def take_out(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out one send of audio that goes past the queue."""
    site = next((each for each in program.sites_at(finding) if each.kind == "audio_send"), None)
    if site is None:
        raise CannotRewrite("it stands at no call", "lead the audio through the queue")
    yield Unit(
        (NoOpCall(site.path, site.line, site.column, comments.AUDIO),),
        finding.rule, "safe", "the audio of the queue's sender is the only one", (finding.fingerprint,),
    )  # fmt: skip


FIXERS = {"PG101": take_out, "PG105": take_out}
