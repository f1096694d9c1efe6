"""Speech engines as data: which calls, requests and sockets run speech-to-text or text-to-speech.

The entries are ``[[engine]]`` tables of ``rules/vocabulary`` and of the user's own files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from pipeline_guard.access_paths import PathGlob
from pipeline_guard.import_lines import imports_in

KEYS = frozenset({"kind", "name", "imports", "calls", "methods", "weak", "addresses", "sockets", "first"})
KINDS = ("stt", "tts")
_LISTS = ("imports", "calls", "methods", "weak", "addresses", "sockets")
_NAME = re.compile(rb"\w+")


class Engine(msgspec.Struct, frozen=True, dict=True):
    """A speech engine.  ``name`` is "*" where the access path itself names it (a plugin of a framework).

    ``calls`` are the access paths of what is called, ``methods`` last names believed on any receiver that cannot be
    traced, ``weak`` such names believed only in a file that imports the engine; ``addresses`` are parts of the URL of a
    request, ``sockets`` of a WebSocket; ``first`` is the constant that the client was made with.
    """

    kind: str
    name: str
    imports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()
    first: str | None = None
    calls: tuple[str, ...] = ()

    @cached_property
    def patterns(self) -> dict[str, list[PathGlob]]:
        """Last name of a path → its patterns."""
        found: dict[str, list[PathGlob]] = {}
        for glob in self.calls:
            found.setdefault(_last(glob), []).append(PathGlob(glob))
        return found

    def named(self, stars: tuple[str, ...]) -> str:
        """Return the engine's name for an access path in which the stars of a pattern stand for these."""
        return stars[0].strip(".()") if self.name == "*" and stars else self.name


class EngineIndex(msgspec.Struct, dict=True):
    """Every engine, in the order they were read, with the questions asked for each call of a program."""

    engines: list[Engine] = msgspec.field(default_factory=list)
    requests: set[str] = msgspec.field(default_factory=set)
    _at_address: dict[tuple[str, bool], Engine | None] = msgspec.field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take in one ``[[engine]]``.  Raises KeyError, TypeError or ValueError naming what is wrong with it."""
        if entry["kind"] not in KINDS:
            raise ValueError(f"kind {entry['kind']!r} is none of {', '.join(KINDS)}")
        if not isinstance(entry["name"], str):
            raise TypeError("name must be text")
        for key in _LISTS:
            texts = entry.get(key, [])
            if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
                raise TypeError(f"{key} must be a list of texts")
        if not isinstance(entry.get("first", ""), str):
            raise TypeError("first must be text")
        calls = tuple(entry.get("calls", ()))
        if not any(entry.get(key) for key in ("calls", "methods", "weak", "addresses", "sockets")):
            raise ValueError("it needs at least one of calls, methods, weak, addresses and sockets")
        self.engines.append(
            Engine(
                entry["kind"], entry["name"], tuple(entry.get("imports", ())),
                tuple(entry.get("methods", ())), tuple(entry.get("weak", ())),
                tuple(entry.get("addresses", ())), tuple(entry.get("sockets", ())), entry.get("first"),
                calls,
            )
        )  # fmt: skip

    @cached_property
    def by_name(self) -> dict[str, list[Engine]]:
        """Last name of a callee → the engines it may run; "()" for engines whose very objects are called."""
        found: dict[str, list[Engine]] = {}
        for engine in self.engines:
            names = {_last(path) for path in (*engine.calls, *engine.methods, *engine.weak)}
            for name in names:
                found.setdefault(name, []).append(engine)
        return found

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """Parts of addresses, of requests and of sockets."""
        return tuple(dict.fromkeys(part for e in self.engines for part in (*e.addresses, *e.sockets)))

    @cached_property
    def methods(self) -> frozenset[str]:
        """The names that are enough by themselves, as they are written."""
        return frozenset(method for engine in self.engines for method in engine.methods)

    @cached_property
    def roots(self) -> dict[str, list[Engine]]:
        """First part of an import → the engines whose packages begin with it."""
        found: dict[str, list[Engine]] = {}
        for engine in self.engines:
            for name in engine.imports:
                found.setdefault(name.partition(".")[0], []).append(engine)
        return found

    @cached_property
    def words(self) -> frozenset[str]:
        """Strings of which a file that runs an engine itself, without importing one, holds at least one."""
        return frozenset({*self.methods, *self.addresses})

    def is_imported_in(self, data: bytes) -> bool:
        """Say whether the text of a file imports the package of an engine (whatever else it does with it)."""
        wanted, parents = self._packages, self._parents
        for parent, names in imports_in(data):
            if parent is None:
                if any(_below(name.split()[0], wanted) for name in names.split(b",") if name.strip()):
                    return True
            elif _below(parent, wanted):
                return True
            elif parent in parents:
                if any(b"%s.%s" % (parent, name) in wanted for name in _NAME.findall(names)):
                    return True
                if b"\\" in names:
                    return True  # the names follow on further lines
        return False

    @cached_property
    def package_roots(self) -> tuple[bytes, ...]:
        """Of these a file holds at least one that imports the package of an engine."""
        return tuple(sorted({name.partition(b".")[0] for name in self._packages}))

    @cached_property
    def _packages(self) -> frozenset[bytes]:
        """The packages by whose import alone an engine is used: no name of its own tells its calls."""
        found: set[str] = set()
        for engine in self.engines:
            enough = {_last(method) for method in engine.methods}
            for root in engine.imports:
                paths = [path for path in engine.calls if path.startswith((f"{root}.", f"{root}*"))]
                if not paths or any(_last(path) not in enough for path in paths):
                    found.add(root)
        return frozenset(name.encode() for name in found)

    @cached_property
    def _parents(self) -> frozenset[bytes]:
        return frozenset(name.rpartition(b".")[0] for name in self._packages if b"." in name)

    def at_address(self, url: str, *, socket: bool) -> Engine | None:
        """Return the engine that an address belongs to; the longest part that it contains decides."""
        key = (url, socket)
        if key not in self._at_address:
            self._at_address[key] = self._longest_at(url, socket)
        return self._at_address[key]

    def _longest_at(self, url: str, socket: bool) -> Engine | None:
        best: Engine | None = None
        length = 0
        for engine in self.engines:
            for part in engine.sockets if socket else engine.addresses:
                if part in url and len(part) > length and _stands_in(part, url):
                    best, length = engine, len(part)
        return best


def _stands_in(part: str, url: str) -> bool:
    """Say whether an address holds a part up to the end of a word: "/tts" stands in "/tts/stream", not in "/ttsx"."""
    index = url.find(part)
    while index >= 0:
        after = url[index + len(part) : index + len(part) + 1]
        if not (after.isalnum() or after == "_") or not part[-1].isalnum():
            return True
        index = url.find(part, index + 1)
    return False


def _below(name: bytes, wanted: frozenset[bytes]) -> bool:
    """Say whether a dotted name, or one above it, is wanted."""
    while name:
        if name in wanted:
            return True
        name = name.rpartition(b".")[0]
    return False


def _last(path: str) -> str:
    """Return the last name of a path; "()" for a path that ends in a call: its object is called itself."""
    return "()" if path.endswith("()") else path.rpartition(".")[2]
