"""What a seed stands for: who calls, over what network, and what goes wrong.

Seed 0 is the contract's own test call: a patient caller and nothing else.  The next seeds play what real guards fail
at; then each kind of fault comes by itself, in all sorts of calls; from there on several come together.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline_guard.certify.faults import KINDS, NO_CLIENT_S_FAULT, Fault, fault, seeded

# Seconds to Realtime, one way.
_DELAYS = (0.0, 0.03, 0.08, 0.15)
# A voice slower than it plays keeps a response active until the caller's next turn is over.
_PACES = (4.0, 4.0, 0.8)
# Half of the callers are patient: a fault shows best in a call that is otherwise quiet.
_MANNERS = ("patient", "patient", "interrupting", "hurried")
# A refused connection means nothing unless one was lost before.
_ALONE = tuple(sorted(set(KINDS) - NO_CLIENT_S_FAULT - {"refuse-connect"}))


@dataclass(frozen=True)
class Schedule:
    """One call of the matrix.

    ``manner`` is one of ``callers.MANNERS``; ``delay`` is one way, in seconds; ``pace`` is how many times faster than
    it plays the model's voice is sent.
    """

    seed: int
    manner: str = "patient"
    delay: float = 0.0
    faults: tuple[Fault, ...] = ()
    pace: float = 4.0

    def options(self) -> dict[str, Any]:
        """Return what a ``ContractCall`` takes of it, by name."""
        return {name: getattr(self, name) for name in ("seed", "faults", "manner", "delay", "pace")}

    def __str__(self) -> str:
        parts = [f"{self.manner} caller"]
        if self.delay:
            parts.append(f"{self.delay * 1000:.0f} ms to Realtime")
        if self.pace < 1:
            parts.append("slow voice")
        return ", ".join([*parts, *map(str, self.faults)])


_PLAIN = (
    Schedule(0),
    # The second turn ends while the answer to the first is still being spoken: what is skipped must not be lost, …
    Schedule(1, "hurried", 0.1, (), 0.8),
    # … the end of another response and an error about something else must not open the guard.
    Schedule(2, "hurried", 0.1, (fault("stale-done", 2),), 0.8),
    Schedule(3, "hurried", 0.1, (fault("unrelated-error", 2),), 0.8),
    # Two triggers in one round trip: the second must not go out, nor be answered once more.
    Schedule(4, faults=(fault("duplicate-committed", 1),)),
    Schedule(5, "interrupting", 0.08),
    Schedule(6, faults=(fault("drop-done", 2),)),
    Schedule(7, faults=(fault("close-1011", 3),)),
)


def schedule_of(seed: int, extra: Sequence[Fault] = ()) -> Schedule:
    """Return the schedule of a seed, with ``extra`` faults instead of its own where some are given."""
    if seed < len(_PLAIN):
        plain = _PLAIN[seed]
        return replace(plain, faults=tuple(extra) or plain.faults)
    chance = random.Random(seed * 7919 + 13)
    manner, delay, pace = chance.choice(_MANNERS), chance.choice(_DELAYS), chance.choice(_PACES)
    return Schedule(seed, manner, delay, tuple(extra) or _faults(seed), pace)


def _faults(seed: int) -> tuple[Fault, ...]:
    number = seed - len(_PLAIN)
    if number < len(_ALONE):
        # Those that are alike stand beside each other in the alphabet; a few seeds should show different ones.
        order = random.Random(0).sample(_ALONE, len(_ALONE))
        return seeded(seed, most=1, names=[order[number]])
    return seeded(seed)
