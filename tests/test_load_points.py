"""What the rounds of the load benchmark say: a disturbed point is named, and is not the bridge's fault."""

from __future__ import annotations

import pytest

from tests.benchmarks.load_machine import Share
from tests.benchmarks.load_points import Point, Rounds, Spread

QUIET, BUSY = Share(30.0, 0.5, 0.0), Share(30.0, 40.0, 0.0)


def point(
    kind: str, calls: int, p99: float, micros: float = 200.0, lost: int = 0, bridge: Share = QUIET, late: float = 1.0
) -> Point:
    return Point(kind, calls, micros, 1.0, p99, lost, late, bridge, QUIET, "70.0→70.1")


def rounds_of(*points: Point) -> Rounds:
    rounds = Rounds()
    for each in points:
        rounds.add(each)
    return rounds


@pytest.mark.parametrize(
    ("bridge", "late", "said"),
    [
        (QUIET, 1.0, ()),
        (Share(30.0, 0.5, 3.0), 1.0, ("stolen",)),
        (Share(30.0, 40.0, 0.0), 1.0, ("core shared",)),
        (QUIET, 9.0, ("callers late",)),
        (Share(95.0, 0.5, 0.0), 1.0, ()),
    ],
)
def test_a_point_says_what_is_not_the_bridges_doing(bridge: Share, late: float, said: tuple[str, ...]) -> None:
    assert point("agent", 40, 9.0, bridge=bridge, late=late).disturbed == said


def test_a_round_that_disturbed_one_bridge_is_left_out_for_all() -> None:
    rounds = rounds_of(
        point("plain", 40, 5.0, micros=200.0), point("agent", 40, 4.0, micros=150.0),
        point("plain", 40, 99.0, micros=300.0, bridge=BUSY), point("agent", 40, 4.0, micros=150.0),
        point("plain", 40, 7.0, micros=200.0), point("agent", 40, 6.0, micros=170.0),
    )  # fmt: skip
    assert rounds.undisturbed(40, ("plain", "agent")) == ([0, 2], 2)
    assert rounds.ratio(40, [0, 2]) == Spread(0.8, 0.75, 0.85)
    assert rounds.spread("plain", 40, [0, 2], lambda each: each.p99_ms) == Spread(6.0, 5.0, 7.0)


def test_where_every_round_was_disturbed_all_are_told_and_none_counts() -> None:
    rounds = rounds_of(point("agent", 40, 50.0, bridge=BUSY), point("agent", 40, 60.0, bridge=BUSY))
    assert rounds.undisturbed(40, ("agent",)) == ([0, 1], 0)


def test_capacity_is_what_the_bridge_adds_and_ends_at_the_first_broken_promise() -> None:
    rounds = rounds_of(
        point("direct", 20, 2.0), point("agent", 20, 21.0),
        point("direct", 40, 2.0), point("agent", 40, 23.0),
        point("direct", 60, 2.0), point("agent", 60, 5.0),
    )  # fmt: skip
    assert rounds.capacity("agent") == (20, True)
    assert rounds_of(point("agent", 20, 21.0)).capacity("agent") == (0, True)
    assert rounds_of(point("agent", 20, 3.0, lost=1)).capacity("agent") == (0, True)
    assert rounds_of(point("agent", 20, 3.0, bridge=BUSY)).capacity("agent") == (20, False)
