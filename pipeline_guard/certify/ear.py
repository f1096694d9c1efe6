"""What the simulated model understands.  This is not speech recognition: it recognises only audio it knows.

A turn is understood when the caller's frames arrived in it once, in order and unharmed, and hold one whole utterance:
the frame ledger decides.  Audio that was re-encoded on its way (an agent may turn μ-law into 24 kHz PCM) has none of
the caller's bytes left: then its waveform is laid on that of each known utterance, and has to follow it from the first
frame to the last without a jump.  Either way audio that was doubled, lost, moved or cut is not understood, the
transcript is empty, and the conversation takes another course.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from operator import mul

from pipeline_guard.certify.frame_ledger import FrameLedger
from pipeline_guard.certify.mulaw import decode, decode_alaw
from pipeline_guard.certify.realtime.hearing import Heard

_STEP = 80  # 10 ms at 8 kHz
_FRAME = 160
# A step counts as speech when it has this share of the loudest one's amplitude.
_LOUD = 0.1
# The beginnings are first laid on each other by loudness, then exactly, within this many samples.
_SEARCH = 240
# How alike two frames of the same sound are after resampling; other sounds, or the same moved by a frame, are below.
_SAME = 0.75
# Frames that may differ: the first and last ones of an utterance are half silence.
_FORGIVEN = 0.02
# The speech may be longer or shorter than the utterance by this many steps of 10 ms.
_SLACK = 4


class Ear:
    """A transcriber for the simulated service.  ``ledger`` is that of the caller's telephone.

    ``known`` are utterances as (text, μ-law audio), for audio that is not byte for byte the caller's.
    """

    def __init__(self, ledger: FrameLedger | None = None, known: Iterable[tuple[str, bytes]] = ()) -> None:
        self._ledger = ledger
        self._known = tuple((text, decode(audio)) for text, audio in known)

    def __call__(self, audio: bytes, audio_format: str) -> Heard:
        """Say what is in the audio of one turn."""
        if self._ledger is not None and audio_format == "audio/pcmu":
            arrivals = self._ledger.walk(audio)
            if arrivals.delivered:
                if not arrivals.is_exact:
                    return Heard(None, str(arrivals))
                text = self._ledger.label_of(arrivals)
                return Heard(text, str(arrivals) if text else "the frames hold no whole utterance")
        return self._compare(samples(audio, audio_format))

    def _compare(self, heard: Sequence[float]) -> Heard:
        if not self._known:
            return Heard(None, "no utterances are known")
        alike, text = max((likeness(heard, known), text) for text, known in self._known)
        if alike >= 1 - _FORGIVEN:
            return Heard(text, f"re-encoded audio; {alike:.0%} of its frames are those of the utterance")
        return Heard(None, f"at most {alike:.0%} of the frames are those of a known utterance")


def samples(audio: bytes, audio_format: str) -> Sequence[float]:
    """Return audio as 16-bit samples at 8 kHz."""
    if audio_format == "audio/pcmu":
        return decode(audio)
    if audio_format == "audio/pcma":
        return decode_alaw(audio)
    wide = array("h", audio[: len(audio) // 6 * 6])
    return [(a + b + c) / 3 for a, b, c in zip(wide[::3], wide[1::3], wide[2::3], strict=True)]


def likeness(heard: Sequence[float], known: Sequence[float]) -> float:
    """Return which share of an utterance's loud frames is found in what was heard, at its place: 0 … 1.

    It is 0 when the speech is longer or shorter than the utterance.  Loudness does not matter.
    """
    heard_speech, known_speech = _speech(heard), _speech(known)
    if heard_speech is None or known_speech is None:
        return 0.0
    (heard_from, heard_to), (known_from, known_to) = heard_speech, known_speech
    if abs((heard_to - heard_from) - (known_to - known_from)) > _SLACK * _STEP:
        return 0.0
    shift = _best_shift(heard, known, heard_from - known_from, range(-_SEARCH, _SEARCH + 1), _loudest(known))
    found = total = 0
    loudest = _power(known[(at := _loudest(known)) : at + _FRAME])
    for start in range(known_from, known_to - _FRAME + 1, _FRAME):
        frame = known[start : start + _FRAME]
        if _power(frame) < loudest * _LOUD * _LOUD:
            continue
        total += 1
        # A resampler may drift by a sample; a lost or doubled frame moves the rest by 160.
        shift = _best_shift(heard, known, shift, range(-1, 2), start)
        found += _correlation(heard, frame, start + shift) >= _SAME
    return found / total if total else 0.0


def _best_shift(heard: Sequence[float], known: Sequence[float], around: int, offsets: Iterable[int], start: int) -> int:
    frame = known[start : start + _FRAME]
    # Of equals the middle one: where nothing fits, the shift stays what it was.
    return max((_correlation(heard, frame, start + around + by), -abs(by), around + by) for by in offsets)[2]


def _correlation(heard: Sequence[float], frame: Sequence[float], at: int) -> float:
    if at < 0 or at + len(frame) > len(heard):
        return 0.0
    window = heard[at : at + len(frame)]
    power = _power(window) * _power(frame)
    return float(sum(map(mul, window, frame)) / len(frame) / math.sqrt(power)) if power else 0.0


def _power(values: Sequence[float]) -> float:
    return float(sum(map(mul, values, values))) / len(values)


def _loudest(values: Sequence[float]) -> int:
    """Return where the loudest frame begins."""
    return max(range(0, len(values) - _FRAME + 1, _STEP), key=lambda at: _power(values[at : at + _FRAME]))


def _speech(values: Sequence[float]) -> tuple[int, int] | None:
    """Return where speech begins and ends, None when there is none."""
    powers = [_power(values[at : at + _STEP]) for at in range(0, len(values) - _FRAME + 1, _STEP)]
    if not powers or max(powers) < 100.0**2:
        return None
    loud = [n for n, power in enumerate(powers) if power >= max(powers) * _LOUD * _LOUD]
    return loud[0] * _STEP, (loud[-1] + 1) * _STEP
