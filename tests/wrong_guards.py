"""Three guards that real agents use, each wrong in its own way, in the shape of the response gate."""

from __future__ import annotations

from dataclasses import dataclass, fields

from reference_agent import gate_events as ev
from reference_agent.gate import Phase


@dataclass(slots=True)
class ContractGuard:
    """The guard as the contract words it: checks the active id, sends, and learns of it one round trip later."""

    phase: Phase = Phase.CONNECTING
    active_response_id: str | None = None
    deadline: float | None = None
    waiting: str | None = None
    serial: int = 0

    def trigger(self, reason: str, now: float) -> ev.Request | None:
        if self.phase is Phase.CONNECTING:
            self.waiting = reason
            return None
        return None if self.active_response_id is not None else self._request()

    def handle(self, event: ev.Event, now: float) -> ev.Actions:
        if isinstance(event, ev.Closed):
            self.phase = Phase.CLOSED
        if isinstance(event, ev.SessionReady):
            self.phase = Phase.IDLE
            return (ev.Answer(self.waiting),) if self.waiting else ()
        if isinstance(event, ev.Created):
            self.active_response_id, self.phase = event.response_id, Phase.ACTIVE
        elif isinstance(event, ev.Done):
            self.active_response_id, self.phase = None, Phase.IDLE
            return self._done()
        return ()

    def may_play(self, response_id: str) -> bool:
        return response_id == self.active_response_id

    def state(self) -> tuple[object, ...]:
        # Not ``__slots__``: on Python 3.10 those of a derived class hold its bases' once more.
        return tuple(getattr(self, each.name) for each in fields(self))

    @classmethod
    def from_state(cls, state: tuple[object, ...]) -> ContractGuard:
        return cls(*state)  # type: ignore[arg-type]

    def _done(self) -> ev.Actions:
        return ()

    def _request(self) -> ev.Request:
        self.serial += 1
        return ev.Request(f"trigger_{self.serial}")


@dataclass(slots=True)
class DroppingGuard(ContractGuard):
    """Knows of its own request from the moment of sending, and drops every trigger meanwhile."""

    requested: bool = False

    def trigger(self, reason: str, now: float) -> ev.Request | None:
        if self.requested or self.active_response_id is not None:
            return None
        request = ContractGuard.trigger(self, reason, now)
        self.requested = request is not None
        return request

    def handle(self, event: ev.Event, now: float) -> ev.Actions:
        if isinstance(event, (ev.Created, ev.Error)):
            self.requested = False
        return ContractGuard.handle(self, event, now)


@dataclass(slots=True)
class QueueOneGuard(DroppingGuard):
    """Remembers that a trigger came meanwhile, and answers it after the response: the usual advice."""

    queued: bool = False

    def trigger(self, reason: str, now: float) -> ev.Request | None:
        if self.phase is not Phase.CONNECTING and (self.requested or self.active_response_id is not None):
            self.queued = True
            return None
        return DroppingGuard.trigger(self, reason, now)

    def _done(self) -> ev.Actions:
        queued, self.queued = self.queued, False
        return (ev.Answer("queued"),) if queued else ()
