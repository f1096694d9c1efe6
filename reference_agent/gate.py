"""The response gate: decides when ``response.create`` may be sent, so that every turn is answered exactly once.

A synchronous state machine without I/O: events go in, actions come out, time is passed in.  The agent, the exhaustive
model checker (``pipeline_guard.certify.model_check``) and the tests drive this same object.  ``TRANSITIONS`` at the end
of the file is the whole machine.

Three ideas carry it:

* A request is *pending* from the moment it is sent, not from ``response.created`` one round trip later.
* What a skipped trigger stood for is *owed*.  ``response.created`` pays all that was owed before it, because the server
  sends its events in order: an item announced before it is in that response's context.  What comes later is owed until
  the next one.  (That the context is taken at ``response.created`` is not documented; it follows from the order of
  events that the server sends.)
* Time alone never creates a response.  A passed deadline asks the server with ``response.cancel``, the one message
  whose answer says whether a response is active and which cannot cause a second one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reference_agent.gate_events import (
    ALREADY_ACTIVE,
    FATAL,
    NOT_ACTIVE,
    NOTHING,
    Actions,
    Adopted,
    Answer,
    BargeIn,
    Cancel,
    Closed,
    Count,
    Created,
    CutShort,
    Discard,
    Disconnected,
    Done,
    Error,
    Event,
    GiveUp,
    Progress,
    Reconnect,
    Request,
    SessionReady,
    SpeechStarted,
    Tick,
)

# Seconds: no response.created after a request, no event while one is generated, no answer to a cancel or a probe.
CREATED_WITHIN, SILENT_FOR, DONE_WITHIN, ANSWER_WITHIN = 5.0, 10.0, 3.0, 3.0
BACKOFF = 0.5  # doubles with every retry
MAX_RETRIES = 2
UNKNOWN = "unknown"  # a response is active, but the error that said so did not name it


class Phase(enum.IntEnum):
    """What the gate knows about the session's one response."""

    CONNECTING = 0  # no configured session: nothing may be sent
    IDLE = 1
    REQUESTED = 2  # response.create sent, response.created not seen
    ACTIVE = 3
    CANCELLING = 4  # response.cancel sent for the active response
    BACKOFF = 5  # the server refused or failed; ask it again in a moment
    PROBING = 6  # response.cancel sent to learn whether anything is active
    CLOSED = 7


