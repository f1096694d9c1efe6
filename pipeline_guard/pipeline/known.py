"""Maps of programs read before: a map depends on the code, the settings and this tool, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline_guard.cache import Cache, code_version, content_key
from pipeline_guard.config import Config
from pipeline_guard.discovery import SourceFile
from pipeline_guard.pipeline.model import PipelineMap

_KIND = "maps"
# Settings that decide which findings are wanted and how grave they are.
_ASKED_OF_THE_MAP = frozenset({"select", "ignore", "severity", "per_path", "paths", "fail_on", "baseline"})
# Settings that say nothing about a file by itself.
_ABOUT_THE_WHOLE = frozenset({"exclude", "max_file_size", "contract", "apps", "source"})
_encode = msgspec.msgpack.Encoder().encode


def map_key(root: Path, files: Sequence[SourceFile], digests: Mapping[str, bytes], config: Config) -> str:
    """Return the key of everything that the map of a program depends on; ``digests`` are those of all its files."""
    # One piece of data: a key over tens of thousands of parts takes longer than all else that a warm run does.
    content = _encode((sorted(digests.items()), [(file.rel, file.named) for file in files]))
    return content_key(code_version(), str(root).encode("utf-8", "surrogatepass"), *settings_of(config), content)


def tree_key(root: Path, config: Config, what: bytes) -> str:
    """Return the key of what is known of a root's files one by one; ``what`` says what was looked for in them."""
    about = settings_of(config, _ASKED_OF_THE_MAP | _ABOUT_THE_WHOLE)
    return content_key(code_version(), str(root).encode("utf-8", "surrogatepass"), *about, what)


def stored_map(cache: Cache, key: str) -> PipelineMap | None:
    """Return the map that was stored under a key."""
    return cache.data(_KIND, key, PipelineMap)


def store_map(cache: Cache, key: str, pipeline_map: PipelineMap) -> None:
    """Keep a map, unless part of the code could not be read: what stood in the way may be gone the next time."""
    if not any(gap.reason == "unreadable" for gap in pipeline_map.gaps):
        cache.put(_KIND, key, _encode(pipeline_map))


def settings_of(config: Config, without: frozenset[str] = _ASKED_OF_THE_MAP) -> Iterator[bytes]:
    """Yield the settings that a map depends on, those aside that somebody names."""
    yield repr([(name, getattr(config, name)) for name in Config.__struct_fields__ if name not in without]).encode()
    for path in config.vocabulary:
        try:
            yield path.read_bytes()
        except OSError:
            yield b""
