"""The account of one call: turns, triggers, responses, and everything in the log that breaks one clean pipeline."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Literal

from pipeline_guard.calllog.markers import Hit

Severity = Literal["error", "warning", "note"]
# A response may be logged before the turn that it answers: threads write when they come to it.  So many lines of the
# call, and of the log, may lie between before it counts as one that nobody asked for.
_PATIENCE, _PATIENCE_LINES = 10, 25
# More of one call's problems than this are counted, not kept.
_KEPT = 200
_BEST_TURN_SOURCE = ("turn_committed", "speech_stopped", "transcript")
_CAUSED_BY_CLOCK = {"timer": "timer trigger", "recovery": "recovery trigger"}


@dataclass(frozen=True)
class Problem:
    """Something that breaks the contract, and the line that shows it."""

    kind: str
    line: int
    text: str
    severity: Severity = "error"


@dataclass(frozen=True)
class Verdict:
    """What the margin says of a line."""

    text: str
    severity: Severity | None = None


@dataclass
class CallLedger:
    """One call, or several that overlap and cannot be told apart (``merged`` counts them)."""

    number: int
    began_at: int
    ids: list[str] = field(default_factory=list)
    ended_at: int | None = None
    merged: int = 1
    forms: Counter[tuple[str, str]] = field(default_factory=Counter)
    triggers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    created: int = 0
    done: int = 0
    inferred_greetings: int = 0
    created_after_end: int = 0
    answered_together: int = 0
    unasked: int = 0
    active_errors: int = 0
    guard_skips: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_counts: Counter[str] = field(default_factory=Counter)
    last_line: int = 0
    _turn_source: str | None = None
    _waiting_turns: int = 0
    _waiting_triggers: int = 0
    _pending_forms: set[str] = field(default_factory=set)
    _pending_reason: str | None = None
    _unpaid: deque[tuple[int, int]] = field(default_factory=deque)
    _hits: int = 0
    _responses: deque[str] = field(default_factory=lambda: deque(maxlen=64))
    _finished: deque[str] = field(default_factory=lambda: deque(maxlen=64))
    _form_of: dict[str, str] = field(default_factory=dict)
    _last_reply: str | None = None
    _last_status: float | None = None

    @property
    def has_spoken(self) -> bool:
        """Whether anything but its beginning is known of the call."""
        return any(kind != "call_started" for kind, _ in self.forms)

    @property
    def sender_loops(self) -> int | None:
        """How many sender loops ran, None when the log says nothing of them.

        One loop may be logged in two wordings, so it is the wording seen most often that counts.
        """
        counts = [count for (kind, _), count in self.forms.items() if kind == "sender_loop"]
        return max(counts) if counts else None

    @property
    def asked(self) -> int:
        """Responses that something asked for beside the turns: greeting, tool results, and what should not be."""
        return sum(count for kind, count in self.triggers.items() if kind != "turn") + self.inferred_greetings

    @property
    def balance(self) -> int | None:
        """Responses created less turns and triggers; None when the log names no turns or no responses."""
        if self._turn_source is None or not self.created:
            return None
        return self.created - (self.turns - self.answered_together) - self.asked

    @property
    def unanswered(self) -> int:
        """Turns that no response followed."""
        return self._waiting_turns

    @property
    def turn_source(self) -> str | None:
        """Which kind of line the turns were counted by."""
        return self._turn_source

    def take(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict | None:
        """Enter one hit of the call; ``reason`` is that of a trigger.  Return what the margin says, or None."""
        self._hits += 1
        self.last_line = line
        self.forms[hit.kind, hit.form] += 1
        self._settle_unpaid(line)
        handler = getattr(self, f"_{hit.kind}", None)
        if handler is None:
            return Verdict(_PLAIN.get(hit.kind, hit.kind))
        verdict: Verdict | None = handler(hit, line, seconds, reason)
        return verdict

    def close(self) -> None:
        """The log is at its end: what was not asked for by now was not asked for."""
        while self._unpaid:
            self._never_asked(self._unpaid.popleft()[0])
        if self.merged > 1 and self._turn_source is not None:
            asked = self.turns + self.triggers.total() - self.triggers["turn"] + self.merged
            self.unasked = max(0, self.created - asked)
        if (loops := self.sender_loops) is not None and loops > self.merged:
            self._problem("sender loops", self.began_at, f"{loops} sender loops in {self._calls_text()}")
        if (open_turns := self._waiting_turns) > 0 and self.created:
            self._problem("unanswered turn", self.last_line, f"{open_turns} turns have no response", "warning")

    def absorb(self, other: CallLedger, *, overlapping: bool) -> None:
        """Take over what is known of another call."""
        self.merged += other.merged if overlapping else other.merged - 1
        self.began_at = min(self.began_at, other.began_at)
        self.ids += [each for each in other.ids if each not in self.ids]
        if other.ended_at is None:
            self.ended_at = None if overlapping else self.ended_at
        for name in ("forms", "triggers", "statuses", "problem_counts"):
            getattr(self, name).update(getattr(other, name))
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems = sorted([*self.problems, *other.problems], key=lambda problem: problem.line)[:_KEPT]
        self._unpaid.clear()
        self._responses.extend(other._responses)
        self._finished.extend(other._finished)
        self._form_of.update(other._form_of)
        self._turn_source = self._turn_source or other._turn_source
        self.last_line = max(self.last_line, other.last_line)

    # -- one method for each kind of line ------------------------------------------------------------------------

    def _call_ended(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        first = self.ended_at is None
        self.ended_at = self.ended_at or line
        return Verdict("call ends" if first else "call ended before")

    def _sender_loop(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        loops = self.forms[hit.kind, hit.form]
        if loops > self.merged:
            return Verdict(f"sender loop {loops}", "error")
        return Verdict(f"sender loop {loops}")

    def _status(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        last, self._last_status = self._last_status, seconds
        if seconds is not None and last is not None and 0 <= seconds - last < 0.2 and self.merged == 1:
            self._problem("status per frame", line, "status lines follow each other at once", "warning")
            return Verdict("status, too often", "warning")
        return Verdict("status")

    def _guard_skip(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        self.guard_skips += 1
        if self._pending_forms and self._pending_reason is not None:
            # What was announced as a trigger is what the guard then held back.
            self.triggers[self._pending_reason] -= 1
            self._waiting_triggers -= self._pending_reason != "turn" and self._waiting_triggers > 0
        self._pending_forms.clear()
        self._pending_reason = None
        return Verdict("guard skips")

    def _active_error(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        self.active_errors += 1
        self._problem("active response", line, "a response was asked for while one was active")
        # The request came to nothing.
        self._waiting_triggers = max(0, self._waiting_triggers - 1)
        return Verdict("ACTIVE RESPONSE", "error")

    def _session_error(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        return Verdict("session error", "note")

    def _idle_timeout(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        self._problem("timer trigger", line, "the server's idle timeout spoke by itself")
        self.triggers["timer"] += 1
        self._waiting_triggers += 1
        return Verdict("idle timeout", "error")

    def _turn(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        source = self._turn_source
        if source is None or _BEST_TURN_SOURCE.index(hit.kind) < _BEST_TURN_SOURCE.index(source):
            # A better account of turns: what the poorer one counted is counted again by it.
            self._turn_source = hit.kind
            if source is not None:
                self.turns = max(0, self.turns - 1)
                self._waiting_turns = max(0, self._waiting_turns - 1)
        elif source != hit.kind:
            return Verdict(_PLAIN[hit.kind])
        self.turns += 1
        self._last_reply = None
        if self._unpaid:
            self._unpaid.popleft()
        else:
            self._waiting_turns += 1
        return Verdict(f"turn {self.turns}")

    _turn_committed = _speech_stopped = _transcript = _turn

    def _trigger(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict | None:
        again = hit.form in self._pending_forms
        if self._pending_forms and not again:
            # The same trigger in another wording.
            self._pending_forms.add(hit.form)
            return Verdict("trigger, same")
        if again:
            self._pending_forms.clear()
        self._pending_forms.add(hit.form)
        if self.ended_at is not None:
            self._problem("trigger after hang-up", line, f"a response was asked for after the call ended ({reason})")
            return Verdict("AFTER HANG-UP", "error")
        if reason == "other" and self._waiting_turns:
            reason = "turn"
        self.triggers[reason] += 1
        self._pending_reason = reason
        if reason != "turn":
            self._waiting_triggers += 1
        if reason in _CAUSED_BY_CLOCK:
            name = _CAUSED_BY_CLOCK[reason]
            self._problem(name, line, f"a {reason} asked for a response")
            return Verdict(name, "error")
        return Verdict(f"trigger: {reason}")

    def _response_created(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict | None:
        if self._said_before(hit, self._responses, "response_created"):
            return Verdict("response, same")
        self._pending_forms.clear()
        if self.ended_at is not None:
            self.created_after_end += 1
            self._problem("response after hang-up", line, "a response was created after the call ended", "warning")
            return Verdict("AFTER HANG-UP", "warning")
        self.created += 1
        if self._waiting_triggers:
            self._waiting_triggers -= 1
            return Verdict(f"response {self.created}")
        if self._waiting_turns:
            answered, self._waiting_turns = self._waiting_turns, 0
            self.answered_together += answered - 1
            return Verdict(f"response {self.created}" + (f" for {answered} turns" if answered > 1 else ""))
        if self.turns == 0 and self.inferred_greetings < self.merged and not self.triggers["greeting"]:
            self.inferred_greetings += 1
            return Verdict(f"response {self.created}, greeting")
        if self.merged > 1:
            # The order of their lines says nothing then; only the sums do.
            return Verdict(f"response {self.created}")
        self._unpaid.append((line, self._hits))
        return Verdict(f"response {self.created}, unasked?", "warning")

    def _response_done(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict | None:
        if self._said_before(hit, self._finished, "response_done"):
            return Verdict("response ends, same")
        self.done += 1
        self._pending_forms.clear()
        status = hit.status or "unknown"
        self.statuses[status] += 1
        text = "" if status == "unknown" else f": {status}"
        return Verdict(f"response ends{text}", "warning" if status in ("failed", "incomplete") else None)

    def _assistant(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict | None:
        reply = " ".join((hit.text or "").split()).strip("\"'«»").lower()
        # Of calls that cannot be told apart, each may have said it once.
        if reply and reply == self._last_reply and self.merged == 1 and self.forms[hit.kind, hit.form] > 1:
            if self._form_of.get("assistant") == hit.form:
                self._problem("duplicate reply", line, "the same reply twice with no turn between")
                return Verdict("DUPLICATE REPLY", "error")
            return Verdict("reply, same")
        self._last_reply = reply
        self._form_of["assistant"] = hit.form
        return Verdict("reply")

    def _live_stt(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        if self.ended_at is not None:
            return Verdict("STT after the call")
        self._problem("parallel STT", line, "another recogniser at work during the call")
        return Verdict("PARALLEL STT", "error")

    def _live_tts(self, hit: Hit, line: int, seconds: float | None, reason: str) -> Verdict:
        if self.ended_at is not None:
            return Verdict("TTS after the call")
        self._problem("second voice", line, "another voice engine at work during the call")
        return Verdict("SECOND VOICE", "error")

    # -- helpers -------------------------------------------------------------------------------------------------

    def _said_before(self, hit: Hit, known: deque[str], kind: str) -> bool:
        """Say whether an event was told before: with the same id, or in the wording that does not count here."""
        if hit.response is not None:
            # Cut short, an id is the beginning of itself.
            if any(hit.response.startswith(old) or old.startswith(hit.response) for old in known):
                return True
            known.append(hit.response)
        # Agents log one event in two wordings; the one met first is the one that counts.
        return self._form_of.setdefault(kind, hit.form) != hit.form

    def _settle_unpaid(self, line: int) -> None:
        while self._unpaid and (
            self._hits - self._unpaid[0][1] > _PATIENCE or line - self._unpaid[0][0] > _PATIENCE_LINES
        ):
            self._never_asked(self._unpaid.popleft()[0])

    def _never_asked(self, line: int) -> None:
        self.unasked += 1
        # A log that names no turns at all cannot say that there was none.
        severity: Severity = "warning" if self._turn_source is None else "error"
        text = "a response that no turn and no trigger in the log asked for"
        self._problem("duplicate response", line, text, severity)

    def _problem(self, kind: str, line: int, text: str, severity: Severity = "error") -> None:
        self.problem_counts[kind] += 1
        if len(self.problems) < _KEPT:
            self.problems.append(Problem(kind, line, text, severity))

    def _calls_text(self) -> str:
        return "one call" if self.merged == 1 else f"{self.merged} calls"


_SUMS = (
    *(
        "turns",
        "created",
        "done",
        "inferred_greetings",
        "answered_together",
        "unasked",
        "created_after_end",
        "active_errors",
    ),
    *("guard_skips", "_waiting_turns", "_waiting_triggers", "_hits"),
)
_PLAIN = {
    "call_started": "call begins",
    "sender_ended": "sender ends",
    "greeting": "greeting",
    "speech_started": "speech begins",
    "speech_stopped": "speech ends",
    "transcript": "transcript",
    "turn_committed": "turn",
}