@dataclass(slots=True)
class ResponseGate:
    """One per call; lives through reconnects."""

    phase: Phase = Phase.CONNECTING
    active_response_id: str | None = None
    pending_response: str | None = None  # event id of our create whose outcome is not known
    owed: frozenset[str] = frozenset()  # reasons that no response.created has paid
    since: frozenset[str] = frozenset()  # those of them that came after the request (or after a barge-in into it)
    unannounced: bool = False  # the active response is known from an error, before its response.created
    presumed: bool = False  # the active response is taken for what the pending request became: nothing announced it
    paying: bool = False  # the active response answers something that was owed
    unwanted: bool = False  # the active response must not be played on, nor answered again
    unsaid: bool = False  # nothing of the active response has come, or its last item was cut short
    cancel_sent: bool = False  # a cancel for the active response is ahead of the probe
    cancel_on_created: bool = False
    answered: bool = False  # what the pending request is to answer, somebody else's response has answered
    probe: str | None = None  # event id of the probe
    probed: str | None = None  # response id that the probe named
    finished: tuple[str, ...] = ()  # responses that are over: a late copy of their events changes nothing
    deadline: float | None = None
    retries: int = 0
    serial: int = 0  # of event ids

    # -- the one way in for those who want a response

    def trigger(self, reason: str, now: float) -> Request | None:
        """Owe an answer for ``reason``; return the request to send now, or None when it will be answered later."""
        if self.phase is Phase.CLOSED:
            return None
        self.owe(reason)
        if self.phase is not Phase.IDLE:
            return None
        self.phase, self.deadline, self.since = Phase.REQUESTED, now + CREATED_WITHIN, frozenset()
        self.pending_response, self.answered = self._event_id("trigger"), False
        return Request(self.pending_response)

    # -- and for what happens

    def handle(self, event: Event, now: float) -> Actions:
        """Take one event and return what has to be done, in order, before the next event is handed in."""
        transition = TRANSITIONS.get((self.phase, type(event)))
        return transition(self, event, now) if transition is not None else NOTHING

    def may_play(self, response_id: str) -> bool:
        """Say whether audio of this response may go to the caller."""
        return response_id == self.active_response_id and not self.unwanted

    def state(self) -> tuple[object, ...]:
        """Return everything the gate knows, as one hashable value."""
        return tuple(getattr(self, name) for name in self.__slots__)

    @classmethod
    def from_state(cls, state: tuple[object, ...]) -> ResponseGate:
        """Return a gate in that state."""
        return cls(*state)  # type: ignore[arg-type]

    # -- transitions

    def _ready(self, event: SessionReady, now: float) -> Actions:
        return self._idle()

    def _created(self, event: Created, now: float) -> Actions:
        """Ours, or one that somebody else created: either way all that was owed is paid."""
        if self.unannounced and self.active_response_id in (event.response_id, UNKNOWN):
            return self._announced(event)
        if event.response_id in (self.active_response_id, *self.finished):
            return (Count("repeated_event"),)
        ours = self.pending_response is not None and event.trigger_id == self.pending_response
        self._end_unseen()  # the server has one at a time, so the one before is over
        unneeded = ours and (not self.owed or self.cancel_on_created)
        self.paying = bool(self.since if self.cancel_on_created else self.owed)
        self._pay(keep=ours and self.cancel_on_created)
        if ours:
            self.pending_response, self.cancel_on_created = None, False
        self.active_response_id, self.unwanted, self.unsaid = event.response_id, unneeded, True
        self.answered = self.pending_response is not None
        counted: Actions = NOTHING if ours else (Count("foreign_response"),)
        if self.phase is Phase.PROBING:  # the probe is behind it and will cancel it
            return (*counted, Discard(event.response_id)) if unneeded else counted
        self.phase, self.deadline = Phase.ACTIVE, now + SILENT_FOR
        return (*counted, *self._cancel(now)) if unneeded else counted

    def _announced(self, event: Created) -> Actions:
        """Take the ``response.created`` of a response that an error told of first; its context is as of now."""
        self.active_response_id, self.unannounced, self.unsaid = event.response_id, False, True
        if not self.unwanted:  # nobody will hear an unwanted one, so it pays nothing
            self.paying = bool(self.owed)
            self._pay(keep=False)
        return (Count("foreign_response"),)

    def _progress(self, event: Progress, now: float) -> Actions:
        if self.active_response_id in (event.response_id, UNKNOWN):
            self.active_response_id, self.unsaid = event.response_id, False
            if self.phase is Phase.ACTIVE:
                self.deadline = now + SILENT_FOR
        return NOTHING

    def _progress_requested(self, event: Progress, now: float) -> Actions:
        """Take a response that nobody announced for ours, so that it is heard: its ``response.created`` was lost.

        Only its end, or our request's refusal, says whether it is; until then that is pending, and nothing is paid.
        """
        if self.pending_response is None or event.response_id in self.finished:
            return NOTHING
        self.active_response_id, self.presumed = event.response_id, True
        self.phase, self.deadline = Phase.ACTIVE, now + SILENT_FOR
        self.paying = not (self.answered or self.cancel_on_created)
        adopted = Adopted(event.response_id, self.pending_response)
        return (adopted,) if self.paying else (adopted, *self._cancel(now))

    def _cut_short(self, event: CutShort, now: float) -> Actions:
        actions = self.handle(Progress(event.response_id), now)
        if event.response_id == self.active_response_id:
            self.unsaid = True
        return actions

    def _done_requested(self, event: Done, now: float) -> Actions:
        if self.pending_response is None or event.trigger_id != self.pending_response:
            return self._done_stray(event, now)
        self.active_response_id = event.response_id  # its response.created never reached us
        self.paying = not self.cancel_on_created
        self._confirm()
        return self._done(event, now)

    def _done(self, event: Done, now: float) -> Actions:
        """The active response is over; another one's end changes nothing."""
        if self.active_response_id == UNKNOWN:
            self.active_response_id = event.response_id
        if event.response_id != self.active_response_id:
            if self.pending_response is not None and event.trigger_id == self.pending_response:
                self.pending_response, self.cancel_on_created = None, False
                if self.presumed:
                    self._end_presumption(ours=False)
            return self._done_stray(event, now)
        if self.presumed:
            self._end_presumption(ours=event.trigger_id == self.pending_response)
        again = event.status == "failed" and self._still_owed()
        self._finish()
        if again:
            self.owe("retry")
            if self.pending_response is None:
                return self._back_off(event.reason or "response_failed", now)
        elif event.status == "completed":
            self.retries = 0
        if self.pending_response is not None:  # ours, behind somebody else's response
            self.phase, self.deadline = Phase.REQUESTED, now + CREATED_WITHIN
            return NOTHING
        return self._idle()

    def _done_probing(self, event: Done, now: float) -> Actions:
        ours = self.pending_response is not None and event.trigger_id == self.pending_response
        if ours and self.active_response_id is None:
            self.active_response_id, self.paying = event.response_id, not self.cancel_on_created
            self._confirm()
        elif self.presumed and event.response_id == self.active_response_id:
            self._end_presumption(ours=ours)
        if self.active_response_id not in (event.response_id, UNKNOWN):
            return self._done_stray(event, now)
        by_probe = event.status == "cancelled" and event.reason in ("client_cancelled", None) and not self.cancel_sent
        again = self._still_owed() and (by_probe or event.status == "failed")
        self.active_response_id = event.response_id
        self._finish()
        if again:
            self.owe("watchdog")
        if not by_probe:  # over by itself: the probe will find nothing, and say so
            return NOTHING
        return (Discard(event.response_id), *self._idle())

    def _done_stray(self, event: Done, now: float) -> Actions:
        if event.response_id not in self.finished:
            self.finished = (*self.finished, event.response_id)[-4:]
        return (Count("stray_done"),)

    def _error(self, event: Error, now: float) -> Actions:
        if event.code in FATAL:
            return self._give_up(event.code)
        if self.pending_response is None or not (
            event.event_id == self.pending_response or (event.event_id is None and event.code == ALREADY_ACTIVE)
        ):
            return (Count("other_error"),)
        self._pay_interrupted()
        self.pending_response, self.since = None, frozenset()
        if self.presumed:
            self._end_presumption(ours=False)
        if self.phase is not Phase.REQUESTED:  # behind somebody else's response, which pays for it
            return (Count("active_response_error"),) if event.code == ALREADY_ACTIVE else NOTHING
        if event.code != ALREADY_ACTIVE or event.response_id in self.finished:
            return self._back_off(event.code, now)
        self.active_response_id, self.paying = event.response_id or UNKNOWN, False  # what is owed stays owed for now
        self.unannounced = True
        self.phase, self.deadline = Phase.ACTIVE, now + SILENT_FOR
        return (Count("active_response_error"),)

    def _error_probing(self, event: Error, now: float) -> Actions:
        if self.probe is None or event.event_id != self.probe:
            return self._error(event, now)
        if event.code in FATAL:
            return self._give_up(event.code)
        if event.code != NOT_ACTIVE:
            return self._reconnect()
        if self.active_response_id is not None and self.probed not in (None, self.active_response_id):
            self.probe, self.phase, self.deadline = None, Phase.ACTIVE, now + SILENT_FOR  # it came after the probe
            return NOTHING
        if self.presumed:  # a refusal of our request would have been here before this answer
            self._end_presumption(ours=True)
        self._end_unseen()
        if self.retries > MAX_RETRIES:
            return self._give_up("response_lost")
        if self.pending_response is not None and self.probed is not None:  # nothing was said about our request
            self.probe, self.phase, self.deadline = None, Phase.REQUESTED, now + CREATED_WITHIN
            return NOTHING
        return self._idle()  # our request, if any, was sent before the probe: its outcome would be here

    def _speech(self, event: SpeechStarted, now: float) -> Actions:
        if self.active_response_id is None or self.unwanted:
            return NOTHING
        self.unwanted = True
        return (Discard(self.active_response_id),)

    def _barge_in(self, event: BargeIn, now: float) -> Actions:
        if self.pending_response is not None:
            self.cancel_on_created, self.since = True, frozenset()
        if self.active_response_id is None or self.unwanted:
            return NOTHING
        return self._cancel(now) if self.phase is Phase.ACTIVE else self._speech(SpeechStarted(), now)

    def _tick(self, event: Tick, now: float) -> Actions:
        """Ask the server; never create."""
        if self.deadline is None or now < self.deadline:
            return NOTHING
        self.probe = self._event_id("probe")
        self.probed = None if self.active_response_id == UNKNOWN else self.active_response_id
        self.phase, self.deadline = Phase.PROBING, now + ANSWER_WITHIN
        return (Count("probe"), Cancel(self.probe, self.probed))

    def _tick_probing(self, event: Tick, now: float) -> Actions:
        return self._reconnect() if self.deadline is not None and now >= self.deadline else NOTHING

    def _disconnected(self, event: Disconnected, now: float) -> Actions:
        interrupted = self.active_response_id is not None and self._still_owed()
        self._forget()
        self.phase, self.finished = Phase.CONNECTING, ()
        if interrupted:
            self.owe("resume")
        return NOTHING

    def _closed(self, event: Closed, now: float) -> Actions:
        self._forget()
        self.phase, self.owed = Phase.CLOSED, frozenset()
        return NOTHING

    # -- their common parts

    def _idle(self) -> Actions:
        self._forget()
        self.phase = Phase.IDLE
        return (Answer(min(self.owed)),) if self.owed else NOTHING

    def _cancel(self, now: float) -> Actions:
        """Cancel the active response for good."""
        response_id = self.active_response_id
        assert response_id is not None
        self.unwanted = self.cancel_sent = True
        self.phase, self.deadline = Phase.CANCELLING, now + DONE_WITHIN
        known = None if response_id == UNKNOWN else response_id
        return (Discard(response_id), Cancel(self._event_id("cancel"), known))

    def _back_off(self, code: str, now: float) -> Actions:
        self.retries += 1
        if self.retries > MAX_RETRIES:
            return self._give_up(code)
        self.phase, self.deadline = Phase.BACKOFF, now + BACKOFF * 2 ** (self.retries - 1)
        return (Count("retry"),)

    def _give_up(self, code: str) -> Actions:
        self._closed(Closed(), 0.0)
        return (GiveUp(code),)

    def _reconnect(self) -> Actions:
        self.deadline = None  # Disconnected is on its way
        return (Reconnect(),)

    def owe(self, reason: str) -> None:
        self.owed |= {reason}
        if self.pending_response is not None:
            self.since |= {reason}

    def _pay(self, *, keep: bool) -> None:
        """Strike what was owed; keep what came after a barge-in, for that response will not be heard."""
        self.owed, self.since = self.since if keep else frozenset(), frozenset()

    def _confirm(self) -> None:
        """The pending request has become the active response, whose context is that of the request at least."""
        self.owed, self.since = self.since, frozenset()
        self.pending_response, self.cancel_on_created = None, False

    def _end_presumption(self, *, ours: bool) -> None:
        """Settle what the active response, which nothing announced, has answered: nothing when it is not ours."""
        self.presumed, self.paying = False, self.paying and ours
        if ours:
            self._confirm()

    def _still_owed(self) -> bool:
        """Say whether what the active response was to answer is owed again when it comes to nothing."""
        return self.paying and not self.unwanted

    def _finish(self) -> None:
        assert self.active_response_id is not None
        self.finished = (*self.finished, self.active_response_id)[-4:]
        self.active_response_id = None
        self._reset_active()

    def _reset_active(self) -> None:
        self.unannounced = self.presumed = self.paying = self.unwanted = self.unsaid = self.cancel_sent = False

    def _end_unseen(self) -> None:
        """End the active response whose ``response.done`` was lost; what it said tells a failure from an answer."""
        failed = self.unsaid and self._still_owed()
        if self.active_response_id is not None:
            self._finish()
        if failed:
            self.retries += 1
            self.owe("retry")

    def _pay_interrupted(self) -> None:
        """Strike what was owed before a barge-in into a request that came to nothing."""
        if self.cancel_on_created:
            self.owed, self.cancel_on_created = self.since, False

    def _forget(self) -> None:
        self._pay_interrupted()
        self.active_response_id = self.pending_response = self.probe = self.probed = self.deadline = None
        self._reset_active()
        self.since = frozenset()

    def _event_id(self, kind: str) -> str:
        self.serial += 1
        return f"{kind}_{self.serial}"


