"""The nouns of the codemod: what is to be done, what was refused, and how replacements meet in one file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Union

import msgspec

Safety = Literal["safe", "unsafe"]


class NoOpCall(msgspec.Struct, frozen=True, tag=True):
    """Take away the statement that a call is, and say why in a comment.  ``line`` and ``column`` are the call's."""

    path: str
    line: int
    column: int
    comment: str


class Reroute(msgspec.Struct, frozen=True, tag=True):
    """Put another call in the place of a call: ``code`` is an expression, awaited as the old call was.

    Without ``awaits`` it takes the place of the whole statement that only awaits or starts the old call.
    """

    path: str
    line: int
    column: int
    code: str
    awaits: bool = True


class NoOpBody(msgspec.Struct, frozen=True, tag=True):
    """Take away a function's body and leave comment and ``return``.  ``line`` is that of ``def``.

    ``returns_are_fine`` says that nothing calls it, so that nobody misses what it returned.
    """

    path: str
    line: int
    comment: str
    returns_are_fine: bool = False


class Insert(msgspec.Struct, frozen=True, tag=True):
    """Put whole lines before (or, with ``after``, behind) the statement at a line, at its indentation.

    ``lines`` hold no line ends and no common indentation; deeper levels are indented by four blanks, which become what
    the file uses.  With ``inside`` they go to the start of the body of the compound statement there instead, behind a
    docstring; with ``end`` to the end of that body.
    """

    path: str
    line: int
    lines: tuple[str, ...]
    after: bool = False
    inside: bool = False
    end: bool = False


class Wrap(msgspec.Struct, frozen=True, tag=True):
    """Indent the statement at a line by one level, with whole lines before and behind it at its old indentation.

    ``last`` is the last line of what is indented, where that is more than the one statement.
    """

    path: str
    line: int
    before: tuple[str, ...]
    behind: tuple[str, ...]
    last: int = 0


class Remove(msgspec.Struct, frozen=True, tag=True):
    """Take away the statement at a line, which nothing needs any more; its comments stay, one may come.

    What its arguments do is still done, unless ``whole``.
    """

    path: str
    line: int
    comment: str = ""
    whole: bool = False


class TakeElement(msgspec.Struct, frozen=True, tag=True):
    """Take one element out of a display or of the arguments of a call, and say why in a comment above the statement.

    ``line`` and ``column`` are those of the element.
    """

    path: str
    line: int
    column: int
    comment: str


class Substitute(msgspec.Struct, frozen=True, tag=True):
    """Put text in the place of an expression.  ``line``, ``column`` to ``end_line``, ``end_column`` (exclusive)."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    code: str


Operation = Union[NoOpCall, Reroute, NoOpBody, Insert, Wrap, Remove, TakeElement, Substitute]  # noqa: UP007 - msgspec reads it


class Unit(NamedTuple):
    """Operations that make sense only together, the findings that they mend (fingerprints), and why, in one line."""

    operations: tuple[Operation, ...]
    rule: str
    safety: Safety
    why: str
    mends: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(operation.path for operation in self.operations))


class Refusal(NamedTuple):
    """A finding that is left alone: why, and what to do by hand."""

    path: str
    line: int
    rule: str
    why: str
    by_hand: str
    mends: tuple[str, ...] = ()


class CannotRewrite(Exception):
    """An operation that would not do what it says at this place; the message says why, and ``by_hand`` what to do."""

    def __init__(self, why: str, by_hand: str = "") -> None:
        super().__init__(why)
        self.by_hand = by_hand


class Replacement(NamedTuple):
    """``text[start:end]`` becomes ``new``.  Offsets count characters."""

    start: int
    end: int
    new: str


def splice(text: str, replacements: Iterable[Replacement]) -> str:
    """Return the text with all replacements made; they must not overlap, insertions at one place keep their order."""
    parts: list[str] = []
    position = 0
    for start, end, new in sorted(replacements, key=lambda each: each[:2]):
        if start < position:
            raise ValueError("replacements overlap")
        parts += (text[position:start], new)
        position = end
    parts.append(text[position:])
    return "".join(parts)
