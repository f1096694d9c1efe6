"""``pipeline-guard check``: reports every broken promise of the contract and sets the exit code."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline_guard.cli.options import config_option, no_color_option


@click.command("check")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="[PATH]...")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the findings.",
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
@no_color_option
def command(
    paths: tuple[Path, ...],
    output_format: str,
    select: str | None,
    ignore: str | None,
    group_by: str,
    config_file: Path | None,
    quiet: bool,
    no_color: bool,
) -> int:
    """Check that the backend in PATH has one audio path in and one response trigger.

    PATH is a project's folder (the current one when left out).  For single files, or several paths, the whole project
    around them is judged and the findings in them are reported.
    """
    from pipeline_guard.cli.run import build_map, find_problems, settings_for
    from pipeline_guard.cli.target import resolve_target

    target = resolve_target(paths, "check")
    config = settings_for(target, config_file, select, ignore)
    pipeline_map = build_map(target, config, show_progress=not quiet)
    everywhere = find_problems(pipeline_map, config)
    findings = [finding for finding in everywhere if target.reports_on(finding.path)]
    if output_format == "json":
        from pipeline_guard.reports import check_json

        click.echo(check_json.render(findings, pipeline_map).encode())
    else:
        from pipeline_guard.reports import check_text
        from pipeline_guard.reports.terminal import make_console

        console = make_console(no_color=no_color)
        if quiet:
            check_text.render_lines(findings, console)
        else:
            elsewhere = len(everywhere) - len(findings)
            check_text.render(findings, pipeline_map, console, group_by=group_by, elsewhere=elsewhere)
    return 1 if any(not finding.suppressed for finding in findings) else 0
