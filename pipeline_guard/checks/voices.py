"""PG301–PG304: the greeting and everything that is said come from the one Realtime session."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET, dormant
from pipeline_guard.checks.report import Draft, at_site
from pipeline_guard.checks.responses import canonical_trigger, greeting_sites
from pipeline_guard.pipeline.model import Lane, Site

_SPEAKS = frozenset({"twiml_say", "twiml_play"})


def second_voice_engine(lane: Lane) -> Iterator[Draft]:
    """PG301: another engine speaks in the calls of this lane."""
    if not is_running(lane):
        return
    sessions = [session for session in lane.sessions if session.context not in QUIET]
    instead = bool(sessions) and all(session.text_only for session in sessions)
    what = (
        "in place of the Realtime session, which is asked for text only: nobody knows what the caller has heard, so "
        "that barge-in cannot truncate it. Ask the session for audio."
        if instead
        else "beside the Realtime session: the caller hears two voices, and barge-in stops only one of them. Let the "
        "session say it (trigger_response)."
    )
    for site in engine_sites(lane, "tts"):
        if site.context == "live" and site.flag is None:
            yield at_site(site, f"{site.engine} speaks here during the call, {what}", downgrade=instead)


def twiml_voice(lane: Lane) -> Iterator[Draft]:
    """PG302: TwiML speaks before, beside or into the stream."""
    for site in lane.sites:
        if site.kind not in _SPEAKS or site.context != "live" or site.beside is None or not is_running(lane):
            continue
        verb = "<Say>" if site.kind == "twiml_say" else "<Play>"
        if site.beside == "update":
            message = (
                f"{verb} is sent to a call that is running: Twilio ends the stream to play it, and the session is "
                "lost. Let the session say it (trigger_response)."
            )
        elif site.beside == "before":
            message = (
                f"{verb} speaks before the stream opens: the caller is greeted by another voice and waits for it to "
                "end. Open the stream at once and let the session greet."
            )
        else:
            message = (
                f"{verb} speaks after the stream has closed: the call ends in another voice than the session's. "
                "Let the session say goodbye before it hangs up."
            )
        # When the session has to say it instead, only a person can know.
        yield at_site(site, message, downgrade=site.beside == "after")._replace(by_hand=site.beside != "before")


def greeting_outside_trigger(lane: Lane) -> Iterator[Draft]:
    """PG303: the greeting does not go through the one trigger."""
    trigger = canonical_trigger(lane)
    for site in greeting_sites(lane):
        assert trigger is not None
        yield at_site(
            site,
            f"the greeting is created past {trigger.symbol}() ({trigger.path}:{trigger.line}): no guard holds it back "
            'when the caller speaks first. Call trigger_response("GREETING").',
        )


def dormant_voice_engine(lane: Lane) -> Iterator[Draft]:
    """PG304: another voice that nothing uses today, or that one setting turns on."""
    yield from dormant(lane, "tts", "speak with another voice", calls=False)
    yield from one_setting_away(lane, "tts", "speaks in the call", "a second voice")


def one_setting_away(lane: Lane, kind: str, does: str, second: str) -> Iterator[Draft]:
    """Yield a draft for every engine that runs in the call as soon as a setting is changed."""
    for site in engine_sites(lane, kind):
        if site.flag is not None and site.context == "live":
            yield at_site(
                site,
                f"{site.engine} {does} as soon as {site.flag} is changed (off by default): {second} is one setting "
                "away. Remove it.",
            )


def engine_sites(lane: Lane, kind: str) -> Iterator[Site]:
    """Yield the calls that run engines of a kind themselves; those that only lead there are evidence."""
    for site in lane.sites:
        if site.kind == kind and site.role == "primitive" and site.context not in ("example", "test"):
            yield site


def is_running(lane: Lane) -> bool:
    """Say whether a lane has a Realtime session that can run: an engine beside a dead one is no second path."""
    core = ("audio_send", "response_create", "auto_response")
    return any(site.kind in core and site.context not in QUIET for site in lane.sites)


CHECKS = {
    "PG301": second_voice_engine,
    "PG302": twiml_voice,
    "PG303": greeting_outside_trigger,
    "PG304": dormant_voice_engine,
}
