"""Puts tables into a configuration file and leaves every other byte of it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_guard.config import TABLE, ConfigError
from pipeline_guard.errors import UserError
from pipeline_guard.toml_files import TomlError, parse_toml, read_bytes, read_toml
from pipeline_guard.toml_places import sections

OWN_TABLES = ("contract", "app")
# How the comment begins that init puts above what it writes.
MARK = "Written by 'pipeline-guard init'"


def refuse_overwrite(file: Path) -> None:
    """Raise UserError where a file already has what would be written."""
    present = [name for name in OWN_TABLES if name in _settings_in(file)] if file.exists() else []
    if present:
        raise UserError(
            f"{file}: already has {' and '.join(present)}; --force replaces that, --stdout prints without writing"
        )


def own_tables(text: str, file: Path) -> Mapping[str, Any]:
    """Return the settings in a text as it would stand in a file."""
    return _inner(parse_toml(text, file), file)


def with_tables(file: Path, text: str) -> bytes:
    """Return what the file will be: its own bytes without the tables that are written anew, and those at the end.

    Raises UserError where they stand in a form that cannot be taken out by lines.
    """
    if not file.exists():
        return text.encode()
    data = read_bytes(file)
    newline = "\r\n" if b"\r\n" in data else "\n"
    old = data.decode("utf-8-sig")
    kept = _without(old, file)
    before = "\ufeff" if data.startswith(b"\xef\xbb\xbf") else ""
    between = "" if not kept else newline if kept.endswith("\n") else newline * 2
    result = f"{before}{kept}{between}{text.replace(chr(10), newline)}"
    if not _holds(result, old, text, file):
        raise UserError(f"{file}: the contract there is written in a way that cannot be replaced; take it out first")
    return result.encode()


def _holds(result: str, old: str, text: str, file: Path) -> bool:
    """Say whether a result has the tables of a text, and all else as it was."""
    try:
        document = parse_toml(result, file)
    except TomlError:  # the old tables are still there, in another form
        return False
    own = {key: value for key, value in _inner(document, file).items() if key in OWN_TABLES}
    return own == own_tables(text, file) and _other(document, file) == _other(parse_toml(old, file), file)


def write(file: Path, data: bytes) -> None:
    """Replace the file, all at once or not at all."""
    from pipeline_guard.reports.check_output import write_whole

    try:
        write_whole(file, data)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror or error}); --stdout prints instead") from error


def _without(text: str, file: Path) -> str:
    outer = ("tool", TABLE) if file.name == "pyproject.toml" else ()
    wanted = [(*outer, name) for name in OWN_TABLES]
    lines = text.split("\n")
    for first, last, key in reversed(list(sections(text))):
        if any(key[: len(path)] == path for path in wanted):
            start = _above(lines, first - 1)
            del lines[start:last]
            # One blank line between what stays is enough.
            while start < len(lines) and not lines[start].strip() and (not start or not lines[start - 1].strip()):
                del lines[start]
    return "\n".join(lines)


def _above(lines: list[str], header: int) -> int:
    """Return where a section begins with the comment above it, if that is our own."""
    start = header
    while start and (lines[start - 1].startswith("#") or not lines[start - 1].strip()):
        start -= 1
    ours = next((n for n in range(start, header) if lines[n].startswith(f"# {MARK}")), None)
    return header if ours is None else ours


def _settings_in(file: Path) -> Mapping[str, Any]:
    try:
        return _inner(read_toml(file), file)
    except TomlError as error:
        raise ConfigError(str(error)) from error


def _inner(document: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    if file.name != "pyproject.toml":
        return document
    found: Mapping[str, Any] = document.get("tool", {}).get(TABLE, {})
    return found


def _other(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a document without the tables of ours."""
    if file.name != "pyproject.toml":
        return {key: value for key, value in document.items() if key not in OWN_TABLES}
    tools = {key: value for key, value in document.get("tool", {}).items() if key != TABLE}
    own = {key: value for key, value in document.get("tool", {}).get(TABLE, {}).items() if key not in OWN_TABLES}
    return {**document, "tool": {**tools, TABLE: own}}
