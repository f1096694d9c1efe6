"""What may happen in the calls that the model checker searches, and how often."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Budget:
    """How often each thing may happen in one call; the search tries every order of them."""

    turns: int = 2  # the caller says something
    tools: int = 0  # a response ends with a function call
    barge_ins: int = 0  # the caller interrupts and the client has to cancel
    reconnects: int = 0  # the socket is lost
    deadlines: int = 0  # a deadline passes although nothing is wrong
    fails: int = 0  # a response ends as failed
    rejects: int = 0  # a request is refused for another reason than an active response
    ignores: int = 0  # a request is swallowed without a word
    drops: int = 0  # a handler crashes: response.created or response.done never reaches the gate
    repeats: int = 0  # response.created or response.done is delivered twice
    foreign: int = 0  # the server creates a response by itself
    half_opens: int = 0  # the connection is dead, and nobody says so
    speaks: int = 0  # something of a response arrives between its start and its end
    stale: int = 0  # something of a response arrives after its end


@dataclass(frozen=True, slots=True)
class Setup:
    """One question to the model."""

    budget: Budget = Budget()
    interrupts: bool = False  # the server cancels the active response when the caller starts to speak
    most_tools: int = 1


NAMES = tuple(field.name for field in fields(Budget))
(
    TURNS, TOOLS, BARGE_INS, RECONNECTS, DEADLINES, FAILS, REJECTS, IGNORES, DROPS, REPEATS, FOREIGN, HALF_OPENS,
    SPEAKS, STALE,
) = range(len(NAMES))  # fmt: skip
