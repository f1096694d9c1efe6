"""``pipeline-guard check``: reports every broken promise of the contract and sets the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from pipeline_guard.cli.options import config_option, no_cache_option, no_color_option
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from pipeline_guard.cli.target import Target
    from pipeline_guard.config import Config, SeverityName
    from pipeline_guard.findings import Finding
    from pipeline_guard.pipeline.model import PipelineMap
    from pipeline_guard.ratchet.compared import Compared

FORMATS = ("text", "json", "concise", "sarif", "github", "gitlab", "junit", "markdown", "prompt")


@click.command("check", short_help="Report what breaks the contract.")
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
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note"]),
    help="The least severity that sets the exit code; lesser findings are only reported.  [default: warning]",
)
@click.option(
    "--baseline",
    "baseline_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Report only what is added to, or lost since, the baseline in FILE.  [default: the one in the settings]",
)
@click.option("--no-baseline", is_flag=True, help="Report everything, also where the settings name a baseline.")
@click.option("--since", metavar="REV", help="Report only what is added, or lost, since a commit.")
@click.option("--fail-on-stale", is_flag=True, help="Fail as well where the baseline knows more than there is.")
@click.option("--full", is_flag=True, help="Tell every finding with its code and path, also the many of one rule.")
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
    fail_on: SeverityName | None,
    baseline_file: Path | None,
    no_baseline: bool,
    since: str | None,
    fail_on_stale: bool,
    full: bool,
    config_file: Path | None,
    quiet: bool,
    no_cache: bool,
    no_color: bool,
) -> int:
    """Check that the backend in PATH has one audio path in and one response trigger.

    PATH is a project's folder; when left out, the current one.  For a file, or several paths, the whole project around
    them is judged and the findings in what was named are reported; with --baseline or --since, all that is new.

    Exit codes: 0 clean, 1 findings, 2 usage or configuration error, 3 internal error.
    """
    from pipeline_guard.cli.run import build_map, find_problems, refuse_unmet_declarations, settings_for
    from pipeline_guard.cli.target import resolve_target

    if sum((baseline_file is not None, since is not None, no_baseline)) > 1:
        raise UserError("--baseline, --since and --no-baseline say what to compare with; use one of them")
    target = resolve_target(paths, "check", config_file)
    config = settings_for(target, config_file, select, ignore, fail_on)
    if since is None and baseline_file is None and not no_baseline:
        baseline_file = _declared_baseline(config)
    compares = baseline_file is not None or since is not None
    # What is compared with an earlier state is all that listens and speaks, not what is judged alone.
    pipeline_map = build_map(target, config, show_progress=not quiet, use_cache=not no_cache, to_judge=not compares)
    everywhere = find_problems(pipeline_map, config, use_cache=not no_cache)
    compared: Compared | None = None
    if compares:
        from pipeline_guard.cli.ratchet import compare

        findings, compared = compare(pipeline_map, everywhere, target, config, baseline_file, since)
    else:
        findings = [finding for finding in everywhere if target.reports_on(finding.path)]
    # What a change breaks may lie in a file it does not touch, so a comparison is never limited to some files.
    elsewhere = 0 if compared is not None else len(everywhere) - len(findings)
    show = Show(findings, pipeline_map, group_by, elsewhere, full, compared)
    if output_format == "text" and output_file is None:
        _print_text(show, quiet=quiet, no_color=no_color)
    else:
        from pipeline_guard.reports.check_output import deliver

        if output_format == "text":
            report = _text(show, quiet=quiet)
        else:
            options = {
                "--select": select,
                "--ignore": ignore,
                "--config": config_file,
                "--baseline": baseline_file,
                "--no-baseline": no_baseline,
                "--since": since,
            }
            report = _render(output_format, show, config, _command_line(target, options))
        deliver(report, output_file, f"the {output_format} report")
    if any(config.fails(finding.severity) and not finding.suppressed for finding in findings):
        return 1
    if fail_on_stale and compared is not None and compared.stale:
        click.echo(f"pipeline-guard: {compared.stale_sentence()}", err=True)
        return 1
    refuse_unmet_declarations(pipeline_map, config)
    return 0


def _render(output_format: str, show: Show, config: Config, check_command: str) -> str:
    """Return the report in a format for machines."""
    from pipeline_guard.reports.check_formats import render
    from pipeline_guard.rulebook import rule_ids

    return render(
        output_format,
        show.findings,
        show.pipeline_map,
        rule_ids=[rule_id for rule_id in rule_ids() if config.is_selected(rule_id)],
        check_command=check_command,
        compared=show.compared,
    )


def _declared_baseline(config: Config) -> Path | None:
    """Return the baseline that the settings name, by its way from the current folder; refuse one that is not there."""
    import os

    if config.baseline is None:
        return None
    file = Path(os.path.relpath(config.baseline))
    if not file.exists():
        raise UserError(
            f"{config.source}: the settings name the baseline {file}, which does not exist; record it with "
            "'pipeline-guard baseline' and commit it, or take 'baseline' out of the settings"
        )
    return file


class Show(NamedTuple):
    """What a text report is made of."""

    findings: Sequence[Finding]
    pipeline_map: PipelineMap
    group_by: str
    elsewhere: int
    full: bool
    compared: Compared | None


def _print_text(show: Show, *, quiet: bool, no_color: bool) -> None:
    from pipeline_guard.reports import check_text
    from pipeline_guard.reports.page import make_page
    from pipeline_guard.reports.terminal import clean

    page = make_page(no_color=no_color)
    if quiet:
        check_text.render_lines(show.findings, page)
    else:
        check_text.render(
            show.findings,
            show.pipeline_map,
            page,
            group_by=show.group_by,
            elsewhere=show.elsewhere,
            full=show.full,
            compared=show.compared,
        )
        if Path(show.pipeline_map.root).resolve() != Path.cwd():
            page.line(f"Paths count from {clean(show.pipeline_map.root)}", fold=False)


def _text(show: Show, *, quiet: bool) -> str:
    """Return what a pipe would get."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as stream:
        _print_text(show, quiet=quiet, no_color=True)
    return stream.getvalue()


def _command_line(target: Target, options: Mapping[str, str | Path | bool | None]) -> str:
    """Return the command that checks the same again, as run in the target's root."""
    import shlex

    words = ["pipeline-guard", "check", *(target.focus or (".",))]
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif value:
            words += [name, str(value.absolute() if isinstance(value, Path) else value)]
    return shlex.join(words)
