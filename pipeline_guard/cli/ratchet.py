"""What ``check`` and ``baseline`` share: the state to compare with, from a file or from an older commit."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pipeline_guard.cli.target import Target
from pipeline_guard.config import Config
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from pipeline_guard.findings import Finding
    from pipeline_guard.git_history import Repository
    from pipeline_guard.pipeline.model import PipelineMap
    from pipeline_guard.ratchet.compared import Compared
    from pipeline_guard.ratchet.state import Baseline
    from pipeline_guard.statements import Statements


class Checked(NamedTuple):
    """A tree with what was found in it."""

    pipeline_map: PipelineMap
    findings: list[Finding]
    statements: Statements

    def baseline(self) -> Baseline:
        """Return what a baseline keeps of it."""
        from pipeline_guard.ratchet.record import record

        return record(self.pipeline_map, self.findings, self.statements)


def check_tree(target: Target, config: Config, *, show_progress: bool, use_cache: bool) -> Checked:
    """Analyse and check the target's root."""
    from pipeline_guard.checks import run_checks
    from pipeline_guard.cli.run import build_map
    from pipeline_guard.statements import Statements, read_below

    pipeline_map = build_map(target, config, show_progress=show_progress, use_cache=use_cache)
    statements = Statements(read_below(pipeline_map.root))
    return Checked(pipeline_map, run_checks(pipeline_map, config, statements), statements)


def compare(
    pipeline_map: PipelineMap,
    findings: list[Finding],
    target: Target,
    config: Config,
    baseline_file: Path | None,
    revision: str | None,
) -> tuple[list[Finding], Compared]:
    """Return what is new since a recorded baseline, or since a commit, and what it was compared with.

    What a suppression answers for comes along, marked as such.
    """
    from pipeline_guard.git_history import Repository
    from pipeline_guard.ratchet.compare import compare as compare_with
    from pipeline_guard.ratchet.compared import Compared
    from pipeline_guard.ratchet.store import read_baseline
    from pipeline_guard.statements import Statements, read_below

    repository = Repository(str(target.root))
    update = None
    if baseline_file is not None:
        baseline, name = read_baseline(baseline_file), str(baseline_file)
        _refuse_other_root(baseline, name, target, config)
        update = shlex.join(["pipeline-guard", "baseline", "--update", "--output", name, os.path.relpath(target.root)])
    else:
        assert revision is not None
        commit = repository.since = repository.commit(revision)
        baseline, name = _baseline_of(repository, commit, target, config), f"{revision} ({repository.describe(commit)})"
    statements = Statements(read_below(pipeline_map.root))
    comparison = compare_with(baseline, pipeline_map, findings, config, statements, repository)
    suppressed = [finding for finding in findings if finding.suppressed and target.reports_on(finding.path)]
    stale = tuple(comparison.stale) if baseline_file is not None else ()
    return [*comparison.new, *suppressed], Compared(name, len(comparison.known), stale, update)


def _refuse_other_root(baseline: Baseline, name: str, target: Target, config: Config) -> None:
    """Refuse a baseline of the whole project for one folder of it: everything there would be new."""
    paths = sorted({*(known.path for known in baseline.findings), *(mark.path for mark in baseline.sites)})
    if not paths or config.base is None or any((target.root / path).exists() for path in paths):
        return
    if any((config.base / path).exists() for path in paths):
        raise UserError(
            f"{name}: was recorded for {config.base} ({paths[0]} and others lie below it), not for {target.root}; "
            "check that folder, or leave the baseline aside with --no-baseline"
        )


def _baseline_of(repository: Repository, commit: str, target: Target, config: Config) -> Baseline:
    from pipeline_guard.ratchet.revision import export, temporary_folder
    from pipeline_guard.ratchet.state import Baseline

    with temporary_folder() as name:
        # The copy lies below its settings as the project does, so that patterns of paths mean the same.
        top = Path(name).resolve()
        folder = top / config.prefix_of(target.root)
        if not export(repository, commit, config, folder):
            return Baseline()  # nothing was there yet: all there is today is new
        moved = (
            msgspec.structs.replace(config, source=top / config.source.name) if config.source is not None else config
        )
        return check_tree(Target(folder), moved, show_progress=False, use_cache=False).baseline()


def refuse_unreadable(checked: Checked) -> None:
    """Refuse to record what nobody can read."""
    unreadable = [finding for finding in checked.findings if finding.rule == "PG901"]
    if unreadable:
        first = unreadable[0]
        more = f" ({len(unreadable)} files in all)" if len(unreadable) > 1 else ""
        raise UserError(
            f"{first.path}:{first.line}: {first.message}{more} A baseline would hide whatever such a file sends, so "
            "none was written."
        )
