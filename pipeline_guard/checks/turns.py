"""PG210, PG214, PG219: one turn has one response, asked for when the one before it is over."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET
from pipeline_guard.checks.report import Draft, at_site
from pipeline_guard.pipeline.model import Lane, Site

_SHORT = {
    "input_audio_buffer.committed": "committed",
    "input_audio_buffer.speech_stopped": "speech_stopped",
    "conversation.item.input_audio_transcription.completed": "input_audio_transcription.completed",
}


def two_triggers_per_turn(lane: Lane) -> Iterator[Draft]:
    """PG210: two events of one utterance lead to a trigger, or the branch of one of them does so twice."""
    places = {(site.path, site.line, site.column): site for site in live_responses(lane)}
    for double in lane.double_turns:
        site, first = places.get(double.place), places.get(double.first_place)
        if site is None or first is None:
            continue
        where = f"{first.path}:{first.line}"
        if double.event == double.first_event:
            message = (
                f"one {_SHORT[double.event]} leads to two triggers: this one and the one in {where}. The caller hears "
                "two answers to one sentence."
            )
        else:
            message = (
                f"{_SHORT[double.event]} leads to a trigger, and so does {_SHORT[double.first_event]} ({where}): every "
                "utterance sends both events, so it is answered twice."
            )
        sure = site.confidence != "low" and first.confidence != "low"
        guarded = "pending_set" in (site.guard, first.guard)
        draft = at_site(site, message, downgrade=guarded or not sure)
        yield draft._replace(evidence=(*draft.evidence, *first.reached_from))


def cancel_then_create(lane: Lane) -> Iterator[Draft]:
    """PG214: a response is asked for while the one just cancelled still runs."""
    for site in live_responses(lane):
        if site.after_cancel:
            cancel = site.after_cancel[0]
            draft = at_site(
                site,
                f"this asks for a response right behind response.cancel ({cancel.path}:{cancel.line}): until "
                "response.done arrives the cancelled one is still active, and the server refuses a second one. Wait "
                "for response.done; a sleep is no waiting.",
            )
            yield draft._replace(evidence=(*site.reached_from[:-1], *site.after_cancel))


def one_create_per_tool(lane: Lane) -> Iterator[Draft]:
    """PG219: every tool result asks for a response of its own."""
    sessions = [session for session in lane.sessions if session.context not in QUIET]
    if sessions and all(session.one_tool for session in sessions):
        return
    told: set[tuple[str, str]] = set()
    for site in live_responses(lane):
        place = (site.path, site.symbol)
        if site.per_tool is None or place in told:
            continue
        told.add(place)
        if site.per_tool == "loop":
            what = "one response per tool in this loop: for two tools the second create meets the first one's response."
        else:
            what = (
                "this event comes once per tool, ahead of response.done: the create can meet the response that asked "
                "for the tool, and with two tools the second one meets the answer to the first."
            )
        yield at_site(site, f"{what} Send every tool's output, then ask once, after response.done.")


def live_responses(lane: Lane) -> list[Site]:
    """Return the sites of a lane by which running code asks for a response."""
    return [site for site in lane.sites if site.kind == "response_create" and site.context not in QUIET]


CHECKS = {
    "PG210": two_triggers_per_turn,
    "PG214": cancel_then_create,
    "PG219": one_create_per_tool,
}
