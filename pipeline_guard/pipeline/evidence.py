"""Evidence: in which context a site runs, why it is dormant, and the way that leads there step by step."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import NOT_HERE, Confidence, Context, Step
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.keepers import Keepers
from pipeline_guard.program.places import is_script, module_context
from pipeline_guard.program.reach import APART, MODULE, RANK, Entry, Reachability, Reached, as_context
from pipeline_guard.program.values import Frame, Literal, Missing

MAX_STEPS = 24
ENGINE_KINDS = frozenset({"stt", "tts"})
# Client events that are read beside the others: they make no lane of their own.
SIDE_KINDS = frozenset({"audio_commit", "response_cancel"})


class Evidence:
    """Answers where a site stands among the contexts, and proves it with a path."""

    def __init__(self, graph: CallGraph, reach: Reachability) -> None:
        self.graph = graph
        self.reach = reach
        self._lost: dict[int, str | None] = {}
        self._starved: dict[int, str] = {}
        self._below: dict[Func, tuple[set[Func], dict[Func, str]]] = {}
        self._unresolved: set[str] | None = None
        self._keepers = Keepers(graph.program)

    def starve(self, hops: list[Hop], reason: str) -> None:
        """Record that hops never run, although their code is reached: they wait for what never comes."""
        self._starved.update((id(hop), reason) for hop in hops)

    def context(self, hop: Hop) -> Context:
        """Return the context of a hop: dormant also when nothing it leads to can be sent any more."""
        if id(hop) in self._starved:
            return "dormant"
        found = self.context_at(hop.func, hop.op, None, hop.kind)
        if found != "dormant" and hop.sinks and all(self._never(hop, sink) for sink in hop.sinks):
            return "dormant"
        return found

    def context_at(self, func: Func, op: int | None, sink: Sink | None, kind: str = "") -> Context:
        """Return the context of an operation, with the place of its file taken into account.

        An HTTP request that belongs to no call is "offline" for a speech engine; what it does to Realtime is live.
        """
        place = module_context(func.module)
        found = self.reach.reached(func, op, _order(kind))
        if place == "example" and kind in ENGINE_KINDS and is_script(func.module) and found in ("example", "dormant"):
            return "offline"
        if found == "dormant" and func not in self.reach.contexts and self._may_be_called(func):
            return place or "unknown"
        if sink is not None and found != "dormant" and self._dead_sink(sink):
            return "dormant"
        if place is not None and not (place == "example" and found in ("live", "request", "main")):
            # What real code reaches is no example, wherever it lies.
            found = as_context(found)
            return place if found in ("dormant", "live", "startup", "offline", place) else found
        if found == "request":
            return "offline" if kind in ENGINE_KINDS else "live"
        if found == "main":
            return self._of_program(func) if kind in ENGINE_KINDS and self.reach.serves else "live"
        if kind in ENGINE_KINDS:
            return "offline" if found == "example" else found
        return "live" if found in ("example", "startup") else found

    def _of_program(self, func: Func) -> Context:
        """Return the context of what only a started program runs, where calls come in by handlers of their own.

        What starts the server runs before any call; a module that merely can be run by hand is dormant, a script at the
        top or among the scripts runs apart from every call.
        """
        path = self.reach.path(func, APART)
        first = path[0].func if path and isinstance(path[0], Entry) else func
        module = first.module
        if any(ir.source(site.call.func).rpartition(".")[2] in _SERVERS for site in module.body.calls) or any(
            isinstance(step, Edge) and _starts_server(step.caller) for step in path
        ):
            return "startup"
        return "dormant" if "/" in module.rel and not is_script(module) else "offline"

    def confidence(self, hop: Hop) -> Confidence:
        """Return how sure it is that a hop does what it is said to."""
        if (hop.edge is not None and hop.edge.confidence == "low") or self.context(hop) == "unknown":
            return "low"
        return hop.confidence

    def why_dormant(self, hop: Hop) -> str:
        """Return why a dormant hop never runs; empty for one that runs."""
        if self.context(hop) != "dormant":
            return ""
        if id(hop) in self._starved:
            return self._starved[id(hop)]
        flag = self.reach.flags.closed(hop.func, hop.op)
        if flag is not None:
            return flag
        if hop.func not in self.reach.contexts:
            return self._dead_root(hop.func)
        if self.reach.reached(hop.func, hop.op) == "main":
            return "only its own __main__ runs it"
        for sink in hop.sinks:
            reason = self._never(hop, sink)
            if reason:
                return reason if hop.sink is not None else f"{NOT_HERE} ({reason})"
        return self._dead_root(hop.func)

    def why_never(self, func: Func, op: int) -> str:
        """Return why an operation never runs; empty when it may."""
        flag = self.reach.flags.closed(func, op)
        if flag is not None:
            return flag
        return "" if func in self.reach.contexts or self._may_be_called(func) else self._dead_root(func)

    def _may_be_called(self, func: Func) -> bool:
        """Say whether a method of this name is called on something whose class could not be told.

        So may one of a class that somebody keeps, who makes it then.
        """
        root = func.outermost
        if root.cls is None:
            return False
        if root.cls not in self.graph.constructed:
            return self._keepers.keeps(root.cls)
        if self._unresolved is None:
            nodes = [site.call.func for _, site in self.graph.unresolved]
            self._unresolved = {node.name for node in nodes if type(node) is ir.Attr}
        return root.name in self._unresolved

    def _dead_root(self, func: Func) -> str:
        """Return what would have to be called, or made, for a function to run: the top of the dead code it is in."""
        flag = self._closed_above(func)
        if flag is not None:
            return flag
        seen: set[Func] = set()
        root = func
        while root not in seen:
            seen.add(root)
            while root.parent is not None and root.parent.index != 0 and root.parent not in self.reach.contexts:
                root = root.parent
            cls = root.owner_class
            if cls is not None and cls not in self.graph.constructed:
                methods = [f for f in cls.own_functions if f in self.reach.contexts]
                if not methods and not any(
                    sub in self.graph.constructed for sub in self.graph.evaluator.subclasses(cls)
                ):
                    return f"nothing makes {_article(cls.name)} {cls.name}"
            above = [e.caller for e in self.graph.incoming.get(root, ()) if e.kind != "escape" and e.caller.index != 0]
            root = next((caller for caller in above if caller not in seen), root)
        if not self.reach.is_loaded(root.module.rel):
            return f"nothing loads {root.module.rel}"
        return f"nothing calls {root.name}()"

    def _closed_above(self, func: Func) -> str | None:
        """Return the flag that closes a way from running code into the dead code that a function is in."""
        seen = {func}
        stack = [func]
        while stack:
            current = stack.pop()
            for edge in self.graph.incoming.get(current, ()):
                if edge.kind == "escape" or edge.caller in seen:
                    continue
                if edge.caller in self.reach.contexts:
                    flag = self.reach.flags.closed(edge.caller, edge.op)
                    if flag is not None:
                        return flag
                else:
                    seen.add(edge.caller)
                    stack.append(edge.caller)
        return None

    def _never(self, hop: Hop, sink: Sink) -> str | None:
        """Return why a hop never gets to a sink: the sink is dead, or a flag closes every way there."""
        reason = self._dead_sink(sink)
        if reason or hop.edge is None:
            return reason
        closed: str | None = None
        for callee in hop.callees:
            open_ways, all_ways = self._ways(callee)
            if sink.func in open_ways:
                return None
            closed = closed or all_ways.get(sink.func)
        return closed

    def _ways(self, start: Func) -> tuple[set[Func], dict[Func, str]]:
        """Return what a function leads to while flags stay as they are; for all the rest, the flag on a way there."""
        if start not in self._below:
            open_ways = {start}
            stack = [start]
            shut: list[tuple[Func, str]] = []
            while stack:
                for edge in self._edges(stack.pop()):
                    flag = self.reach.flags.closed(edge.caller, edge.op)
                    if flag is not None:
                        shut.append((edge.callee, flag))
                    elif edge.callee not in open_ways:
                        open_ways.add(edge.callee)
                        stack.append(edge.callee)
            rest: dict[Func, str] = {}
            while shut:
                func, flag = shut.pop()
                if func not in open_ways and func not in rest:
                    rest[func] = flag
                    shut.extend((edge.callee, flag) for edge in self._edges(func))
            self._below[start] = (open_ways, rest)
        return self._below[start]

    def _edges(self, func: Func) -> list[Edge]:
        edges = (*self.graph.outgoing.get(func, ()), *self.graph.implied.get(func, ()))
        return [edge for edge in edges if edge.kind != "escape"]

    def _dead_sink(self, sink: Sink) -> str | None:
        """Return why a send can never happen: a flag that is off, or a transport that nothing ever assigns."""
        if id(sink.call) not in self._lost:
            flag = self.reach.flags.closed(sink.func, sink.op)
            self._lost[id(sink.call)] = flag if flag is not None else self._lost_receiver(sink)
        return self._lost[id(sink.call)]

    def _lost_receiver(self, sink: Sink) -> str | None:
        node: ir.Expr = sink.call.func
        while type(node) is ir.Attr:
            node = node.base
            if type(node) is not ir.Attr:
                break
            values = self.graph.evaluator.eval(node, Frame(sink.func, sink.op))
            if values and all(isinstance(value, Missing) for value in values):
                return f"{ir.source(node)} is never assigned"
            if values and all(isinstance(value, Literal) and value.value is None for value in values):
                return f"{ir.source(node)} is only ever None"
        return None

    def path(self, hop: Hop) -> tuple[Step, ...]:
        """Return the way from an entry point to a hop, and on to the send it leads to."""
        steps = list(self.path_to(hop.func, hop.line, hop.kind))
        if hop.sink is None and hop.sinks:
            steps.extend(self._way_down(hop))
        return tuple(steps[:MAX_STEPS])

    def path_to(self, func: Func, line: int, kind: str = "") -> tuple[Step, ...]:
        """Return the way from an entry point to a line of a function."""
        steps: list[Step] = []
        for part in self.reach.path(func, _order(kind)):
            if isinstance(part, Entry):
                if part.note != MODULE:
                    steps.append(step_at(part.func, part.line, part.note))
            else:
                steps.append(_step_of(part))
        steps.append(step_at(func, line))
        return tuple(steps)

    def _way_down(self, hop: Hop) -> list[Step]:
        """Return the calls from a hop's callee to the first send it leads to, shortest first."""
        sink = hop.sinks[0]
        start = hop.edge.callee if hop.edge is not None else sink.func
        steps = [_step_of(edge) for edge in self.graph.way(start, sink.func)]
        note = _ENDS.get(sink.kind, "sends audio").format(engine=sink.engine)
        return [*steps, step_at(sink.func, sink.call.line, note)]


