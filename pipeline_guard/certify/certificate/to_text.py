"""The certificate for a terminal or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_guard.certify.certificate import words
from pipeline_guard.certify.certificate.model import Certificate, Part

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {True: "green", False: "bold red"}
# More failed calls than this are counted; the other formats have them all.
_SHOWN = 20


def render(certificate: Certificate, console: Console) -> None:
    """Print the certificate."""

    def say(text: str = "", style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(words.title(certificate), "bold")
    for line in words.identity(certificate):
        say(f"  {line}", "dim")
    for part in certificate.parts:
        say()
        _part(part, console)
    say()
    say(f"calls: {words.calls_summary(certificate)}", "bold")
    for name, passed, failed, unshown in certificate.tally():
        counts = f"{passed} of {passed + failed}" + (f", not shown in {unshown}" if unshown else "")
        say(f"  {_mark(not failed)} {name}: {counts}", _STYLES[False] if failed else None)
    for call in certificate.failed_calls[:_SHOWN]:
        say()
        say(f"✗ {words.call_title(call)}", _STYLES[False])
        for reason in words.reasons(call):
            say(f"    {reason}")
        say(f"    again, alone: {call.rerun}", "dim")
    if len(certificate.failed_calls) > _SHOWN:
        say(f"\nand {len(certificate.failed_calls) - _SHOWN} more failed calls: see --format json, markdown or html")
    say()
    for line in certificate.unshown:
        say(f"Not shown: {line}", "dim")
    say()
    say(words.verdict(certificate), _STYLES[certificate.passed])


def _part(part: Part, console: Console) -> None:
    style = _STYLES[part.passed]
    console.print(f"{_mark(part.passed)} {part.name}: {part.summary}", style=style, markup=False, soft_wrap=True)
    for check in part.checks:
        line = f"  {_mark(check.passed)} {check.name}: {check.detail}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        for reason in check.reasons:
            console.print(f"      {reason}", markup=False, highlight=False, soft_wrap=True)


def _mark(passed: bool) -> str:
    return "✓" if passed else "✗"
