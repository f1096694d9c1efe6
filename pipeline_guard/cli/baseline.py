"""``pipeline-guard baseline``: records what is known of a backend, so that a check reports only what is added."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline_guard.cli.options import config_option, no_cache_option, no_color_option
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from pipeline_guard.cli.ratchet import Checked
    from pipeline_guard.config import Config
    from pipeline_guard.ratchet.state import Baseline

DEFAULT_FILE = Path("pipeline-guard-baseline.json")


@click.command("baseline", short_help="Record findings and contract, to fail on what gets worse.")
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Where the baseline is, or is to be.  [default: the settings' baseline, else {DEFAULT_FILE}]",
)
@click.option("--update", is_flag=True, help="Take out what is mended and add nothing.")
@config_option
@no_cache_option
@no_color_option
def command(
    path: Path, file: Path | None, update: bool, config_file: Path | None, no_cache: bool, no_color: bool
) -> int:
    """Record the findings of the backend in PATH and the state of its pipeline.

    'pipeline-guard check --baseline FILE' then reports what is added to that, and what is lost. To let one more finding
    in, say why in the code (# pipeline-guard: ignore[PG201] reason); to accept everything there is, record anew.
    """
    from pipeline_guard.cli.ratchet import check_tree, refuse_unreadable
    from pipeline_guard.cli.run import settings_for
    from pipeline_guard.cli.target import resolve_target
    from pipeline_guard.ratchet.store import read_baseline, to_text
    from pipeline_guard.reports import baseline_text
    from pipeline_guard.reports.check_output import deliver
    from pipeline_guard.reports.terminal import make_console

    target = resolve_target([path], "baseline")
    if target.focus:
        raise UserError(f"{path}: is one file of a project; a baseline is of the whole, name the project's folder")
    config = settings_for(target, config_file)
    file = file or _default_file(config)
    before = read_baseline(file) if update or file.exists() else None
    checked = check_tree(target, config, show_progress=True, use_cache=not no_cache)
    refuse_unreadable(checked)
    baseline, refused = checked.baseline(), 0
    if update:
        assert before is not None
        baseline, refused = _shrunk(before, checked, config)
    deliver(to_text(baseline), file, "the baseline")
    baseline_text.render(baseline, before, make_console(no_color=no_color), refused=refused)
    return 0


def _default_file(config: Config) -> Path:
    import os

    return Path(os.path.relpath(config.baseline)) if config.baseline is not None else DEFAULT_FILE


def _shrunk(before: Baseline, checked: Checked, config: Config) -> tuple[Baseline, int]:
    """Return the baseline without what is mended, and how many new findings stayed out."""
    from pipeline_guard.ratchet.compare import compare
    from pipeline_guard.ratchet.record import shrunk

    comparison = compare(before, checked.pipeline_map, checked.findings, config, checked.statements)
    now = checked.baseline()
    return shrunk(before, now, comparison.known, worse=bool(comparison.new)), len(comparison.new)
