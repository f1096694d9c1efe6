"""The audit as one HTML page, with nothing from elsewhere: the log with its margin, then the account of each call."""

from __future__ import annotations

from html import escape
from typing import BinaryIO

from pipeline_guard.calllog.audit import Audit, LineReport, checks_of
from pipeline_guard.calllog.ledger import CallLedger
from pipeline_guard.calllog.reader import Block
from pipeline_guard.calllog.report_text import clean, title

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Call log audit</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
pre { font: 12px/1.5 ui-monospace, monospace; overflow-x: auto; border: 1px solid #ddd; padding: .5rem }
.m { display: inline-block; width: 34ch; color: #777; user-select: none; white-space: pre }
.hit .m { color: #235 } .error .m { color: #b00020; font-weight: 600 } .warning .m { color: #9a6700 }
.error { background: #fdecee } .warning { background: #fff8e1 }
td { padding: .15rem .8rem .15rem 0; vertical-align: top } .fail { color: #b00020 } .pass { color: #1b6e2d }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } pre { border-color: #444 }
 .hit .m { color: #9cf } .error { background: #40151a } .warning { background: #3a2f0b }
 .error .m, .fail { color: #ff8a96 }
 .pass { color: #7ddc8f } }
</style></head><body>
<h1>Call log audit</h1><p><a href="#calls">To the account of the calls</a></p>
<pre dir="auto">"""


class HtmlReport:
    """Writes as it reads."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._blank = b'<span class="m"></span>'
        self._out.write(_HEAD.encode())

    def block(self, block: Block) -> None:
        """Write lines that say nothing."""
        text = escape(clean(block.data).decode("utf-8", "replace"), quote=False).encode()
        self._out.write(self._blank + text.removesuffix(b"\n").replace(b"\n", b"\n" + self._blank) + b"\n")

    def line(self, line: LineReport) -> None:
        """Write a line with its margin."""
        text = escape(clean(line.data).decode("utf-8", "replace"), quote=False)
        if not line.verdicts:
            self._out.write(self._blank + text.encode() + b"\n")
            return
        call = "" if line.call is None else f"#{line.call}"
        words = " + ".join(verdict.text for verdict in line.verdicts)
        margin = escape(f"{line.number:>6} {call:>4} {words}")
        anchor = f'<span id="L{line.number}" class="hit {line.severity or ""}"><span class="m">{margin}</span>'
        self._out.write(f"{anchor}{text}</span>\n".encode())

    def end(self, audit: Audit) -> None:
        """Write the account of each call."""
        verdict = "none broke the contract" if audit.passed else "the contract was broken"
        parts = [f'</pre><h2 id="calls">{len(audit.calls)} calls: {verdict}</h2>', f"<p>{audit.lines:,} lines</p>"]
        parts += [_call(call) for call in audit.calls]
        self._out.write(("\n".join([*parts, "</body></html>"]) + "\n").encode())


def _call(call: CallLedger) -> str:
    marks = {"pass": "✓", "fail": "✗", "not shown": "?"}
    rows = "".join(
        f'<tr class="{check.outcome}"><td>{marks[check.outcome]}</td><td>{escape(check.name)}</td>'
        f"<td>{escape(check.detail)}</td></tr>"
        for check in checks_of(call)
    )
    problems = "".join(
        f'<li><a href="#L{problem.line}">line {problem.line}</a>: {escape(problem.text)}</li>'
        for problem in call.problems
    )
    return f"<h3>{escape(title(call))}</h3><table>{rows}</table><ul>{problems}</ul>"
