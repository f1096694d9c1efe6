"""What either peer would complain of: broken rules, a second session, a second voice, a second recogniser."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, verdict
from pipeline_guard.certify.realtime.facts import ALREADY_ACTIVE
from pipeline_guard.certify.record import Entry

TWILIO = "nothing that Twilio would report"
REFUSED = "nothing that Realtime refuses"
ONE_SESSION = "one Realtime session at a time"
ONE_VOICE = "one voice"
ONE_RECOGNISER = "one recogniser"
INTERRUPTED = "silent when the caller speaks"
# Less than this of an unknown voice is a click where audio was cut.
_A_VOICE_MS = 300
_HEARD_TWICE_MS = 100
# After the caller began to speak, the agent's voice may go on for this long (seconds): network, buffers, reaction.
_FALLS_SILENT = 1.0
_ITSELF = frozenset({ALREADY_ACTIVE, "session_expired"})
# A cancel that comes too late meets nothing; nobody can avoid that, and nothing happens.
_HARMLESS = frozenset({"response_cancel_not_active"})


def twilio_check(call: CallFacts) -> Check:
    """Judge what the agent sent on the media stream."""
    reasons = [Reason(f"twilio.{v.code}", v.text, v.at) for v in call.violations]
    return verdict(TWILIO, reasons, "; ".join(f"{v.code}: {v.text}" for v in call.violations) or "no violations")


def refused_check(call: CallFacts) -> Check:
    """Judge what Realtime answered with an error, but for the active-response error, which is judged by itself."""
    reasons, count = [], 0
    for refusal in call.refusals:
        code = str(refusal.error.get("code") or refusal.error.get("type"))
        if code in _ITSELF:
            continue
        count += 1
        if code not in _HARMLESS:
            text = f"{code}: {refusal.error.get('message')}"
            reasons.append(Reason(f"refused.{code}", text, refusal.at, (refusal.asked_by,)))
    detail = "nothing was refused" if not count else f"{count} refused, {count - len(reasons)} of them without harm"
    return verdict(REFUSED, reasons, detail)


def session_check(call: CallFacts) -> Check:
    """Judge whether two sessions were given the caller's audio at the same time."""
    appends: dict[int, list[Entry]] = {}
    for entry in call.record.of("input_audio_buffer.append", peer="openai", direction="received"):
        appends.setdefault(entry.connection, []).append(entry)
    reasons = []
    order = sorted(appends)
    for one, other in pairwise(order):
        first, last = appends[other][0], appends[one][-1]
        if first.order < last.order:
            text = f"connection {other} was given audio while connection {one} still was"
            reasons.append(Reason("session.second", text, first.at, (first.order, last.order)))
    return verdict(ONE_SESSION, reasons, f"{len(appends)} session{'s' if len(appends) != 1 else ''} with audio")


def voice_check(call: CallFacts) -> Check:
    """Judge whether everything the caller heard came from the session's responses, each piece once."""
    reasons = list(_spoken_by_twilio(call))
    if call.voice_known:
        foreign = [stretch for stretch in call.heard if stretch.response is None]
        if (total := sum(stretch.ms for stretch in foreign)) >= _A_VOICE_MS:
            text = f"the caller heard {total / 1000:.1f} s of a voice that is not the session's"
            reasons.append(Reason("voice.second", text, foreign[0].at))
        twice = [stretch for stretch in call.heard if stretch.repeated_ms]
        if (total := sum(stretch.repeated_ms for stretch in twice)) >= _HEARD_TWICE_MS:
            text = f"the caller heard {total / 1000:.1f} s of {twice[0].response} twice"
            reasons.append(Reason("voice.twice", text, twice[0].at))
    seconds = sum(stretch.ms for stretch in call.heard) / 1000
    whose = "all of it the session's" if call.voice_known else "re-encoded, so it cannot be told whose it is"
    return verdict(ONE_VOICE, reasons, f"{seconds:.1f} s heard, {whose}" if not reasons else f"{seconds:.1f} s heard")


def _spoken_by_twilio(call: CallFacts) -> Iterator[Reason]:
    for verb in call.verbs:
        if verb.name == "Connect/Stream":
            return
        if verb.speaks:
            what = f"«{verb.text}»" if verb.text else "a recording"
            yield Reason("voice.twiml", f"<{verb.name}> has Twilio speak before the stream: {what}", 0.0)


def recogniser_check(call: CallFacts) -> Check:
    """Judge whether anything but Realtime listened to the caller, as far as it shows in the call."""
    reasons = [
        Reason("stt.twiml", f"<{verb.name}> has Twilio listen to the caller as well", 0.0)
        for verb in call.verbs
        if verb.name == "Start/Transcription"
        or (verb.name == "Gather" and "speech" in verb.attributes.get("input", "dtmf"))
    ]
    reasons += _words_put_in(call)
    reasons += _engines_asked(call)
    return verdict(
        ONE_RECOGNISER, reasons, "nothing else was seen to listen" if not reasons else f"{len(reasons)} seen"
    )


def _words_put_in(call: CallFacts) -> Iterator[Reason]:
    """Yield what the agent told the model in text that the session had heard by itself: another recogniser's words."""
    for session in call.sessions:
        for entry in call.record.of(
            "conversation.item.create", peer="openai", direction="received", connection=session.connection
        ):
            words = " ".join(_user_text(entry).split())
            heard = [turn for turn in session.turns if turn.at <= entry.at and turn.heard.text]
            known = next((turn for turn in heard if turn.heard.text and turn.heard.text in words), None)
            if known is not None:
                text = f"the agent put «{words}» into the conversation, which {known.item_id} had said as audio"
                yield Reason("stt.second", text, entry.at, (entry.order,))


def _user_text(entry: Entry) -> str:
    item = entry.event.get("item")
    if not isinstance(item, dict) or item.get("role") != "user" or not isinstance(item.get("content"), list):
        return ""
    return " ".join(str(part.get("text", "")) for part in item["content"] if isinstance(part, dict))


def _engines_asked(call: CallFacts) -> Iterator[Reason]:
    if not call.hosts:
        return
    from pipeline_guard.certify.judging.engines import engine_at

    for host in dict.fromkeys(call.hosts):
        engine = engine_at(host)
        if engine is not None:
            yield Reason(f"{engine.kind}.engine", f"the agent asked the network for {host}: {engine.name}")


def interruption_check(call: CallFacts) -> Check:
    """Judge whether the agent falls silent when the caller speaks into what it says."""
    reasons, count = [], 0
    for started in call.sent("input_audio_buffer.speech_started"):
        older = {response.id for response in call.responses if (response.created_at or 0.0) <= started.at}
        playing = [s for s in call.heard if s.at < started.at < s.ends_at and (s.response in older)]
        if not playing:
            continue
        count += 1
        until = started.at + _FALLS_SILENT
        over = [s for s in call.heard if s.response in older and s.ends_at > until and s.at < until + 5]
        # A response that was asked for before goes on where the caller is the one who interrupts.
        over = [s for s in over if s.response == playing[0].response]
        if over:
            seconds = over[-1].ends_at - started.at
            text = f"{over[0].response} was heard for {seconds:.1f} s after the caller began to speak"
            reasons.append(Reason("interrupted.talks-on", text, started.at, (started.order,)))
    if not call.voice_known:
        return Check(INTERRUPTED, True, "the voice was re-encoded, so it cannot be told", shown=False)
    return verdict(INTERRUPTED, reasons, f"interrupted {count} times")
