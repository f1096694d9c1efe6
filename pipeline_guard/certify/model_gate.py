"""Runs a gate for the model: states interned, each (state, event) pair run once and remembered, each step judged."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from reference_agent import gate_events as ev
from reference_agent.gate import Phase

_NAMES_ACTIVE = (ev.Created, ev.Error, ev.Progress, ev.CutShort)


class Gate(Protocol):
    """What the model needs of a gate; ``reference_agent.gate.ResponseGate`` and the wrong ones in the tests have it."""

    phase: Phase
    active_response_id: str | None
    deadline: float | None

    def trigger(self, reason: str, now: float) -> ev.Request | None: ...
    def handle(self, event: ev.Event, now: float) -> ev.Actions: ...
    def may_play(self, response_id: str) -> bool: ...
    def state(self) -> tuple[object, ...]: ...
    @classmethod
    def from_state(cls, state: tuple[object, ...]) -> Gate: ...


class Step(NamedTuple):
    """The outcome of one event for the gate."""

    gate: int
    sends: tuple[tuple[Any, ...], ...]
    request: str | None
    closing: bool
    active: str | None
    playable: bool
    problem: str | None


class GateStates:
    """Interns the states of a gate and remembers what each event does to each."""

    def __init__(self, gate: type[Gate]) -> None:
        self._gate = gate
        self._index: dict[tuple[object, ...], int] = {}
        self.states: list[tuple[object, ...]] = []
        self.phases: list[Phase] = []
        self.waiting: list[bool] = []  # a deadline is running
        self.active: list[str | None] = []
        self.playable: list[bool] = []
        self.pending: list[bool] = []
        self._steps: dict[tuple[int, object], Step] = {}

    def intern(self, gate: Gate) -> int:
        """Return the index of a gate's state."""
        if gate.deadline is not None:
            gate.deadline = 1.0  # when it passes is the model's choice
        state = gate.state()
        index = self._index.get(state)
        if index is None:
            index = self._index[state] = len(self.states)
            self.states.append(state)
            self.phases.append(gate.phase)
            self.waiting.append(gate.deadline is not None)
            self.active.append(gate.active_response_id)
            active = gate.active_response_id
            self.playable.append(active is not None and gate.may_play(active))
            self.pending.append(getattr(gate, "pending_response", None) is not None)
        return index

    def trigger(self, index: int, reason: str) -> Step:
        """Run ``trigger(reason)`` on a gate in that state."""
        key = (index, reason)
        step = self._steps.get(key)
        if step is None:
            gate = self._gate.from_state(self.states[index])
            step = self._steps[key] = self._outcome(index, gate, (), gate.trigger(reason, 0.0), None)
        return step

    def handle(self, index: int, event: ev.Event) -> Step:
        """Run one event on a gate in that state, and the triggers that it asks for."""
        key = (index, event)
        step = self._steps.get(key)
        if step is None:
            gate = self._gate.from_state(self.states[index])
            actions = gate.handle(event, 1.0 if type(event) is ev.Tick else 0.0)
            request = None
            for action in actions:
                if type(action) is ev.Answer:
                    request = gate.trigger(action.reason, 0.0) or request
            step = self._steps[key] = self._outcome(index, gate, actions, request, event)
        return step

    def _outcome(
        self, before: int, gate: Gate, actions: ev.Actions, request: ev.Request | None, event: ev.Event | None
    ) -> Step:
        sends: list[tuple[Any, ...]] = [
            ("cancel", action.event_id, action.response_id) for action in actions if type(action) is ev.Cancel
        ]
        if request is not None:
            sends.append(("create", request.event_id))
        after = self.intern(gate)
        closing = any(type(action) is ev.Reconnect for action in actions)
        problem = self._problem(before, after, sends, request, event)
        name = request.event_id if request is not None else None
        return Step(after, tuple(sends), name, closing, self.active[after], self.playable[after], problem)

    def _problem(
        self, before: int, after: int, sends: list[tuple[Any, ...]], request: ev.Request | None, event: ev.Event | None
    ) -> str | None:
        """Return the invariant of a single step that is broken, or None."""
        if self.phases[after] is not Phase.CLOSED:
            gate = self._gate.from_state(self.states[after])
            gate.handle(ev.Closed(), 0.0)
            if gate.phase is not Phase.CLOSED:
                return f"I7: the call ends in {self.phases[after].name}, and the gate stays open"
        if type(event) is ev.Disconnected and self.phases[after] is not Phase.CONNECTING:
            return f"I7: the connection is lost in {self.phases[before].name}, and the gate may still send"
        if sends and (self.phases[before] is Phase.CLOSED or (self.phases[after] is Phase.CONNECTING)):
            return "I7: something is sent before the session is configured or after the call"
        if request is not None and type(event) is ev.Tick:
            return "I5: the clock alone creates a response"
        if isinstance(event, (ev.SpeechStarted, ev.BargeIn)) and self.playable[after]:
            return f"I8: {self.active[after]} plays on although the caller interrupts"
        old, new = self.active[before], self.active[after]
        if new is not None and new != old and not isinstance(event, _NAMES_ACTIVE):
            return f"I5: {type(event).__name__} makes {new} the active response"
        if old is not None and new is None and isinstance(event, ev.Done) and old not in (event.response_id, "unknown"):
            return f"I5: the end of {event.response_id} clears {old}"
        return None
