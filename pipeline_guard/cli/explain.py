"""``pipeline-guard explain``: says what a rule means for the caller on the phone, why it is one, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pipeline_guard.cli.options import no_color_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import Console

    from pipeline_guard.rulebook import Example, Rule

CONTRACT_STEPS = {
    0: "the gate itself",
    1: "1, one map",
    2: "2, one audio path in",
    3: "3, greeting in the same session",
    4: "4, one live transcription",
    5: "5, one trigger",
    6: "6, active-response bookkeeping",
    7: "7, one status line",
}
SAFETIES = {
    "safe": "safe: takes out the duplicate and nothing else",
    "unsafe": "unsafe: changes more than the duplicate, look at the diff",
    "manual": "by hand: only you can say what should stay",
}


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from pipeline_guard.rulebook import load_rules

    start = incomplete.upper()
    return [CompletionItem(rule.id, help=rule.title) for rule in load_rules() if rule.id.startswith(start)]


@click.command("explain", short_help="Say what a rule means and what to do.")
@click.argument("rule", metavar="RULE", shell_complete=_complete)
@no_color_option
def command(rule: str, no_color: bool) -> int:
    """Explain RULE, given as an id (PG201) or a name (response-create-outside-trigger)."""
    from pipeline_guard.config import did_you_mean
    from pipeline_guard.errors import UserError
    from pipeline_guard.reports.terminal import make_console
    from pipeline_guard.rulebook import find_rule, load_rules

    found = find_rule(rule)
    if found is None:
        known = [word for each in load_rules() for word in (each.id, each.name)]
        hint = did_you_mean(rule.upper() if rule.upper().startswith("PG") else rule.lower(), known)
        raise UserError(f"no rule is called {rule!r}{hint}; 'pipeline-guard rules' lists them")
    _explain(found, make_console(no_color=no_color))
    return 0


def _explain(rule: Rule, console: Console) -> None:
    from rich.text import Text

    from pipeline_guard.reports.terminal import SEVERITY_STYLES

    title = Text.assemble(
        (rule.id, "bold"), " ", (rule.name, "bold"), "  ", (rule.severity, SEVERITY_STYLES[rule.severity])
    )
    console.print(title)
    console.print(Text(rule.title))
    console.print(Text(f"Contract step: {CONTRACT_STEPS.get(rule.contract, str(rule.contract))}", style="dim"))
    for heading, text in (
        ("What the caller hears", rule.caller),
        ("Why", rule.why),
        ("What to do", f"{_one_paragraph(rule.fix)} ({SAFETIES[rule.fix_safety]})"),
    ):
        console.print()
        console.print(Text(heading, style="bold"))
        console.print(Text(_one_paragraph(text)))
    for heading, examples in (("Found", rule.bad), ("Not found", rule.good)):
        for example in examples:
            console.print()
            console.print(Text(f"{heading}: {example.title}", style="bold"))
            _show_example(example, rule.id, console)


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())


def _show_example(example: Example, rule_id: str, console: Console) -> None:
    if example.before:
        console.print("  before:")
        _show_files(example.before, rule_id, console)
        console.print("  then:")
    _show_files(example.files, rule_id, console)


def _show_files(files: Mapping[str, str], rule_id: str, console: Console) -> None:
    from rich.text import Text

    for name, code in files.items():
        if len(files) > 1:
            console.print(Text(f"  {name}", style="dim"))
        for line in code.rstrip().split("\n"):
            style = "red" if f"# {rule_id}" in line else ""
            console.print(Text(f"    {line}", style=style), soft_wrap=True)
