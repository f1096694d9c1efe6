"""Reads TOML files and turns everything that can be wrong with one into a single sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


class TomlError(Exception):
    """A TOML file that cannot be used; the message names the file."""


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file; raises TomlError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TomlError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """Return the text of a TOML file.  A byte order mark, which Windows editors leave behind, is accepted."""
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise TomlError(f"{path}: is not UTF-8 text (byte {error.start}), as TOML has to be") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file."""
    return parse_toml(read_text(path), path)


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Return the tables in a text as it stands, or would stand, in a file."""
    # Most runs read no TOML, and loading the parser is a good part of what they take.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise TomlError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise TomlError(f"{path}: is nested too deeply to be read") from error
