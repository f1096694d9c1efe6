"""What shows only where the agent runs as our child: which protocol it speaks, whether it greets, whom else it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, verdict
from pipeline_guard.certify.realtime.rest import BETA_IS_OFF, REALTIME, HttpAsked

PROTOCOL = "speaks the protocol that the service speaks"
GREETING = "greets in the same session"
SERVICES = "asks nothing but the Realtime session during the call"
ALIVE = "the agent stays alive"
BETA, NO_SESSION, GREETING_MISSING = "protocol.beta", "protocol.no-session", "greeting.missing"
# Paths of the service that are a second ear or a second voice.
_EARS = ("/v1/audio/transcriptions", "/v1/audio/translations")
_VOICES = ("/v1/audio/speech",)


@dataclass(frozen=True)
class Conduct:
    """What is known of the agent beside the call.

    ``asked`` are its requests to the service while the call was on, ``exit_status`` its end (None: it lives),
    ``last_error`` the last line of its log that reads like an error.
    """

    asked: Sequence[HttpAsked] = ()
    exit_status: int | None = None
    last_error: str = ""


def conduct_checks(call: CallFacts, conduct: Conduct) -> list[Check]:
    """Return the checks of an agent that runs as a child."""
    return [
        protocol_check(call, conduct),
        greeting_check(call),
        services_check(conduct),
        alive_check(conduct),
    ]


def protocol_check(call: CallFacts, conduct: Conduct) -> Check:
    """Judge whether the agent speaks the Realtime protocol as it is now."""
    connected = [e for e in call.record.of("connected", peer="openai") if e.event.get("protocol") == "beta"]
    old_urls = [asked for asked in conduct.asked if asked.path.startswith(REALTIME) and asked.status == 400]
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
        Reason(BETA, f"{asked} belongs to the beta, which the service has switched off", asked.at) for asked in old_urls
    ]
    if not reasons and not call.record.of("connected", peer="openai", direction="note"):
        text = "the agent opened no Realtime connection to api.openai.com during the call"
        wrote = f"; it wrote: {conduct.last_error}" if conduct.last_error else ""
        reasons.append(Reason(NO_SESSION, text + wrote))
    return verdict(PROTOCOL, reasons, "today's protocol" if not reasons else "it does not")


def greeting_check(call: CallFacts) -> Check:
    """Judge whether the caller is greeted by a response of the session, before saying anything."""
    if not call.sessions:
        return Check(GREETING, True, "there was no session", shown=False)
    responses = call.responses
    first_turn = min((turn.at for turn in call.turns), default=call.ended_at)
    greeted = responses and (responses[0].created_at or 0.0) < first_turn
    if greeted and responses[0].cause == "client":
        return verdict(GREETING, [], "the first response came before the caller spoke")
    spoken = any(verb.name in ("Say", "Play") for verb in call.verbs)
    how = "Twilio speaks instead" if spoken else "the caller hears nothing until they speak"
    reason = Reason(GREETING_MISSING, f"no response of the session greets the caller; {how}")
    return verdict(GREETING, [reason], "no greeting")


def services_check(conduct: Conduct) -> Check:
    """Judge what the agent asked of the service over HTTP while the call was on."""
    reasons = []
    for asked in conduct.asked:
        model = f" ({asked.model})" if asked.model else ""
        if asked.path.startswith(_EARS):
            text = f"{asked}{model} during the call: a second recogniser"
            reasons.append(Reason("stt.http", text, asked.at))
        elif asked.path.startswith(_VOICES):
            reasons.append(Reason("tts.http", f"{asked}{model} during the call: a second voice", asked.at))
    others = dict.fromkeys(str(asked) for asked in conduct.asked if not asked.path.startswith((*_EARS, *_VOICES)))
    return verdict(SERVICES, reasons, f"also asked: {', '.join(others)}" if others else "nothing else was asked")


def alive_check(conduct: Conduct) -> Check:
    """Judge whether the agent was still there at the end of the call."""
    if conduct.exit_status is None:
        return verdict(ALIVE, [], "it was there to the end")
    reason = Reason("agent.ended", f"the agent ended with exit status {conduct.exit_status} during the call")
    return verdict(ALIVE, [reason], "it ended")
