"""Facts of a file by its content: from the cache where they are known, else read from the code and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline_guard.cache import Cache, code_version, content_key
from pipeline_guard.facts import ir
from pipeline_guard.facts.extract import Unreadable, check_syntax, decode_facts, encode_facts, extract

if TYPE_CHECKING:
    from pipeline_guard.program.ahead import Ahead

_FACTS, _SYNTAX = "facts", "syntax"


class _Refused(msgspec.Struct, array_like=True):
    """Why a file could not be read: the fields of Unreadable."""

    reason: str
    detail: str
    line: int | None


_encode_refused = msgspec.msgpack.Encoder().encode
_decode_refused = msgspec.msgpack.Decoder(_Refused).decode
# The first byte of an entry: what follows are facts, or the reason why there are none.
_READ, _REFUSED = b"+", b"-"


def known_entry(cache: Cache, data: bytes) -> bytes | None:
    """Return the facts of a file as they are stored, None where they are not known."""
    stored = cache.get(_FACTS, content_key(code_version(), data))
    return stored[1:] if stored is not None and stored[:1] == _READ else None


class FactStore:
    """Answers what :func:`extract` and :func:`check_syntax` would, with the help of a cache if there is one."""

    def __init__(self, cache: Cache | None) -> None:
        self.cache = cache
        self._version = code_version() if cache is not None else b""
        self._ready: dict[bytes, ir.ModuleFacts | Unreadable] = {}
        self._keys: dict[bytes, str] = {}
        self.ahead: Ahead | None = None  # a second process that may have the entries of some files

    def facts(self, data: bytes) -> ir.ModuleFacts:
        """Return the facts of a file; raises Unreadable."""
        ready = self._ready.pop(data, None)
        if ready is None:
            return self._facts(data)
        if isinstance(ready, Unreadable):
            raise ready
        return ready

    def _key(self, data: bytes) -> str:
        """Return the key of a file, which takes as long as reading its bytes: it is asked for two or three times."""
        if data not in self._keys:
            self._keys[data] = content_key(self._version, data)
        return self._keys[data]

    # -- files that are read before they are asked for

    def knows(self, data: bytes) -> bool:
        """Say whether the cache has what a file holds."""
        return self.cache is not None and self.cache.has(_FACTS, self._key(data))

    def read(self, data: bytes) -> None:
        """Hold the facts of a file until they are asked for."""
        try:
            self._ready[data] = self._facts(data)
        except Unreadable as error:
            self._ready[data] = error

    def entry(self, data: bytes) -> bytes:
        """Keep what a file holds, and return it as another process can take it from its ``ahead``."""
        try:
            entry = _READ + encode_facts(extract(data))
        except Unreadable as error:
            entry = _refused(error)
        if self.cache is not None:
            self.cache.put(_FACTS, self._key(data), entry)
        return entry

    def _facts(self, data: bytes) -> ir.ModuleFacts:
        entry = self.ahead.entry(data) if self.ahead is not None else None
        if entry is not None:
            if entry[:1] == _READ:
                return decode_facts(entry[1:])
            raise _unreadable(entry)
        if self.cache is None:
            return extract(data)
        key = self._key(data)
        stored = self.cache.get(_FACTS, key)
        if stored is not None:
            try:
                if stored[:1] == _READ:
                    return decode_facts(stored[1:])
                raise _unreadable(stored)
            except msgspec.DecodeError:
                pass  # written by something else than this tool: the code itself is at hand
        try:
            facts = extract(data)
        except Unreadable as error:
            self.cache.put(_FACTS, key, _refused(error))
            raise
        self.cache.put(_FACTS, key, _READ + encode_facts(facts))
        return facts

    def check_syntax(self, data: bytes) -> None:
        """Raise Unreadable for a file that does not parse."""
        if self.cache is None:
            check_syntax(data)
            return
        key = content_key(self._version, data)
        stored = self.cache.get(_SYNTAX, key)
        if stored == _READ:
            return
        if stored is not None:
            try:
                raise _unreadable(stored)
            except msgspec.DecodeError:
                pass
        try:
            check_syntax(data)
        except Unreadable as error:
            self.cache.put(_SYNTAX, key, _refused(error))
            raise
        self.cache.put(_SYNTAX, key, _READ)


def _refused(error: Unreadable) -> bytes:
    return _REFUSED + _encode_refused(_Refused(error.reason, error.detail, error.line))


def _unreadable(stored: bytes) -> Unreadable:
    refused = _decode_refused(stored[1:])
    return Unreadable(refused.reason, refused.detail, refused.line)
