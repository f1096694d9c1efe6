"""A model of one call around a response gate: the server, the two channels, the caller, and what may go wrong.

A world is a plain tuple, so that it can be hashed; ``Model.successors`` lists everything that can happen next.  The
gate in it is the real object: its state is interned, and each (state, event) pair is run once and remembered.

The server is modelled after the Realtime API's own statements: it writes one response at a time into the conversation,
answers a ``response.create`` meanwhile with an error, sends its events in order, takes a response's context when it
creates it, and always ends a response with ``response.done``.  Time is abstract: a deadline may pass at any moment.

What a response says between its start and its end matters to a gate only where one of these is lost, so the server
speaks only as often as the budget says.  A response that fails after it has spoken fails in an item, whose cut is told:
no client can tell a failure behind a whole item from an answer whose end was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline_guard.certify.model_budget import (
    BARGE_INS,
    DEADLINES,
    DROPS,
    FAILS,
    FOREIGN,
    HALF_OPENS,
    IGNORES,
    NAMES,
    RECONNECTS,
    REJECTS,
    REPEATS,
    SPEAKS,
    STALE,
    TOOLS,
    TURNS,
    Setup,
)  # fmt: skip
from pipeline_guard.certify.model_gate import Gate, GateStates, Step
from reference_agent import gate_events as ev
from reference_agent.gate import Phase

UNANNOUNCED = -1  # in the place of a response's items: it holds the server's one place, and is not created yet
LOST, UP, CLOSING, DEAD = range(4)  # the client is closing it; it is dead and the client does not know


class World(NamedTuple):
    """Everything at one moment; from ``covered`` to ``heard``, and ``outstanding``, it is what the judge keeps."""

    gate: int  # index of the gate's state
    to_client: tuple[tuple[Any, ...], ...]
    to_server: tuple[tuple[Any, ...], ...]
    active: tuple[Any, ...] | None  # id, event id of its request, items in it, covered before it, has it spoken
    items: int  # turns and tool results in the conversation, and the greeting
    covered: int  # how many of them a response has answered, or is answering
    settled: int  # the same, as far as the client has been told
    excused: int  # the same, by the caller having interrupted the answer
    known: int  # items that the client has been told of
    heard: int  # items answered by the response that the client believes active
    responses: int
    speaking: bool
    link: int  # LOST, UP, CLOSING or DEAD
    running: int  # tools at work
    unacknowledged: int  # tool results sent, not seen in the conversation
    again: int  # turns lost with the connection, to be heard again from the ring buffer
    outstanding: str | None  # the request whose outcome the client has not been told
    budget: tuple[int, ...]


Change = tuple[tuple[Any, ...], bool, World, "str | None"]  # what happened, is it a choice of the budget, then, problem


class Model:
    """The rules by which a world changes."""

    def __init__(self, gate: type[Gate], setup: Setup) -> None:
        self.setup = setup
        self.gates = GateStates(gate)
        self._gate = gate

    def start(self) -> World:
        """Return the world at the start of a call: not connected, and a greeting owed."""
        gate = self._gate()
        gate.trigger("greeting", 0.0)
        budget = tuple(getattr(self.setup.budget, name) for name in NAMES)
        return World(
            self.gates.intern(gate), (), (), None, 1, 0, 0, 0, 1, 0, 0, False, 0, 0, 0, 0, None, budget
        )  # fmt: skip

    def successors(self, w: World) -> Iterator[Change]:
        """Yield everything that can happen next."""
        if self.gates.phases[w.gate] is Phase.CLOSED:
            return
        if w.link == UP:
            if w.to_server:
                yield from self._server_reads(w)
            if w.active is not None and w.active[2] == UNANNOUNCED:
                yield ("server announces", w.active[0]), False, self._announce(w), None
            elif w.active is not None:
                if w.budget[SPEAKS]:
                    then = w._replace(to_client=(*w.to_client, ("speaks", *w.active)), active=(*w.active[:4], True))
                    yield ("server speaks", w.active[0]), True, self._spend(then, SPEAKS), None
                yield from self._response_ends(w, w.active)
            if w.budget[STALE]:
                yield from self._stale(w)
            if w.to_client:
                yield from self._client_reads(w)
            yield from self._caller(w)
            if w.budget[HALF_OPENS]:
                then = self._spend(w, HALF_OPENS)._replace(link=DEAD)
                yield ("connection dies silently",), True, then, None
        elif w.link == LOST:
            yield self._session_ready(w)
        if w.link == UP:
            if w.budget[RECONNECTS]:
                yield self._connection_lost(self._spend(w, RECONNECTS), chosen=True)
        elif w.link == CLOSING or (w.link == DEAD and not self.gates.waiting[w.gate]):  # a ping finds out
            yield self._connection_lost(w, chosen=False)
        yield from self._clock(w)
        if w.running:
            yield self._tool_finishes(w)

    def at_rest(self, w: World) -> bool:
        """Say whether nothing is under way."""
        return (
            w.link == UP
            and not w.to_client
            and not w.to_server
            and w.active is None
            and not (w.speaking or w.running or w.unacknowledged or w.again)
        )

    def is_settled(self, w: World) -> bool:
        """Say whether the call needs nothing more: at rest with an idle gate, or given up."""
        phase = self.gates.phases[w.gate]
        return phase is Phase.CLOSED or (phase is Phase.IDLE and self.at_rest(w))

    def problem(self, w: World) -> str | None:
        """Return what is wrong with a world in which nothing is under way, or None."""
        if not self.at_rest(w) or self.gates.waiting[w.gate]:
            return None
        phase = self.gates.phases[w.gate]
        if phase is Phase.CLOSED:
            return None
        if phase is not Phase.IDLE:
            return f"I4: stuck in {phase.name} with nothing under way"
        if w.covered < w.items:
            return f"I3: {w.items - w.covered} of {w.items} turns and tool results never answered (dead air)"
        return None

    # -- the server

    def _server_reads(self, w: World) -> Iterator[Change]:
        message, rest = w.to_server[0], w.to_server[1:]
        label = ("server reads", *message)
        if message[0] == "create":
            yield from self._server_creates(w._replace(to_server=rest), label, message[1])
        elif message[0] == "cancel":
            yield label, False, self._server_cancels(w._replace(to_server=rest), message[1], message[2]), None
        else:
            then = w._replace(to_server=rest, items=w.items + 1, to_client=(*w.to_client, ("tool result added",)))
            yield label, False, then, None

    def _server_creates(self, w: World, label: tuple[Any, ...], event_id: str) -> Iterator[Change]:
        if w.active is not None:
            error = ("error", ev.ALREADY_ACTIVE, event_id, w.active[0], 0)
            problem = None if self.setup.budget.foreign else f"I1: {ev.ALREADY_ACTIVE} ({w.active[0]})"
            yield label, False, w._replace(to_client=(*w.to_client, error)), problem
            return
        yield label, False, self._create(w, event_id), None
        if w.budget[IGNORES]:
            yield ("server ignores", "create", event_id), True, self._spend(w, IGNORES), None
        if w.budget[REJECTS]:
            error = ("error", "server_error", event_id, None, 0)
            then = self._spend(w, REJECTS)._replace(to_client=(*w.to_client, error))
            yield ("server refuses", "create", event_id), True, then, None

    def _create(self, w: World, event_id: str | None) -> World:
        name = f"resp{w.responses + 1}"
        repeats_itself = event_id is not None and w.items <= w.covered
        created = ("created", name, event_id, w.items, w.covered, repeats_itself)
        return w._replace(
            active=(name, event_id, w.items, w.covered, False),
            covered=max(w.covered, w.items),
            responses=w.responses + 1,
            to_client=(*w.to_client, created),
        )

    @staticmethod
    def _take_up(w: World) -> World:
        """Begin a response of the server's own that is announced later: a request that comes between is refused."""
        return w._replace(active=(f"resp{w.responses + 1}", None, UNANNOUNCED, 0, False), responses=w.responses + 1)

    def _announce(self, w: World) -> World:
        """Create the response that was taken up, if there is one; its context is as of now."""
        if w.active is None or w.active[2] != UNANNOUNCED:
            return w
        return self._create(w._replace(responses=w.responses - 1), None)

    def _server_cancels(self, w: World, event_id: str, response_id: str | None) -> World:
        w = self._announce(w)
        if w.active is None or response_id not in (None, w.active[0]):
            return w._replace(to_client=(*w.to_client, ("error", ev.NOT_ACTIVE, event_id, None, w.covered)))
        return self._end(w, w.active, "cancelled", "client_cancelled", void=True)

    def _end(self, w: World, active: tuple[Any, ...], status: str, reason: str | None, *, void: bool) -> World:
        """End the active response; a void one has answered nothing."""
        name, event_id, _, before, _ = active
        covered = max(before, w.excused) if void else w.covered
        done = ("done", name, event_id, status, reason, covered, 0)
        return w._replace(active=None, covered=covered, to_client=(*w.to_client, done))

    def _response_ends(self, w: World, active: tuple[Any, ...]) -> Iterator[Change]:
        ended = self._end(w, active, "completed", None, void=False)
        yield ("server ends", active[0]), False, ended, None
        if w.budget[TOOLS] and w.running + w.unacknowledged < self.setup.most_tools:
            done = (*ended.to_client[-1][:-1], 1)
            then = self._spend(ended, TOOLS)._replace(to_client=(*w.to_client, done))
            yield ("server ends with a tool call", active[0]), True, then, None
        if w.budget[FAILS]:
            w = self._spend(w, FAILS)
            if not (active[4] and w.budget[DROPS]):
                yield ("server fails", active[0]), True, self._end(w, active, "failed", None, void=True), None
            if w.budget[DROPS]:
                cut = w._replace(to_client=(*w.to_client, ("cut short", *active)))
                yield (
                    ("server fails in an item", active[0]),
                    True,
                    self._end(cut, active, "failed", None, void=True),
                    None,
                )

    # -- the caller, the clock, the network

    def _caller(self, w: World) -> Iterator[Change]:
        if w.speaking or w.again:
            then = w._replace(
                speaking=False,
                again=w.again if w.speaking else w.again - 1,
                items=w.items + 1,
                to_client=(*w.to_client, ("committed",)),
            )
            yield ("caller's turn ends",), False, then, None
        elif w.budget[TURNS]:
            then = self._spend(w, TURNS)._replace(speaking=True)
            if self.setup.interrupts:
                then = self._announce(then._replace(to_client=(*w.to_client, ("speech started",))))
                if then.active is not None:
                    then = self._end(then, then.active, "cancelled", "turn_detected", void=False)
            yield ("caller speaks",), True, then, None
        if w.budget[BARGE_INS]:
            yield from self._barge_in(w)
        if w.budget[FOREIGN] and w.active is None:
            yield ("server creates by itself",), True, self._create(self._spend(w, FOREIGN), None), None
            yield ("server takes up a response by itself",), True, self._take_up(self._spend(w, FOREIGN)), None

    def _barge_in(self, w: World) -> Iterator[Change]:
        step = self.gates.handle(w.gate, ev.BargeIn())
        if step.gate == w.gate and not self.gates.pending[w.gate] and step.problem is None:
            return
        excused = w.excused
        if self.gates.pending[w.gate]:
            excused = max(excused, w.known)
        elif self.gates.playable[w.gate]:
            excused = max(excused, w.heard)
        then = self._spend(w, BARGE_INS)._replace(excused=excused, covered=max(w.covered, excused))
        yield ("caller interrupts",), True, self._apply(then, step), step.problem

    def _clock(self, w: World) -> Iterator[Change]:
        if not self.gates.waiting[w.gate]:
            return
        due = self.gates.phases[w.gate] is Phase.BACKOFF or self.at_rest(w) or w.link == DEAD
        if due or w.budget[DEADLINES]:
            step = self.gates.handle(w.gate, ev.Tick())
            then = w if due else self._spend(w, DEADLINES)
            problem = step.problem
            if self.at_rest(w) and self.gates.phases[w.gate] is not Phase.BACKOFF and self._nothing_lost(w):
                problem = problem or "I9: only a passed deadline gets the call going, although nothing was lost"
            yield ("deadline passes",), not due, self._apply(then, step), problem

    def _nothing_lost(self, w: World) -> bool:
        budget = self.setup.budget
        return w.budget[IGNORES] == budget.ignores and w.budget[DROPS] == budget.drops

    def _connection_lost(self, w: World, *, chosen: bool) -> Change:
        """Lose the channels and the conversation; what the client does not know of will be heard again."""
        step = self.gates.handle(w.gate, ev.Disconnected())
        lost = sum(1 for message in w.to_client if message[0] == "committed")
        budget = list(w.budget)
        budget[TURNS] += w.speaking
        then = w._replace(
            gate=step.gate,
            to_client=(),
            to_server=(),
            active=None,
            items=w.known,
            covered=max(w.settled, w.excused),
            settled=max(w.settled, w.excused),
            heard=0,
            speaking=False,
            link=LOST,
            again=w.again + lost,
            outstanding=None,
            budget=tuple(budget),
        )
        return ("connection lost",), chosen, then, step.problem

    def _session_ready(self, w: World) -> Change:
        step = self.gates.handle(w.gate, ev.SessionReady())
        then = w._replace(link=UP, to_server=tuple(("tool result",) for _ in range(w.unacknowledged)))
        return ("session ready",), False, self._apply(then, step), step.problem

    # -- the client

    def _tool_finishes(self, w: World) -> Change:
        then = w._replace(running=w.running - 1, unacknowledged=w.unacknowledged + 1)
        if w.link in (UP, CLOSING, DEAD):
            then = then._replace(to_server=(*w.to_server, ("tool result",)))
        return ("tool finishes",), False, then, None

    def _client_reads(self, w: World) -> Iterator[Change]:
        message = w.to_client[0]
        rest = w._replace(to_client=w.to_client[1:])
        kind = message[0]
        yield self._client_takes(rest, message)
        if kind in ("created", "done"):
            if w.budget[DROPS]:
                yield ("client loses", *message), True, self._spend(rest, DROPS), None
            if w.budget[REPEATS]:
                repeated = self._spend(w, REPEATS)._replace(to_client=(message, *w.to_client))
                yield ("arrives twice", *message), True, repeated, None

    def _client_takes(self, w: World, message: tuple[Any, ...]) -> Change:
        label = ("client reads", *message)
        kind = message[0]
        if kind == "committed":
            step = self.gates.trigger(w.gate, "turn")
            then = w._replace(known=w.known + 1)
        elif kind == "tool result added":
            step = self.gates.trigger(w.gate, "tool")
            then = w._replace(known=w.known + 1, unacknowledged=w.unacknowledged - 1)
        elif kind == "created":
            return self._client_sees_created(w, message, label)
        elif kind in ("speaks", "cut short"):
            return self._client_hears(w, message, label)
        elif kind == "done":
            _, name, event_id, status, reason, covered, calls = message
            step = self.gates.handle(w.gate, ev.Done(name, status, reason, event_id))
            then = w._replace(settled=max(min(covered, w.covered), w.excused), running=w.running + calls)
            if event_id == w.outstanding:
                then = then._replace(outstanding=None)
        elif kind == "error":
            _, code, event_id, response_id, covered = message
            step = self.gates.handle(w.gate, ev.Error(code, event_id, response_id))
            then = w._replace(outstanding=None) if event_id == w.outstanding else w
            if step.active != self.gates.active[w.gate]:
                then = then._replace(heard=0)  # the client cannot know what that response answers
            if event_id == w.outstanding and self.gates.pending[w.gate] and w.gate == step.gate:
                return label, False, then, f"I6: the refusal of {event_id} changes nothing"
            if code == ev.NOT_ACTIVE and event_id.startswith("probe"):  # answered after all that was sent before it
                then = w._replace(outstanding=None, settled=max(min(covered, w.covered), w.excused))
        else:
            step = self.gates.handle(w.gate, ev.SpeechStarted())
            then = w._replace(excused=max(w.excused, w.heard)) if self.gates.playable[w.gate] else w
        return label, False, self._apply(then, step), step.problem or self._second_request(then, step)

    def _client_sees_created(self, w: World, message: tuple[Any, ...], label: tuple[Any, ...]) -> Change:
        _, name, event_id, items, before, repeats_itself = message
        step = self.gates.handle(w.gate, ev.Created(name, event_id))
        then = w._replace(outstanding=None) if event_id is not None and event_id == w.outstanding else w
        problem, budget = step.problem, self.setup.budget
        if step.active != name:
            problem = problem or f"I3: {name} is not heard, for the gate does not take it"
        if step.active == name:
            then = then._replace(heard=items, settled=max(min(before, w.covered), w.excused))  # the one before is over
            latest = name == f"resp{w.responses}"
            if latest and not step.playable and step.active != self.gates.active[w.gate]:  # thrown away unheard
                then = then._replace(covered=min(then.covered, max(before, w.excused)))
            if event_id is not None and step.playable and items <= w.excused:
                problem = problem or f"I8: {name} is heard although the caller interrupted it before it began"
            # After a lost response.created one answer may come twice; and what a response covers that was thrown away
            # unheard behind one of the server's own is more than this judge keeps track of.
            if repeats_itself and step.playable and not (budget.drops or (budget.foreign and budget.barge_ins)):
                problem = problem or f"I2: {name} says again what was already answered (the caller hears it twice)"
        return label, False, self._apply(then, step), problem or self._second_request(then, step)

    def _client_hears(self, w: World, message: tuple[Any, ...], label: tuple[Any, ...]) -> Change:
        """Take in something that a response says; where its start was lost, this is the first of it."""
        kind, name, event_id, items, before, _ = message
        step = self.gates.handle(w.gate, ev.Progress(name) if kind == "speaks" else ev.CutShort(name))
        then, problem = w, step.problem
        unannounced = self.gates.phases[w.gate] is Phase.REQUESTED and event_id is not None
        if unannounced and event_id == w.outstanding and step.active != name:
            problem = problem or f"I3: {name} is not heard, for the gate does not take it"
        if step.active == name != self.gates.active[w.gate]:
            # While its request is open the client cannot know what that response answers.
            then = then._replace(heard=0 if self.gates.pending[step.gate] else items)
            if not step.playable and name == f"resp{w.responses}":  # thrown away unheard
                then = then._replace(covered=min(then.covered, max(before, w.excused)))
            elif step.playable and event_id is not None and items <= w.excused:
                problem = problem or f"I8: {name} is heard although the caller interrupted it before it began"
        return label, False, self._apply(then, step), problem

    def _stale(self, w: World) -> Iterator[Change]:
        """Something of a response arrives after its end; one whose events were all lost may be taken up again."""
        under_way = {message[1] for message in w.to_client if len(message) > 1} | {(w.active or ("",))[0]}
        for name in (f"resp{number + 1}" for number in range(w.responses)):
            if name not in under_way:
                step = self.gates.handle(w.gate, ev.Progress(name))
                taken = step.active == name != self.gates.active[w.gate] and not self.setup.budget.drops
                problem = f"I5: {name} is over, and becomes the active response again" if taken else step.problem
                yield ("client reads late", name), True, self._apply(self._spend(w, STALE), step), problem

    @staticmethod
    def _second_request(w: World, step: Step) -> str | None:
        if step.request is not None and w.outstanding is not None:
            return None if step.request == w.outstanding else f"I5: {step.request} while {w.outstanding} is outstanding"
        return None

    @staticmethod
    def _apply(w: World, step: Step) -> World:
        """Put what the gate sends on its way."""
        if not step.sends and not step.closing:
            return w if w.gate == step.gate else w._replace(gate=step.gate)
        return w._replace(
            gate=step.gate,
            to_server=(*w.to_server, *step.sends),
            link=CLOSING if step.closing else w.link,
            outstanding=step.request or w.outstanding,
        )

    @staticmethod
    def _spend(w: World, which: int) -> World:
        budget = list(w.budget)
        budget[which] -= 1
        return w._replace(budget=tuple(budget))
