"""Runs the analysis for a command: settings, discovery, pipeline map, checks, in this order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline_guard.cli.target import Target
from pipeline_guard.config import Config, SeverityName, check_selectors, load_config, parse_selectors, read_config
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from rich.status import Status

    from pipeline_guard.cache import Cache
    from pipeline_guard.discovery import Discovery
    from pipeline_guard.findings import Finding
    from pipeline_guard.pipeline.model import PipelineMap

Progress = Callable[[str, int, int], None]
# What is over sooner is not worth a look.
SHOWN_AFTER_SECONDS = 1.0


def settings_for(
    target: Target,
    config_file: Path | None,
    select: str | None = None,
    ignore: str | None = None,
    fail_on: SeverityName | None = None,
) -> Config:
    """Return the settings that hold for a target, with those of the command line on top."""
    from pipeline_guard.rulebook import rule_ids

    if config_file is not None and not config_file.is_file():
        raise UserError(f"{config_file}: there is no such configuration file")
    config = load_config(target.root) if config_file is None else read_config(config_file)
    known = rule_ids()
    check_selectors(config, known)
    given = Config(
        select=parse_selectors(select or "", "--select"),
        ignore=parse_selectors(ignore or "", "--ignore"),
    )
    check_selectors(given, known)
    return msgspec.structs.replace(
        config,
        # What stands on the command line replaces the file's selection; ignoring only ever adds.
        select=given.select or config.select,
        ignore=(*config.ignore, *given.ignore),
        fail_on=fail_on or config.fail_on,
    )


def build_map(
    target: Target, config: Config, *, show_progress: bool = True, use_cache: bool = False, to_judge: bool = False
) -> PipelineMap:
    """Return the pipeline map of the target's root, with what discovery left aside among its gaps.

    With ``use_cache``, what is known from earlier runs is not read again.  With ``to_judge``, a large program in which
    nothing can be judged is not read in depth.
    """
    from pipeline_guard.cache import open_cache
    from pipeline_guard.pipeline.build import analyse

    cache = open_cache(target.root) if use_cache else None
    found = find_files(target, config, cache)
    with _progress(show_progress) as progress:
        pipeline_map = analyse(target.root, found.files, config, progress, found.documents, cache, to_judge=to_judge)
    return _with_discovery_gaps(pipeline_map, found)


def find_files(target: Target, config: Config, cache: Cache | None = None) -> Discovery:
    """Return the files of the target's root; raises UserError where there are none.

    A ``cache`` knows from earlier runs what ``.gitignore`` files name.
    """
    from pipeline_guard.discovery import discover
    from pipeline_guard.ignores import remembered

    memory = remembered(cache, target.root)
    found = discover(
        target.root,
        config.exclude,
        config.max_file_size,
        exclude_prefix=config.prefix_of(target.root),
        explicit=target.explicit,
        memory=memory,
    )
    memory.keep()
    if not found.files:
        raise UserError(_nothing_found(target.root, found))
    _check_focus(target, found)
    return found


def find_problems(pipeline_map: PipelineMap, config: Config, *, use_cache: bool = False) -> list[Finding]:
    """Return the findings of every selected rule, ordered by place.

    With ``use_cache``, files whose findings are known from earlier runs are not parsed again.
    """
    if not (pipeline_map.lanes or pipeline_map.gaps or pipeline_map.remarks):
        return []  # every rule speaks of one of these
    from pipeline_guard.checks import run_checks

    if not use_cache:
        return run_checks(pipeline_map, config)
    from pipeline_guard.cache import open_cache
    from pipeline_guard.statements import Statements, read_below

    cache = open_cache(Path(pipeline_map.root))
    statements = Statements(read_below(pipeline_map.root), cache)
    findings = run_checks(pipeline_map, config, statements)
    statements.keep()
    return findings


def refuse_unmet_declarations(pipeline_map: PipelineMap, config: Config) -> None:
    """Raise UserError where the settings declare what the code does not have: that must not look like a clean run."""
    unmet = [gap.detail for gap in pipeline_map.gaps if gap.reason == "contract"]
    if unmet:
        more = f" (and {len(unmet) - 1} more)" if len(unmet) > 1 else ""
        raise UserError(f"{config.source}: {unmet[0]}{more}; correct the settings or the code")


def _check_focus(target: Target, found: Discovery) -> None:
    """Refuse a folder without Python files: no findings in nothing would look like a clean one."""
    seen = [file.rel for file in found.files] + [gap.path for gap in found.gaps]
    for part in target.focus:
        if not any(Target(target.root, (part,)).reports_on(rel) for rel in seen):
            raise UserError(_nothing_found(target.root / part))


def _nothing_found(root: Path, found: Discovery | None = None) -> str:
    if found is not None and found.gaps:
        first = found.gaps[0]
        return f"{root}: holds no Python file that can be read ({first.path}: {first.detail})"
    return f"{root}: holds no Python files (ignored and excluded ones aside); name the folder with the backend's code"


def _with_discovery_gaps(pipeline_map: PipelineMap, found: Discovery) -> PipelineMap:
    if not found.gaps:
        return pipeline_map
    coverage = pipeline_map.coverage
    return msgspec.structs.replace(
        pipeline_map,
        gaps=tuple(sorted((*found.gaps, *pipeline_map.gaps), key=lambda gap: (gap.path, gap.line or 0, gap.reason))),
        coverage=msgspec.structs.replace(coverage, discovered=coverage.discovered + len(found.gaps)),
    )


@contextmanager
def show_reading() -> Iterator[None]:
    """Show on a terminal that something is being read."""
    with _progress(wanted=True) as progress:
        if progress is not None:
            progress("reading", 0, 0)
        yield


@contextmanager
def _progress(wanted: bool) -> Iterator[Progress | None]:
    """Show what is being read once that takes long, on the terminal's error stream only.

    Output that goes on to a program stays clean.
    """
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    started = time.monotonic()
    status: Status | None = None

    def show(stage: str, done: int, total: int) -> None:
        nonlocal status
        if status is None and total and time.monotonic() - started < SHOWN_AFTER_SECONDS:
            return
        if status is None:
            from rich.console import Console

            status = Console(stderr=True).status(stage)
            status.start()
        status.update(f"{stage} {done}/{total}" if total else stage)

    try:
        yield show
    finally:
        if status is not None:
            status.stop()
