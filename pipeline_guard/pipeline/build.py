"""Builds the pipeline map of a program, or takes it from the cache where the same program was read before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline_guard.cache import Cache
from pipeline_guard.config import Config
from pipeline_guard.discovery import SourceFile
from pipeline_guard.pipeline.known import map_key, store_map, stored_map
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.program.sources import Sources, read_sources

Progress = Callable[[str, int, int], None]


def analyse(
    root: Path,
    files: Sequence[SourceFile],
    config: Config,
    progress: Progress | None = None,
    documents: Sequence[SourceFile] = (),
    cache: Cache | None = None,
) -> PipelineMap:
    """Return the pipeline map of the program made of ``files``; ``documents`` are XML files that may be TwiML.

    ``progress`` is called with the name of a step, how much of it is done and how much there is.  With a ``cache`` the
    map of a program that was read before is taken from there, and so are the facts of files.
    """
    return analyse_sources(root, files, read_sources(files, progress), config, progress, documents, cache)


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
    if cache is None:
        return _read(root, files, sources, config, progress, documents, None)
    key = map_key(root, files, sources, documents, config)
    known = stored_map(cache, key)
    if known is None:
        known = _read(root, files, sources, config, progress, documents, cache)
        store_map(cache, key, known)
        cache.prune()
    return known


def _read(
    root: Path,
    files: Sequence[SourceFile],
    sources: Sources,
    config: Config,
    progress: Progress | None,
    documents: Sequence[SourceFile],
    cache: Cache | None,
) -> PipelineMap:
    # The analysis is most of this tool's code: a program that is known needs none of it loaded.
    from pipeline_guard.facts.store import FactStore
    from pipeline_guard.pipeline import steps

    return steps.run(root, files, sources, config, progress, documents, FactStore(cache))
