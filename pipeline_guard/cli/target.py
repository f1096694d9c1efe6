"""Turns the paths on the command line into the folder to analyse and the part of it to report on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline_guard.errors import UserError

PROJECT_MARKERS = (".git", "pyproject.toml")


class Target(NamedTuple):
    """What to look at.

    The whole of ``root`` is analysed, because a path runs through many files.  ``focus`` names the files and folders,
    relative to the root, that findings are reported for; empty means all.  ``explicit`` are files named one by one.
    ``stands_for`` is the folder that the root is a copy of, if it is one.
    """

    root: Path
    focus: tuple[str, ...] = ()
    explicit: tuple[Path, ...] = ()
    stands_for: Path | None = None

    def reports_on(self, rel: str) -> bool:
        """Say whether findings in a file are wanted."""
        return not self.focus or any(rel == part or rel.startswith(f"{part}/") or part == "." for part in self.focus)


def resolve_target(paths: Sequence[Path], command: str) -> Target:
    """Return the target for some paths: a single folder is its own root, all else is part of the project around it."""
    named = [Path(os.path.abspath(path)) for path in paths or (Path(),)]
    for given, path in zip(paths or (Path(),), named, strict=True):
        _check_path(given, path, command)
    if len(named) == 1 and named[0].is_dir():
        return Target(named[0])
    root = _common_project(named)
    focus = tuple(os.path.relpath(path, root).replace(os.sep, "/") for path in named)
    return Target(root, focus, tuple(path for path in named if path.is_file()))


def _check_path(given: Path, path: Path, command: str) -> None:
    from pipeline_guard.discovery import is_python_file

    if not os.path.lexists(path):
        raise UserError(
            f"{given}: there is no such file or folder; name the folder of a Python project, "
            f"as in 'pipeline-guard {command} .'"
        )
    if path.is_dir():
        return
    if not path.is_file():
        raise UserError(f"{given}: is neither a file nor a folder; name a Python file or the folder of a project")
    if not is_python_file(path):
        raise UserError(f"{given}: is not a Python file; name a .py file or the folder of a project")


def _common_project(paths: Sequence[Path]) -> Path:
    folders = [path if path.is_dir() else path.parent for path in paths]
    try:
        common = Path(os.path.commonpath(folders))
    except ValueError as error:  # Windows: two drives
        raise UserError("the paths lie on different drives; check them one after the other") from error
    project = enclosing_project(common)
    if project is not None:
        return project
    if len({enclosing_project(folder) for folder in folders}) > 1:
        raise UserError("the paths belong to different projects; check them one after the other")
    return common


def enclosing_project(folder: Path) -> Path | None:
    """Return the nearest folder, this one or one above, that looks like the top of a project."""
    for candidate in (folder, *folder.parents):
        if any((candidate / marker).exists() for marker in PROJECT_MARKERS):
            return candidate
    return None
