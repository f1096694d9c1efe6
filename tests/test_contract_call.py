"""The test call: an agent that does it right passes, and each wrong one fails for its own reason."""

from __future__ import annotations

import random
import time
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.certify import virtual_time
from pipeline_guard.certify.contract_call import ContractCall, Outcome, understood
from pipeline_guard.certify.ear import Ear, likeness
from pipeline_guard.certify.faults import parse_fault
from pipeline_guard.certify.frame_ledger import FrameLedger
from pipeline_guard.certify.mulaw import decode, encode, loudness
from pipeline_guard.certify.twilio.track import CallerTrack
from pipeline_guard.certify.utterances import load_utterances
from tests.bridge_agents import handler
from tests.telephone_agents import agent

OTHERS = sorted((Path(__file__).parent / "fixtures" / "audio").glob("*.ulaw"))
AUDIO, ANSWERED, DUPLICATE = (
    "every frame of the caller once and in order",
    "every turn answered exactly once",
    "no duplicate reply",
)
ACTIVE, UNDERSTOOD, TWILIO = (
    "no active-response error",
    "service, city and confirmation understood",
    "nothing that Twilio would report",
)


def call(*faults: str, seed: int = 1, **options: Any) -> Outcome:
    async def main() -> Outcome:
        test_call = ContractCall(seed=seed, faults=[parse_fault(text) for text in faults])
        async with test_call.openai, agent(handler(test_call.openai.url, **options)) as stream_url:
            return await test_call.run(stream_url=stream_url)

    return virtual_time.run(main())


def test_a_right_agent_passes_and_the_conversation_comes_to_its_end() -> None:
    began = time.perf_counter()
    outcome = call()
    assert outcome.failed == []
    assert (outcome.turns, outcome.responses, outcome.errors) == (3, 4, [])
    (arrivals,) = outcome.arrivals
    assert arrivals.delivered > 500
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("seed", range(2, 6))
def test_it_does_so_for_every_seed(seed: int) -> None:
    assert call(seed=seed).failed == []


@pytest.mark.parametrize("fault", ["uneven-frames:0.06s", "bursts:0.2s", "drift:0.01s", "jitter-to-client:0.2s"])
def test_a_bad_line_is_no_one_s_fault(fault: str) -> None:
    assert call(fault).failed == []


def test_an_agent_that_transcodes_is_understood_and_its_frames_cannot_be_told_apart() -> None:
    outcome = call(transcode=True)
    assert outcome.failed == []
    frames = next(check for check in outcome.checks if check.name == AUDIO)
    assert not frames.shown
    assert "re-encoded" in frames.detail


@pytest.mark.parametrize(
    ("options", "failed"),
    [
        ({"sends": lambda frames: [f for frame in frames for f in (frame, frame)]}, {AUDIO, UNDERSTOOD}),
        ({"sends": lambda frames: frames[:9]}, {AUDIO, UNDERSTOOD}),
        ({"sends": lambda frames: [*frames[:4], frames[5], frames[4], *frames[6:]]}, {AUDIO, UNDERSTOOD}),
        ({"sends": lambda frames: [*frames, bytes(160)]}, {AUDIO}),
        ({"sends": lambda frames: [f for frame in frames for f in (frame, frame)], "transcode": True}, {UNDERSTOOD}),
        ({"creates_per_turn": 2}, {ACTIVE}),
        ({"nudges": True}, {DUPLICATE}),
        ({"foreign_message": True}, {TWILIO}),
    ],
)
def test_each_wrong_agent_fails_for_its_own_reason(options: dict[str, Any], failed: set[str]) -> None:
    assert failed <= set(call(**options).failed)


def test_a_turn_that_is_left_alone_is_dead_air_or_has_no_answer() -> None:
    outcome = call(leaves_turn=2)
    # The third turn's response answers the second turn as well, twenty seconds late.
    assert outcome.failed == [ANSWERED, "no dead air"]
    assert call(leaves_turn=3).failed == [ANSWERED]


