"""``pipeline-guard fix``: takes surplus paths out of a backend, all edits or none, and says what it did and left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline_guard.cli.options import config_option, no_color_option
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_guard.fixes.edits import Unit
    from pipeline_guard.fixes.program import Program
    from pipeline_guard.fixes.run import Approve, Outcome


@click.command("fix")
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.option("--diff", is_flag=True, help="Print what would change and write nothing.")
@click.option("--select", metavar="RULES", help="Only findings of these rules: ids or prefixes, as in PG2,PG101.")
@click.option("--ignore", metavar="RULES", help="Not findings of these rules: ids or prefixes, as in PG2,PG101.")
@click.option("--unsafe-fixes", is_flag=True, help="Also what changes more than taking a duplicate away.")
@click.option("--interactive", "-i", is_flag=True, help="Show each change and ask, one at a time.")
@click.option("--allow-dirty", is_flag=True, help="Also where git has changes that are not committed.")
@config_option
@no_color_option
def command(
    path: Path,
    diff: bool,
    select: str | None,
    ignore: str | None,
    unsafe_fixes: bool,
    interactive: bool,
    allow_dirty: bool,
    config_file: Path | None,
    no_color: bool,
) -> int:
    """Take surplus audio paths, responses, recognisers and voices out of the backend in PATH.

    Every edit is planned and tried on the whole program in memory first; then all files are written, or none.
    'pipeline-guard undo' puts them back.
    """
    from pipeline_guard.cli.run import find_files, settings_for, show_reading
    from pipeline_guard.cli.target import resolve_target
    from pipeline_guard.fixes.program import Program
    from pipeline_guard.fixes.run import fix
    from pipeline_guard.program.sources import read_sources
    from pipeline_guard.reports.fix_text import FixReport

    target = resolve_target([path], "fix")
    config = settings_for(target, config_file, select, ignore)
    if not diff and not allow_dirty:
        _refuse_uncommitted(target.root)
    found = find_files(target, config)
    report = FixReport(no_color=no_color)
    before = Program(target.root, found, read_sources(found.files), config)
    with show_reading():
        _ = before.findings
    approve = _asker(report) if interactive else None
    outcome = fix(before, lambda finding: target.reports_on(finding.path), unsafe=unsafe_fixes, approve=approve)
    old, new = _changes(before, outcome)
    if diff:
        report.diff(old, new)
    elif new:
        _write(target.root, old, new)
    report.summary(outcome, changed=len(new), written=not diff)
    left = [each for each in outcome.program.findings if target.reports_on(each.path) and each.severity != "note"]
    return 1 if left or (diff and new) else 0


def _changes(before: Program, outcome: Outcome) -> tuple[dict[str, bytes], dict[str, bytes]]:
    data = outcome.program.sources.data
    new = {path: data[path] for path, old in before.sources.data.items() if data[path] != old}
    return {path: before.sources.data[path] for path in new}, new


def _write(root: Path, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
    from pipeline_guard.fixes.journal import write_all

    trouble = write_all(root, old, new)
    if trouble:
        raise UserError(f"nothing was changed: {'; '.join(trouble)}")


def _refuse_uncommitted(root: Path) -> None:
    from pipeline_guard.git_files import list_uncommitted

    changed = list_uncommitted(str(root))
    if changed:
        from pipeline_guard.fixes.journal import summary

        raise UserError(
            f"{root}: has changes that are not committed ({summary(changed)}); commit or stash them so that the fix "
            "can be looked at on its own, or say --allow-dirty"
        )


def _asker(report: FixReport) -> Approve:
    """Return a question per unit: yes, no, all the rest, or none of the rest."""
    answers = {"always": "", "": ""}

    def ask(unit: Unit, before: Program, after: Program) -> bool:
        if answers["always"]:
            return answers["always"] == "a"
        data = {path: before.sources.data[path] for path in unit.paths}
        report.diff(data, {path: after.sources.data[path] for path in unit.paths})
        click.echo(f"{unit.rule}: {unit.why}", err=True)
        answer: str = click.prompt(
            "Make this change? y yes, n no, a this and all others, q no more",
            type=click.Choice(["y", "n", "a", "q"]), default="n", show_choices=False, err=True,
        )  # fmt: skip
        if answer in ("a", "q"):
            answers["always"] = answer
        return answer in ("y", "a")

    return ask


if TYPE_CHECKING:
    from pipeline_guard.reports.fix_text import FixReport
