"""Answers which files hold one of many byte strings, by the distinct names in each file instead of all its text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

# What a name is made of; everything else, bytes above ASCII too, stands between names.
_IN_NAMES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_TO_NAMES = bytes(byte if byte in _IN_NAMES else 0x20 for byte in range(256))


def names_of(data: bytes) -> list[bytes]:
    """Return every run of ASCII letters, digits and underscores of a text, in order."""
    return data.translate(_TO_NAMES).split()


class _Part(NamedTuple):
    """A byte string that is looked for.

    A file that holds it has all the names ``within``, and one of ``ends`` if there are any.
    """

    text: bytes
    within: frozenset[bytes]
    ends: frozenset[bytes]
    pattern: re.Pattern[bytes] | None


class FileWords:
    """The distinct names in each file.  A file holds a name a dozen times: looking at each once is as good.

    ``data`` are the bytes of the files by path.
    """

    def __init__(self, data: Mapping[str, bytes]) -> None:
        self._data = data
        self._everywhere: dict[bytes, bytes] = {}
        # Tuples of shared names: a set for each of tens of thousands of files takes more room than the files.
        share = self._everywhere.setdefault
        self._names = {rel: tuple([share(name, name) for name in set(names_of(text))]) for rel, text in data.items()}

    def names(self, rel: str) -> Collection[bytes]:
        """Return the names that a file holds, each once."""
        return self._names[rel]

    def with_part(self, parts: Iterable[bytes], events: Collection[bytes] = ()) -> list[str]:
        """Return the files that hold one of some byte strings.

        ``events`` are those of them that are types of events: none is in "session.updated_at".
        """
        telling = self._telling(parts, events)
        wanted = frozenset(telling)
        return [rel for rel, names in self._names.items() if self._holds(rel, wanted.intersection(names), telling)]

    def _holds(self, rel: str, told: AbstractSet[bytes], telling: Mapping[bytes, Collection[_Part]]) -> bool:
        if not told:
            return False
        names, data = frozenset(self._names[rel]), self._data[rel]
        for part in {part for name in told for part in telling[name]}:
            if not part.within <= names or (part.ends and part.ends.isdisjoint(names)) or part.text not in data:
                continue
            if part.pattern is None or part.pattern.search(data):
                return True
        return False

    def _telling(self, parts: Iterable[bytes], events: Collection[bytes]) -> Mapping[bytes, Collection[_Part]]:
        """Return by the names in the files the byte strings that one with such a name may hold."""
        names = self._everywhere.keys()
        lines = b"\n".join((b"", *names, b""))
        found: dict[bytes, list[_Part]] = {}
        for text in parts:
            inside = names_of(text)
            is_event = text in events
            # The first and the last name may go on in the file.
            first = inside.pop(0) if text[0] in _IN_NAMES else None
            last = inside.pop() if inside and text[-1] in _IN_NAMES else None
            if not all(name in names for name in inside):
                continue
            ends = frozenset((last, last + b"d", last + b"led") if is_event and last else ())
            part = _Part(text, frozenset(inside), ends, _event_pattern(text) if is_event else None)
            longest = max(first or b"", *inside, last or b"", key=len)
            for name in (longest,) if longest in inside else _names_with(longest, lines):
                found.setdefault(name, []).append(part)
        return found


def _names_with(part: bytes, lines: bytes) -> Iterator[bytes]:
    """Yield the names, one on each line, that hold a part."""
    at = lines.find(part)
    while at >= 0:
        end = lines.index(b"\n", at)
        yield lines[lines.rindex(b"\n", 0, at) + 1 : end]
        at = lines.find(part, end)


def _event_pattern(event: bytes) -> re.Pattern[bytes]:
    """Return what finds the type of an event, or what makes it the answer to one ("session.updated")."""
    return re.compile(rb"%s(?:d|led)?(?![A-Za-z_])" % re.escape(event))
