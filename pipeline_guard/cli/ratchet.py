"""What ``check`` and ``baseline`` share: the state to compare with, from a file or from an older commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline_guard.cli.target import Target
from pipeline_guard.config import Config
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from pipeline_guard.findings import Finding
    from pipeline_guard.pipeline.model import PipelineMap
    from pipeline_guard.ratchet.compare import Comparison
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
    from pipeline_guard.checks.report import read_below
    from pipeline_guard.cli.run import build_map
    from pipeline_guard.statements import Statements

    pipeline_map = build_map(target, config, show_progress=show_progress, use_cache=use_cache)
    statements = Statements(read_below(pipeline_map.root))
    return Checked(pipeline_map, run_checks(pipeline_map, config, statements), statements)


def compare_with_file(checked: Checked, file: Path, config: Config) -> Comparison:
    """Return what is new since a recorded baseline."""
    from pipeline_guard.ratchet.store import read_baseline

    return _compare(checked, read_baseline(file), config)


def compare_with_revision(checked: Checked, target: Target, revision: str, config: Config) -> tuple[Comparison, str]:
    """Return what is new since a commit, and how to call that commit; its tree is analysed as a whole."""
    from pipeline_guard.git_history import Repository

    repository = Repository(str(target.root))
    commit = repository.commit(revision)
    comparison = _compare(checked, _baseline_of(repository, commit, target, config), config)
    return comparison, f"{revision} ({repository.describe(commit)})"


def _baseline_of(repository: Repository, commit: str, target: Target, config: Config) -> Baseline:
    from pipeline_guard.ratchet.revision import export, temporary_folder
    from pipeline_guard.ratchet.state import Baseline

    with temporary_folder() as name:
        folder = Path(name).resolve()
        if not export(repository, commit, config, folder):
            return Baseline()  # nothing was there yet: all there is today is new
        # Patterns in the settings speak of the project's folder, which this is a copy of.
        elsewhere = Target(folder, stands_for=target.root)
        old = check_tree(elsewhere, config, show_progress=False, use_cache=False)
        return old.baseline()


def _compare(checked: Checked, baseline: Baseline, config: Config) -> Comparison:
    from pipeline_guard.git_history import Repository
    from pipeline_guard.ratchet.compare import compare

    repository = Repository(checked.pipeline_map.root)
    return compare(baseline, checked.pipeline_map, checked.findings, config, checked.statements, repository)


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
