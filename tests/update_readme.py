"""Writes the table of rules into README.md: ``python -m tests.update_readme``."""

from __future__ import annotations

from pathlib import Path

from pipeline_guard.reports.rule_list import as_markdown
from pipeline_guard.rulebook import load_rules

README = Path(__file__).resolve().parent.parent / "README.md"
COMMAND = "python -m tests.update_readme"
START, END = "<!-- rules:start -->\n", "<!-- rules:end -->\n"


def updated(readme: str) -> str:
    """Return the README with the table as the rule files have it now; all around the marks stays as it is."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"README.md has no line {START.strip()} with {END.strip()} below it")
    return f"{before}{START}{as_markdown(load_rules())}{END}{after}"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
