"""Entry points and contexts: from where each function is reached, and whether that is during a call."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Context
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.flow import Flags
from pipeline_guard.program.places import module_context
from pipeline_guard.program.values import External
from pipeline_guard.vocabulary import EntryRule, Vocabulary

# When several contexts reach one place, the first of these names it.
RANK: tuple[Context, ...] = ("live", "startup", "post_call", "offline", "example", "test")


@dataclass(frozen=True)
class Entry:
    """An entry point: ``note`` says what makes it one."""

    func: Func
    context: Context
    note: str
    line: int


@dataclass
class Reachability:
    """For every reached function: its contexts, and for each context the edge by which it was first reached."""

    graph: CallGraph
    flags: Flags
    vocabulary: Vocabulary
    entries: list[Entry] = field(default_factory=list)
    contexts: dict[Func, dict[Context, Edge | Entry]] = field(default_factory=dict)
    _opened: set[Func] = field(default_factory=set)

    def find_entries(self) -> None:
        """Find the entry points."""
        for module in list(self.graph.program.modules.values()):
            self._module_entries(module)

    def spread(self) -> None:
        """Follow every edge from the entry points."""
        active = [entry for entry in self.entries if self._outer(entry.func) is None]
        while active:
            for context in RANK:
                self._spread([entry for entry in active if entry.context == context], context)
            reached = {func for func in self.contexts if func not in self._opened}
            self._opened |= reached
            active = [entry for entry in self.entries if self._outer(entry.func) in reached]

    def _outer(self, func: Func) -> Func | None:
        """Return the function that must run before a handler defined inside it is registered; None at module level.

        Application factories are run by a server that the code does not show.
        """
        outer = func.parent
        if outer is None or outer.index == 0 or outer.name in self.vocabulary.names.get("factories", ()):
            return None
        return outer

    def entry_of(self, func: Func) -> Entry | None:
        return next((entry for entry in self.entries if entry.func is func and entry.note != "module"), None)

    def context(self, func: Func, op: int | None = None) -> Context:
        """Return the context of a place; "dormant" when no entry point leads there or a constant flag closes it."""
        if op is not None and self.flags.closed(func, op) is not None:
            return "dormant"
        found = self.contexts.get(func, {})
        return next((context for context in RANK if context in found), "dormant")

    def path(self, func: Func) -> list[Edge | Entry]:
        """Return the way from an entry point to a function: the entry, then edge by edge."""
        steps: list[Edge | Entry] = []
        current: Func | None = func
        while current is not None:
            found = self.contexts.get(current, {})
            chosen = next((c for c in RANK if c in found), None)
            if chosen is None:
                break
            step = found[chosen]
            steps.append(step)
            if isinstance(step, Entry) or len(steps) > 40:
                break
            current = step.caller
        steps.reverse()
        return steps

    # -- entry points

    def _module_entries(self, module: Module) -> None:
        place = module_context(module)
        for func in module.functions[1:]:
            for context, note in self._marks(func):
                self._enter(func, place or context, note, func.ir.line)
        for cls in module.classes:
            rule = self._framework_base(cls)
            if rule is not None:
                for name, index in cls.ir.methods.items():
                    if name not in rule.methods:
                        continue
                    method = module.functions[index]
                    self._enter(
                        method, place or _as_context(rule.context), f"{cls.name}.{method.name}()", method.ir.line
                    )
        self._enter(module.body, place or ("live" if _is_script(module) else "startup"), "module", 1)

    def _enter(self, func: Func, context: Context, note: str, line: int) -> None:
        self.entries.append(Entry(func, context, note, line))

    def _marks(self, func: Func) -> list[tuple[Context, str]]:
        found: list[tuple[Context, str]] = []
        for decorator, name in zip(func.ir.decorators, func.decorator_names, strict=True):
            receiver, _, last = name.rpartition(".")
            route = ""
            if type(decorator) is ir.Call and decorator.args and type(decorator.args[0]) is ir.Const:
                route = str(decorator.args[0].value)
            for rule in self.vocabulary.decorators:
                if last not in rule.names:
                    continue
                if (
                    rule.receiver
                    and not any(word in receiver.lower() for word in rule.receiver)
                    and not route.startswith("/")
                ):
                    continue
                found.append((self._refined(_as_context(rule.context), func, route), f"@{name} {route}".strip()))
        for edge in self.graph.incoming.get(func, ()):
            if edge.kind != "callback" or edge.site is None:
                continue
            name = ir.source(edge.site.func).rpartition(".")[2]
            for rule in self.vocabulary.registrations:
                if name in rule.names:
                    found.append((self._refined(_as_context(rule.context), func, ""), f"{ir.source(edge.site.func)}()"))
        return found

    def _refined(self, context: Context, func: Func, route: str) -> Context:
        text = f"{route} {func.name}".lower()
        if context == "live":
            if any(word in text for word in self.vocabulary.names.get("startup", ())):
                return "startup"
            if any(word in text for word in self.vocabulary.names.get("post_call", ())):
                return "post_call"
        return context

    def _framework_base(self, cls: Class) -> EntryRule | None:
        for entry in self.graph.evaluator.mro(cls):
            if isinstance(entry, External):
                last = entry.path.rpartition(".")[2]
                for rule in self.vocabulary.bases:
                    if last in rule.names:
                        return rule
        return None

    # -- spreading

    def _spread(self, entries: list[Entry], context: Context) -> None:
        queue: deque[Func] = deque()
        for entry in entries:
            if context not in self.contexts.setdefault(entry.func, {}):
                self.contexts[entry.func][context] = entry
                queue.append(entry.func)
        while queue:
            func = queue.popleft()
            for edge in self.graph.outgoing.get(func, ()):
                self._reach(edge.callee, edge, context, queue)
            for edge in self.graph.implied.get(func, ()):
                self._reach(edge.callee, edge, context, queue)

    def _reach(self, callee: Func, edge: Edge, context: Context, queue: deque[Func]) -> None:
        if context in self.contexts.get(callee, {}):
            return
        if self.flags.closed(edge.caller, edge.op) is not None:
            return
        place = module_context(callee.module)
        if place == "test" and context != "test":
            return
        self.contexts.setdefault(callee, {})[context] = edge
        queue.append(callee)


def _as_context(name: str) -> Context:
    return next((context for context in RANK if context == name), "live")


def _is_script(module: Module) -> bool:
    """Say whether the module is meant to be run: it asks for ``__name__ == "__main__"``."""
    return any(
        block.kind == "if" and type(block.test) is ir.Compare and ir.source(block.test.left) == "__name__"
        for block in module.body.ir.blocks
    )
