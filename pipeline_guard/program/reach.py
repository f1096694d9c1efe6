"""Entry points and contexts: from where each function is reached, and whether that is during a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Context
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.flow import Flags
from pipeline_guard.program.phases import Phases
from pipeline_guard.program.places import module_context
from pipeline_guard.program.pumps import Pumps
from pipeline_guard.program.spawners import SCHEDULERS
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.values import External
from pipeline_guard.vocabulary import EntryRule, Vocabulary

# How control comes to a place: a context, or "request", an HTTP request that may have nothing to do with a call.
# "main" is a program that somebody starts, which may be the call itself or what comes before every call.
Reached = Context | Literal["request", "main"]
# When several reach one place, the first names it.  What follows "live" can come out of it (a job, a clean-up).
RANK: tuple[Reached, ...] = ("live", "request", "main", "startup", "post_call", "offline", "example", "test")
# What a handler calls that turns an HTTP request into a WebSocket, or reads one.
_SERVES_SOCKET = frozenset({
    "WebSocketResponse", "receive_text", "receive_json", "receive_bytes", "iter_text", "iter_json", "iter_bytes",
    "websocket_accept", "accept_connection",
})  # fmt: skip
# The same for what need not belong to a call: there a call that is over says more than a request or a script.
APART: tuple[Reached, ...] = ("live", "post_call", "request", "main", "startup", "offline", "example", "test")
_DURING = frozenset({"live", "main"})
# The notes of entry points that are no handlers: they run when a program starts.
MODULE, FACTORY = "module", "makes the application"
_STARTS = (MODULE, FACTORY)
_CALL_DEPTH = 2  # calls below a handler that are looked at for signs of a telephone call


class Entry(msgspec.Struct, frozen=True):
    """An entry point: ``note`` says what makes it one, ``stream`` that it serves a WebSocket, not one request."""

    func: Func
    context: Reached
    note: str
    line: int
    stream: bool = False


class Reachability(msgspec.Struct, dict=True):
    """For every reached function: its contexts, and for each context the edge by which it was first reached."""

    graph: CallGraph
    flags: Flags
    vocabulary: Vocabulary
    is_loaded: Callable[[str], bool] = lambda _: True
    is_named: Callable[[str], bool] = lambda _: True
    entries: list[Entry] = msgspec.field(default_factory=list)
    contexts: dict[Func, dict[Reached, Edge | Entry]] = msgspec.field(default_factory=dict)
    _opened: set[Func] = msgspec.field(default_factory=set)
    _by_func: dict[Func, Entry] = msgspec.field(default_factory=dict)
    _sorted: int = 0

    @cached_property
    def pumps(self) -> Pumps:
        """The message loops of the program."""
        return Pumps(self.graph)

    @cached_property
    def phases(self) -> Phases:
        """When the operations of a stream's handler run."""
        return Phases(self.pumps, self.vocabulary, self._is_stream_handler)

    def _is_stream_handler(self, func: Func) -> bool:
        entry = self.entry_of(func)
        return entry is not None and entry.stream

    def find_entries(self) -> None:
        """Find the entry points."""
        for module in list(self.graph.program.modules.values()):
            if self.is_loaded(module.rel):
                self._module_entries(module)

    def spread(self) -> None:
        """Follow every edge from the entry points."""
        active = [entry for entry in self.entries if self._outer(entry.func) is None]
        while active:
            later: dict[Reached, list[Edge]] = {}
            for context in RANK:
                self._spread([entry for entry in active if entry.context == context], context, later)
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
        """Return the handler or the like that a function is, or None: what starts a program waits for nobody."""
        for entry in self.entries[self._sorted :]:
            if entry.note not in _STARTS:
                self._by_func.setdefault(entry.func, entry)
        self._sorted = len(self.entries)
        return self._by_func.get(func)

    @cached_property
    def serves(self) -> bool:
        """Say whether the program has handlers of its own for calls or requests: then its scripts start them."""
        return any(entry.note not in _STARTS and entry.context in ("live", "request") for entry in self.entries)

    def context(self, func: Func, op: int | None = None) -> Context:
        """Return the context of a place; "dormant" when no entry point leads there or a constant flag closes it."""
        return as_context(self.reached(func, op))

    def reached(self, func: Func, op: int | None = None, order: tuple[Reached, ...] = RANK) -> Reached:
        """Return the same with requests told from calls; of several the first in ``order``."""
        if op is not None and self.flags.closed(func, op) is not None:
            return "dormant"
        found = self.contexts.get(func, {})
        for context in order:
            if context in found:
                after = context in _DURING and op is not None and self.phases.after_call(func, op)
                return "post_call" if after else context
        return "dormant"

    def path(self, func: Func, order: tuple[Reached, ...] = RANK) -> list[Edge | Entry]:
        """Return the way from an entry point to a function: the entry, then edge by edge."""
        steps: list[Edge | Entry] = []
        current: Func | None = func
        while current is not None:
            found = self.contexts.get(current, {})
            chosen = next((c for c in order if c in found), None)
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
            for context, note, stream in self._marks(func):
                self._enter(func, place or context, note, func.ir.line, stream)
            if self.graph.factories.has(func):  # a server runs it; who else does was not looked up
                self._enter(func, place or "startup", FACTORY, func.ir.line)
        for cls in module.classes:
            rules = self._framework_bases(cls)
            if rules and not self.is_named(cls.name):
                continue  # a consumer or a view that no routing names
            for rule in rules:
                for name, index in cls.ir.methods.items():
                    if name not in rule.methods:
                        continue
                    method = module.functions[index]
                    context = self._refined(_as_context(rule.context), method, "")
                    self._enter(method, place or context, f"{cls.name}.{method.name}()", method.ir.line)
        self._enter(module.body, place or ("main" if _is_script(module) else "startup"), MODULE, 1)

    def _enter(self, func: Func, context: Reached, note: str, line: int, stream: bool = False) -> None:
        self.entries.append(Entry(func, context, note, line, stream))

    def _marks(self, func: Func) -> list[tuple[Reached, str, bool]]:
        found: list[tuple[Reached, str, bool]] = []
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
                    and not (rule.by_path and route.startswith("/"))
                ):
                    continue
                context = self._refined(_as_context(rule.context), func, route)
                found.append((context, f"@{name} {route}".strip(), rule.stream))
        for edge in self.graph.incoming.get(func, ()):
            if edge.kind != "callback" or edge.site is None or not self.is_loaded(edge.caller.module.rel):
                continue
            name = ir.source(edge.site.func).rpartition(".")[2]
            for rule in self.vocabulary.registrations:
                if name in rule.names:
                    context = self._refined(_as_context(rule.context), func, "")
                    found.append((context, f"{ir.source(edge.site.func)}()", rule.stream))
        return found

    def _refined(self, context: Reached, func: Func, route: str) -> Reached:
        """Say more about a handler: by its route and name, by what a telephone call's request holds, by its loops."""
        if context not in ("live", "request"):
            return context
        text = f"{route} {func.name}".lower()
        if any(word in text for word in self.vocabulary.names.get("startup", ())):
            return "startup"
        if any(word in text for word in self.vocabulary.names.get("post_call", ())):
            # What is spoken or asked next is spoken to a caller who is still there.
            return "live" if "speaks" in self._signs_of_call(func, _CALL_DEPTH, set()) else "post_call"
        if context == "live" or func.names_used & _SERVES_SOCKET or func.attribute_chains & _SERVES_SOCKET:
            return "live"
        signs = self._signs_of_call(func, _CALL_DEPTH, set())
        if signs & {"recording", "ended"} and "speaks" not in signs:
            return "post_call"
        if not signs and any(word in text for word in self.vocabulary.names.get("after", ())):
            return "post_call"
        return "live" if signs or any(word in text for word in self.vocabulary.names.get("calls", ())) else "request"

    def _signs_of_call(self, func: Func, depth: int, seen: set[Func]) -> set[str]:
        """Return what shows that a handler answers a telephone call: fields of its request, TwiML that it writes.

        "speaks" is TwiML by which the call goes on.
        """
        seen.add(func)
        signs: set[str] = set()
        words = func.strings | set(func.params)
        if words & self.vocabulary.call_fields:
            signs.add("call")
        if words & self.vocabulary.recording_fields:
            signs.add("recording")
        if "CallStatus" in words and words & self.vocabulary.ended_statuses:
            signs.add("ended")
        texts = [text for text in (*func.strings, *func.texts) if "<" in text]
        written = func.names_used & self.vocabulary.twiml_names
        if written or any("<Response" in text for text in texts):
            signs.add("call")
        if (written and func.attribute_chains & self.vocabulary.twiml_continues) or any(
            f"<{verb}" in text for text in texts for verb in self.vocabulary.twiml_continues
        ):
            signs.add("speaks")
        for edge in self.graph.outgoing.get(func, ()) if depth else ():
            if edge.kind == "call" and edge.callee not in seen:
                signs |= self._signs_of_call(edge.callee, depth - 1, seen)
        for inner in func.nested:
            if inner not in seen:
                signs |= self._signs_of_call(inner, depth, seen)
        return signs

    def _framework_bases(self, cls: Class) -> list[EntryRule]:
        for entry in self.graph.evaluator.mro(cls):
            if isinstance(entry, External):
                last = entry.path.rpartition(".")[2]
                found = [rule for rule in self.vocabulary.bases if last in rule.names]
                if found:
                    return found
        return []

    # -- spreading

    def _spread(self, entries: list[Entry], context: Reached, later: dict[Reached, list[Edge]]) -> None:
        queue: deque[Func] = deque()
        for entry in entries:
            if context not in self.contexts.setdefault(entry.func, {}):
                self.contexts[entry.func][context] = entry
                queue.append(entry.func)
        for edge in later.get(context, ()):
            self._reach(edge, context, queue)
        while queue:
            func = queue.popleft()
            for edge in (*self.graph.outgoing.get(func, ()), *self.graph.implied.get(func, ())):
                becomes = self._becomes(edge, context)
                if becomes == context:
                    self._reach(edge, context, queue)
                else:
                    later.setdefault(becomes, []).append(edge)

    def _becomes(self, edge: Edge, context: Reached) -> Reached:
        """Return the context that a call leads to: a worker's job and what follows the stream are no part of it."""
        scheduled = edge.site is not None and last_name(edge.site.func) in SCHEDULERS
        if (edge.kind == "job" or scheduled) and context in ("live", "main", "request", "startup"):
            return "post_call" if context in _DURING else "offline"
        if context not in ("startup", "test") and edge.caller.name in self.vocabulary.names.get("factories", ()):
            return "startup"  # whoever asks for the application first has it made: that is no part of a call
        if context in _DURING and self.phases.after_call(edge.caller, edge.op):
            return "post_call"
        return context

    def _reach(self, edge: Edge, context: Reached, queue: deque[Func]) -> None:
        callee = edge.callee
        if context in self.contexts.get(callee, {}):
            return
        if context == "startup" and self.entry_of(callee) is not None:
            return  # a handler is registered (and decorated) when the module is loaded; it does not run then
        if self.flags.closed(edge.caller, edge.op) is not None:
            return
        place = module_context(callee.module)
        if place == "test" and context != "test":
            return
        self.contexts.setdefault(callee, {})[context] = edge
        queue.append(callee)


def as_context(reached: Reached) -> Context:
    """Return what is said of a place to people: a request, or a program that is started, counts as live."""
    if reached == "request" or reached == "main":  # noqa: PLR1714 - a set would not narrow the type
        return "live"
    return reached


def _as_context(name: str) -> Reached:
    return next((context for context in RANK if context == name), "live")


def _is_script(module: Module) -> bool:
    """Say whether the module is meant to be run: it asks for ``__name__ == "__main__"``."""
    return any(
        block.kind == "if" and type(block.test) is ir.Compare and ir.source(block.test.left) == "__name__"
        for block in module.body.ir.blocks
    )
