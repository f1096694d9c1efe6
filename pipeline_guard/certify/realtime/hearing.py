"""What a transcriber is: it is given the audio of a turn and says what it heard in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """The words of a turn (None when nothing was understood) and, for people, why."""

    text: str | None
    why: str = ""


# Called once per committed turn, in order, with its audio and the format of it ("audio/pcmu" …).
Transcriber = Callable[[bytes, str], Heard]


def nothing_understood(_audio: bytes, _audio_format: str) -> Heard:
    """Understand nothing: the transcriber used when none is given."""
    return Heard(None, "no transcriber was given")
