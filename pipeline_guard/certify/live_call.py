"""The test call with the real Realtime service: the same caller, the same judge, and a relay that takes notes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pipeline_guard.certify.callers import patient
from pipeline_guard.certify.contract_call import Outcome, outcome_of
from pipeline_guard.certify.frame_ledger import Arrivals, FrameLedger, Walk
from pipeline_guard.certify.judging.facts import CallFacts, SessionFacts
from pipeline_guard.certify.relay import Relay
from pipeline_guard.certify.twilio_simulator import TwilioCall
from pipeline_guard.certify.utterances import load_utterances
from pipeline_guard.certify.voice_ledger import VoiceLedger
from pipeline_guard.errors import UserError

SERVICE = "wss://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
WARNING = (
    "this makes one real call of about a minute with OpenAI's Realtime service and the account of OPENAI_API_KEY; "
    "audio, text and transcription are charged there"
)


def key_of(environment: Mapping[str, str] = os.environ) -> str:
    """Return the key.  Raises UserError when there is none."""
    key = environment.get(KEY, "").strip()
    if not key:
        raise UserError(f"--live calls the real service: put a key of OpenAI's platform into {KEY} first")
    return key


async def make_live_call(key: str, *, upstream: str = SERVICE) -> Outcome:
    """Call the reference agent, whose Realtime is the service at ``upstream``, and judge the call.

    Raises UserError when the service cannot be reached.
    """
    from reference_agent.settings import Settings
    from reference_agent.simulated_call import TOKEN, ended, listening_to_log, running

    ledger, walks = FrameLedger(), dict[int, Walk]()

    def arrived(connection: int, audio: bytes, audio_format: str) -> None:
        if audio_format == "audio/pcmu":
            walks.setdefault(connection, Walk(ledger, starts_anywhere=True)).feed(audio)

    async with Relay(upstream, on_audio=arrived) as relay:
        settings = Settings(key, TOKEN, websocket_base_url=relay.websocket_base_url)
        with listening_to_log() as lines:
            async with running(settings) as (server, port):
                webhook = f"http://127.0.0.1:{port}/twilio/voice"
                phone = TwilioCall(
                    webhook, patient, auth_token=TOKEN, record=relay.record, ledger=ledger, clock=lambda: relay.now
                )
                await phone.run()
                await ended(server)
        if not any(session.responses for session in relay.sessions):
            said = [str(error.get("message")) for session in relay.sessions for error in session.errors]
            raise UserError(f"no call came about: {relay.problem or '; '.join(said) or 'the service said nothing'}")
        return outcome_of(_facts(relay, phone, {number: walk.finish() for number, walk in walks.items()}, lines))


def _facts(relay: Relay, phone: TwilioCall, arrivals: Mapping[int, Arrivals], lines: list[str]) -> CallFacts:
    return CallFacts(
        record=relay.record,
        sessions=[SessionFacts(s.connection, s.turns, s.responses, s.errors) for s in relay.sessions],
        refusals=relay.refusals,
        arrivals=arrivals,
        heard=VoiceLedger().heard(sorted(phone.heard, key=lambda piece: piece.at)),
        voice_known=False,  # a real voice repeats itself, so its pieces cannot be told apart
        violations=phone.violations,
        verbs=phone.verbs,
        was_cut=phone.was_cut,
        ended_at=phone.now,
        wanted=[utterance.text for utterance in load_utterances()],
        log=lines,
    )
