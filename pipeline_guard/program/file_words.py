"""Answers which files hold one of many byte strings, by the distinct words of each file instead of all its text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

# What a word is made of; everything else, bytes above ASCII too, stands between words.
_IN_WORDS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
_TO_WORDS = bytes(byte if byte in _IN_WORDS else 0x20 for byte in range(256))
_TO_NAMES = _TO_WORDS.replace(b".", b" ")
_FEW = 16
_RUN = re.compile(rb"[A-Za-z0-9_.]+")


class Needles(NamedTuple):
    """Byte strings to look for: those that can only stand inside one word, and the others with their longest word."""

    words: tuple[bytes, ...]
    texts: tuple[tuple[bytes, bytes], ...]


def names_of(data: bytes) -> list[bytes]:
    """Return every run of ASCII letters, digits and underscores of a text, in order."""
    return data.translate(_TO_NAMES).split()


def needles(parts: Iterable[bytes]) -> Needles:
    """Return byte strings ready to be looked for."""
    words: list[bytes] = []
    texts: list[tuple[bytes, bytes]] = []
    for part in parts:
        runs = _RUN.findall(part)
        if runs == [part]:
            words.append(part)
        else:
            texts.append((max(runs, key=len, default=b""), part))
    return Needles(tuple(words), tuple(texts))


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
            self._words[rel] = b"\n".join(words)
        self._everywhere = b"\n".join(everywhere)

    def present(self, wanted: Needles) -> Needles:
        """Return those that any file may hold."""
        return Needles(
            tuple(word for word in wanted.words if word in self._everywhere),
            tuple(entry for entry in wanted.texts if entry[0] in self._everywhere),
        )

    def holds(self, rel: str, wanted: Needles) -> bool:
        """Say whether a file holds one of the byte strings."""
        words = self._words[rel]
        for word in wanted.words:
            if word in words:
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
