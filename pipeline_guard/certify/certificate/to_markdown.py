"""The certificate as Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline_guard.certify.certificate import words
from pipeline_guard.certify.certificate.model import Certificate, Part


def render(certificate: Certificate) -> str:
    """Return the Markdown text."""
    return "\n".join(_lines(certificate)) + "\n"


def _lines(certificate: Certificate) -> Iterator[str]:
    yield f"# {words.title(certificate)}"
    yield ""
    yield f"**{words.verdict(certificate)}**"
    yield ""
    yield from (f"- {line}" for line in words.identity(certificate))
    for part in certificate.parts:
        yield from _part(part)
    yield from ["", "## Calls", "", words.calls_summary(certificate), ""]
    tally = [
        (_mark(not failed), name, str(passed), str(failed), str(unshown))
        for name, passed, failed, unshown in certificate.tally()
    ]
    yield from _table(("", "what every call has to show", "passed", "failed", "not shown"), tally)
    for call in certificate.failed_calls:
        yield from ["", f"### ✗ {_text(words.call_title(call))}", ""]
        yield from (f"- {_text(reason)}" for reason in words.reasons(call))
        yield from ["", f"    {call.rerun}"]
    yield from ["", "<details><summary>Every call</summary>", ""]
    rows = [
        (_mark(call.passed), str(call.schedule.seed), str(call.schedule), f"{call.turns}", f"{call.responses}")
        for call in certificate.calls
    ]
    yield from _table(("", "seed", "schedule", "turns", "responses"), rows)
    yield from ["", "</details>", "", "## What this does not show", ""]
    yield from (f"- {line}" for line in certificate.unshown)


def _part(part: Part) -> Iterator[str]:
    yield from ["", f"## {part.name[0].upper()}{part.name[1:]}", "", f"{_mark(part.passed)} {_text(part.summary)}", ""]
    for check in part.checks:
        yield f"- {_mark(check.passed)} {_text(check.name)}: {_text(check.detail)}"
        yield from (f"  - {_text(str(reason))}" for reason in check.reasons)
    if part.rows:
        yield ""
        yield from _table(part.head, part.rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows)


def _mark(passed: bool) -> str:
    return "✓" if passed else "✗"


def _text(text: str) -> str:
    """Return text that Markdown takes as it stands."""
    plain = " ".join(text.split())
    for sign in "\\`*_|<>[]":
        plain = plain.replace(sign, f"\\{sign}")
    return plain
