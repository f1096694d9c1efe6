"""The baseline's file: JSON with one finding and one place per line, so that changes read and merge well in git."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from pipeline_guard.errors import UserError
from pipeline_guard.ratchet.state import VERSION, Baseline

_AGAIN = "record it again with 'pipeline-guard baseline PATH --output FILE'"


def to_text(baseline: Baseline) -> str:
    """Return a baseline as the text of its file."""
    table: dict[str, Any] = msgspec.to_builtins(baseline)
    if not baseline.answers:
        del table["answers"]  # the file of a backend without other services is what it was before there were any
    parts = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows = ",\n".join(f"    {_line(name)}: {_line(number)}" for name, number in value.items())
            parts.append(f"  {_line(key)}: {{\n{rows}\n  }}" if rows else f"  {_line(key)}: {{}}")
        elif isinstance(value, (list, tuple)):
            rows = ",\n".join(f"    {_line(row)}" for row in value)
            parts.append(f"  {_line(key)}: [\n{rows}\n  ]" if rows else f"  {_line(key)}: []")
        else:
            parts.append(f"  {_line(key)}: {_line(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_baseline(file: Path) -> Baseline:
    """Return the baseline in a file."""
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: there is no such baseline; record one with 'pipeline-guard baseline PATH --output {file}'"
        ) from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or type(error).__name__}") from error
    if b"\n<<<<<<< " in data or data.startswith(b"<<<<<<< "):
        raise UserError(f"{file}: holds the marks of a merge conflict; take one side and {_AGAIN}")
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file}: is not JSON ({error}); {_AGAIN}") from error
    version = head.get("version") if isinstance(head, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise UserError(f"{file}: is no baseline of pipeline-guard; {_AGAIN}")
    if version > VERSION:
        raise UserError(
            f"{file}: was written by a newer pipeline-guard (version {version} of the file, this one reads {VERSION}); "
            "update pipeline-guard"
        )
    try:
        return msgspec.convert(head, type=Baseline)
    except msgspec.ValidationError as error:
        raise UserError(f"{file}: is no baseline of pipeline-guard ({error}); {_AGAIN}") from error
