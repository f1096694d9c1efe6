"""The faults that the simulators can play, each by name, and schedules of them that a seed decides.

A fault is an argument about the agent: a lost ``response.done`` shows a guard that locks up, a second socket for the
same call shows a second pipeline.  So each says in a sentence what happens on the wire.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline_guard.errors import UserError

Side = Literal["openai", "twilio"]


@dataclass(frozen=True)
class FaultKind:
    """A fault that can be played.

    ``acts_on`` is the event whose n-th occurrence sets it off ("" where it lasts for the whole call); ``seconds`` is
    the length it has when none is given.
    """

    name: str
    side: Side
    acts_on: str
    text: str
    seconds: float = 0.0


_KINDS = (
    FaultKind("drop-created", "openai", "response.created", "the event is never sent"),
    FaultKind("drop-done", "openai", "response.done", "the event is never sent"),
    FaultKind("duplicate-created", "openai", "response.created", "the event is sent twice"),
    FaultKind("duplicate-done", "openai", "response.done", "the event is sent twice"),
    FaultKind("duplicate-committed", "openai", "input_audio_buffer.committed", "the event is sent twice"),
    FaultKind("stale-done", "openai", "response.created", "the response.done of an earlier response comes again"),
    FaultKind("foreign-created", "openai", "input_audio_buffer.committed", "the server creates a response unasked"),
    FaultKind("hide-error-ids", "openai", "", "errors do not say which client event they are about"),
    FaultKind("unrelated-error", "openai", "response.created", "an error about something else follows"),
    FaultKind("ignore-create", "openai", "response.create", "the request is dropped without a word"),
    FaultKind("slow-create", "openai", "response.create", "the response is created late", 6.0),
    FaultKind("failed-response", "openai", "response.created", "the response ends as failed"),
    FaultKind("incomplete-response", "openai", "response.created", "the response ends as incomplete"),
    FaultKind("late-transcript", "openai", "", "transcripts come long after the turn", 4.0),
    FaultKind("early-transcript", "openai", "", "transcripts come with the turn"),
    FaultKind("failed-transcript", "openai", "", "no turn is transcribed"),
    FaultKind("jitter-to-client", "openai", "", "events arrive late, by up to this much", 0.25),
    FaultKind("jitter-to-server", "openai", "", "the client's events arrive late, by up to this much", 0.25),
    FaultKind("slow-reader", "openai", "response.created", "the server stops reading for a while", 2.0),
    FaultKind("half-open", "openai", "response.created", "the connection goes silent without closing"),
    FaultKind("close-1001", "openai", "response.created", "the server closes: going away"),
    FaultKind("close-1006", "openai", "response.created", "the connection breaks without a close frame"),
    FaultKind("close-1011", "openai", "response.created", "the server closes: internal error"),
    FaultKind("close-1012", "openai", "response.created", "the server closes: service restart"),
    FaultKind("session-expired", "openai", "response.created", "the session's time is up: error, then close"),
    FaultKind("refuse-connect", "openai", "connect", "the connection is refused with HTTP 503"),
    FaultKind("uneven-frames", "twilio", "", "the caller's frames come up to this much late", 0.06),
    FaultKind("bursts", "twilio", "", "the caller's frames come in bursts of this many seconds", 0.2),
    FaultKind("drift", "twilio", "", "the caller's clock runs faster by this share of a second per second", 0.01),
    FaultKind("slow-phone", "twilio", "frame", "Twilio stops reading for a while", 1.0),
    FaultKind("second-socket", "twilio", "frame", "a second media stream opens for the same call"),
    FaultKind("close-without-stop", "twilio", "frame", "the media stream ends without a stop message"),
)
KINDS: dict[str, FaultKind] = {kind.name: kind for kind in _KINDS}
# With a server that creates responses by itself no client can keep the active-response error from happening; so it is
# played when it is asked for by name.
NO_CLIENT_S_FAULT = frozenset({"foreign-created"})
# A connection that these end is gone with the conversation in it.
ENDS_CONNECTION = frozenset(
    {"half-open", "close-1001", "close-1006", "close-1011", "close-1012", "session-expired", "close-without-stop"}
)
_WRITTEN = re.compile(r"(?P<name>[a-z0-9-]+?)(?:@(?P<nth>\d+))?(?::(?P<seconds>\d+(?:\.\d+)?)s?)?\Z")


@dataclass(frozen=True)
class Fault:
    """One fault: at the ``nth`` event it acts on (from 1), for ``seconds``; as text ``drop-done@2:0.3s``."""

    name: str
    nth: int = 1
    seconds: float = 0.0

    @property
    def kind(self) -> FaultKind:
        """What this fault does."""
        return KINDS[self.name]

    def __str__(self) -> str:
        nth = f"@{self.nth}" if self.kind.acts_on else ""
        return self.name + nth + (f":{self.seconds:g}s" if self.seconds else "")


def parse_fault(text: str) -> Fault:
    """Read a fault as written on the command line.  Raises UserError that names what is wrong."""
    match = _WRITTEN.match(text)
    if match is None:
        raise UserError(f"{text!r} is not a fault; write NAME, NAME@N (the n-th event) or NAME@N:SECONDS.")
    name = match["name"]
    if name not in KINDS:
        import difflib

        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KINDS)}."
        raise UserError(f"there is no fault {name!r}; {hint}")
    nth = int(match["nth"] or 1)
    if nth < 1:
        raise UserError(f"{text!r}: events are counted from 1.")
    return Fault(name, nth, float(match["seconds"]) if match["seconds"] else KINDS[name].seconds)


def fault(name: str, nth: int = 1, seconds: float | None = None) -> Fault:
    """Return a fault with the length that its kind has unless ``seconds`` says otherwise.  Raises UserError."""
    if name not in KINDS:
        raise UserError(f"there is no fault {name!r}; known are {', '.join(KINDS)}.")
    return Fault(name, nth, KINDS[name].seconds if seconds is None else seconds)


def seeded(seed: int, *, most: int = 3, names: Iterable[str] | None = None, latest: int = 4) -> tuple[Fault, ...]:
    """Return up to ``most`` different faults, the same ones for the same seed; ``latest`` bounds their ``nth``.

    Without ``names`` they are of all kinds that a client can be held to.

    At most one of them ends a connection, and a refused connection comes only after one that ended.
    """
    chance = random.Random(seed)
    pool = sorted((set(KINDS) - NO_CLIENT_S_FAULT if names is None else set(names)) - {"refuse-connect"})
    chosen: list[Fault] = []
    for name in chance.sample(pool, min(chance.randint(1, most), len(pool))):
        if name in ENDS_CONNECTION and any(other.name in ENDS_CONNECTION for other in chosen):
            continue
        nth = 1
        if KINDS[name].acts_on == "frame":
            nth = chance.randint(50, 300)
        elif KINDS[name].acts_on:
            nth = chance.randint(1, latest)
        seconds = KINDS[name].seconds * chance.choice((0.5, 1.0, 1.5)) if KINDS[name].seconds else 0.0
        chosen.append(Fault(name, nth, round(seconds, 3)))
    lost = any(f.name in ENDS_CONNECTION and f.kind.side == "openai" for f in chosen)
    if lost and (names is None or "refuse-connect" in set(names)) and chance.random() < 0.5:
        chosen.append(Fault("refuse-connect", 2))
    return tuple(chosen)


class FaultPlan:
    """Counts events and says which faults are due.  One plan serves all connections of a call."""

    def __init__(self, faults: Sequence[Fault], side: Side) -> None:
        self.faults = tuple(f for f in faults if f.kind.side == side)
        self._seen: dict[str, int] = {}

    def due(self, event_type: str) -> list[Fault]:
        """Count one more event of this type and return the faults that it sets off."""
        if not self.faults:
            return []
        count = self._seen[event_type] = self._seen.get(event_type, 0) + 1
        return [f for f in self.faults if f.kind.acts_on == event_type and f.nth == count]

    def lasting(self, name: str) -> Fault | None:
        """Return the fault of this name that lasts for the whole call."""
        return next((f for f in self.faults if f.name == name), None)
