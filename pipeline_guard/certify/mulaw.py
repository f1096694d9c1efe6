"""Telephone audio as bytes: G.711 tables, loudness, silence, and a voice whose every frame can be told from all others.

Sizes: 8,000 samples a second, one byte a sample; Twilio sends 20 ms, that is 160 bytes, a frame.
Source of the tables: ITU-T G.711.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_left
from functools import lru_cache

BYTES_PER_MS = 8
FRAME_MS = 20
FRAME_BYTES = BYTES_PER_MS * FRAME_MS
SILENCE = b"\xff"
FULL_SCALE = 32768.0
# What one millisecond takes in each format that Realtime knows; audio/pcm is 16 bit at 24 kHz.
FORMAT_BYTES_PER_MS = {"audio/pcmu": 8, "audio/pcma": 8, "audio/pcm": 48}


def _decode_mulaw(byte: int) -> int:
    value = ~byte & 0xFF
    magnitude = (((value & 0x0F) << 3) + 0x84) << ((value & 0x70) >> 4)
    return 0x84 - magnitude if value & 0x80 else magnitude - 0x84


def _decode_alaw(byte: int) -> int:
    value = byte ^ 0x55
    segment = (value & 0x70) >> 4
    magnitude = ((value & 0x0F) << 4) + 8
    if segment:
        magnitude = (magnitude + 0x100) << (segment - 1)
    return magnitude if value & 0x80 else -magnitude


DECODED = tuple(_decode_mulaw(byte) for byte in range(256))
_DECODED_ALAW = tuple(_decode_alaw(byte) for byte in range(256))
_SQUARES = {
    "audio/pcmu": tuple(value * value for value in DECODED),
    "audio/pcma": tuple(value * value for value in _DECODED_ALAW),
}
_LEVELS = sorted({value: byte for byte, value in enumerate(DECODED)}.items())
_LEVEL_VALUES = [value for value, _ in _LEVELS]


def encode_sample(value: float) -> int:
    """Return the μ-law byte nearest to a 16-bit sample."""
    above = min(bisect_left(_LEVEL_VALUES, value), len(_LEVELS) - 1)
    below = max(0, above - 1)
    nearest = above if _LEVEL_VALUES[above] - value < value - _LEVEL_VALUES[below] else below
    return _LEVELS[nearest][1]


def decode(audio: bytes) -> list[int]:
    """Return μ-law audio as 16-bit samples."""
    return [DECODED[byte] for byte in audio]


def decode_alaw(audio: bytes) -> list[int]:
    """Return A-law audio as 16-bit samples."""
    return [_DECODED_ALAW[byte] for byte in audio]


def encode(samples: list[float]) -> bytes:
    """Return 16-bit samples as μ-law audio."""
    return bytes(encode_sample(value) for value in samples)


def loudness(audio: bytes, audio_format: str = "audio/pcmu") -> float:
    """Return the root mean square of the samples, between 0 and 1."""
    if audio_format == "audio/pcm":
        samples = array("h", audio[: len(audio) // 2 * 2])
        total, count = sum(value * value for value in samples), len(samples)
    else:
        total, count = sum(map(_SQUARES[audio_format].__getitem__, audio)), len(audio)
    return math.sqrt(total / count) / FULL_SCALE if count else 0.0


def silence(milliseconds: int) -> bytes:
    """Return μ-law silence."""
    return SILENCE * (milliseconds * BYTES_PER_MS)


def voice(seed: int, milliseconds: int, audio_format: str = "audio/pcmu") -> bytes:
    """Return audio of a humming voice whose pitch and noise come from ``seed``.

    Two frames of it are never the same, nor are frames of different seeds: so a listener can say which response each
    frame belongs to, and whether one was lost, doubled or moved.
    """
    bytes_per_ms = FORMAT_BYTES_PER_MS[audio_format]
    noise = random.Random(seed)
    one_second = _hum(seed % 12, audio_format)
    length = milliseconds * bytes_per_ms
    audio = bytearray((one_second * (length // len(one_second) + 1))[:length])
    # Eight bytes of every 5 ms become noise of middle loudness: 64 bits that no other frame has.
    for start in range(0, length - 8, bytes_per_ms * 5):
        for offset in range(0, 8, 2):
            audio[start + offset] = 0x90 | noise.getrandbits(4) if audio_format != "audio/pcm" else noise.getrandbits(8)
            audio[start + offset + 1] ^= noise.getrandbits(3)
    return bytes(audio)


@lru_cache(maxsize=64)
def _hum(pitch: int, audio_format: str) -> bytes:
    rate = 24000 if audio_format == "audio/pcm" else 8000
    step = 2 * math.pi * (110 + 10 * pitch) / rate
    samples = [9000 * math.sin(step * n) + 3000 * math.sin(3 * step * n) for n in range(rate)]
    if audio_format == "audio/pcm":
        return array("h", [int(value) for value in samples]).tobytes()
    if audio_format == "audio/pcma":
        levels = sorted((value, byte) for byte, value in enumerate(_DECODED_ALAW))
        keys = [value for value, _ in levels]
        return bytes(levels[min(bisect_left(keys, value), len(keys) - 1)][1] for value in samples)
    return encode(samples)
