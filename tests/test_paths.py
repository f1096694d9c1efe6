"""What one pass through a function can run after what, compared with what really runs in programs made up at random."""

from __future__ import annotations

import contextlib
import itertools
import textwrap
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.facts.extract import extract
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.paths import EXIT, Paths
from pipeline_guard.program.trees import last_name


def function(body: str) -> Func:
    module = Module(
        "a.py", extract(f"def f(t, ask, box):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n".encode())
    )
    return module.functions[1]


def marks(func: Func) -> dict[int, int]:
    """Return the number in each ``t(number)`` → its operation."""
    return {
        site.call.args[0].value: site.op  # type: ignore[union-attr]
        for site in func.calls
        if last_name(site.call.func) == "t"
    }


def nexts(body: str, number: int) -> set[int | str]:
    """Return the numbers that can be the next to run after one, "exit" among them."""
    func = function(body)
    places = marks(func)
    found = Paths(func).after(places[number], set(places.values()))
    names: dict[int, int | str] = {op: other for other, op in places.items()}
    return {names[op] for op in found if op in names} | ({"exit"} if EXIT in found else set())


@pytest.mark.parametrize(
    ("body", "number", "expected"),
    [
        ("t(1)\nif ask():\n    t(2)\nt(3)", 1, {2, 3}),
        ("t(1)\nif ask():\n    t(2)\n    return\nt(3)", 2, {"exit"}),
        ("t(1)\nif ask():\n    t(2)\nelif ask():\n    t(3)\nelse:\n    t(4)\nt(5)", 1, {2, 3, 4}),
        ("t(1)\nif ask():\n    t(2)\nelse:\n    t(3)\nt(4)", 2, {4}),
        ("while ask():\n    t(1)\n    if ask():\n        break\n    t(2)\nt(3)", 1, {2, 3}),
        ("while True:\n    t(1)\n    if ask():\n        continue\n    t(2)\nt(3)", 1, {2, "exit"}),
        ("t(1)\nfor x in box:\n    t(2)\nelse:\n    t(3)\nt(4)", 1, {2, 3}),
        ("try:\n    t(1)\nexcept ValueError:\n    t(2)\nelse:\n    t(3)\nfinally:\n    t(4)", 1, {3}),
        ("try:\n    t(1)\nexcept ValueError:\n    t(2)\nfinally:\n    t(4)\nt(5)", 2, {4}),
        ("with box:\n    t(1)\nt(2)", 1, {2}),
        ("t(1)\nmatch ask():\n    case 1:\n        t(2)\n    case _:\n        t(3)\nt(4)", 2, {4}),
        ("t(1)\nraise ValueError", 1, set()),
        ("t(1)\nreturn\nt(2)", 1, {"exit"}),
        ("t(1)", 1, {"exit"}),
    ],
)
def test_what_can_run_next(body: str, number: int, expected: set[int | str]) -> None:
    assert nexts(body, number) == expected


def test_a_blocked_operation_is_reached_and_not_passed() -> None:
    func = function("t(1)\nif ask():\n    t(2)\nelse:\n    return\nt(3)")
    places = marks(func)
    reached = Paths(func).from_top({places[2]})
    assert places[2] in reached
    assert places[3] not in reached
    assert EXIT in reached


def test_hundreds_of_arms_do_not_exhaust_the_stack() -> None:
    arms = "".join(f"elif ask() == {n}:\n    t({n})\n" for n in range(2, 500))
    assert nexts(f"t(0)\nif ask():\n    t(1)\n{arms}t(9999)", 499) == {9999}


# -- programs made up at random, run for real


@st.composite
def suites(draw: st.DrawFn, depth: int = 3, loop: bool = False) -> list[str]:
    """Return the lines of a suite; every ``t()`` still lacks its number."""
    lines: list[str] = []
    kinds = ["mark", "mark", "if", "while", "for", "try", "with", "return"] + (["break", "continue"] if loop else [])
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(kinds if depth else ["mark"]))
        if kind == "mark":
            lines.append("t(#)")
            continue
        if kind in ("return", "break", "continue"):
            lines += ["if ask():", f"    {kind}"]
            continue
        inside = [f"    {line}" for line in draw(suites(depth - 1, loop or kind in ("while", "for")))]
        other = [f"    {line}" for line in draw(suites(depth - 1, loop))]
        if kind == "if":
            lines += ["if ask():", *inside, *(["else:", *other] if draw(st.booleans()) else [])]
        elif kind == "while":
            lines += ["while once(ask):", *inside]
        elif kind == "for":
            lines += ["for _ in box[: ask()]:", *inside]
        elif kind == "try":
            lines += ["try:", *inside, "except ValueError:", *other]
        else:
            lines += ["with nothing():", *inside]
    return lines


def numbered(lines: list[str]) -> str:
    count = iter(range(1, 10_000))
    return "\n".join(line.replace("#", str(next(count))) if "#" in line else line for line in lines)


def run(body: str, answers: Iterator[bool]) -> list[int]:
    """Run a body and return the numbers it passes; every loop goes round once at most."""
    passed: list[int] = []
    entered: list[int] = []

    def ask() -> bool:
        return next(answers, False)

    def once(ask_it: object) -> bool:
        # A ``while`` inside a loop that goes round once is asked twice: on the way in and on the way out.
        entered.append(1)
        return len(entered) % 2 == 1 and ask()

    names = {"t": passed.append, "ask": ask, "once": once, "box": [0], "nothing": contextlib.nullcontext}
    source = f"def f():\n{textwrap.indent(body, '    ')}\n"
    exec(compile(source, "made_up", "exec"), names)
    names["f"]()  # type: ignore[operator]
    return passed


@settings(max_examples=150, deadline=None)
@given(suites(), st.lists(st.booleans(), max_size=40))
def test_what_really_runs_next_was_expected(lines: list[str], answers: list[bool]) -> None:
    body = numbered(lines)
    passed = run(body, iter(answers))
    for number, following in itertools.pairwise(passed):
        if following > number:  # not from the end of a loop back to its start
            assert following in nexts(body, number), body
    if passed:
        func = function(body)
        places = marks(func)
        assert places[passed[0]] in Paths(func).from_top(set(places.values())), body
