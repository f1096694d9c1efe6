"""Search every order of events around a response gate for a broken invariant.

Breadth first, so that the first trace found is a shortest one.  Safety is checked in every world; liveness by going
backwards from the settled ones over the steps that need no luck: a world from which none can be reached is stuck.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any

from pipeline_guard.certify.model_budget import Budget, Setup
from pipeline_guard.certify.model_gate import Gate
from pipeline_guard.certify.model_world import Model, World


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one search; ``problem`` is None when every invariant holds in every world."""

    name: str
    states: int
    steps: int
    gate_states: int
    depth: int  # of the longest shortest path
    seconds: float  # of CPU
    complete: bool  # False: stopped at the first problem, or at the limit
    problem: str | None = None
    trace: tuple[str, ...] = ()


# Every combination that is searched in full; together they spend each budget.
SETUPS: dict[str, Setup] = {
    "turns and tools": Setup(Budget(turns=3, tools=2), most_tools=2),
    "server interrupts": Setup(Budget(turns=3, tools=1, reconnects=1, deadlines=1), interrupts=True),
    "barge-in": Setup(Budget(turns=2, tools=1, barge_ins=2, deadlines=1)),
    "lost connections": Setup(Budget(turns=2, tools=1, reconnects=1, half_opens=1, deadlines=1)),
    "refusals and failures": Setup(Budget(turns=2, barge_ins=1, fails=1, rejects=1, ignores=1, deadlines=1)),
    "lost events": Setup(Budget(turns=2, tools=1, barge_ins=1, drops=2)),
    "repeated events": Setup(Budget(turns=2, tools=1, repeats=2, reconnects=1)),
    "server creates too": Setup(Budget(turns=2, foreign=2, fails=1, deadlines=1)),
    "server creates, caller interrupts": Setup(Budget(turns=1, barge_ins=2, foreign=1, fails=1, deadlines=1)),
    "server creates, events are lost": Setup(Budget(turns=1, barge_ins=1, foreign=2, drops=1, deadlines=1)),
    "lost starts": Setup(Budget(turns=2, tools=1, barge_ins=1, drops=1, speaks=1)),
    "lost starts and connections": Setup(Budget(turns=2, barge_ins=1, drops=2, reconnects=1, speaks=1)),
    "failures, events are lost": Setup(Budget(turns=2, fails=1, drops=2, deadlines=1, speaks=1)),
    "server interrupts, events are lost": Setup(Budget(turns=2, fails=1, drops=2, speaks=1), interrupts=True),
    "server creates, starts are lost": Setup(Budget(turns=1, barge_ins=1, foreign=1, fails=1, drops=1, speaks=1)),
    "server creates and interrupts": Setup(Budget(turns=2, foreign=1, drops=1, speaks=1), interrupts=True),
    "late events": Setup(Budget(turns=2, tools=1, barge_ins=1, speaks=1, stale=1)),
    "everything at once": Setup(Budget(turns=2, tools=1, barge_ins=1, reconnects=1, deadlines=1)),
}
# A second or two: for every run of the tests.
SMALL: dict[str, Setup] = {
    "turns and tools": Setup(Budget(turns=2, tools=1)),
    "server interrupts": Setup(Budget(turns=2, deadlines=1), interrupts=True),
    "barge-in": Setup(Budget(turns=1, barge_ins=1, reconnects=1, deadlines=1)),
    "lost connections": Setup(Budget(turns=1, tools=1, reconnects=1, deadlines=1)),
    "dead connections": Setup(Budget(turns=1, tools=1, half_opens=1)),
    "refusals and failures": Setup(Budget(turns=1, reconnects=1, fails=1, rejects=1, ignores=1)),
    "lost events": Setup(Budget(turns=1, tools=1, barge_ins=1, drops=1)),
    "repeated events": Setup(Budget(turns=1, tools=1, repeats=1)),
    "server creates too": Setup(Budget(turns=1, foreign=1, fails=1, deadlines=1)),
    "server creates, caller interrupts": Setup(Budget(turns=1, barge_ins=2, foreign=1)),
    "server creates, events are lost": Setup(Budget(turns=1, barge_ins=1, foreign=1, drops=1)),
    "lost starts": Setup(Budget(turns=1, barge_ins=1, drops=1, speaks=1)),
    "failures, events are lost": Setup(Budget(turns=0, fails=1, drops=2, deadlines=1, speaks=1)),
    "server creates, starts are lost": Setup(Budget(turns=1, foreign=1, drops=1, speaks=1)),
    "late events": Setup(Budget(turns=2, speaks=1, stale=1)),
}


