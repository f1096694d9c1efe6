"""The list of rules for other programs and for documents."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline_guard.rulebook import Rule

VERSION = 1


def as_json(rules: Iterable[Rule]) -> str:
    """Return everything that the rule files say except their examples, as indented JSON that ends in a newline."""
    document = {
        "version": VERSION,
        "rules": [
            {
                "id": rule.id,
                "name": rule.name,
                "title": rule.title,
                "family": rule.family,
                "severity": rule.severity,
                "contract": rule.contract,
                "caller": _line(rule.caller),
                "why": _line(rule.why),
                "fix": {"text": _line(rule.fix), "safety": rule.fix_safety},
            }
            for rule in rules
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def as_markdown(rules: Iterable[Rule]) -> str:
    """Return a table with one row per rule."""
    lines = ["| rule | name | severity | what it finds |", "|---|---|---|---|"]
    lines += [f"| {rule.id} | {rule.name} | {rule.severity} | {_cell(rule.title)} |" for rule in rules]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|").replace("<", "&lt;")
