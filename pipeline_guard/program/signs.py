"""Tells a project that may hold a Realtime session from one in which nothing can be judged, by byte strings alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_guard.vocabulary import Vocabulary

# Bytes of Python that are read in depth whatever stands in them.
LARGE = 5_000_000
# Parts of words of these lengths: short ones are few and stand in much other code, longer ones tell better.
_SHORT, _LONG = 5, 8
_EVENT = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")


class Signs:
    """The byte strings of which a file that touches a Realtime session holds at least one.

    Those of speech engines and of TwiML are none of them: without a session beside them they are shown and not judged.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        words = sorted(vocabulary.session_words)
        self._short = tuple(part.encode() for part in common_parts(words, _SHORT))
        self._long = tuple(part.encode() for part in common_parts(words, _LONG))
        self._events = tuple(word.encode() for word in words if _EVENT.fullmatch(word))
        self._names = tuple(word.encode() for word in words if not _EVENT.fullmatch(word))

    def are_in(self, data: bytes) -> bool:
        """Say whether a file may touch a session."""
        for part in self._short:
            if part in data:
                return any(part in data for part in self._long) and self._holds_word(data)
        return False

    def _holds_word(self, data: bytes) -> bool:
        # What a client sends is none in "session.update_title()", nor in "response.created", which it receives.
        # The types of events come first: a file of a megabyte holds some of them, and is looked through for each name.
        return any(
            event in data and re.search(rb"%s(?![A-Za-z_])" % re.escape(event), data) for event in self._events
        ) or any(name in data for name in self._names)


def common_parts(words: Iterable[str], length: int) -> Sequence[str]:
    """Return few strings, one of which stands in each of the words; a short word is one by itself.

    Looking for a string takes as long as reading the bytes, so a few cost a fraction of what all words would.
    """
    left = sorted(set(words))
    found: list[str] = []
    while left:
        held: dict[str, int] = {}
        for word in left:
            for part in {word[at : at + length] for at in range(max(1, len(word) - length + 1))}:
                held[part] = held.get(part, 0) + 1
        best = max(sorted(held), key=lambda part: held[part])
        mine = [word for word in left if best in word]
        # As much of it as all of them share: the longer, the rarer.
        found.append(_widened(best, mine))
        left = [word for word in left if best not in word]
    return found


def _widened(part: str, words: Sequence[str]) -> str:
    first = words[0]
    at = first.index(part)
    spans = ((start, end) for start in range(at + 1) for end in range(at + len(part), len(first) + 1))
    shared = [first[start:end] for start, end in spans if all(first[start:end] in word for word in words)]
    return max(shared, key=len)
