"""The list of everything that is asked of a call."""

from __future__ import annotations

from pipeline_guard.certify.judging import answers, audio, log, peers, responses
from pipeline_guard.certify.judging.facts import CallFacts, Check

_CHECKS = (
    audio.frames_check,
    answers.answered_check,
    answers.dead_air_check,
    responses.duplicate_check,
    responses.active_check,
    audio.understood_check,
    peers.session_check,
    peers.voice_check,
    peers.recogniser_check,
    peers.interruption_check,
    peers.refused_check,
    peers.twilio_check,
    log.log_check,
)


def judge(call: CallFacts) -> list[Check]:
    """Return the checks of a call, in the order in which people ask them."""
    return [check(call) for check in _CHECKS]
