"""The callers of the test call: the same three answers, given patiently, into the agent's voice, or in one breath.

Most agents hold out against a patient caller.  The gaps in a guard show where two turns fall into one round trip.
"""

from __future__ import annotations

from pipeline_guard.certify.mulaw import FRAME_BYTES, FRAME_MS, loudness
from pipeline_guard.certify.twilio.phone import Phone
from pipeline_guard.certify.twilio_simulator import Caller
from pipeline_guard.certify.utterances import Utterance, load_utterances

# Loudness of a frame that is speech; the quiet end of an utterance counts as silence already.
_SPEECH = 0.01
# The caller goes on this long after Realtime has taken the turn: within the agent's round trip.
_ROUND_TRIP = 0.06
# Seconds: how long a caller waits for the last answer, how much of it is one, and what is more than a pause in it.
_PATIENCE, _A_WORD, _PAUSE = 25.0, 0.5, 2.0
_STEP = FRAME_MS / 1000


async def patient(phone: Phone) -> None:
    """Wait for each question, answer it, and hang up after the goodbye."""
    await phone.listen()
    *answers, last = load_utterances()
    for utterance in answers:
        phone.say(utterance.audio, utterance.text)
        await phone.listen()
    await _say_last(phone, last)


async def interrupting(phone: Phone) -> None:
    """Answer into each question as soon as it is clear what is asked; let the goodbye come to its end."""
    for utterance in load_utterances():
        await phone.hear()
        await phone.pause(0.5)
        if utterance is load_utterances()[-1]:
            await _say_last(phone, utterance)
        else:
            phone.say(utterance.audio, utterance.text)
            await phone.finish_speaking()
            await _fall_silent(phone)


async def hurried(phone: Phone) -> None:
    """Say the service and the city in one breath, so that the second turn begins before the first is answered."""
    await phone.listen()
    service, city, last = load_utterances()
    phone.say(service.audio, service.text)
    await phone.finish_speaking()
    # An agent may have asked Realtime for more patience than usual: said too early, the two would be one turn.
    await phone.pause(max(0.0, phone.turn_silence + _ROUND_TRIP - _quiet_end(service)))
    phone.say(city.audio, city.text)
    # The first question may still be played when the second one is made.
    await phone.listen(quiet=1.5)
    await _say_last(phone, last)


MANNERS: dict[str, Caller] = {"patient": patient, "interrupting": interrupting, "hurried": hurried}


async def _say_last(phone: Phone, utterance: Utterance) -> None:
    """Say something and hang up after the answer: not into a pause of it, and not after half a word that broke off."""
    phone.say(utterance.audio, utterance.text)
    await phone.finish_speaking()
    began = last = phone.now
    heard = quiet = 0.0
    while last - began < _PATIENCE and not (heard >= _A_WORD and quiet >= _PAUSE):
        await phone.pause(_STEP)
        passed, last = phone.now - last, phone.now
        heard, quiet = (heard + passed, 0.0) if phone.hears_agent else (heard, quiet + passed)


async def _fall_silent(phone: Phone) -> None:
    """Wait until the agent has stopped saying what was interrupted; it does not talk on for more than a second."""
    for _ in range(round(1 / _STEP)):
        if not phone.hears_agent:
            return
        await phone.pause(0.02)


def _quiet_end(utterance: Utterance) -> float:
    """Return how many seconds of an utterance are silence behind its last sound."""
    frames = [utterance.audio[start : start + FRAME_BYTES] for start in range(0, len(utterance.audio), FRAME_BYTES)]
    quiet = 0
    for frame in reversed(frames):
        if loudness(frame) >= _SPEECH:
            break
        quiet += 1
    return quiet * FRAME_MS / 1000
