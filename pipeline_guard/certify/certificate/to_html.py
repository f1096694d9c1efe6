"""The certificate as one HTML page, with nothing from elsewhere and no script: verdict, parts, calls, timelines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from pipeline_guard.certify.certificate import words
from pipeline_guard.certify.certificate.model import CallResult, Certificate, Part
from pipeline_guard.certify.certificate.svg import draw

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --ground: #fff; --line: #ddd; --good: #1b6e2d;
 --bad: #b00020; --audio: #9aa7b8; --speech: #2f6fb7; --response: #5b8c3a; --voice: #8a5fbf; --fault: #b06a00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e6; --soft: #9a9aa0; --ground: #161618; --line: #3a3a3e;
 --good: #7ddc8f; --bad: #ff8a96; --audio: #5f6b7a; --speech: #6fa8e8; --response: #8fc46a; --voice: #b795e6;
 --fault: #e8a94a } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 75rem; color: var(--ink);
 background: var(--ground) }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.verdict { font-size: 1.2rem; font-weight: 600 } .pass { color: var(--good) } .fail { color: var(--bad) }
.soft, figcaption { color: var(--soft) } code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: start; vertical-align: top;
 border-bottom: 1px solid var(--line) } td.number { text-align: end }
figure { margin: 1rem 0; overflow-x: auto } details { margin: .5rem 0 } summary { cursor: pointer }
.timeline text { font: 12px system-ui, sans-serif; fill: var(--ink) }
.timeline .name { text-anchor: end } .timeline .tick { fill: var(--soft); text-anchor: middle }
.timeline .grid { stroke: var(--line) } .timeline .label { fill: var(--ground) }
.audio rect { fill: var(--audio) } .speech rect { fill: var(--speech) } .response rect { fill: var(--response) }
.voice rect { fill: var(--voice) } .wrong rect { fill: none; stroke: var(--bad); stroke-width: 2 }
.wrong .label { fill: var(--bad) } .turn line { stroke: var(--ink); stroke-width: 2 } .mark line { stroke: var(--soft) }
.clear circle { fill: none; stroke: var(--ink) } .fault path { fill: var(--fault) }
.error path { stroke: var(--bad); stroke-width: 2.5; fill: none } .reason path { fill: var(--bad) }
"""
_LEGEND = (
    "Bars: the caller's frames and speech, audio that reached Realtime, responses from request to end, and what the "
    "caller heard. An outline in red is a response that did not complete, or a voice of no response. Tall lines: turns "
    "(dark) and marks (light); circles: clears; triangles upward: faults that were played; crosses: errors; triangles "
    "downward: where a check failed. Point at anything to read what it is."
)


def render(certificate: Certificate) -> str:
    """Return the page."""
    return "\n".join(_lines(certificate)) + "\n"


def _lines(certificate: Certificate) -> Iterator[str]:
    title = escape(words.title(certificate))
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>"
    yield f'<p class="verdict {_class(certificate.passed)}">{escape(words.verdict(certificate))}</p>'
    yield f'<p class="soft">{"<br>".join(f"<code>{escape(line)}</code>" for line in words.identity(certificate))}</p>'
    for part in certificate.parts:
        yield from _part(part)
    yield f"<h2>Calls</h2><p>{escape(words.calls_summary(certificate))}</p>"
    tally = [
        (_mark(not failed), name, str(passed), str(failed), str(unshown))
        for name, passed, failed, unshown in certificate.tally()
    ]
    yield from _table(("", "what every call has to show", "passed", "failed", "not shown"), tally)
    for call in certificate.failed_calls:
        yield from _failed(call)
    yield from _timelines(certificate)
    yield "<details><summary>Every call</summary>"
    rows = [
        (_mark(c.passed), str(c.schedule.seed), str(c.schedule), str(c.turns), str(c.responses), f"{c.seconds:.1f} s")
        for c in certificate.calls
    ]
    yield from _table(("", "seed", "schedule", "turns", "responses", "length"), rows)
    yield "</details><h2>What this does not show</h2><ul>"
    yield from (f"<li>{escape(line)}</li>" for line in certificate.unshown)
    yield "</ul></body></html>"


def _part(part: Part) -> Iterator[str]:
    name = escape(part.name[0].upper() + part.name[1:])
    yield f'<h2>{name}</h2><p class="{_class(part.passed)}">{_mark(part.passed)} {escape(part.summary)}</p><ul>'
    for check in part.checks:
        mark = f'<span class="{_class(check.passed)}">{_mark(check.passed)}</span>'
        reasons = "".join(f"<li>{escape(str(reason))}</li>" for reason in check.reasons)
        inner = f"<ul>{reasons}</ul>" if reasons else ""
        yield f"<li>{mark} {escape(check.name)}: {escape(check.detail)}{inner}</li>"
    yield "</ul>"
    if part.rows:
        yield "<details><summary>Figures</summary>"
        yield from _table(part.head, part.rows)
        yield "</details>"


def _failed(call: CallResult) -> Iterator[str]:
    yield f'<h3 class="fail">✗ {escape(words.call_title(call))}</h3><ul>'
    yield from (f'<li dir="auto">{escape(reason)}</li>' for reason in words.reasons(call))
    yield f"</ul><p>Again, alone: <code>{escape(call.rerun)}</code></p>"
    yield from _figure(call)


def _timelines(certificate: Certificate) -> Iterator[str]:
    shown = [call for call in certificate.calls if call.passed and call.timeline is not None]
    if shown or any(call.timeline for call in certificate.failed_calls):
        yield f'<h2>Timeline</h2><p class="soft">{escape(_LEGEND)}</p>'
    for call in shown:
        yield from _figure(call)


def _figure(call: CallResult) -> Iterator[str]:
    if call.timeline is not None:
        title = words.call_title(call)
        yield f"<figure>{draw(call.timeline, title)}<figcaption>{escape(title)}</figcaption></figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"<table><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"
    for row in rows:
        cells = "".join(f"<td{_number(cell)}>{escape(cell)}</td>" for cell in row)
        yield f"<tr>{cells}</tr>"
    yield "</table>"


def _number(cell: str) -> str:
    return ' class="number"' if cell.replace(",", "").isdigit() else ""


def _class(passed: bool) -> str:
    return "pass" if passed else "fail"


def _mark(passed: bool) -> str:
    return "✓" if passed else "✗"
