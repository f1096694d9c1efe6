"""Reads the TOML files that are part of this tool.

Parsing them takes longer than checking a small file, so Python keeps what they say as it keeps the code of modules:
compiled, in ``__pycache__`` beside the file where that can be written, and anew when the file changes.
"""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pipeline_guard.toml_files import read_toml

_NAME = "tables"


class _TableLoader(SourceFileLoader):
    """Loads a TOML file as a module whose one constant holds its tables."""

    def source_to_code(self, data: object, path: object = "", *, _optimize: int = -1) -> CodeType:  # type: ignore[override]  # noqa: ARG002
        # Dates and infinity are spelt otherwise in Python; no file of ours holds any.
        return compile(f"{_NAME} = {read_toml(Path(self.path))!r}", self.path, "exec", dont_inherit=True)


def read_own_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file of this tool; raises TomlError for one that cannot be used."""
    module = ModuleType(path.stem)
    try:
        _TableLoader(path.stem, str(path)).exec_module(module)
    except OSError:
        return read_toml(path)  # which says in a sentence what is wrong
    tables: dict[str, Any] = getattr(module, _NAME)
    return tables