def test_a_response_that_the_server_made_by_itself_collides_with_the_agent_s_and_is_not_held_against_it() -> None:
    outcome = call("foreign-created@1")
    assert outcome.failed == []
    assert outcome.errors[0].startswith("conversation_already_has_active_response: ")


@pytest.mark.parametrize("silence_ms", [500, 800, 1200])
def test_a_caller_in_a_hurry_goes_on_when_the_turn_was_taken_however_patient_the_agent_is(silence_ms: int) -> None:
    async def main() -> Outcome:
        test_call = ContractCall(seed=3, manner="hurried", delay=0.08)
        async with test_call.openai, agent(handler(test_call.openai.url, silence_ms=silence_ms)) as stream_url:
            return await test_call.run(stream_url=stream_url)

    outcome = virtual_time.run(main())
    assert outcome.turns == 3
    assert UNDERSTOOD not in outcome.failed


def test_what_counts_as_understood() -> None:
    service, city, yes = (utterance.text for utterance in load_utterances())
    assert understood([service, city, yes]) == 3
    assert understood([None, service, None, city]) == 2
    assert understood([city, yes]) == 0
    assert understood([service, service, yes]) == 1


# -- the utterances ---------------------------------------------------------------------------------------------------


def test_the_utterances_are_what_was_shipped_and_loud_enough_to_be_heard() -> None:
    utterances = load_utterances()
    assert [u.text for u in utterances] == ["התקנת מנעול חכם", "בתל אביב", "כן"]
    for utterance in utterances:
        assert utterance.phonemes.startswith("[[")
        assert 500 < utterance.duration_ms < 2500
        assert loudness(utterance.audio) > 0.03


# -- the ear on re-encoded audio --------------------------------------------------------------------------------------


def on_the_line(audio: bytes, seed: int = 3) -> list[bytes]:
    track = CallerTrack(seed)
    frames = [track.next_frame() for _ in range(15)]
    track.say(audio)
    while track.is_speaking:
        frames.append(track.next_frame())
    return frames + [track.next_frame() for _ in range(25)]


def resampled(frames: list[bytes], gain: float = 1.0, delay: int = 0, noise: float = 0.0) -> bytes:
    values = [0] * delay + decode(b"".join(frames)) + [0]
    chance = random.Random(1)
    wide = array("h")
    for one, two in pairwise(values):
        for third in range(3):
            value = gain * (one + (two - one) * third / 3) + (chance.gauss(0, noise) if noise else 0)
            wide.append(int(max(-32768, min(32767, value))))
    return wide.tobytes()


EAR = Ear(None, [(u.text, u.audio) for u in load_utterances()])


@pytest.mark.parametrize("utterance", load_utterances(), ids=lambda u: u.name)
@pytest.mark.parametrize("options", [{}, {"gain": 0.4}, {"delay": 37}, {"noise": 200}, {"gain": 1.3, "delay": 101}])
def test_re_encoded_audio_is_understood(utterance: Any, options: dict[str, Any]) -> None:
    assert EAR(resampled(on_the_line(utterance.audio), **options), "audio/pcm").text == utterance.text


@pytest.mark.parametrize("utterance", load_utterances(), ids=lambda u: u.name)
@pytest.mark.parametrize("damage", ["doubled", "lost", "swapped", "all doubled", "twice", "every tenth lost", "cut"])
def test_re_encoded_audio_that_was_harmed_is_not(utterance: Any, damage: str) -> None:
    frames = on_the_line(utterance.audio)
    middle = 15 + len(utterance.audio) // 320
    harmed = {
        "doubled": [*frames[:middle], frames[middle], *frames[middle:]],
        "lost": frames[:middle] + frames[middle + 1 :],
        "swapped": [*frames[:middle], frames[middle + 1], frames[middle], *frames[middle + 2 :]],
        "all doubled": [f for frame in frames for f in (frame, frame)],
        "twice": frames + frames,
        "every tenth lost": [frame for n, frame in enumerate(frames) if n % 10],
        "cut": frames[:middle],
    }[damage]
    assert EAR(resampled(harmed), "audio/pcm").text is None


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: p.stem)
def test_other_words_are_not_understood(path: Path) -> None:
    assert EAR(resampled(on_the_line(path.read_bytes())), "audio/pcm").text is None


