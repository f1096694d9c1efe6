"""Decides which files are read in depth: those that hold a sink, those they need, and those that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline_guard.discovery import SourceFile
from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.facts.store import FactStore
from pipeline_guard.pipeline.model import Gap
from pipeline_guard.program import signs
from pipeline_guard.program.ahead import read_ahead
from pipeline_guard.program.asked import Asked
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.file_words import FileWords
from pipeline_guard.program.hot_names import HotNames
from pipeline_guard.program.likely import likely_needed
from pipeline_guard.program.link import Program
from pipeline_guard.program.mounting import Mounting
from pipeline_guard.program.namers import Namer
from pipeline_guard.program.places import is_test_file
from pipeline_guard.program.sources import Sources
from pipeline_guard.vocabulary import Vocabulary

# Bytes of files without a telltale word that are parsed for their syntax alone (about 0.2 s).
MAX_CHECKED = 1_000_000
# What a comment says that declares speech-to-text to be used after the call only, and how far above a function it is.
OFFLINE_MARK = b"OFFLINE ONLY (post-call)"
_LINES_ABOVE = 3
# The reason of the gap that stands for callers that were not looked for.
UNFOLLOWED = "unfollowed"


class Loader:
    """Loads a program.  ``seeds`` are the files with a literal of the vocabulary; ``gaps`` what could not be read."""

    def __init__(
        self,
        files: Sequence[SourceFile],
        sources: Sources,
        vocabulary: Vocabulary,
        store: FactStore,
        progress: Callable[[str, int, int], None] | None = None,
        package: tuple[str, ...] = (),
    ) -> None:
        self.package = package
        self.files = [file.rel for file in files]
        self._paths = {file.rel: file.path for file in files}
        self.named = {file.rel for file in files if file.named}
        self.vocabulary = vocabulary
        self.store = store
        self.progress = progress
        self.gaps: list[Gap] = list(sources.gaps)
        self.seeds: list[str] = []
        self._data = sources.data
        self._seed_set: set[str] = set()
        self._tests: set[str] = set()
        self._namers: dict[str, Namer] = {}
        self._marks: dict[str, list[int]] = {}
        self._linked: Program | None = None  # once all that leads to a sink is loaded
        self.asked = Asked()
        self.mounting = Mounting(self._data, self._tests, self.asked)
        self.hot = HotNames(vocabulary)

    def load(self) -> Program:
        """Return the program with every file loaded that can matter to the pipeline."""
        program = Program(self.files, self._module, self.package)
        # What is being read already holds a sign of a session, and nobody has to look for one.
        begun = {rel for rel, data in self._data.items() if self.store.ahead is not None and self.store.ahead.has(data)}
        words = FileWords({rel: data for rel, data in self._data.items() if rel not in begun})
        engines = self.vocabulary.engines
        roots = frozenset(engines.package_roots)
        events = {event.encode() for event in self.vocabulary.events}
        telling = begun.union(words.with_part(self.vocabulary.literals, events))
        for rel, data in self._data.items():
            if rel not in telling and (roots.isdisjoint(words.names(rel)) or not engines.is_imported_in(data)):
                continue
            if not is_test_file(rel, data):
                self.seeds.append(rel)
        self._seed_set.update(self.seeds)
        self._read_ahead(self.seeds)
        for index, rel in enumerate(self.seeds):
            if self.progress is not None:
                self.progress("parsing", index, len(self.seeds))
            program.module(rel)
        if self.seeds and not self._leads_nowhere():
            self._follow(program, words)
            self._guess(program)
        self._check_the_rest(program)
        return program

    def is_named_outside(self, text: str, rel: str) -> bool:
        """Say whether a file other than ``rel`` holds a text; tests do not count."""
        word = text.encode()
        self.asked.words.add(word)
        for other, data in self._data.items():
            if other != rel and word in data and not is_test_file(other, data):
                self.asked.found_in.add(other)
                return True
        return False

    def is_marked_offline(self, func: Func) -> bool:
        """Say whether a comment in a function, just above it or atop its file says: used after the call only."""
        rel = func.module.rel
        if rel not in self._marks:
            data = self._data.get(rel, b"")
            lines = data.decode("utf-8", "replace").splitlines() if OFFLINE_MARK in data else []
            mark = OFFLINE_MARK.decode()
            self._marks[rel] = [n for n, line in enumerate(lines, 1) if mark in line.partition("#")[2]]
        first = min((f.ir.line for f in func.module.functions[1:]), default=1)
        outer = func.outermost
        begin, end = outer.ir.line - _LINES_ABOVE - len(outer.ir.decorators), max(outer.ir.end_line, outer.ir.line)
        return any(begin <= line <= end or line < first for line in self._marks[rel])

    def _guess(self, program: Program) -> None:
        """Let a second process that runs read what linking may ask for, from here on."""
        if self.store.ahead is not None and self.store.ahead.is_running:
            self._linked = program
            bodies = dict.fromkeys(func.module.body for func in self.hot.functions)
            self._read_what_is_likely([*bodies, *self.hot.functions])

    def _read_what_is_likely(self, functions: Sequence[Func]) -> None:
        """Let the second process read what functions import."""
        if self._linked is not None and self.store.ahead is not None:
            rels = likely_needed(self._linked, functions, self.hot.factories.has)
            found = [(self._data[rel], self._paths[rel]) for rel in rels if rel in self._data]
            self.store.ahead.add(file for file in found if not self.store.knows(file[0]))

    def _read_ahead(self, rels: Sequence[str]) -> None:
        read_ahead(self.store, [(self._data[rel], self._paths.get(rel)) for rel in rels])

    def _leads_nowhere(self) -> bool:
        """Say whether the callers of what was found are not worth looking for, and note that among the gaps.

        In a large program without a Realtime session nothing is judged, and most of it may call its speech engines.
        """
        if sum(map(len, self._data.values())) <= signs.LARGE:
            return False
        shows = signs.Signs(self.vocabulary)
        if any(shows.are_in(self._data[rel]) for rel in self.seeds):
            return False
        detail = (
            "nothing touches a Realtime session: who uses the speech engines of so large a program was not looked up"
        )
        self.gaps.append(Gap(path=self.seeds[0], reason=UNFOLLOWED, detail=detail))
        return True

    def _check_the_rest(self, program: Program) -> None:
        """Parse what was set aside as well: what somebody named, and all of it where that costs little.

        A file that does not parse must not go unseen.
        """
        rest = {
            rel: data for rel, data in self._data.items() if rel not in program.modules and rel not in program.failed
        }
        if sum(map(len, rest.values())) > MAX_CHECKED:
            rest = {rel: data for rel, data in rest.items() if rel in self.named}
        for rel, data in rest.items():
            try:
                self.store.check_syntax(data)
            except Unreadable as error:
                self.gaps.append(Gap(path=rel, reason=error.reason, detail=error.detail, line=error.line))

    def _module(self, rel: str) -> Module | None:
        data = self._data.get(rel)
        if data is None:
            return None
        try:
            facts = self.store.facts(data)
        except Unreadable as error:
            self.gaps.append(Gap(path=rel, reason=error.reason, detail=error.detail, line=error.line))
            return None
        if facts.truncated:
            detail = "holds expressions nested too deeply to be read; what is inside them was not looked at"
            self.gaps.append(Gap(path=rel, reason="recursion", detail=detail))
        module = Module(rel, facts, rel in self._seed_set)
        self._read_what_is_likely(module.functions)
        return module

    def _follow(self, program: Program, file_words: FileWords) -> None:
        """Load the files that lead to a sink: whoever names a function or class that does, until nothing new comes."""
        hot = self.hot
        known: set[Module] = set()
        tried: set[bytes] = set()
        while True:
            fresh = [module for module in program.modules.values() if module not in known]
            known.update(fresh)
            hot.learn(list(program.modules.values()))
            words = [word for word in hot.words() if word not in tried]
            tried.update(words)
            if not words and not fresh:
                return
            naming = self._naming(words, program, file_words)
            self._read_ahead(naming)
            for rel in naming:
                program.module(rel)

    def _naming(self, words: list[bytes], program: Program, file_words: FileWords) -> list[str]:
        """Return the files not yet loaded that call or import one of the given names."""
        hot = self.hot
        found: list[str] = []
        wanted = frozenset(words)
        for rel, data in self._data.items():
            if rel in program.modules or rel in program.failed or rel in self._tests:
                continue
            held = wanted.intersection(file_words.names(rel)) if b"import" in data else ()
            if not held:
                continue
            if is_test_file(rel, data):
                self._tests.add(rel)
                continue
            called = any(b".%s(" % word in data for word in held if word.decode() in hot.telltale)
            if called or self._namer(rel, file_words).uses_any(hot.defined):
                found.append(rel)
                self._namers.pop(rel, None)  # nobody asks again
        return found

    def _namer(self, rel: str, file_words: FileWords) -> Namer:
        if rel not in self._namers:
            self._namers[rel] = Namer(self._data[rel], file_words.names(rel))
        return self._namers[rel]