def check(
    gate: type[Gate], setup: Setup, name: str = "", limit: int | None = None, watch: tuple[str, ...] = ()
) -> Verdict:
    """Search all worlds of a setup; stop at the first problem or after ``limit`` worlds.

    ``watch`` narrows the search to the invariants of those names ("I1"), to follow a wrong gate to the end.
    """
    return _Search(Model(gate, setup), name, limit, watch).run()


class _Search:
    def __init__(self, model: Model, name: str, limit: int | None, watch: tuple[str, ...]) -> None:
        self.model, self.name, self.limit, self.watch = model, name, limit, watch
        start = model.start()
        self.index: dict[World, int] = {start: 0}
        self.parents = array("q", [-1])
        self.depths = array("l", [0])
        self.sources, self.targets = array("q"), array("q")  # the steps that are no choice of a budget
        self.settled: list[int] = []
        self.steps = 0

    def run(self) -> Verdict:
        started = time.process_time()
        problem, where, last = self._forward()
        complete = problem is None and where < 0
        if complete and self._watched("I9:"):
            problem, where = self._stuck()
        trace = self._trace(where, last) if problem is not None else ()
        return Verdict(
            self.name,
            len(self.index),
            self.steps,
            len(self.model.gates.states),
            max(self.depths),
            time.process_time() - started,
            complete,
            problem,
            trace,
        )

    def _forward(self) -> tuple[str | None, int, tuple[Any, ...] | None]:
        """Return the first problem, the world before it and the step into it."""
        model, index = self.model, self.index
        queue = deque(index)
        while queue:
            world = queue.popleft()
            here = index[world]
            problem = model.problem(world)
            if problem is not None and self._watched(problem):
                return problem, here, None
            if model.is_settled(world):
                self.settled.append(here)
            for label, chosen, then, problem in model.successors(world):
                self.steps += 1
                if problem is not None and self._watched(problem):
                    return problem, here, label
                there = index.get(then)
                if there is None:
                    there = index[then] = len(index)
                    self.parents.append(here)
                    self.depths.append(self.depths[here] + 1)
                    queue.append(then)
                    if self.limit is not None and there >= self.limit:
                        return None, here, label
                if not chosen:
                    self.sources.append(here)
                    self.targets.append(there)
        return None, -1, None

    def _watched(self, problem: str) -> bool:
        return not self.watch or problem.partition(":")[0] in self.watch

    def _stuck(self) -> tuple[str | None, int]:
        """Return a world from which the call cannot come to rest without luck, if there is one."""
        before: list[list[int]] = [[] for _ in self.index]
        for source, target in zip(self.sources, self.targets, strict=True):
            before[target].append(source)
        good = bytearray(len(self.index))
        stack = list(self.settled)
        for here in stack:
            good[here] = 1
        while stack:
            for source in before[stack.pop()]:
                if not good[source]:
                    good[source] = 1
                    stack.append(source)
        where = good.find(0)
        return ("I9: from here the call never comes to rest", where) if where >= 0 else (None, -1)

    def _trace(self, where: int, last: tuple[Any, ...] | None) -> tuple[str, ...]:
        """Return the shortest way to a world, one readable line a step."""
        path = []
        while where >= 0:
            path.append(where)
            where = self.parents[where]
        wanted = set(path)
        worlds = {number: world for world, number in self.index.items() if number in wanted}
        lines: list[str] = []
        for here, there in zip(path[::-1], [*path[-2::-1], None], strict=True):
            for label, _, then, _ in self.model.successors(worlds[here]):
                if (there is not None and then == worlds[there]) or (there is None and label == last):
                    lines.append(_line(len(lines) + 1, label, worlds[here], then))
                    break
        return tuple(lines)


def _line(number: int, label: tuple[Any, ...], before: World, after: World) -> str:
    kind, *rest = label
    what = ": " + " ".join(part for part in rest if isinstance(part, str)) if rest else ""
    kept = 0 if kind == "session ready" else len(before.to_server)  # what was on its way then is lost
    sent = after.to_server[kept:] if not kind.startswith("server") else ()
    sends = "".join(f"  → sends {' '.join(str(part) for part in message if part)}" for message in sent)
    return f"{number:2}. {kind}{what}{sends}"
