"""What shows only where the agent runs as our child: which protocol it speaks, whether it greets, whom else it asks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, verdict
from pipeline_guard.certify.realtime.rest import BETA_IS_OFF, BETA_PATHS, HttpAsked
from pipeline_guard.certify.record import Record

PROTOCOL = "speaks the protocol that the service speaks"
GREETING = "greets in the same session"
SERVICES = "asks nothing but the Realtime session during the call"
ALIVE = "the agent stays alive"
LINE = "the agent holds the line"
BETA, NO_SESSION, GREETING_MISSING = "protocol.beta", "protocol.no-session", "greeting.missing"
HUNG_UP, SETTINGS = "call.closed", "protocol.settings"
# Reasons that do not depend on what Realtime answers.
_STANDS_ALONE = ("protocol.", "voice.twiml", "stt.", "tts.", "speech.", "agent.", "call.")
# Paths of the service that are a second ear or a second voice.
_EARS = ("/v1/audio/transcriptions", "/v1/audio/translations")
_VOICES = ("/v1/audio/speech",)


def call_over_at(record: Record) -> float:
    """Return when the call was over: what an agent asks for after that is no part of it."""
    ends = [entry.at for entry in record.of("hang-up", "disconnected", peer="twilio")]
    return min(ends, default=math.inf)


@dataclass(frozen=True)
class Conduct:
    """What is known of the agent beside the call.

    ``asked`` are its requests to the service while the call was on, ``exit_status`` its end (None: it lives),
    ``last_error`` the last line of its log that reads like an error.
    """

    asked: Sequence[HttpAsked] = ()
    exit_status: int | None = None
    last_error: str = ""

    @property
    def what_it_wrote(self) -> str:
        """The error, as the end of a sentence."""
        return f"; it wrote: {self.last_error}" if self.last_error else ""


def conduct_checks(call: CallFacts, conduct: Conduct) -> list[Check]:
    """Return the checks of an agent that runs as a child."""
    return [
        protocol_check(call, conduct),
        greeting_check(call),
        services_check(call, conduct),
        line_check(call, conduct),
        alive_check(conduct),
    ]


def told_apart(checks: Sequence[Check], call: CallFacts) -> list[Check]:
    """Return the checks without what only follows from another one.

    Where no session came about, or none with the agent's settings, or the agent ended the call at once, nothing could
    be heard or answered; and an agent that does not greet leaves the caller in silence, which is the same once more.
    """
    codes = {reason.code for check in checks for reason in check.reasons}
    opened = call.record.of("start", peer="twilio", direction="sent")
    first = {entry.at for entry in opened[:1]} if GREETING_MISSING in codes else set()
    no_session = not codes.isdisjoint((BETA, NO_SESSION))
    dumb = (
        SETTINGS in codes
        or not call.record.of("session.created", direction="sent")
        or any(code.startswith("call.") for code in codes)
    )
    return [
        Check(check.name, True, "there was no session", shown=False)
        if no_session and check.name == LINE
        else _alone(check, dumb=dumb, first=first)
        for check in checks
    ]


def _alone(check: Check, *, dumb: bool, first: Collection[float]) -> Check:
    if check.passed:
        return check
    if dumb and not any(reason.code.startswith(_STANDS_ALONE) for reason in check.reasons):
        return Check(check.name, True, "nothing could be heard or answered", shown=False)
    kept = [reason for reason in check.reasons if reason.code != "dead-air" or reason.at not in first]
    return check if len(kept) == len(check.reasons) else verdict(check.name, kept, check.detail)


def protocol_check(call: CallFacts, conduct: Conduct) -> Check:
    """Judge whether the agent speaks the Realtime protocol as it is now."""
    connected = [e for e in call.record.of("connected", peer="openai") if e.event.get("protocol") == "beta"]
    old_urls = {asked.path: asked for asked in reversed(conduct.asked) if asked.path in BETA_PATHS}
    reasons = [
        Reason(
            BETA,
            "the agent asks for the beta protocol (OpenAI-Beta: realtime=v1), which the service has switched off: "
            f"it answers {BETA_IS_OFF.code} and closes",
            entry.at,
            (entry.order,),
        )
        for entry in connected[:1]
    ]
    reasons += [
        Reason(BETA, f"{old} belongs to the beta, which the service has switched off", old.at)
        for old in old_urls.values()
    ]
    reasons += _settings_refused(call)
    if not reasons and not call.record.of("connected", peer="openai", direction="note"):
        text = "the agent opened no Realtime connection to api.openai.com during the call"
        for entry in call.record.of("turned-away", peer="openai")[:1]:
            text += f"; it was turned away from {entry.event['path']} with HTTP {entry.event['status']}"
        reasons.append(Reason(NO_SESSION, text + conduct.what_it_wrote))
    return verdict(PROTOCOL, reasons, "today's protocol" if not reasons else "it does not")


def _settings_refused(call: CallFacts) -> Iterator[Reason]:
    """Yield the refusals of settings where none were accepted: the session then has those it began with."""
    if call.record.of("session.updated", direction="sent"):
        return
    for refusal in call.refusals:
        if call.record.entries[refusal.asked_by - 1].type == "session.update":
            text = (
                f"the service refuses the session's settings ({refusal.error.get('message')}), so it keeps its own: "
                "24 kHz PCM, and the server creates the responses"
            )
            yield Reason(SETTINGS, text, refusal.at, (refusal.asked_by,))


def greeting_check(call: CallFacts) -> Check:
    """Judge whether the caller is greeted by a response of the session, before saying anything."""
    if not call.sessions:
        return Check(GREETING, True, "there was no session", shown=False)
    responses = call.responses
    first_turn = min((turn.at for turn in call.turns), default=call.ended_at)
    greeted = responses and (responses[0].created_at or 0.0) < first_turn
    if greeted and responses[0].cause == "client":
        return verdict(GREETING, [], "the first response came before the caller spoke")
    spoken = any(verb.speaks for verb in call.verbs)
    how = "Twilio speaks instead" if spoken else "the caller hears nothing until they speak"
    reason = Reason(GREETING_MISSING, f"no response of the session greets the caller; {how}")
    return verdict(GREETING, [reason], "no greeting")


def services_check(call: CallFacts, conduct: Conduct) -> Check:
    """Judge what the agent asked of the service over HTTP while the call was on; afterwards it may transcribe."""
    over = call_over_at(call.record)
    during = [asked for asked in conduct.asked if asked.at <= over]
    reasons = []
    for asked in during:
        model = f" ({asked.model})" if asked.model else ""
        if asked.path.startswith(_EARS):
            text = f"{asked}{model} during the call: a second recogniser"
            reasons.append(Reason("stt.http", text, asked.at))
        elif asked.path.startswith(_VOICES):
            reasons.append(Reason("tts.http", f"{asked}{model} during the call: a second voice", asked.at))
    others = dict.fromkeys(str(asked) for asked in during if not asked.path.startswith((*_EARS, *_VOICES)))
    later = dict.fromkeys(str(asked) for asked in conduct.asked if asked.at > over)
    details = [f"also asked: {', '.join(others)}"] if others else []
    details += [f"after the call: {', '.join(later)}"] if later else []
    return verdict(SERVICES, reasons, "; ".join(details) or "nothing else was asked")


def line_check(call: CallFacts, conduct: Conduct) -> Check:
    """Judge whether the agent hears the caller out before it ends the call."""
    opened = call.record.of("start", peer="twilio", direction="sent")
    closed = call.record.of("disconnected", peer="twilio")
    if not opened or not closed or call.turns or call.was_cut or call.record.of("hang-up", peer="twilio"):
        return verdict(LINE, [], "the caller was heard out")
    seconds = closed[0].at - opened[0].at
    text = f"the agent closed the media stream {seconds:.1f} s after it began, before it heard a word"
    return verdict(LINE, [Reason(HUNG_UP, text + conduct.what_it_wrote, closed[0].at)], "it did not")


def alive_check(conduct: Conduct) -> Check:
    """Judge whether the agent was still there at the end of the call."""
    if conduct.exit_status is None:
        return verdict(ALIVE, [], "it was there to the end")
    reason = Reason("agent.ended", f"the agent ended with exit status {conduct.exit_status} during the call")
    return verdict(ALIVE, [reason], "it ended")
