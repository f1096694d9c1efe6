"""What makes other speech-to-speech services answer, as a baseline keeps it, and where one way begins to do so twice.

Such a lane is never judged by itself: it may answer twice when the baseline is recorded, and nothing is said of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.checks.report import Draft
from pipeline_guard.pipeline.model import Answer, PipelineMap, Step
from pipeline_guard.ratchet.matching import Stage, pair
from pipeline_guard.ratchet.state import AnswerMark, Baseline, Nearness
from pipeline_guard.statements import Statements

Marked = tuple[AnswerMark, Answer]


def answer_marks(pipeline_map: PipelineMap, statements: Statements) -> list[Marked]:
    """Return what a baseline keeps of each place that makes another service answer."""
    return [
        (_mark(answer, statements), answer)
        for answer in pipeline_map.answers
        if answer.context not in ("example", "test") and answer.confidence != "low"
    ]


def _mark(answer: Answer, statements: Statements) -> AnswerMark:
    state: Nearness = "live"
    if answer.context == "dormant":
        state = "dormant"
    elif answer.context in ("post_call", "offline"):
        state = "after"
    return AnswerMark(
        lane=f"{answer.app}: {answer.service}" if answer.app else answer.service,
        path=answer.path,
        symbol=answer.symbol,
        what=answer.what,
        statement=statements.at(answer.path, answer.line, answer.column, answer.end_line).key,
        state=state,
        again=answer.after is not None,
    )


def second_answers(baseline: Baseline, pipeline_map: PipelineMap, statements: Statements) -> Iterator[Draft]:
    """Yield the places by which one way through a function has come to be answered twice.

    That is where a lane has more second answers than were recorded, and where one was written anew: nobody was ever
    told of the old one.  A lane that the baseline does not hold is new, or the baseline was recorded by a version that
    kept none of this: neither can have got worse.
    """
    recorded = {mark.lane for mark in baseline.answers}
    now = [marked for marked in answer_marks(pipeline_map, statements) if marked[0].lane in recorded]
    paired = pair(list(baseline.answers), now, _stages())
    before = Counter(mark.lane for mark in baseline.answers if _is_second(mark))
    count = Counter(mark.lane for mark, _ in now if _is_second(mark))
    known = {(answer.path, answer.line, answer.column): old for old, (_, answer) in paired.pairs}
    new_lines = {(answer.path, answer.line) for _, answer in paired.new}
    for mark, answer in now:
        if not _is_second(mark) or answer.after is None:
            continue
        old = known.get((answer.path, answer.line, answer.column))
        if old is not None and _is_second(old):
            same_call = (old.path, old.symbol, old.what) == (mark.path, mark.symbol, mark.what)
            if same_call and old.statement != mark.statement:
                yield _draft(mark, answer, answer.after, is_more=False)
        elif count[mark.lane] > before[mark.lane]:
            first_is_new = old is not None and (answer.path, answer.after.line) in new_lines
            yield _draft(mark, answer, answer.after, at_first=first_is_new)


def _is_second(mark: AnswerMark) -> bool:
    return mark.again and mark.state == "live"


def _draft(mark: AnswerMark, answer: Answer, first: Step, *, is_more: bool = True, at_first: bool = False) -> Draft:
    what = (
        "is made to answer from one more place" if is_more else "is still made to answer twice, in words that are new"
    )
    message = (
        f"The {mark.lane} lane {what}: {answer.symbol}() has it answer in line {first.line} and again in line "
        f"{answer.line} ({_short(answer.what)}), on the same way and with nothing waited for in between. The caller "
        "hears two replies to one thing; let one of the two go."
    )
    evidence = (*answer.reached_from[:-1], first, Step(answer.path, answer.line, answer.symbol, "and once more"))
    line, end_line, column = (first.line, first.line, 1) if at_first else (answer.line, answer.end_line, answer.column)
    return Draft(answer.path, line, end_line, column, answer.symbol, message, evidence, answer.confidence)


def _short(what: str) -> str:
    return what.rpartition(":")[2]


class LaneAnswers(NamedTuple):
    """How many places make a lane answer during calls, in how many functions, and how many of them a second time."""

    lane: str
    places: int
    functions: int
    second: int


def summary(baseline: Baseline) -> list[LaneAnswers]:
    """Return what a baseline holds of each lane of another service."""
    live = [mark for mark in baseline.answers if mark.state == "live"]
    return [
        LaneAnswers(
            lane,
            sum(mark.lane == lane for mark in live),
            len({(mark.path, mark.symbol) for mark in live if mark.lane == lane}),
            sum(mark.lane == lane and mark.again for mark in live),
        )
        for lane in sorted({mark.lane for mark in live})
    ]


def _stages() -> list[Stage[AnswerMark, Marked]]:
    def same(*names: str) -> Stage[AnswerMark, Marked]:
        def key(mark: AnswerMark) -> tuple[object, ...]:
            return tuple(getattr(mark, name) for name in names)

        return Stage(key, lambda marked: key(marked[0]))

    return [
        same("lane", "path", "symbol", "statement", "again"),
        same("lane", "path", "statement", "again"),
        same("lane", "statement", "again"),
        same("lane", "path", "symbol", "statement"),
        same("lane", "path", "symbol", "what", "again"),
        same("lane", "path", "symbol", "what"),
    ]
