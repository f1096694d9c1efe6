"""How the simulated service behaves where the API leaves it open: what it says and understands, how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline_guard.certify.realtime.hearing import Transcriber, nothing_understood
from pipeline_guard.certify.realtime.script import Script, repeat_after_caller


@dataclass(frozen=True)
class Behaviour:
    """How the simulated service behaves; times are seconds.

    ``create_latency`` lies between an accepted ``response.create`` and ``response.created``, ``transcription_delay``
    between a commit and its transcript; ``transcription`` "failed" answers every turn with a failure;
    ``hide_error_ids`` leaves out of errors which client event they are about, as old versions of the service did.
    """

    script: Script = repeat_after_caller
    transcriber: Transcriber = nothing_understood
    create_latency: float = 0.05
    transcription_delay: float = 0.4
    transcription: str = "completed"
    session_seconds: float = 3600.0
    hide_error_ids: bool = False


@dataclass(frozen=True)
class Close:
    """The server ends the connection."""

    code: int
    reason: str
