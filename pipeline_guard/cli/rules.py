"""``pipeline-guard rules``: lists every rule with its severity and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pipeline_guard.cli.options import no_color_option

if TYPE_CHECKING:
    from pipeline_guard.rulebook import Rule


@click.command("rules", short_help="List the rules.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to print the list.",
)
@no_color_option
def command(output_format: str, no_color: bool) -> int:
    """List the rules: id, severity, name, and what each finds."""
    from pipeline_guard.rulebook import load_rules

    rules = load_rules()
    if output_format == "text":
        _show(rules, no_color=no_color)
    else:
        from pipeline_guard.reports import rule_list

        render = rule_list.as_json if output_format == "json" else rule_list.as_markdown
        click.echo(render(rules).encode(), nl=False)
    return 0


def _show(rules: Sequence[Rule], *, no_color: bool) -> None:
    from rich.text import Text

    from pipeline_guard.reports.terminal import SEVERITY_STYLES, aligned, make_console

    console = make_console(no_color=no_color)
    rows = [
        (Text(rule.id, style="bold"), Text(rule.severity, style=SEVERITY_STYLES[rule.severity]),
         Text(rule.name), Text(rule.title))
        for rule in rules
    ]  # fmt: skip
    console.print(aligned(rows, console))
    console.print()
    console.print(Text("pipeline-guard explain RULE says what the caller hears, why, and what to do."))