_P, _G = Phase, ResponseGate
_OPEN = tuple(phase for phase in Phase if phase is not Phase.CLOSED)
_CONNECTED = tuple(phase for phase in _OPEN if phase is not Phase.CONNECTING)

# (phase, event) → what happens; a pair that is missing changes nothing.
TRANSITIONS: dict[tuple[Phase, type], Callable[[ResponseGate, Any, float], Actions]] = {
    (_P.CONNECTING, SessionReady): _G._ready,
    **{(phase, Created): _G._created for phase in _CONNECTED},
    (_P.REQUESTED, Progress): _G._progress_requested,
    (_P.ACTIVE, Progress): _G._progress,
    (_P.PROBING, Progress): _G._progress,
    (_P.REQUESTED, CutShort): _G._cut_short,
    (_P.ACTIVE, CutShort): _G._cut_short,
    (_P.PROBING, CutShort): _G._cut_short,
    (_P.IDLE, Done): _G._done_stray,
    (_P.BACKOFF, Done): _G._done_stray,
    (_P.REQUESTED, Done): _G._done_requested,
    (_P.ACTIVE, Done): _G._done,
    (_P.CANCELLING, Done): _G._done,
    (_P.PROBING, Done): _G._done_probing,
    **{(phase, Error): _G._error for phase in _CONNECTED},
    (_P.PROBING, Error): _G._error_probing,
    (_P.ACTIVE, SpeechStarted): _G._speech,
    (_P.PROBING, SpeechStarted): _G._speech,
    (_P.REQUESTED, BargeIn): _G._barge_in,
    (_P.ACTIVE, BargeIn): _G._barge_in,
    (_P.CANCELLING, BargeIn): _G._barge_in,
    (_P.PROBING, BargeIn): _G._barge_in,
    (_P.REQUESTED, Tick): _G._tick,
    (_P.ACTIVE, Tick): _G._tick,
    (_P.CANCELLING, Tick): _G._tick,
    (_P.BACKOFF, Tick): _G._tick,
    (_P.PROBING, Tick): _G._tick_probing,
    **{(phase, Disconnected): _G._disconnected for phase in _CONNECTED},
    **{(phase, Closed): _G._closed for phase in _OPEN},
}
