"""The agent's own log of the call, audited line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator

from pipeline_guard.calllog.audit import Audit, LineReport, audit, checks_of
from pipeline_guard.calllog.reader import Block
from pipeline_guard.certify.judging.facts import CallFacts, Check, Reason, verdict

LOG = "the log shows one pipeline"
# Where a fault took a request or a response away, a watchdog's trigger or a retry asks for the first response, not
# for a second one; whether there was a second one, the call itself shows.
_AGAIN = frozenset({"recovery trigger", "timer trigger"})
# Where the service creates a response by itself, neither the client nor its log can do anything about these.
_UNASKED = frozenset({"active response", "duplicate response"})


class _Nobody:
    """A report that nobody reads."""

    def block(self, block: Block) -> None:
        """Pass over lines that say nothing."""

    def line(self, line: LineReport) -> None:
        """Pass over a line."""


def audit_lines(lines: list[str]) -> Audit:
    """Return the audit of a log given as lines."""
    return audit(io.BytesIO("".join(f"{line}\n" for line in lines).encode("utf-8", "replace")), _Nobody())


def log_check(call: CallFacts) -> Check:
    """Judge the log, where there is one and it says something of the call."""
    if call.log is None:
        return Check(LOG, True, "the agent's log is not known", shown=False)
    result = audit_lines(list(call.log))
    if not result.calls:
        return Check(LOG, True, f"{len(call.log)} lines, and no call in them", shown=False)
    reasons = list(_reasons(call, result))
    shown = [f"{check.name}: {check.detail}" for found in result.calls for check in checks_of(found)[:2]]
    return verdict(LOG, reasons, "; ".join(shown))


def _reasons(call: CallFacts, result: Audit) -> Iterator[Reason]:
    lines = list(call.log or ())
    for found in result.calls:
        for problem in found.problems:
            if problem.severity != "error" or (problem.kind in _AGAIN and call.lost_something):
                continue
            if problem.kind in _UNASKED and call.has_fault("foreign-created"):
                continue
            said = lines[problem.line - 1].strip() if problem.line <= len(lines) else ""
            code = f"log.{problem.kind.replace(' ', '-')}"
            yield Reason(code, f"{problem.text}: {said[:160]}" if said else problem.text, None, (), problem.line)
