"""Tells whether a map still holds after files changed that had no part in it: then the program is not read again.

A map depends on the files that were read in depth, and on answers about the bytes of all others: which of them holds a
word of the vocabulary, names something that leads to a sink, imports or names a part of the backend.  A file that had
no part in any answer, and whose new bytes would have none either, cannot have changed the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline_guard.cache import Cache, code_version, content_key
from pipeline_guard.config import Config
from pipeline_guard.discovery import SourceFile
from pipeline_guard.facts.hints import may_hold_remarks
from pipeline_guard.pipeline.known import settings_of
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.program.contents import Contents

if TYPE_CHECKING:
    from pipeline_guard.program.link import Program
    from pipeline_guard.program.load import Loader

_KIND = "needs"
# A program of fewer bytes is parsed as a whole, so that every file has a part in its map; some more for good measure.
_LEAST = 1_200_000


class Needs(msgspec.Struct, array_like=True):
    """What a map was made from: the digest of every file, and which files and words had a part in it.

    A file is read in depth that holds one of ``words``; so is one with an import, one of ``names`` and, beside it, one
    of ``calls`` or of ``stems``.  ``rest`` are the bytes of the files that were not read in depth.
    """

    map_key: str
    digests: dict[str, bytes]
    involved: list[str]
    words: list[bytes]
    names: list[bytes]
    calls: list[bytes]
    stems: list[bytes]
    rest: int

    def concern(self, data: bytes) -> bool:
        """Say whether a file with these bytes may have a part in the map."""
        if any(word in data for word in self.words):
            return True
        if b"import" not in data or not any(name in data for name in self.names):
            return False
        return any(call in data for call in self.calls) or any(stem in data for stem in self.stems)


_encode = msgspec.msgpack.Encoder().encode


def needs_key(root: Path, files: Sequence[SourceFile], config: Config) -> str:
    """Return the key of the last map of a root with these settings and these file names."""
    names = _encode([(file.rel, file.named) for file in files])
    return content_key(code_version(), str(root).encode("utf-8", "surrogatepass"), *settings_of(config), names)


def keep(cache: Cache, key: str, needs: Needs | None) -> None:
    """Store what a map was made from."""
    if needs is not None:
        cache.put(_KIND, key, _encode(needs))


def map_key_that_holds(cache: Cache, key: str, contents: Contents) -> str | None:
    """Return the key of the last map if what has changed since had no part in it and has none now."""
    needs = cache.data(_KIND, key, Needs)
    if needs is None:
        return None
    digests = contents.digests
    if needs.digests.keys() != digests.keys() or contents.gaps:
        return None
    changed = [rel for rel, digest in digests.items() if needs.digests[rel] != digest]
    involved = {*needs.involved, *(file.rel for file in contents.documents)}
    involved.update(file.rel for file in contents.files if file.named)
    if not involved.isdisjoint(changed) or needs.rest < _LEAST or _bytes_of(contents.files, involved) < _LEAST:
        return None
    found = contents.sources(changed)
    if found.gaps or any(needs.concern(data) or may_hold_remarks(data) for data in found.data.values()):
        return None
    return needs.map_key


def needs_of(
    key: str, pipeline_map: PipelineMap, loader: Loader, program: Program, digests: Mapping[str, bytes]
) -> Needs | None:
    """Return what a map was made from, or None where any file that changes may have a part in it."""
    asked, hot, vocabulary = loader.asked, loader.hot, loader.vocabulary
    if asked.wants_start:
        return None
    deep = program.modules.keys() | program.failed
    said = {gap.path for gap in pipeline_map.gaps} | {remark.path for remark in pipeline_map.remarks}
    return Needs(
        map_key=key,
        digests=dict(digests),
        involved=sorted(deep | said | asked.found_in),
        words=sorted({*vocabulary.literals, *(root.encode() for root in vocabulary.engines.roots), *asked.words}),
        names=hot.words(),
        calls=sorted(b".%s(" % name.encode() for name in hot.telltale),
        stems=sorted(hot.stems),
        rest=sum(len(data) for rel, data in loader.mounting.data.items() if rel not in deep),
    )


def _bytes_of(files: Sequence[SourceFile], without: set[str]) -> int:
    return sum(file.size for file in files if file.rel not in without)
