"""Small programs and what the codemod makes of them, for the tests of the fixes."""

from __future__ import annotations

import textwrap
from pathlib import Path

from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.run import Outcome, fix
from pipeline_guard.program.sources import read_sources


def code(text: str) -> str:
    """Return code that is indented as the test around it, as a file holds it."""
    return textwrap.dedent(text).lstrip("\n")


def program_of(root: Path) -> Program:
    """Return the program in a folder, under default settings."""
    config = Config()
    found = discover(root, config.exclude, config.max_file_size)
    return Program(root, found, read_sources(found.files), config)


def fixed(folder: Path, files: dict[str, str], *, unsafe: bool = True) -> Outcome:
    """Write files into a folder and return what comes of fixing them."""
    for name, text in files.items():
        (folder / name).write_text(code(text), encoding="utf-8")
    return fix(program_of(folder), lambda finding: True, unsafe=unsafe)


def text_of(outcome: Outcome, name: str = "app.py") -> str:
    """Return a file as it is after the fix."""
    return outcome.program.sources.data[name].decode()
