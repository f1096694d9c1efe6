"""The caller's three utterances of the test call, as package data (``utterances.toml`` says how they were made)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline_guard.toml_files import read_toml

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Utterance:
    """Something the caller says; ``audio`` is μ-law at 8 kHz."""

    name: str
    text: str
    meaning: str
    phonemes: str
    audio: bytes

    @property
    def duration_ms(self) -> int:
        """The length of the audio."""
        return len(self.audio) // 8


@lru_cache(maxsize=1)
def load_utterances() -> tuple[Utterance, ...]:
    """Return the utterances in the order of the test call.  Raises ValueError when a file is not what was shipped."""
    found = []
    for entry in read_toml(_FOLDER / "utterances.toml")["utterance"]:
        audio = (_FOLDER / entry["file"]).read_bytes()
        if hashlib.sha256(audio).hexdigest() != entry["sha256"]:
            raise ValueError(f"{_FOLDER / entry['file']} has been changed since it was made")
        found.append(Utterance(entry["name"], entry["text"], entry["meaning"], entry["phonemes"], audio))
    return tuple(found)
