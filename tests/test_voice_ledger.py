"""The voice ledger: what the caller heard is told by its bytes, however the agent packs, cuts or repeats it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.certify.mulaw import voice
from pipeline_guard.certify.twilio.media_stream import Played
from pipeline_guard.certify.voice_ledger import Stretch, VoiceLedger

ONE, OTHER, FOREIGN = voice(1, 1000), voice(2, 600), voice(3, 500)


def ledger() -> VoiceLedger:
    made = VoiceLedger()
    for start in range(0, len(ONE), 1600):
        made.sent("one", ONE[start : start + 1600], "audio/pcmu")
    made.sent("other", OTHER, "audio/pcmu")
    return made


def played(audio: bytes, at: float = 1.0, piece: int = 160) -> list[Played]:
    pieces = []
    for start in range(0, len(audio), piece):
        pieces.append(Played(at + start / 8000, audio[start : start + piece]))
    return pieces


def told(stretches: list[Stretch]) -> list[tuple[str | None, int, int]]:
    return [(stretch.response, stretch.ms, stretch.repeated_ms) for stretch in stretches]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000))
def test_responses_are_told_apart_however_they_are_packed(piece: int) -> None:
    heard = ledger().heard(played(ONE + OTHER, piece=piece))
    assert told(heard) == [("one", 1000, 0), ("other", 600, 0)]
    assert (heard[0].at, round(heard[1].ends_at, 3)) == (1.0, 2.6)


@settings(max_examples=60, deadline=None)
@given(st.integers(400, len(ONE) - 1))
def test_a_response_that_was_cut_anywhere_is_itself_and_the_next_one_too(size: int) -> None:
    heard = ledger().heard(played(ONE[:size] + OTHER))
    assert [stretch.response for stretch in heard] == ["one", "other"]
    # A piece of 40 bytes is the least that is told apart: 5 ms, and lengths are whole milliseconds.
    assert abs(heard[0].ms - size / 8) < 6
    assert abs(heard[1].ms - 600) < 6


def test_silence_between_is_nobody_s() -> None:
    heard = ledger().heard(played(b"\xff" * 800 + ONE + b"\x7f\xff" * 400 + OTHER))
    assert told(heard) == [("one", 1000, 0), ("other", 600, 0)]
    assert heard[0].at == 1.1


def test_what_is_heard_twice_is_counted() -> None:
    assert told(ledger().heard(played(ONE + ONE))) == [("one", 2000, 1000)]
    assert told(ledger().heard([*played(ONE), *played(ONE, at=5.0)])) == [("one", 1000, 0), ("one", 1000, 1000)]


def test_a_voice_of_no_response_is_told_as_such() -> None:
    assert told(ledger().heard(played(FOREIGN + ONE))) == [(None, 500, 0), ("one", 1000, 0)]
    assert told(VoiceLedger().heard(played(FOREIGN))) == [(None, 500, 0)]


def test_a_voice_that_was_not_sent_as_mulaw_cannot_be_told() -> None:
    made = ledger()
    assert made.is_exact
    made.sent("third", b"\x00" * 480, "audio/pcm")
    assert not made.is_exact
