"""The tools that others would reach for, with rules that come as near to the question as their languages allow."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

WORDS = r"response\.create|input_audio_buffer\.append|send_audio_chunk"
SEMGREP_RULE = """\
rules:
- id: realtime-send
  languages: [python]
  severity: ERROR
  message: sends response.create or audio to OpenAI Realtime
  pattern-either:
  - pattern: $CLIENT.send_audio_chunk(...)
  - pattern: $CLIENT.response.create(...)
  - pattern: $CLIENT.input_audio_buffer.append(...)
  - pattern: '{..., "type": "response.create", ...}'
  - pattern: '{..., "type": "input_audio_buffer.append", ...}'
"""
AST_GREP_RULE = r"""
id: realtime-send
language: python
severity: warning
message: sends response.create or audio to OpenAI Realtime
rule:
  any:
  - pattern: $CLIENT.send_audio_chunk($$$)
  - pattern: $CLIENT.response.create($$$)
  - pattern: $CLIENT.input_audio_buffer.append($$$)
  - kind: pair
    all:
    - has: {field: key, kind: string, regex: '^.type.$'}
    - has: {field: value, kind: string, regex: '^.(response\.create|input_audio_buffer\.append).$'}
"""
_SEMGREP_FILE, _AST_GREP_FILE = "semgrep-rule.yml", "ast-grep-rule.yml"


class Peer(NamedTuple):
    """A tool: where it is, if it is, and its arguments by the folder of the rules."""

    name: str
    path: str | None
    arguments: Callable[[Path], list[str]]
    version: str | None

    def command(self, rules: Path) -> list[str]:
        """Return the command that looks at the current folder."""
        return [self.path or self.name, *self.arguments(rules)]


def write_rules(folder: Path) -> Path:
    """Write the rules of semgrep and ast-grep and return their folder."""
    folder.mkdir()
    (folder / _SEMGREP_FILE).write_text(SEMGREP_RULE, encoding="utf-8")
    (folder / _AST_GREP_FILE).write_text(AST_GREP_RULE, encoding="utf-8")
    return folder


def find_peers(folder: Path | None) -> list[Peer]:
    """Return every peer, those that are not installed without a path."""
    ripgrep = _peer(folder, "ripgrep", "rg", lambda _: ["--type", "py", "--no-ignore", "-n", WORDS, "."])
    grep = _peer(folder, "grep", "grep", lambda _: ["-rnE", "--include=*.py", WORDS, "."])
    return [
        # The settings of a project may name rules that cost nothing, or files that are not there.
        _peer(folder, "ruff", "ruff", lambda _: ["check", "--isolated", "--no-cache", "--exit-zero", "--quiet", "."]),
        _peer(folder, "ast-grep", "ast-grep", lambda rules: ["scan", "--rule", str(rules / _AST_GREP_FILE), "."]),
        _peer(
            folder, "semgrep", "semgrep",
            lambda rules: [
                "scan", "--config", str(rules / _SEMGREP_FILE), "--metrics", "off", "--disable-version-check", "--json",
                ".",
            ],
        ),
        ripgrep,
        *([] if ripgrep.path is not None else [grep]),
    ]  # fmt: skip


def _peer(folder: Path | None, name: str, program: str, arguments: Callable[[Path], list[str]]) -> Peer:
    found = shutil.which(program, path=str(folder)) if folder is not None else None
    path = found or shutil.which(program)
    return Peer(name, path, arguments, _version(path))


def _version(path: str | None) -> str | None:
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]
