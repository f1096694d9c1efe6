"""The audit as JSON for programs: version, verdict, every line that means something, and the account of each call."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from pipeline_guard.calllog.audit import Audit, LineReport, checks_of
from pipeline_guard.calllog.ledger import CallLedger
from pipeline_guard.calllog.reader import Block


class JsonReport:
    """Writes one object; its ``lines`` are written as they come, so that nothing has to be kept."""

    def __init__(self, out: BinaryIO, source: str) -> None:
        self._out = out
        self._first = True
        self._write('{"version": 1, "source": ' + json.dumps(source, ensure_ascii=False) + ', "lines": [')

    def block(self, block: Block) -> None:
        """Lines that say nothing are counted, not listed."""

    def line(self, line: LineReport) -> None:
        """Write a line that means something."""
        if not line.verdicts:
            return
        entry = {
            "line": line.number,
            "call": line.call,
            "kinds": list(line.kinds),
            "verdict": " + ".join(verdict.text for verdict in line.verdicts),
            "severity": line.severity,
            "text": line.text,
        }
        self._write(("\n" if self._first else ",\n") + json.dumps(entry, ensure_ascii=False))
        self._first = False

    def end(self, audit: Audit) -> None:
        """Write the rest."""
        rest = {
            "line_count": audit.lines,
            "formats": dict(audit.formats),
            "repeated_lines": audit.repeated_lines,
            "calls": [call_as_json(call) for call in audit.calls],
            "verdict": "pass" if audit.passed else "fail",
        }
        self._write("\n], " + json.dumps(rest, ensure_ascii=False, indent=1)[1:] + "\n")

    def _write(self, text: str) -> None:
        self._out.write(text.encode("utf-8", "replace"))


def call_as_json(call: CallLedger) -> dict[str, Any]:
    """Return the account of a call."""
    return {
        "number": call.number,
        "ids": call.ids,
        "merged": call.merged,
        "first_line": call.began_at,
        "last_line": call.last_line,
        "ended_at": call.ended_at,
        "sender_loops": call.sender_loops,
        "turns": call.turns,
        "turns_counted_by": call.turn_source,
        "responses": call.created,
        "responses_done": dict(call.statuses),
        "triggers": {kind: count for kind, count in call.triggers.items() if count},
        "inferred_greetings": call.inferred_greetings,
        "responses_after_end": call.created_after_end,
        "answered_together": call.answered_together,
        "unanswered_turns": call.unanswered,
        "balance": call.balance,
        "guard_skips": call.guard_skips,
        "checks": [{"name": c.name, "outcome": c.outcome, "detail": c.detail} for c in checks_of(call)],
        "problems": [{"kind": p.kind, "line": p.line, "text": p.text, "severity": p.severity} for p in call.problems],
        "problem_counts": dict(call.problem_counts),
    }
