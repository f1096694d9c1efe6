"""PG401–PG406: during a call nothing but the Realtime session listens, and nothing waits for a transcript."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET, dormant
from pipeline_guard.checks.report import Draft, at_site
from pipeline_guard.checks.voices import engine_sites, is_running, one_setting_away
from pipeline_guard.pipeline.model import Lane, Site

_AFTER = frozenset({"post_call", "offline"})
NOTE = "# NOTE: This STT is OFFLINE ONLY (post-call). Live behavior uses ONLY OpenAI Realtime transcription."
_TRANSCRIPT_EVENT = "input_audio_transcription"


def second_live_stt(lane: Lane) -> Iterator[Draft]:
    """PG401: another recogniser listens to the caller during the call."""
    if not is_running(lane):
        return
    for site in engine_sites(lane, "stt"):
        if site.context != "live" or site.flag is not None:
            continue
        what = {
            "feeds_back": f"its text comes back into the call ({_effect(site)}): two readings of one sentence compete",
            "log_only": "its text is only kept, but the caller's audio is decoded twice in the call's own process",
        }.get(site.value or "", "Realtime transcribes the same audio already")
        draft = at_site(site, f"{site.engine} transcribes during the call; {what}.", downgrade=site.value == "log_only")
        yield draft._replace(evidence=(*draft.evidence, *site.effects[1:]))


def twiml_live_stt(lane: Lane) -> Iterator[Draft]:
    """PG402: Twilio listens as well."""
    if not is_running(lane):
        return
    for site in lane.sites:
        if site.context != "live":
            continue
        if site.kind == "twiml_transcription":
            relay = site.value in ("conversation_relay", "virtual_agent", "ai_session")
            what = "hands the call to Twilio's own recogniser and voice" if relay else "has Twilio transcribe the call"
            yield at_site(site, f"TwiML {what} while the Realtime session listens to the same caller. Remove it.")
        elif site.kind == "twiml_gather" and site.value != "dtmf" and site.beside is not None:
            place = "in a call that is running" if site.beside == "update" else f"{site.beside} the stream"
            yield at_site(
                site, f'<Gather input="speech"> {place}: Twilio\'s recogniser hears what the Realtime session should.'
            )


def offline_stt_feeds_live(lane: Lane) -> Iterator[Draft]:
    """PG403: a transcription that runs after the call changes what a live agent reads."""
    for site in engine_sites(lane, "stt"):
        if site.context in _AFTER and site.value == "feeds_back":
            draft = at_site(
                site,
                f"{site.engine} runs after the call, but its text reaches the live agent: {_effect(site)}. Keep it to "
                "the summary and the CRM.",
            )
            yield draft._replace(evidence=(*draft.evidence, *site.effects[1:]))


def offline_stt_unmarked(lane: Lane) -> Iterator[Draft]:
    """PG404: no comment says that this transcription is for after the call."""
    seen: set[tuple[str, str]] = set()
    for site in engine_sites(lane, "stt"):
        place = (site.path, site.symbol)
        if site.context == "post_call" and not site.marked and place not in seen:
            seen.add(place)
            yield at_site(
                site,
                f"{site.symbol}() transcribes after the call and does not say so; the next reader may call it during "
                f"one. Add: {NOTE}",
            )


def dormant_live_stt(lane: Lane) -> Iterator[Draft]:
    """PG405: another recogniser that nothing uses today, or that one setting turns on."""
    yield from dormant(lane, "stt", "transcribe with another engine", calls=False)
    yield from one_setting_away(lane, "stt", "transcribes during the call", "a second recogniser")


def transcript_gates_response(lane: Lane) -> Iterator[Draft]:
    """PG406: the answer to a turn waits for the transcript."""
    for site in lane.sites:
        if site.kind != "response_create" or site.context in QUIET or site.trigger != "user_turn":
            continue
        if _TRANSCRIPT_EVENT not in (site.event or ""):
            continue
        yield at_site(
            site,
            "the answer waits for the transcript, which Realtime makes beside the conversation and may deliver late, "
            "after the next turn or never. Trigger on input_audio_buffer.committed.",
        )


def _effect(site: Site) -> str:
    last = site.effects[-1] if site.effects else None
    return f"{last.path}:{last.line}, {last.note}" if last is not None else "see the map"


CHECKS = {
    "PG401": second_live_stt,
    "PG402": twiml_live_stt,
    "PG403": offline_stt_feeds_live,
    "PG404": offline_stt_unmarked,
    "PG405": dormant_live_stt,
    "PG406": transcript_gates_response,
}
