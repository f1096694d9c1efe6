"""Turns the paths on the command line into the folder to analyse and the part of it to report on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline_guard.config import STANDALONE_NAMES, Config, load_config, read_config
from pipeline_guard.errors import UserError

PROJECT_MARKERS = (".git", "pyproject.toml", *STANDALONE_NAMES)


class Target(NamedTuple):
    """What to look at.

    The whole of ``root`` is analysed, because a path runs through many files.  ``focus`` names the files and folders,
    relative to the root, that findings are reported for; empty means all.  ``explicit`` are files named one by one.
    """

    root: Path
    focus: tuple[str, ...] = ()
    explicit: tuple[Path, ...] = ()

    def reports_on(self, rel: str) -> bool:
        """Say whether findings in a file are wanted."""
        return not self.focus or any(rel == part or rel.startswith(f"{part}/") or part == "." for part in self.focus)


def resolve_target(paths: Sequence[Path], command: str, config_file: Path | None = None) -> Target:
    """Return the target for some paths: a single folder is its own root, all else is part of the project around it.

    Without paths it is the current folder, and in it what the settings name as ``paths``.
    """
    here = Path.cwd()
    declared = () if paths else _declared_paths(here, config_file)
    given = declared or tuple(paths) or (Path(),)
    named = [Path(os.path.abspath(path)) for path in given]
    for path, where in zip(given, named, strict=True):
        _check_path(path, where, command)
    if len(named) == 1 and named[0].is_dir() and not declared:
        return Target(named[0])
    named = [_followed(path) for path in named]
    root = _common_project([here, *named] if declared else named)
    focus = tuple(os.path.relpath(path, root).replace(os.sep, "/") for path in named)
    return Target(root, focus, tuple(path for path in named if path.is_file()))


def _declared_paths(here: Path, config_file: Path | None) -> tuple[Path, ...]:
    """Return what the settings name as ``paths``: parts of the program in the current folder, not programs alone.

    ``config_file`` are the settings that the command line names.
    """
    if config_file is not None:
        config = read_config(config_file) if config_file.is_file() else Config()
        return tuple(Path(os.path.relpath(config.source.parent / path)) for path in config.paths if config.source)
    config = load_config(here)
    # Elsewhere in the project it is the current folder that somebody asks about.
    return tuple(Path(path) for path in config.paths if config.base == here.resolve())


def _followed(path: Path) -> Path:
    """Return what a link leads to, so that findings there count as asked for; of a project's own files, by its names.

    The project itself may be reached through a link.
    """
    real = Path(os.path.realpath(path))
    project = enclosing_project(path if path.is_dir() else path.parent)
    if project is None or real == path:
        return real
    top = Path(os.path.realpath(project))
    return project / real.relative_to(top) if real.is_relative_to(top) else real


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
