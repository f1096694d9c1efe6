"""What a seed stands for: who calls, over what network, and what goes wrong.

Seed 0 is the contract's own test call: a patient caller and nothing else.  Each of the next seeds plays one fault by
itself, until every kind was played; from there on several come together.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_guard.certify.faults import KINDS, NO_CLIENT_S_FAULT, Fault, seeded

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

    def __str__(self) -> str:
        parts = [f"{self.manner} caller"]
        if self.delay:
            parts.append(f"{self.delay * 1000:.0f} ms to Realtime")
        if self.pace < 1:
            parts.append("slow voice")
        return ", ".join([*parts, *map(str, self.faults)])


def schedule_of(seed: int, extra: Sequence[Fault] = ()) -> Schedule:
    """Return the schedule of a seed, with ``extra`` faults instead of its own where some are given."""
    if seed == 0:
        return Schedule(0, faults=tuple(extra))
    chance = random.Random(seed * 7919 + 13)
    manner, delay, pace = chance.choice(_MANNERS), chance.choice(_DELAYS), chance.choice(_PACES)
    return Schedule(seed, manner, delay, tuple(extra) or _faults(seed), pace)


def _faults(seed: int) -> tuple[Fault, ...]:
    if seed <= len(_ALONE):
        # Those that are alike stand beside each other in the alphabet; a few seeds should show different ones.
        order = random.Random(0).sample(_ALONE, len(_ALONE))
        return seeded(seed, most=1, names=[order[seed - 1]])
    return seeded(seed)
