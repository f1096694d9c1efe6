"""Pairs what was there with what is there: in stages from the surest sign to the weakest, each thing used once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Old = TypeVar("Old")
New = TypeVar("New")


@dataclass(frozen=True)
class Stage(Generic[Old, New]):
    """What two things must have in common.  ``fits`` may refuse a pair; ``alike`` picks the most similar code."""

    old_key: Callable[[Old], Hashable]
    new_key: Callable[[New], Hashable]
    fits: Callable[[Old, New], bool] | None = None
    alike: Callable[[Old | New], str] | None = None


@dataclass(frozen=True)
class Pairing(Generic[Old, New]):
    """Which old thing is which new one; what is gone; what is new."""

    pairs: list[tuple[Old, New]]
    gone: list[Old]
    new: list[New]


def pair(old: Sequence[Old], new: Sequence[New], stages: Sequence[Stage[Old, New]]) -> Pairing[Old, New]:
    """Return the pairs, and what is left on both sides in the order it came in.

    Two copies need two partners: whatever one stage has paired is gone for the next.
    """
    left: dict[int, Old] = dict(enumerate(old))
    right: dict[int, New] = dict(enumerate(new))
    pairs: list[tuple[Old, New]] = []
    for stage in stages:
        buckets: dict[Hashable, list[int]] = {}
        for index, thing in left.items():
            buckets.setdefault(stage.old_key(thing), []).append(index)
        for index, candidate in list(right.items()):
            waiting = [each for each in buckets.get(stage.new_key(candidate), ()) if each in left]
            partner = _choose(stage, candidate, [(each, left[each]) for each in waiting])
            if partner is not None:
                pairs.append((left.pop(partner), candidate))
                del right[index]
    return Pairing(pairs, list(left.values()), list(right.values()))


def _choose(stage: Stage[Old, New], new: New, waiting: list[tuple[int, Old]]) -> int | None:
    if stage.fits is not None:
        waiting = [(index, old) for index, old in waiting if stage.fits(old, new)]
    if not waiting:
        return None
    if stage.alike is None:
        return waiting[0][0]
    wanted = stage.alike(new)
    scored = [(_likeness(stage.alike(old), wanted), -index) for index, old in waiting]
    return -max(scored)[1]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()
