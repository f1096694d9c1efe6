"""Learns which functions lead to a sink, as far as names alone can tell: who uses the name of one leads there too."""

from __future__ import annotations

from collections.abc import Set

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.factories import Factories
from pipeline_guard.program.heat import GENERIC_METHODS
from pipeline_guard.program.namers import Defined
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.vocabulary import Vocabulary

_TABLES = (ir.DictNode, ir.Seq)
_NAMED = (ir.Name, ir.Attr)


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
        self._tables: set[str] = set()  # names of tables that hold something hot
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
            before = len(self._functions), len(self._names)
            for module in modules:
                self._learn_constants(module)
                self._learn_tables(module)
                for func in module.functions:
                    if func not in self._functions and self._leads(func):
                        self._add(func)
            if (len(self._functions), len(self._names)) == before:
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

    def _learn_tables(self, module: Module) -> None:
        """Take in the tables of a module, or of its classes, that hold a hot class or function: a registry."""
        if not module.body.has_words(self._names):
            return
        stores = [
            (target.id, op.value)
            for op in module.body.ir.ops
            if op.kind == "assign" and type(op.value) in _TABLES
            for target in op.targets
            if type(target) is ir.Name
        ]
        stores += [(field.name, field.value) for cls in module.classes for field in cls.ir.fields]
        for name, value in stores:
            if name not in self._names and value is not None and self._holds_hot(value):
                self._names.add(name)
                self._tables.add(name)
                self._defined.setdefault(_stem(module.rel).encode(), set()).add(name.encode())
                self._homes.add(module)

    def _holds_hot(self, node: ir.Expr) -> bool:
        """Say whether an expression is a table that names something hot."""
        return type(node) in _TABLES and any(
            type(part) in _NAMED and last_name(part) in self.telltale for part in walk(node)
        )

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
        used = func.names_used & self._names | func.ir.words & self._tables
        hits = {name for name in used - self._given if not self._is_another(name, func)}
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
