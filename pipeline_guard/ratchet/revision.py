"""Analyses the tree of an older commit, from git's objects, without touching the work tree."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pipeline_guard.config import Config
from pipeline_guard.folders import DOCUMENT_SUFFIXES, PYTHON_SUFFIXES
from pipeline_guard.git_history import Entry, Repository

# What tells a virtual environment or a build folder from the project's own code, beside the code itself.
_MARKERS = frozenset({"pyproject.toml", "setup.py", "pyvenv.cfg"})


def export(repository: Repository, commit: str, config: Config, folder: Path) -> int:
    """Write the files of a commit that an analysis reads below a folder, and return how many there are.

    Ignore files are left out: what is committed counts, whatever they say.
    """
    wanted = [entry for entry in repository.files(commit) if _is_read(entry, config)]
    contents = repository.contents([entry.blob for entry in wanted])
    number = 0
    for entry in wanted:
        target = folder / entry.path
        data = contents.get(entry.blob)
        if data is None or ".." in PurePosixPath(entry.path).parts:  # git forbids such names, a forged tree does not
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except (OSError, ValueError):
            continue  # a name that this file system has no place for
        number += 1
    return number


def temporary_folder() -> TemporaryDirectory[str]:
    """Return a folder that goes when it is left."""
    return TemporaryDirectory(prefix="pipeline-guard-", ignore_cleanup_errors=True)


def _is_read(entry: Entry, config: Config) -> bool:
    name = PurePosixPath(entry.path).name
    return entry.size <= config.max_file_size and (
        name.endswith((*PYTHON_SUFFIXES, *DOCUMENT_SUFFIXES)) or name in _MARKERS
    )
