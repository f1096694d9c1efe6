"""``pipeline-guard check``: reports every broken promise of the contract and sets the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline_guard.cli.options import config_option, no_cache_option, no_color_option

if TYPE_CHECKING:
    from pipeline_guard.cli.target import Target
    from pipeline_guard.findings import Finding
    from pipeline_guard.pipeline.model import PipelineMap

FORMATS = ("text", "json", "concise", "sarif", "github", "gitlab", "junit", "markdown", "prompt")


@click.command("check")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="[PATH]...")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="How to print the findings.",
)
@click.option(
    "--output",
    "output_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the findings to FILE, whole or not at all, instead of printing them.",
)
@click.option("--select", metavar="RULES", help="Only these rules: ids or prefixes, as in PG2,PG101.")
@click.option("--ignore", metavar="RULES", help="Not these rules: ids or prefixes, as in PG2,PG101.")
@click.option(
    "--group-by",
    type=click.Choice(["file", "rule"]),
    default="file",
    show_default=True,
    help="What to put the findings together by.",
)
@config_option
@click.option("-q", "--quiet", is_flag=True, help="One line per finding and nothing else.")
@no_cache_option
@no_color_option
def command(
    paths: tuple[Path, ...],
    output_format: str,
    output_file: Path | None,
    select: str | None,
    ignore: str | None,
    group_by: str,
    config_file: Path | None,
    quiet: bool,
    no_cache: bool,
    no_color: bool,
) -> int:
    """Check that the backend in PATH has one audio path in and one response trigger.

    PATH is a project's folder (the current one when left out).  For single files, or several paths, the whole project
    around them is judged and the findings in them are reported.
    """
    from pipeline_guard.cli.run import build_map, find_problems, refuse_unmet_declarations, settings_for
    from pipeline_guard.cli.target import resolve_target

    target = resolve_target(paths, "check")
    config = settings_for(target, config_file, select, ignore)
    pipeline_map = build_map(target, config, show_progress=not quiet, use_cache=not no_cache)
    everywhere = find_problems(pipeline_map, config)
    findings = [finding for finding in everywhere if target.reports_on(finding.path)]
    elsewhere = len(everywhere) - len(findings)
    if output_format == "text" and output_file is None:
        _print_text(findings, pipeline_map, group_by, elsewhere, quiet=quiet, no_color=no_color)
    else:
        from pipeline_guard.reports.check_output import deliver

        if output_format == "text":
            report = _text(findings, pipeline_map, group_by, elsewhere, quiet=quiet)
        else:
            from pipeline_guard.reports.check_formats import render
            from pipeline_guard.rulebook import rule_ids

            report = render(
                output_format,
                findings,
                pipeline_map,
                rule_ids=[rule_id for rule_id in rule_ids() if config.is_selected(rule_id)],
                check_command=_command_line(target, select, ignore, config_file),
            )
        deliver(report, output_file, f"the {output_format} report")
    if any(not finding.suppressed for finding in findings):
        return 1
    refuse_unmet_declarations(pipeline_map, config)
    return 0


def _print_text(
    findings: Sequence[Finding],
    pipeline_map: PipelineMap,
    group_by: str,
    elsewhere: int,
    *,
    quiet: bool,
    no_color: bool,
) -> None:
    from pipeline_guard.reports import check_text
    from pipeline_guard.reports.terminal import make_console

    console = make_console(no_color=no_color)
    if quiet:
        check_text.render_lines(findings, console)
    else:
        check_text.render(findings, pipeline_map, console, group_by=group_by, elsewhere=elsewhere)


def _text(findings: Sequence[Finding], pipeline_map: PipelineMap, group_by: str, elsewhere: int, *, quiet: bool) -> str:
    """Return what a pipe would get."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as stream:
        _print_text(findings, pipeline_map, group_by, elsewhere, quiet=quiet, no_color=True)
    return stream.getvalue()


def _command_line(target: Target, select: str | None, ignore: str | None, config_file: Path | None) -> str:
    """Return the command that checks the same again, as run in the target's root."""
    import shlex

    words = ["pipeline-guard", "check", *(target.focus or (".",))]
    for name, value in (("--select", select), ("--ignore", ignore), ("--config", config_file)):
        if value:
            words += [name, str(value.absolute() if isinstance(value, Path) else value)]
    return shlex.join(words)
