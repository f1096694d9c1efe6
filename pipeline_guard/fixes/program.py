"""The program that is being edited, in memory: its bytes, its map and its findings, as they are or as planned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pipeline_guard.cache import Cache
from pipeline_guard.config import Config
from pipeline_guard.discovery import Discovery
from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.findings import Finding
from pipeline_guard.fixes.source import Source
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.pipeline.model import Lane, PipelineMap, Site
from pipeline_guard.program.sources import Sources


class _Memory(Cache):
    """Keeps the facts of files while a run lasts, so that a state reads anew only what was edited."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._kept: dict[tuple[str, str], bytes] = {}

    def get(self, kind: str, key: str) -> bytes | None:
        return self._kept.get((kind, key))

    def put(self, kind: str, key: str, payload: bytes) -> None:
        self._kept[kind, key] = payload

    def prune(self, *, force: bool = False) -> int:  # noqa: ARG002 - what the base class takes
        """Keep everything: the run is short."""
        return 0


class Program:
    """One state of the scanned backend.  ``sources`` are its bytes, which need not be those on disk."""

    def __init__(
        self, root: Path, found: Discovery, sources: Sources, config: Config, memory: Cache | None = None
    ) -> None:
        self._memory = memory or _Memory()
        self.root = root
        self.found = found
        self.sources = sources
        self.config = config
        self._trees: dict[str, Tree] = {}

    def edited(self, new: Mapping[str, bytes]) -> Program:
        """Return the program with the new content of some files."""
        if not new:
            return self
        data = dict(self.sources.data)
        data.update(new)
        return Program(self.root, self.found, Sources(data, self.sources.gaps), self.config, self._memory)

    @cached_property
    def map(self) -> PipelineMap:
        """The pipeline map of this state."""
        from pipeline_guard.pipeline.build import analyse_sources

        return analyse_sources(
            self.root, self.found.files, self.sources, self.config, None, self.found.documents, self._memory
        )

    @cached_property
    def findings(self) -> list[Finding]:
        """The findings of every selected rule that nothing suppresses."""
        from pipeline_guard.checks import run_checks
        from pipeline_guard.statements import Statements

        statements = Statements(lambda path: self.sources.data.get(path, b""))
        return [each for each in run_checks(self.map, self.config, statements) if not each.suppressed]

    @cached_property
    def lanes(self) -> dict[str, Lane]:
        """The lanes by their name."""
        return {lane.name: lane for lane in self.map.lanes}

    @cached_property
    def _sites(self) -> dict[tuple[str, int, int], list[Site]]:
        found: dict[tuple[str, int, int], list[Site]] = {}
        for site in self.map.sites():
            found.setdefault((site.path, site.line, site.column), []).append(site)
        return found

    def sites_at(self, finding: Finding) -> list[Site]:
        """Return the sites at the place of a finding."""
        return self._sites.get((finding.path, finding.line, finding.column), [])

    def mentions(self, text: str) -> bool:
        """Say whether a text stands in some file."""
        return any(text.encode() in data for data in self.sources.data.values())

    @cached_property
    def event_names(self) -> frozenset[str]:
        """The constants of the program that hold the names of server events."""
        from pipeline_guard.fixes.reader import event_names

        trees: list[Tree] = []
        for path, data in self.sources.data.items():
            if b"response." in data:
                try:
                    trees.append(self.tree(path))
                except (Unreadable, SyntaxError, RecursionError):
                    continue
        return event_names(trees)

    def source(self, path: str) -> Source:
        """Return one file; raises Unreadable."""
        return self.tree(path).source

    def tree(self, path: str) -> Tree:
        """Return the syntax tree of one file; raises Unreadable or SyntaxError."""
        if path not in self._trees:
            self._trees[path] = Tree(Source(path, self.sources.data[path]))
        return self._trees[path]
