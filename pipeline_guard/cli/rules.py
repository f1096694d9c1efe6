"""``pipeline-guard rules``: lists every rule with its severity and what it finds."""

from __future__ import annotations

import click

from pipeline_guard.cli.options import no_color_option


@click.command("rules")
@no_color_option
def command(no_color: bool) -> int:
    """List the rules."""
    from rich.table import Table
    from rich.text import Text

    from pipeline_guard.reports.terminal import SEVERITY_STYLES, make_console
    from pipeline_guard.rulebook import load_rules

    console = make_console(no_color=no_color)
    table = Table.grid(padding=(0, 2))
    for rule in load_rules():
        severity = Text(rule.severity, style=SEVERITY_STYLES[rule.severity])
        table.add_row(Text(rule.id, style="bold"), severity, Text(rule.name, no_wrap=True), Text(rule.title))
    console.print(table)
    console.print()
    console.print(Text("pipeline-guard explain RULE says what the caller hears, why, and what to do."))
    return 0
