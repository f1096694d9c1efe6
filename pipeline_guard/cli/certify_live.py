"""``pipeline-guard certify --live``: one call of the reference agent with the real service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from pipeline_guard.certify.certificate.model import CallResult

_UNSHOWN = (
    "One call with the real service: a sample, with nothing going wrong by design. The transcripts are compared with "
    "the utterances by their letters. What the model says is not judged, and its voice cannot be told piece by piece.",
)


def live_result(rerun: str) -> CallResult:
    """Make the call and return its result.  Raises UserError without a key, or without a service."""
    from pipeline_guard.certify.certificate.model import result_of
    from pipeline_guard.certify.live_call import WARNING, key_of, make_live_call
    from pipeline_guard.certify.schedules import Schedule
    from pipeline_guard.certify.twilio.errors import CallFailed

    key = key_of()
    click.echo(f"pipeline-guard: {WARNING}", err=True)
    try:
        outcome = asyncio.run(make_live_call(key))
    except CallFailed as error:
        raise UserError(f"no call came about: {error}") from None
    return result_of(Schedule(0), outcome.checks, outcome.reasons, outcome, rerun, with_timeline=True)


def unshown() -> tuple[str, ...]:
    """Return what a live certificate does not show."""
    return _UNSHOWN
