"""Decides which files are read in depth: those that hold a sink, those they need, and those that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from pipeline_guard.discovery import SourceFile
from pipeline_guard.facts import ir
from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.facts.store import FactStore
from pipeline_guard.pipeline.model import Gap
from pipeline_guard.program import signs
from pipeline_guard.program.ahead import Ahead, read_ahead
from pipeline_guard.program.asked import Asked
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.factories import Factories
from pipeline_guard.program.file_words import FileWords
from pipeline_guard.program.heat import GENERIC_METHODS
from pipeline_guard.program.likely import likely_needed
from pipeline_guard.program.link import Program
from pipeline_guard.program.mounting import Mounting
from pipeline_guard.program.namers import Defined, Namer
from pipeline_guard.program.places import is_test_file
from pipeline_guard.program.sources import Sources
from pipeline_guard.program.trees import walk
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
        if self.store.ahead is None:
            self.store.ahead = Ahead(self.store)
        read_ahead(self.store.ahead, self.store, [(self._data[rel], self._paths.get(rel)) for rel in rels])

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


class HotNames:
    """The names of functions and classes that lead to a sink, as far as names alone can tell."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._literals = {
            event for events in vocabulary.events.values() for e in events for event in (e.type, *e.classes)
        }
        self._methods = {call.method for connection in vocabulary.connections for call in connection.calls}
        self._methods |= {name.rpartition(".")[2] for name in vocabulary.sinks}
        self._methods |= vocabulary.engines.methods
        self._telling = self._literals | {method for method in self._methods if "." not in method}
        self._paths = [frozenset(method.split(".")) for method in sorted(self._methods) if "." in method]
        self._engines = vocabulary.engines
        self._parts = (*self._engines.addresses, *(f"<{verb.element}" for verb in vocabulary.verbs_of_twiml))
        self._with_part: dict[str, bool] = {}
        self._twiml = vocabulary.twiml_names | {name for verb in vocabulary.verbs_of_twiml for name in verb.calls}
        self._sends = vocabulary.send_methods
        self.factories = Factories(vocabulary)
        self._given: set[str] = set()  # the names of factories that are given something
        self._near_engine: dict[Module, frozenset[str]] = {}
        self._names: set[str] = {name.rpartition(".")[2] for name in vocabulary.sinks}
        self._defined: dict[bytes, set[bytes]] = {}  # by the names of the modules that define something hot
        self._functions: set[Func] = set()
        self._plain: set[Func] = set()  # functions that hold no sink themselves: only what they call can make them hot
        self._homes: set[Module] = set()
        self.telltale: set[str] = set()  # the hot names that are nobody else's: a call of one counts on any receiver

    @property
    def names(self) -> set[str]:
        """Every hot name."""
        return self._names

    @property
    def functions(self) -> Set[Func]:
        """The functions that lead to a sink."""
        return self._functions

    def words(self) -> list[bytes]:
        return [name.encode() for name in sorted(self._names)]

    @property
    def stems(self) -> set[bytes]:
        """The names of the modules that define something hot."""
        return set(self._defined)

    @property
    def defined(self) -> Defined:
        """By the names of the modules, the hot names that they define."""
        return self._defined

    def learn(self, modules: list[Module]) -> None:
        """Take in what the loaded modules define, up through their callers."""
        while True:
            before = len(self._functions)
            for module in modules:
                self._learn_constants(module)
                for func in module.functions:
                    if func not in self._functions and self._leads(func):
                        self._add(func)
            if len(self._functions) == before:
                return

    def _learn_constants(self, module: Module) -> None:
        """Take in the names that a module gives to event types and event texts, and its classes of events."""
        if not module.is_seed or module in self._homes:
            return
        for op in module.body.ir.ops:
            if op.kind == "assign" and op.value is not None and self._holds_event(op.value):
                for target in op.targets:
                    if type(target) is ir.Name:
                        self._learn_name(target.id, module)
                        self._homes.add(module)
        for cls in module.classes:
            parts = [part for field in cls.ir.fields for part in (field.value, field.annotation) if part is not None]
            if any(self._holds_event(part) for part in parts):
                self._learn_name(cls.name, module)
                self._homes.add(module)

    def _holds_event(self, node: ir.Expr) -> bool:
        for current in walk(node):
            if type(current) is ir.Const and isinstance(current.value, str):
                text = current.value
                if text in self._literals or (len(text) > 20 and any(literal in text for literal in self._literals)):
                    return True
                if self._has_part(text):
                    return True
        return False

    def _add(self, func: Func) -> None:
        self._functions.add(func)
        if self.factories.has(func):
            # Half a program may ask for its application, and what that registers runs for none of them.  Only what
            # they give it matters.
            if func.ir.params:
                self._learn_name(func.name, func.module)
                self._given.add(func.name)
            return
        if func.index == 0:
            # A module whose own top level leads to a sink: what it assigns there can be imported.
            return
        parent = func.parent if func.name == "<lambda>" or func.is_registered else None
        if parent is not None and parent not in self._functions:
            self._add(parent)  # whoever hands the lambda on, or registers the handler, leads there
        if func.name != "<lambda>" and not (func.name.startswith("__") and func.name.endswith("__")):
            self._learn_name(func.name, func.module)
        cls = func.owner_class
        if cls is not None:
            self._learn_name(cls.name, func.module)
        self._homes.add(func.module)
        self._defined.setdefault(_stem(func.module.rel).encode(), set())

    def _learn_name(self, name: str, module: Module) -> None:
        self._names.add(name)
        self._defined.setdefault(_stem(module.rel).encode(), set()).add(name.encode())
        if name not in GENERIC_METHODS and len(name) > 5:
            self.telltale.add(name)

    def _leads(self, func: Func) -> bool:
        if func not in self._plain:
            if self._may_hold_sink(func) and self._holds_sink(func):
                return True
            self._plain.add(func)
        if not func.has_words(self._names):
            return False
        hits = {name for name in (func.names_used & self._names) - self._given if not self._is_another(name, func)}
        if not hits:
            return False
        # ``x.run()`` leads to a sink only in a file that has to do with a module that defines a hot ``run``.
        return not hits.isdisjoint(self.telltale) or self._is_near(func.module)

    def _is_another(self, name: str, func: Func) -> bool:
        """Say whether a hot name means something else in a function: a variable of its own, or a function beside it."""
        for scope in func.enclosing():
            places = scope.definitions.get(name, ())
            if name in scope.imports or (scope.index == 0 and not places):
                return False
            if not places and name not in scope.params:
                continue
            for place in places:
                op = scope.ir.ops[place]
                if op.kind == "def" and type(op.value) is ir.Lambda:
                    if func.module.functions[op.value.function] in self._functions:
                        return False
                elif op.kind == "class" or scope.index == 0:
                    return False
            return not func.names_attribute(name)
        return False

    def _may_hold_sink(self, func: Func) -> bool:
        """Say whether a closer look at a function is worth while."""
        return (
            func.has_words(self._telling)
            or any(path <= func.ir.words for path in self._paths)
            or func.has_strings(self._literals)
            or any(self._is_event_text(text) or self._has_part(text) for text in func.ir.strings)
            or func.has_words(self._engine_calls(func.module))
        )

    def _holds_sink(self, func: Func) -> bool:
        return (
            not func.strings.isdisjoint(self._literals)
            or not func.names_used.isdisjoint(self._literals)
            or not func.attribute_chains.isdisjoint(self._methods)
            or self._speaks(func)
            or any(self._is_event_text(text) for text in (*func.strings, *func.texts))
        )

    def _is_event_text(self, text: str) -> bool:
        """Say whether a string is an event written as JSON, or the beginning of one."""
        return "{" in text and "type" in text and any(literal in text for literal in self._literals)

    def _has_part(self, text: str) -> bool:
        """Say whether a string holds part of an engine's address, or a TwiML verb."""
        if "/" not in text and "<" not in text:
            return False
        if text not in self._with_part:
            # One by one: a pattern of hundreds takes longer to compile than all strings of a program to look through.
            self._with_part[text] = any(part in text for part in self._parts)
        return self._with_part[text]

    def _says_part(self, func: Func) -> bool:
        if not any(map(self._has_part, func.ir.strings)):
            return False
        return any(map(self._has_part, func.strings)) or any(map(self._has_part, func.texts))

    def _speaks(self, func: Func) -> bool:
        """Say whether a function may run a speech engine or write TwiML, by its strings and the names it calls."""
        if self._says_part(func):
            return True
        calls = self._engine_calls(func.module)
        return bool(calls) and not calls.isdisjoint(func.names_used | func.attribute_chains)

    def _engine_calls(self, module: Module) -> frozenset[str]:
        """Return the names whose call in a file may run an engine, by what the file imports."""
        if module not in self._near_engine:
            names: set[str] = set()
            roots = {name.partition(".")[0] for name in module.imported}
            engines = [e for root in roots for e in self._engines.roots.get(root, ())]
            for engine in engines:
                if not module.imported.isdisjoint(engine.imports):
                    names |= {path.rpartition(".")[2] for path in (*engine.calls, *engine.weak, *engine.methods)}
            if "twilio" in roots:
                names |= self._twiml
            if module.is_seed and any(self._says_part(func) for func in module.functions):
                names |= self._sends
            self._near_engine[module] = frozenset(names)
        return self._near_engine[module]

    def _is_near(self, module: Module) -> bool:
        """Say whether a module defines something hot itself or imports from a module that does."""
        if module in self._homes:
            return True
        return any(
            (imp.module.rpartition(".")[2] or imp.attr or "").encode() in self._defined
            or (imp.attr or "").encode() in self._defined
            for function in module.functions
            for imp in function.ir.imports
        )


def _stem(rel: str) -> str:
    pieces = rel.rpartition(".")[0].split("/")
    return pieces[-2] if pieces[-1] == "__init__" and len(pieces) > 1 else pieces[-1]
