"""Decides which files are read in depth: those that hold a sink, those they need, and those that lead to them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from pipeline_guard.discovery import SourceFile
from pipeline_guard.facts import ir
from pipeline_guard.facts.extract import Unreadable, extract
from pipeline_guard.pipeline.model import Gap
from pipeline_guard.program.calls import GENERIC_METHODS
from pipeline_guard.program.code import Module
from pipeline_guard.program.link import Program
from pipeline_guard.vocabulary import Vocabulary


# A method name that this many files call says nothing about who leads to a sink.
MAX_CALLERS = 40


class Loader:
    """Loads a program.  ``seeds`` are the files with a literal of the vocabulary; ``gaps`` what could not be read."""

    def __init__(
        self, files: Sequence[SourceFile], vocabulary: Vocabulary, progress: Callable[[str, int, int], None] | None = None
    ) -> None:
        self.files = {file.rel: file.path for file in files}
        self.vocabulary = vocabulary
        self.progress = progress
        self.gaps: list[Gap] = []
        self.seeds: list[str] = []
        self._data: dict[str, bytes] = {}

    def load(self) -> Program:
        """Return the program with every file loaded that can matter to the pipeline."""
        program = Program(self.files, self._module)
        literals = self.vocabulary.literals
        total = len(self.files)
        for index, (rel, path) in enumerate(self.files.items()):
            if self.progress is not None and index % 256 == 0:
                self.progress("reading", index, total)
            data = self._read(rel, path)
            if data is not None and any(literal in data for literal in literals):
                self.seeds.append(rel)
        enabled = gc.isenabled()
        gc.disable()  # millions of small nodes and no cycles among them: collecting costs a third of the time
        try:
            for index, rel in enumerate(self.seeds):
                if self.progress is not None:
                    self.progress("parsing", index, len(self.seeds))
                program.module(rel)
            if self.seeds:
                self._follow(program)
        finally:
            if enabled:
                gc.enable()
        return program

    def _read(self, rel: str, path: str) -> bytes | None:
        try:
            with open(path, "rb") as handle:
                data = handle.read()
        except OSError as error:
            self.gaps.append(Gap(path=rel, reason="unreadable", detail=f"cannot be read: {error.strerror or error}"))
            return None
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            data = self._recoded(data)
        self._data[rel] = data
        return data

    @staticmethod
    def _recoded(data: bytes) -> bytes:
        """Return UTF-16 as UTF-8, so that literals can be looked for; the bytes stay as they are when they are not UTF-16."""
        try:
            return data.decode("utf-16").encode("utf-8")
        except UnicodeDecodeError:
            return data

    def _module(self, rel: str) -> Module | None:
        data = self._data.get(rel)
        if data is None:
            return None
        try:
            facts = extract(data)
        except Unreadable as error:
            self.gaps.append(Gap(path=rel, reason=error.reason, detail=error.detail, line=error.line))
            return None
        if facts.truncated:
            detail = "holds expressions nested too deeply to be read; what is inside them was not looked at"
            self.gaps.append(Gap(path=rel, reason="recursion", detail=detail))
        return Module(rel, facts)

    def _follow(self, program: Program) -> None:
        """Load the files that lead to a seed: importers of importers, and whoever calls a seed's methods by name."""
        names = _telltale_calls(list(program.modules.values()))
        skip = {gap.path for gap in self.gaps}
        callers = [[rel for rel, data in self._data.items() if name in data] for name in names]
        for found in callers:
            if len(found) <= MAX_CALLERS:
                for rel in found:
                    program.module(rel)
        pending = set(program.modules)
        while pending:
            before = set(program.modules)
            wanted = {stem for stem in (_stem(rel).encode() for rel in pending) if stem}
            for rel, data in self._data.items():
                if rel not in program.modules and rel not in skip and b"import" in data:
                    if any(stem in data for stem in wanted):
                        program.module(rel)
            pending = set(program.modules) - before


def _telltale_calls(modules: list[Module]) -> list[bytes]:
    """Return ``.name(`` for the methods of the given modules whose name is not everybody's."""
    names = {
        function.name
        for module in modules
        for function in module.functions[1:]
        if function.cls is not None and not function.name.startswith("__") and function.name not in GENERIC_METHODS
    }
    return [f".{name}(".encode() for name in sorted(names)]


def _stem(rel: str) -> str:
    pieces = rel.rpartition(".")[0].split("/")
    return pieces[-2] if pieces[-1] == "__init__" and len(pieces) > 1 else pieces[-1]


FactsModule = ir.ModuleFacts
