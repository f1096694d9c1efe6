"""What becomes of the coroutine of a response: dropped, or run on a loop that is not the session's."""

from __future__ import annotations

from typing import Literal

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.transports import OPENERS
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.values import External, Frame

# How a coroutine is lost: a bare call, a name that nothing uses, a function handed to something that calls it plainly.
Dropped = Literal["statement", "name", "callee"]
# Decorators that leave a coroutine function what it is.
_HARMLESS = frozenset({"staticmethod", "classmethod", "abstractmethod", "override", "final"})
# What calls the function it is given and does nothing with what comes back.
_CALLS_PLAINLY = frozenset({
    "Thread", "Timer", "call_later", "call_at", "call_soon", "call_soon_threadsafe", "add_done_callback",
})  # fmt: skip
_RUNNERS = frozenset({"run", "run_until_complete"})
_DEPTH = 4


class Coroutines:
    """Reads the calls by which responses are asked for as what they make: coroutines that somebody has to run."""

    def __init__(self, graph: CallGraph, reach: Reachability) -> None:
        self.graph = graph
        self.evaluator: Evaluator = graph.evaluator
        self.reach = reach

    # -- dropped

    def dropped(self, hop: Hop) -> Dropped | None:
        """Return how the coroutine that a hop makes is lost; None when it is run, or when that is not sure."""
        if hop.sink is not None:
            return self._lost(hop.func, hop.op, hop.sink.call) if self._sends_later(hop) else None
        edge = hop.edge
        if edge is None or edge.site is None or not all(_is_coroutine(callee) for callee in hop.callees):
            return None
        if edge.kind in ("thread", "timer", "callback"):
            return "callee" if self._is_called_plainly(edge) else None
        if edge.kind != "call" or edge.confidence == "low":
            return None
        return self._lost(hop.func, hop.op, edge.site)

    def _lost(self, func: Func, op: int, call: ir.Call) -> Dropped | None:
        operation = func.ir.ops[op]
        if operation.value is not call:
            return None
        if operation.kind == "expr":
            return "statement"
        if func.name == "<lambda>" and operation.kind == "return":
            plainly = [e for e in self.graph.incoming.get(func, ()) if e.kind in ("thread", "timer", "callback")]
            every = [e for e in self.graph.incoming.get(func, ()) if e.kind != "escape"]
            return "callee" if every and plainly == every and all(map(self._is_called_plainly, every)) else None
        if operation.kind == "assign" and len(operation.targets) == 1 and type(operation.targets[0]) is ir.Name:
            return None if self._is_used(func, operation.targets[0].id, op) else "name"
        return None

    @staticmethod
    def _is_used(func: Func, name: str, op: int) -> bool:
        """Say whether a name is read anywhere in a function, or in what is defined inside it."""
        if name in func.ir.globals or name in func.ir.nonlocals or func.index == 0:
            return True
        inside = [func]
        while inside:
            current = inside.pop()
            inside.extend(current.nested)
            for index, operation in enumerate(current.ir.ops):
                if current is func and index == op:
                    continue
                nodes = [*operation.targets, *([operation.value] if operation.value is not None else [])]
                if operation.kind == "assign":
                    nodes = [n for n in nodes if type(n) is not ir.Name or n is operation.value]
                if any(type(n) is ir.Name and n.id == name for node in nodes for n in walk(node)):
                    return True
        return False

    def _is_called_plainly(self, edge: Edge) -> bool:
        """Say whether an edge hands a function, not a call of it, to something that only calls it."""
        site = edge.site
        if site is None or last_name(site.func) not in _CALLS_PLAINLY:
            return False
        given = [*site.args, *(keyword.value for keyword in site.keywords)]
        if not any(type(node) is ir.Lambda or last_name(node) == edge.callee.name for node in given):
            return False
        values = self.evaluator.eval(site.func, Frame(edge.caller, edge.op))
        return all(isinstance(value, External) for value in values)

    def _sends_later(self, hop: Hop) -> bool:
        """Say whether a primitive is a call of a library that is known to make a coroutine."""
        assert hop.sink is not None
        node = hop.sink.call.func
        if type(node) is not ir.Attr:
            return False
        while type(node) is ir.Attr:
            node = node.base
            values = self.evaluator.settled(self.evaluator.eval(node, Frame(hop.func, hop.op)))
            paths = [value.path for value in values if isinstance(value, External)]
            if paths and len(paths) == len(values):
                return all(_makes_coroutines(path) for path in paths)
        return False

    # -- another loop

    def own_loop(self, hop: Hop) -> str | None:
        """Return what runs a response on a loop of its own, away from the session's; None when nothing does."""
        edge = hop.edge
        if edge is None or edge.site is None or hop.func.index == 0 or hop.func.ir.is_async:
            return None
        for site in hop.func.calls_at.get(hop.op, ()):
            runner = site.outer[0] if site.outer else None
            if site.call is not edge.site or runner is None or last_name(runner.func) not in _RUNNERS:
                continue
            name = self._runner(hop.func, hop.op, runner)
            if name is not None and not any(self._opens_session(func) for func in (hop.func, *hop.callees)):
                return name
        return None

    def _runner(self, func: Func, op: int, call: ir.Call) -> str | None:
        """Return how a loop is made and run by a call: ``asyncio.run``, or a new loop's ``run_until_complete``."""
        values = self.evaluator.eval(call.func, Frame(func, op))
        paths = [value.path for value in values if isinstance(value, External)]
        if "asyncio.run" in paths or "anyio.run" in paths or "uvloop.run" in paths:
            return f"{ir.source(call.func)}()"
        if last_name(call.func) == "run_until_complete" and any("new_event_loop()" in path for path in paths):
            return "new_event_loop().run_until_complete()"
        return None

    def _opens_session(self, func: Func, depth: int = _DEPTH) -> bool:
        """Say whether a function opens the connection itself: then the loop it runs on is the session's."""
        names = {last_name(site.call.func) for site in func.calls}
        if names & OPENERS or self.reach.pumps.has_pump(func):
            return True
        return depth > 0 and any(
            self._opens_session(edge.callee, depth - 1)
            for edge in self.graph.outgoing.get(func, ())
            if edge.callee is not func and edge.kind != "escape"
        )


def _is_coroutine(func: Func) -> bool:
    """Say whether calling a function surely makes a coroutine."""
    plain = all(name.rpartition(".")[2] in _HARMLESS for name in func.decorator_names)
    return func.ir.is_async and not func.ir.is_generator and plain


def _makes_coroutines(path: str) -> bool:
    """Say whether the methods of an external object are coroutines, by its access path."""
    if path.startswith("websockets."):
        return ".sync." not in path
    return path.startswith(("openai.AsyncOpenAI", "openai.AsyncAzureOpenAI", "aiohttp.ClientSession"))
