"""Answers which files hold one of many byte strings, by the distinct words of each file instead of all its text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

# What a word is made of; everything else, bytes above ASCII too, stands between words.
_IN_WORDS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
_TO_WORDS = bytes(byte if byte in _IN_WORDS else 0x20 for byte in range(256))
_TO_NAMES = _TO_WORDS.replace(b".", b" ")
_FEW = 16
_RUN = re.compile(rb"[A-Za-z0-9_.]+")


# What may follow the type of an event: the end of the word, or what makes it the answer to it ("session.updated").
_ENDS_OF_EVENT = tuple(tail + end for tail in (b"", b"d", b"led") for end in (b"\n", b"."))


class Needles(NamedTuple):
    """Byte strings to look for: those that can only stand inside one word, and the others with their longest word.

    ``events`` are words too, but none is in "session.updated_at".
    """

    words: tuple[bytes, ...]
    texts: tuple[tuple[bytes, bytes], ...]
    events: tuple[bytes, ...]


def names_of(data: bytes) -> list[bytes]:
    """Return every run of ASCII letters, digits and underscores of a text, in order."""
    return data.translate(_TO_NAMES).split()


def needles(parts: Sequence[bytes], events: Collection[bytes] = ()) -> Needles:
    """Return byte strings ready to be looked for; ``events`` are those of them that are types of events."""
    words: list[bytes] = []
    texts: list[tuple[bytes, bytes]] = []
    for part in parts:
        runs = _RUN.findall(part)
        if part in events:
            continue
        if runs == [part]:
            words.append(part)
        else:
            texts.append((max(runs, key=len, default=b""), part))
    return Needles(tuple(words), tuple(texts), tuple(event for event in parts if event in events))


class FileWords:
    """The distinct words of each file.  A file holds a word a dozen times: looking through each once is as good.

    ``data`` are the bytes of the files by path.
    """

    def __init__(self, data: Mapping[str, bytes]) -> None:
        self._data = data
        self._words: dict[str, bytes] = {}
        everywhere: set[bytes] = set()
        for rel, text in data.items():
            words = set(text.translate(_TO_WORDS).split())
            everywhere |= words
            self._words[rel] = b"\n".join((*words, b""))
        self._everywhere = b"\n".join(everywhere)

    def present(self, wanted: Needles) -> Needles:
        """Return those that any file may hold."""
        return Needles(
            tuple(word for word in wanted.words if word in self._everywhere),
            tuple(entry for entry in wanted.texts if entry[0] in self._everywhere),
            tuple(word for word in wanted.events if word in self._everywhere),
        )

    def holds(self, rel: str, wanted: Needles) -> bool:
        """Say whether a file holds one of the byte strings."""
        words = self._words[rel]
        for word in wanted.words:
            if word in words:
                return True
        for event in wanted.events:
            if event in words and any(event + end in words for end in _ENDS_OF_EVENT):
                return True
        return any(run in words and text in self._data[rel] for run, text in wanted.texts)

    def names_among(self, rel: str, wanted: frozenset[bytes]) -> Collection[bytes]:
        """Return those of some names that a file holds."""
        words = self._words[rel]
        # Looking for a few is faster than taking the words apart, and most files hold none.
        if len(wanted) <= _FEW and not any(name in words for name in wanted):
            return ()
        return wanted.intersection(names_of(words))

    def names(self, rel: str) -> list[bytes]:
        """Return the names that a file holds, some of them more than once."""
        return names_of(self._words[rel])