@pytest.mark.parametrize("audio", [b"", b"\x00" * 10, encode([0.0] * 8000), b"\xff" * 100])
def test_nothing_is_understood_in_nothing(audio: bytes) -> None:
    assert EAR(audio, "audio/pcmu").text is None


def test_an_utterance_is_like_itself() -> None:
    known = decode(load_utterances()[0].audio)
    assert likeness(known, known) == 1.0


# -- the ledger -------------------------------------------------------------------------------------------------------


def ledger_of(count: int) -> tuple[FrameLedger, list[bytes]]:
    ledger, track = FrameLedger(), CallerTrack(4)
    frames = [track.next_frame() for _ in range(count)]
    for frame in frames:
        ledger.sent(frame)
    return ledger, frames


@pytest.mark.parametrize(
    ("change", "account"),
    [
        (lambda f: f, (20, 0, 0, 0, 0)),
        (lambda f: f[5:], (15, 0, 0, 0, 0)),
        (lambda f: [*f[:8], f[7], *f[8:]], (20, 1, 0, 0, 0)),
        (lambda f: f[:8] + f[9:], (19, 0, 0, 1, 0)),
        (lambda f: [*f[:8], f[9], f[8], *f[10:]], (20, 0, 1, 0, 0)),
        (lambda f: [*f[:8], bytes([f[8][0] ^ 1]) + f[8][1:], *f[9:]], (19, 0, 0, 1, 160)),
        (lambda f: [*f[:8], b"abc", *f[8:]], (20, 0, 0, 0, 3)),
        (lambda f: f + f, (20, 20, 0, 0, 0)),
        (lambda f: [bytes(160)] * 3, (0, 0, 0, 0, 480)),
    ],
)
@pytest.mark.parametrize("chunk", [1, 37, 160, 320, 4000])
def test_the_ledger_counts_exactly_however_audio_is_packed(change: Any, account: tuple[int, ...], chunk: int) -> None:
    from pipeline_guard.certify.frame_ledger import Walk

    ledger, frames = ledger_of(20)
    audio = b"".join(change(frames))
    walk = Walk(ledger)
    for start in range(0, len(audio), chunk):
        walk.feed(audio[start : start + chunk])
    a = walk.finish()
    assert (a.delivered, len(a.duplicated), len(a.reordered), a.lost, a.foreign_bytes) == account
    assert a.is_exact == (account[1:] == (0, 0, 0, 0) and account[0] > 0)
    assert str(a)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 29), max_size=60), st.integers(1, 700))
def test_the_ledger_adds_up_for_any_arrival(order: list[int], chunk: int) -> None:
    from pipeline_guard.certify.frame_ledger import Walk

    ledger, frames = ledger_of(30)
    audio = b"".join(frames[n] for n in order)
    walk = Walk(ledger)
    for start in range(0, len(audio), chunk):
        walk.feed(audio[start : start + chunk])
    a = walk.finish()
    assert a.delivered == len(set(order))
    assert len(a.duplicated) == len(order) - len(set(order))
    assert a.foreign_bytes == 0
    if order:
        # What is missing lies between the first that came and the last.
        assert a.missing <= set(range(order[0], max(order) + 1)) - set(order)
    assert a.is_exact == (bool(order) and order == list(range(order[0], order[0] + len(order))))


def test_a_frame_may_not_be_sent_twice() -> None:
    ledger, frames = ledger_of(2)
    with pytest.raises(ValueError, match="unique"):
        ledger.sent(frames[0])
