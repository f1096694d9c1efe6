"""Audits a log: every line in, every line out with what it means, and at the end the account of each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, Protocol

from pipeline_guard.calllog.calls import Calls
from pipeline_guard.calllog.formats import LineReader, Message
from pipeline_guard.calllog.ids import ids_in
from pipeline_guard.calllog.ledger import CallLedger, Severity, Verdict
from pipeline_guard.calllog.markers import Hit, Markers, load_markers
from pipeline_guard.calllog.reader import Block, read_log

Outcome = Literal["pass", "fail", "not shown"]
# How many lines with hits are remembered to know a pasted piece of log again.
_REMEMBERED = 50_000
# Kinds of line that are found outside calls too.
_OF_NO_CALL = frozenset(
    {"live_stt", "live_tts", "session_error", "transcript", "assistant", "call_ended", "sender_ended", "guard_skip"}
)
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class LineReport:
    """One line and what it means; ``call`` is None and ``verdicts`` is empty where it means nothing."""

    number: int
    data: bytes
    text: str
    call: int | None = None
    verdicts: tuple[Verdict, ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity | None:
        """The worst of the verdicts."""
        found = {verdict.severity for verdict in self.verdicts}
        return next((severity for severity in _SEVERITIES if severity in found), None)


class Report(Protocol):
    """What an output does with a log on its way through."""

    def block(self, block: Block) -> None:
        """Take lines that say nothing."""

    def line(self, line: LineReport) -> None:
        """Take a line that was looked at."""


@dataclass(frozen=True)
class CallCheck:
    """One question of the contract to one call."""

    name: str
    outcome: Outcome
    detail: str


@dataclass
class Audit:
    """The result: the log's formats, and its calls with their checks."""

    lines: int = 0
    size: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    calls: list[CallLedger] = field(default_factory=list)
    repeated_lines: int = 0

    @property
    def passed(self) -> bool:
        """Whether no call broke the contract."""
        return not any(check.outcome == "fail" for call in self.calls for check in checks_of(call))


class _Repeats:
    """Knows pieces of log that were pasted twice: a response is created once, so a second such line begins a repeat."""

    def __init__(self) -> None:
        self._sequence: list[int] = []
        self._unique: dict[int, int] = {}
        self._next: int | None = None

    def is_repeat(self, data: bytes, *, unique: bool) -> bool:
        """Say whether this line was there before; ``unique`` lines can be there only once."""
        mark = hash(data)
        if self._next is not None and self._next < len(self._sequence) and self._sequence[self._next] == mark:
            self._next += 1
            return True
        self._next = None
        if unique and mark in self._unique:
            self._next = self._unique[mark] + 1
            return True
        if len(self._sequence) >= _REMEMBERED:
            self._sequence.clear()
            self._unique.clear()
        if unique:
            self._unique[mark] = len(self._sequence)
        self._sequence.append(mark)
        return False


def audit(stream: BinaryIO, report: Report, *, progress: Callable[[int], None] | None = None) -> Audit:
    """Read a log to its end, passing each line to ``report``.  ``progress`` is told how many bytes were read.

    Memory does not grow with the log, but for a small account of each call in it.
    """
    markers, reader, calls, repeats = load_markers(), LineReader(), Calls(), _Repeats()
    result = Audit()
    for piece in read_log(stream, markers.literals):
        result.size += len(piece.data)
        if isinstance(piece, Block):
            report.block(piece)
            result.lines += piece.lines
            if progress is not None:
                progress(len(piece.data))
            continue
        result.lines += 1
        result.size += 1
        text = piece.data.decode("utf-8", "replace")
        message = reader.read(text)
        hits = [] if message.header else markers.find(message.text)
        if not hits:
            report.line(LineReport(result.lines, piece.data, text))
        else:
            result.formats[message.format] += 1
            unique = any(hit.response and hit.kind in ("response_created", "response_done") for hit in hits)
            if repeats.is_repeat(piece.data, unique=unique):
                result.repeated_lines += 1
                report.line(LineReport(result.lines, piece.data, text, None, (Verdict("said before"),), ("repeat",)))
            else:
                line = _judge(markers, calls, hits, message, result.lines)
                report.line(LineReport(result.lines, piece.data, text, line[0], line[1], tuple(h.kind for h in hits)))
        if progress is not None:
            progress(len(piece.data) + 1)
    for call in calls.calls:
        call.close()
    # A stray line before the first call, or a beginning without anything after it, is no call.
    result.calls = [call for call in calls.calls if call.created or call.turns or call.forms.total() > 3]
    return result


def _judge(
    markers: Markers, calls: Calls, hits: list[Hit], message: Message, line: int
) -> tuple[int | None, tuple[Verdict, ...]]:
    ids = [*ids_in(message.text), *message.ids]
    verdicts: list[Verdict] = []
    number: int | None = None
    for hit in hits:
        if hit.kind == "call_started":
            call: CallLedger | None = calls.begins(ids, line)
        else:
            call = calls.of(ids, line, certain=hit.kind not in _OF_NO_CALL)
        if call is None:
            continue
        number = call.number
        reason = markers.reason_kind(hit, message.text) if hit.kind == "trigger" else ""
        verdict = call.take(hit, line, message.seconds, reason)
        if verdict is not None:
            verdicts.append(verdict)
    return number, tuple(verdicts)


def checks_of(call: CallLedger) -> list[CallCheck]:
    """Return the contract's questions to a call, with the answers of its log."""
    counts = call.problem_counts
    loops = call.sender_loops
    checks = [
        CallCheck(
            "sender loops",
            "not shown" if loops is None else "fail" if loops > call.merged else "pass",
            "not in the log" if loops is None else str(loops),
        ),
        _balance_check(call),
    ]
    checks += [
        CallCheck(name, "fail" if counts[kind] else "pass", str(counts[kind]))
        for name, kind in (
            ("active-response errors", "active response"),
            ("parallel STT", "parallel STT"),
            ("second voice", "second voice"),
            ("duplicate replies", "duplicate reply"),
            ("triggers after hang-up", "trigger after hang-up"),
            ("timer triggers", "timer trigger"),
            ("recovery triggers", "recovery trigger"),
        )
    ]
    return checks


def _balance_check(call: CallLedger) -> CallCheck:
    name = "responses created = turns committed + triggers"
    if call.balance is None:
        missing = "no responses" if not call.created else "no turns"
        return CallCheck(name, "not shown", f"{call.created} responses, {call.turns} turns; {missing} in the log")
    turns = f"{call.turns} turns"
    if call.answered_together:
        turns += f" ({call.answered_together} answered together with another)"
    asked = ", ".join(f"{count} {kind}" for kind, count in _asked(call))
    detail = f"{call.created} responses, {turns}, {call.asked} triggers" + (f" ({asked})" if asked else "")
    if call.created_after_end:
        detail += f"; {call.created_after_end} more responses after the call ended"
    if call.merged > 1:
        detail += "; calls that overlap, judged by their sums"
    if call.unasked:
        return CallCheck(name, "fail", f"{detail}: {call.unasked} that nobody asked for")
    if call.unanswered:
        detail += f"; {call.unanswered} turns without a response"
    return CallCheck(name, "pass", detail)


def _asked(call: CallLedger) -> Iterator[tuple[str, int]]:
    if call.inferred_greetings:
        yield "greeting without a line of its own", call.inferred_greetings
    for kind, count in sorted(call.triggers.items()):
        if kind != "turn" and count:
            yield kind, count
