"""The figures of the load benchmark: a point, what disturbed it, and what the points of several rounds say together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tests.benchmarks.load_machine import Share

ADDED_MS = 20.0  # the promise: p99 of what the bridge adds to a frame's way
# From here on a point says more of the machine than of the bridge.
MOST_STOLEN, MOST_WAITED, MOST_LATE_MS = 1.0, 5.0, 5.0


class Point(NamedTuple):
    """One run of one bridge: N calls for some seconds."""

    kind: str
    calls: int
    micros: float  # of CPU for a frame to the model and one back
    median_ms: float
    p99_ms: float
    lost: int
    late_ms: float  # p99 of how late the callers' frames left
    bridge: Share
    generator: Share
    memory: str

    @property
    def disturbed(self) -> tuple[str, ...]:
        """What went on that is not the bridge's doing."""
        found = []
        if max(self.bridge.stolen, self.generator.stolen) > MOST_STOLEN:
            found.append("stolen")
        if self.bridge.waited > MOST_WAITED:
            found.append("core shared")
        if self.late_ms > MOST_LATE_MS or self.generator.waited > MOST_WAITED:
            found.append("callers late")
        return tuple(found)

    @property
    def row(self) -> str:
        """One line under HEAD."""
        stolen = max(self.bridge.stolen, self.generator.stolen)
        return (
            f"{self.calls:5} {self.kind:8} {self.micros:8.0f} {self.median_ms:8.1f} {self.p99_ms:8.1f} {self.lost:6} "
            f"{self.bridge.ran:7.0f} {self.bridge.waited:7.1f} {stolen:7.1f} {self.generator.ran:7.0f} "
            f"{self.late_ms:8.1f} {self.memory:>13}  {', '.join(self.disturbed)}"
        )


HEAD = (
    f"{'calls':>5} {'bridge':8} {'µs/pair':>8} {'med ms':>8} {'p99 ms':>8} {'lost':>6} {'ran %':>7} {'wait %':>7} "
    f"{'stole %':>7} {'gen %':>7} {'late ms':>8} {'MB':>13}  not the bridge's doing"
)


class Spread(NamedTuple):
    """The median over several rounds, with the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.least:{spec}}–{self.most:{spec}})"


class Rounds:
    """All points that were measured, in order; a round holds one point for each kind and number of calls."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, int], list[Point]] = {}

    def add(self, point: Point) -> None:
        """Take in one more point."""
        self._points.setdefault((point.kind, point.calls), []).append(point)

    @property
    def calls(self) -> list[int]:
        """The numbers of calls that were tried."""
        return sorted({calls for _, calls in self._points})

    def undisturbed(self, calls: int, kinds: Iterable[str]) -> tuple[list[int], int]:
        """Return the rounds in which nothing else went on for any of the kinds, or all if there is none; and how many.

        Kinds are compared within a round, so a round that disturbed one of them is left out for all.
        """
        columns = [self._points[kind, calls] for kind in kinds if (kind, calls) in self._points]
        every = range(min(map(len, columns), default=0))
        quiet = [number for number in every if not any(column[number].disturbed for column in columns)]
        return (quiet or list(every)), len(quiet)

    def spread(self, kind: str, calls: int, rounds: Iterable[int], value: Callable[[Point], float]) -> Spread | None:
        """Return a figure of a kind over some rounds."""
        points = self._points.get((kind, calls), [])
        values = [value(points[number]) for number in rounds if number < len(points)]
        return Spread.of(values) if values else None

    def added(self, kind: str, calls: int, rounds: Iterable[int]) -> Spread | None:
        """Return p99 in ms less what a frame needs without a bridge in the same round, where that was measured."""
        points, floor = self._points.get((kind, calls), []), self._points.get(("direct", calls), [])
        values = [
            points[number].p99_ms - (floor[number].p99_ms if number < len(floor) else 0.0)
            for number in rounds
            if number < len(points)
        ]
        return Spread.of(values) if values else None

    def ratio(self, calls: int, rounds: Iterable[int]) -> Spread | None:
        """Return the agent's CPU for a frame pair, divided by the plain bridge's in the same round."""
        agent, plain = self._points.get(("agent", calls), []), self._points.get(("plain", calls), [])
        values = [agent[n].micros / plain[n].micros for n in rounds if n < min(len(agent), len(plain))]
        return Spread.of(values) if values else None

    def capacity(self, kind: str) -> tuple[int, bool]:
        """Return the most calls, of those tried, up to which the promise holds and no frame is lost; 0 for none.

        And whether that can be believed: every number of calls that was looked at had an undisturbed round.
        """
        most, believed = 0, True
        for calls in self.calls:
            rounds, quiet = self.undisturbed(calls, ("direct", kind))
            believed = believed and quiet > 0
            added = self.added(kind, calls, rounds)
            lost = self.spread(kind, calls, rounds, lambda point: point.lost)
            if added is None or lost is None or added.median >= ADDED_MS or lost.median > 0:
                break
            most = calls
        return most, believed
