"""Finds the drawn map of a pipeline in the comments and docstrings of a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_SPAN = 14  # lines above the first and below the last arrow that may belong to a map
_GAP = 6  # lines between two arrows of one map
_MIN_ARROWS = 2
_FRAME = " \t*│┃"  # what may stand around an arrow in a line of its own
_QUOTES = ('"""', "'''")


def has_map(data: bytes, arrows: Collection[str], words: Sequence[Sequence[str]]) -> bool:
    """Say whether a file draws a pipeline: steps joined by at least two arrows that name something of each word list.

    Drawn downwards, each arrow has a line to itself; drawn across, it is a line of comment with all of them.
    """
    whole = data.decode("utf-8", "replace")
    lines = whole.splitlines()
    drawn = frozenset(arrow for arrow in arrows if arrow in whole)
    wide = [arrow for arrow in drawn if not arrow.isalnum() and arrow != "|"]
    signs = {"#", *_FRAME, *(arrow[:1] for arrow in drawn)}
    # Every line of the file comes by here, so each is asked first what it begins with.
    begun = [(number, text) for number, text in enumerate(map(str.strip, lines)) if text[:1] in signs]
    for _, text in begun:
        if text.startswith("#") and sum(map(text.count, wide)) >= _MIN_ARROWS and _names_all(text, words):
            return True
    alone = [number for number, text in begun if _is_arrow(text, drawn)]
    start = 0
    for index, number in enumerate(alone):
        last = index + 1 == len(alone) or alone[index + 1] - number > _GAP
        if last:
            group = alone[start : index + 1]
            start = index + 1
            drawing = "\n".join(_around(lines, group[0], group[-1]))
            if len(group) >= _MIN_ARROWS and _names_all(drawing, words):
                return True
    return False


def _around(lines: Sequence[str], first: int, last: int) -> Sequence[str]:
    """Return the comment that holds the lines of some arrows; of a docstring, the lines from quotes to quotes."""
    in_comment = lines[first].lstrip().startswith("#")

    def belongs(line: str) -> bool:
        return line.lstrip().startswith("#") if in_comment else not line.strip().startswith(_QUOTES)

    top, bottom = first, last
    while top > max(0, first - _SPAN) and belongs(lines[top - 1]):
        top -= 1
    while bottom + 1 < min(len(lines), last + _SPAN) and belongs(lines[bottom + 1]):
        bottom += 1
    return lines[top : bottom + 1] if in_comment else lines[max(0, top - 1) : bottom + 2]


def _is_arrow(text: str, arrows: Collection[str]) -> bool:
    """Say whether a line holds an arrow and nothing else but its frame."""
    bare = text.lstrip("#").strip(_FRAME)
    if bare in arrows:
        return True
    first = bare.split(maxsplit=1)[:1]  # most lines are told by their first word
    return bool(first) and first[0] in arrows and all(part in arrows for part in bare.split())


def _names_all(text: str, words: Sequence[Sequence[str]]) -> bool:
    lower = text.lower()
    return all(any(word in lower for word in choice) for choice in words)
