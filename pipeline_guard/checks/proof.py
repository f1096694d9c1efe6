"""PG501–PG505: the map and the log lines by which a person sees that there is exactly one pipeline.

Aids that are missing are notes, all of a lane at one place, the handler of the caller's frames; the evidence says where
each of them belongs.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.report import Draft
from pipeline_guard.pipeline.model import Aid, Lane, Step

_NAMES = {
    "pipeline_log": "the line [PIPELINE] LIVE AUDIO PIPELINE ACTIVE",
    "status_log": "the line [PIPELINE STATUS]",
    "greeting_log": "the line [GREETING] Using OpenAI Realtime",
}


def pipeline_map_missing(lane: Lane) -> Iterator[Draft]:
    """PG501: the handler does not draw the one pipeline."""
    for aid in _aids(lane, "map"):
        yield _draft(
            aid,
            f"{aid.place.symbol}() takes the caller's audio, and no comment here draws the one allowed pipeline: the "
            "next author sees no reason against a second one.",
        )


def pipeline_log_missing(lane: Lane) -> Iterator[Draft]:
    """PG502: the sender loop does not say in the log that it starts."""
    for aid in _aids(lane, "pipeline_log"):
        belongs = aid.belongs
        where = f"{belongs.symbol}() ({belongs.path}:{belongs.line})"
        if aid.state == "missing":
            yield _draft(
                aid,
                f"{where} does not log [PIPELINE] LIVE AUDIO PIPELINE ACTIVE when it starts: a log cannot show that "
                "one loop ran.",
            )
        elif aid.state == "per_frame":
            yield _draft(
                aid, f"{where} logs that the pipeline is active in every round: write it once, before the loop."
            )
        elif aid.state == "elsewhere":
            yield _draft(
                aid,
                f"{aid.place.symbol}() logs that the pipeline is active; {where}, the loop that it speaks of, may not "
                "run.",
            )


def status_log(lane: Lane) -> Iterator[Draft]:
    """PG503: no status line, or one per frame."""
    for aid in _aids(lane, "status_log"):
        if aid.state == "missing":
            yield _draft(
                aid,
                "no [PIPELINE STATUS] line every 2-3 s: a log cannot show what was sent, what was held back and which "
                "response was active when the call went wrong.",
            )
        elif aid.state == "per_frame":
            draft = _draft(
                aid,
                f"{aid.place.symbol}() logs [PIPELINE STATUS] for every frame, fifty times a second: the log drowns "
                "and the loop falls behind. Log it every 2-3 s.",
            )
            yield draft._replace(severity="warning")


def greeting_log_missing(lane: Lane) -> Iterator[Draft]:
    """PG504: the greeting is created and the log does not say by whom."""
    for aid in _aids(lane, "greeting_log"):
        if aid.state == "missing":
            belongs = aid.belongs
            yield _draft(
                aid,
                f"the greeting created in {belongs.symbol}() ({belongs.path}:{belongs.line}) does not log [GREETING] "
                "Using OpenAI Realtime: a log cannot show which voice greeted.",
            )


def print_instead_of_logger(lane: Lane) -> Iterator[Draft]:
    """PG505: a required line is written where no log holds it."""
    for aid in lane.aids:
        if aid.state == "printed":
            replaced = " print is replaced in this file, so that nobody sees it at all." if aid.why else ""
            yield _draft(
                aid, f"{_NAMES[aid.kind]} is printed: it has no time and no level, and is not in the log.{replaced}"
            )
        elif aid.state == "muted":
            yield _draft(aid, f"{_NAMES[aid.kind]} never reaches the log: {aid.why[0].note} (line {aid.why[0].line}).")


def _aids(lane: Lane, kind: str) -> list[Aid]:
    return [aid for aid in lane.aids if aid.kind == kind]


def _draft(aid: Aid, message: str) -> Draft:
    place = aid.place
    here = (place.path, place.line) == (aid.belongs.path, aid.belongs.line)
    steps: tuple[Step, ...] = aid.why or (() if here else (place,))
    return Draft(place.path, place.line, aid.end_line, 1, place.symbol, message, (*steps, aid.belongs))


CHECKS = {
    "PG501": pipeline_map_missing,
    "PG502": pipeline_log_missing,
    "PG503": status_log,
    "PG504": greeting_log_missing,
    "PG505": print_instead_of_logger,
}
