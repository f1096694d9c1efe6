"""Builds the pipeline map of a program, or takes it from the cache where the same program was read before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline_guard.cache import Cache
from pipeline_guard.config import Config
from pipeline_guard.discovery import SourceFile
from pipeline_guard.pipeline.early import EarlyReading
from pipeline_guard.pipeline.known import map_key, store_map, stored_map, tree_key
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.program.contents import Contents, digest
from pipeline_guard.program.sources import Sources, read_sources

if TYPE_CHECKING:
    from pipeline_guard.program.link import Program
    from pipeline_guard.program.load import Loader

    OnLoad = Callable[[Loader, Program], None]

Progress = Callable[[str, int, int], None]


class Reading(NamedTuple):
    """A program that is read in depth: its bytes, the settings, and the XML files that may be TwiML."""

    root: Path
    files: Sequence[SourceFile]
    sources: Sources
    config: Config
    progress: Progress | None
    documents: Sequence[SourceFile]


def analyse(
    root: Path,
    files: Sequence[SourceFile],
    config: Config,
    progress: Progress | None = None,
    documents: Sequence[SourceFile] = (),
    cache: Cache | None = None,
    *,
    to_judge: bool = False,
) -> PipelineMap:
    """Return the pipeline map of the program made of ``files``; ``documents`` are XML files that may be TwiML.

    ``progress`` is called with the name of a step, how much of it is done and how much there is.  With a ``cache`` the
    map of a program that was read before is taken from there, and so are the facts of files.  ``to_judge`` says that
    nothing but Realtime sessions is asked about: a large program in which there can be none is not read in depth then.
    """
    from pipeline_guard.pipeline import unjudged

    may_be_unjudged = to_judge and unjudged.is_large(files)
    if cache is None and not may_be_unjudged:
        return analyse_sources(root, files, read_sources(files, progress), config, progress, documents)
    look, what = (
        (unjudged.look_for_sessions(config, cache), b"sessions") if may_be_unjudged else (_look_for_nothing, b"")
    )
    key = tree_key(root, config, what) if cache is not None else ""
    early = EarlyReading(config, cache)
    try:
        contents = Contents(files, documents, cache, key, look, progress, early.begin)
        if may_be_unjudged and not unjudged.may_hold_sessions(contents):
            return unjudged.map_without_sessions(root, contents, config)
        if cache is None:
            return _read(Reading(root, files, contents.sources(), config, progress, documents), early)
        key = map_key(root, files, contents.digests, config)
        known = stored_map(cache, key)
        return known or _known_or_read(key, root, contents, config, progress, cache, early)
    finally:
        early.end()


def _known_or_read(
    key: str,
    root: Path,
    contents: Contents,
    config: Config,
    progress: Progress | None,
    cache: Cache,
    early: EarlyReading,
) -> PipelineMap:
    """Return the map of files that were never read in this state: the last one where it still holds, else a new one."""
    from pipeline_guard.pipeline import needs

    about = needs.needs_key(root, contents.files, config)
    last = needs.map_key_that_holds(cache, about, contents)
    known = stored_map(cache, last) if last is not None else None
    if known is not None:
        store_map(cache, key, known)
        return known
    sources = contents.sources()
    key = map_key(root, contents.files, contents.digests, config)  # of the bytes that are going to be read in depth
    noted: list[tuple[Loader, Program]] = []
    reading = Reading(root, contents.files, sources, config, progress, contents.documents)
    known = _read_and_keep(key, reading, cache, early, lambda loader, program: noted.append((loader, program)))
    if noted:
        needs.keep(cache, about, needs.needs_of(key, known, *noted[0], contents.digests))
    return known


def analyse_sources(
    root: Path,
    files: Sequence[SourceFile],
    sources: Sources,
    config: Config,
    progress: Progress | None = None,
    documents: Sequence[SourceFile] = (),
    cache: Cache | None = None,
) -> PipelineMap:
    """Return the pipeline map of a program whose bytes are given, which need not be those on disk."""
    reading = Reading(root, files, sources, config, progress, documents)
    if cache is None:
        return _read(reading, EarlyReading(config, None))
    digests = {rel: digest(data) for part in (sources, read_sources(documents)) for rel, data in part.data.items()}
    key = map_key(root, files, digests, config)
    return stored_map(cache, key) or _read_and_keep(key, reading, cache, EarlyReading(config, cache))


def _read_and_keep(
    key: str, reading: Reading, cache: Cache, early: EarlyReading, on_load: OnLoad | None = None
) -> PipelineMap:
    pipeline_map = _read(reading, early, on_load)
    store_map(cache, key, pipeline_map)
    cache.prune()
    return pipeline_map


def _look_for_nothing(_rel: str, _data: bytes) -> int:
    return 0


def _read(reading: Reading, early: EarlyReading, on_load: OnLoad | None = None) -> PipelineMap:
    # The analysis is most of this tool's code: a program that is known needs none of it loaded.
    from pipeline_guard.pipeline import steps

    try:
        return steps.run(reading, early.store(), on_load)
    finally:
        early.end()