def _starts_server(func: Func) -> bool:
    return any(ir.source(site.call.func).rpartition(".")[2] in _SERVERS for site in func.calls)


def _order(kind: str) -> tuple[Reached, ...]:
    return APART if kind in ENGINE_KINDS else RANK


def first_running(contexts: Iterable[Context]) -> Context:
    """Return the first context that is not dormant; dormant when there is none."""
    return next((context for context in contexts if context != "dormant"), "dormant")


def step_at(func: Func, line: int, note: str = "") -> Step:
    """Return a line of a function as a step."""
    return Step(func.module.rel, line, func.symbol, note)


def _article(name: str) -> str:
    return "an" if name[:1] in "AEIOU" else "a"


_SERVERS = frozenset({
    "run", "run_app", "serve", "serve_forever", "run_forever", "run_until_complete", "run_simple", "start_server",
})  # fmt: skip
_ENDS = {
    "response_create": "sends response.create",
    "stt": "runs speech-to-text ({engine})",
    "tts": "runs text-to-speech ({engine})",
}
_NOTES = {
    "task": "starts the task", "thread": "starts the thread", "executor": "hands to an executor",
    "timer": "starts the timer", "job": "hands to a worker",
    "callback": "registers the callback", "register": "hands over the callback", "escape": "keeps a reference to",
    "call": "calls",
}  # fmt: skip


def _step_of(edge: Edge) -> Step:
    return step_at(edge.caller, edge.line, f"{_NOTES[edge.kind]} {edge.callee.name}()")
