"""The log as text: every line as it was, with what it means in the margin, and the account of each call below."""

from __future__ import annotations

import re
from typing import BinaryIO

from pipeline_guard.calllog.audit import Audit, LineReport, checks_of
from pipeline_guard.calllog.ledger import CallLedger
from pipeline_guard.calllog.reader import Block

_WIDTH = 24
# Colour codes and control characters of a log are the log's, not orders to the reader's terminal.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?]*[A-Za-z])?")
_CONTROL = bytes(byte for byte in range(32) if byte not in (9, 10)) + b"\x7f"
_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[33m", "note": "\x1b[36m"}
_RESET = "\x1b[0m"
_MARKS = {"error": "✗", "warning": "!", "note": "·"}
_OUTCOMES = {"pass": ("✓", ""), "fail": ("✗", "error"), "not shown": ("?", "note")}
# So many problems of a call are listed; the counts are above them.
_LISTED = 20


class TextReport:
    """Writes as it reads; nothing is kept."""

    def __init__(self, out: BinaryIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._blank = f"{'':>7} {'':>4} {'':<{_WIDTH}} │ ".encode()

    def block(self, block: Block) -> None:
        """Write lines that say nothing."""
        data = clean(block.data)
        body = data.removesuffix(b"\n").replace(b"\n", b"\n" + self._blank)
        self._out.write(self._blank + body + b"\n")

    def line(self, line: LineReport) -> None:
        """Write a line with its margin."""
        if not line.verdicts:
            self._out.write(self._blank + clean(line.data) + b"\n")
            return
        mark = _MARKS.get(line.severity or "", " ")
        words = " + ".join(verdict.text for verdict in line.verdicts)
        if len(words) > _WIDTH - 2:
            words = words[: _WIDTH - 3] + "…"
        margin = f"{mark} {words:<{_WIDTH - 2}}"
        if self._colour and line.severity:
            margin = _COLOURS[line.severity] + margin + _RESET
        call = "" if line.call is None else f"#{line.call}"
        self._out.write(f"{line.number:>7} {call:>4} {margin} │ ".encode() + clean(line.data) + b"\n")

    def end(self, audit: Audit) -> None:
        """Write the account of each call."""
        self._out.write(summary(audit, colour=self._colour).encode())


class SummaryReport(TextReport):
    """Leaves the lines out."""

    def block(self, block: Block) -> None:
        """Write nothing."""

    def line(self, line: LineReport) -> None:
        """Write nothing."""


def clean(data: bytes) -> bytes:
    """Return log text that cannot control a terminal."""
    if b"\x1b" in data:
        data = _ESCAPES.sub(b"", data)
    return data.translate(None, _CONTROL)


def summary(audit: Audit, *, colour: bool = False) -> str:
    """Return the account of all calls as text."""
    formats = ", ".join(name for name, _ in audit.formats.most_common()) or "no known format"
    lines = [f"\n{audit.lines:,} lines, {formats}"]
    if audit.repeated_lines:
        lines[0] += f"; {audit.repeated_lines:,} lines of pasted repeats were left out"
    for call in audit.calls:
        lines += ["", *_call(call, colour)]
    failed = sum(any(check.outcome == "fail" for check in checks_of(call)) for call in audit.calls)
    total = len(audit.calls)
    verdict = f"{failed} of {total} calls broke the contract" if failed else f"{total} calls, none broke the contract"
    return "\n".join([*lines, "", _paint(verdict, "error" if failed else "", colour), ""])


def title(call: CallLedger) -> str:
    """Return a call's name: its number, ids and lines."""
    names = ", ".join(call.ids[:4]) or "no id in the log"
    together = f", {call.merged} calls that overlap and cannot be told apart" if call.merged > 1 else ""
    return f"call #{call.number} ({names}{together}), lines {call.began_at} to {call.last_line}"


def _call(call: CallLedger, colour: bool) -> list[str]:
    lines = [_paint(title(call), "bold", colour)]
    for check in checks_of(call):
        mark, style = _OUTCOMES[check.outcome]
        lines.append(_paint(f"  {mark} {check.name}: {check.detail}", style, colour))
    shown = call.problems[:_LISTED]
    lines += [f"      line {problem.line}: {problem.text}" for problem in shown]
    more = call.problem_counts.total() - len(shown)
    return [*lines, f"      … and {more} more"] if more > 0 else lines


def _paint(text: str, style: str, colour: bool) -> str:
    if not colour or not style:
        return text
    return f"{_COLOURS.get(style, chr(27) + '[1m')}{text}{_RESET}"
