"""What the judge is given of a call, and what it gives back: plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_guard.certify.faults import Fault
from pipeline_guard.certify.frame_ledger import Arrivals
from pipeline_guard.certify.realtime.facts import Refusal, ResponseFacts, TurnFacts
from pipeline_guard.certify.record import Entry, Record
from pipeline_guard.certify.twilio.media_stream import Violation
from pipeline_guard.certify.twilio.twiml import Verb
from pipeline_guard.certify.voice_ledger import Stretch

# What is said at the end of a call may be cut by its end.
_AT_THE_END = 2.0
_LOST = ("drop-", "close-", "half-open", "session-expired", "ignore-create", "failed-response", "slow-", "refuse-")
# A response that is complete may still be on its way to the caller's ear for this long.
_ON_ITS_WAY = 1.0


@dataclass(frozen=True)
class Reason:
    """Why a check failed: a stable ``code``, a sentence, and the place.

    ``at`` is seconds of simulated time since the call began (None: the whole call), ``events`` are numbers of messages
    in the record, ``line`` is one of the agent's own log.
    """

    code: str
    text: str
    at: float | None = None
    events: tuple[int, ...] = ()
    line: int | None = None

    def __str__(self) -> str:
        place = [] if self.at is None else [f"at {self.at:.2f} s"]
        if self.events:
            place.append(f"event{'s' if len(self.events) > 1 else ''} {', '.join(map(str, self.events))}")
        if self.line is not None:
            place.append(f"line {self.line} of the agent's log")
        return f"{self.text} ({', '.join(place)})" if place else self.text


@dataclass(frozen=True)
class Check:
    """One thing that the call has to show; ``detail`` says what was seen.

    ``shown`` is false where the call cannot show it either way; then ``passed`` is true and means nothing.
    """

    name: str
    passed: bool
    detail: str
    reasons: tuple[Reason, ...] = ()
    shown: bool = True


def verdict(name: str, reasons: Sequence[Reason], detail: str) -> Check:
    """Return a check that fails for these reasons, and passes without any."""
    return Check(name, not reasons, detail, tuple(reasons))


def no_call(code: str, why: str) -> Check:
    """Return the check that fails when no media stream comes about."""
    return verdict("a media stream comes about", [Reason(code, why)], "none did")


@dataclass(frozen=True)
class SessionFacts:
    """What one Realtime session did; ``connection`` is its number in the record."""

    connection: int
    turns: Sequence[TurnFacts]
    responses: Sequence[ResponseFacts]
    errors: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class CallFacts:
    """A finished call, as both simulators saw it.  Times are seconds of simulated time.

    ``arrivals`` is the account of the caller's frames by connection, ``heard`` the agent's voice as it reached the
    caller; ``voice_known`` says that each piece of it can be told (it was not re-encoded).  ``was_cut``: a fault ended
    the call in the middle.  ``wanted`` are the caller's utterances, ``log`` is what the agent wrote (None: not known),
    ``hosts`` are the names that it asked the network for.
    """

    record: Record
    sessions: Sequence[SessionFacts]
    refusals: Sequence[Refusal]
    arrivals: Mapping[int, Arrivals]
    heard: Sequence[Stretch]
    voice_known: bool
    violations: Sequence[Violation]
    verbs: Sequence[Verb]
    was_cut: bool
    ended_at: float
    wanted: Sequence[str]
    faults: Sequence[Fault] = ()
    log: Sequence[str] | None = None
    hosts: Sequence[str] = ()
    lines: Sequence[str] = field(default=())  # the model's, in the order in which it has to come to them

    @property
    def turns(self) -> list[TurnFacts]:
        """The caller's turns, over all sessions."""
        return [turn for session in self.sessions for turn in session.turns]

    @property
    def responses(self) -> list[ResponseFacts]:
        """The responses of the conversation that were created, over all sessions, in order."""
        made = [r for session in self.sessions for r in session.responses if r.in_default and r.created_at is not None]
        return sorted(made, key=lambda response: response.created_at or 0.0)

    def session_of(self, response: ResponseFacts) -> SessionFacts:
        """Return the session that a response belongs to."""
        return next(session for session in self.sessions if response in session.responses)

    def sent(self, event_type: str, connection: int | None = None) -> list[Entry]:
        """Return what Realtime sent to the agent."""
        found = self.record.of(event_type, peer="openai", direction="sent")
        return [entry for entry in found if connection is None or entry.connection == connection]

    def has_fault(self, *names: str) -> bool:
        """Say whether a fault of one of these names was played."""
        return any(fault.name in names for fault in self.faults)

    @property
    def lost_something(self) -> bool:
        """Whether a fault took something away that an agent has to find out about, and to ask for again."""
        return any(fault.name.startswith(_LOST) for fault in self.faults)

    def heard_ms(self, response: ResponseFacts) -> int:
        """Return how much of a response the caller heard."""
        return sum(stretch.ms for stretch in self.heard if stretch.response == response.id)

    def was_given(self, response: ResponseFacts) -> bool:
        """Say whether a response reached the caller, or could not for a reason of the caller's own."""
        if not response.said_something or self.was_broken_off(response):
            return False
        if not self.voice_known or not response.audio_ms or self.heard_ms(response):
            return True
        return self.was_talked_over(response) or (response.created_at or 0.0) > self.ended_at - _AT_THE_END

    def was_broken_off(self, response: ResponseFacts) -> bool:
        """Say whether a response was not over when its session was lost."""
        return response.done_at is None

    def was_talked_over(self, response: ResponseFacts) -> bool:
        """Say whether the caller began to speak before a response can have been heard."""
        begin, end = response.created_at or 0.0, (response.done_at or self.ended_at) + _ON_ITS_WAY
        connection = self.session_of(response).connection
        started = self.sent("input_audio_buffer.speech_started", connection)
        return any(begin <= entry.at <= end for entry in started)
