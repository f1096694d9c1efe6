"""What one particular call cannot lead to: a flag it passes is off, a transport it passes does not send."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.hops import Walk
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.flow import combined_truth, conditions, names_in
from pipeline_guard.program.values import Frame, Function, Literal, Thunk


class Feasibility:
    """Reads the arguments of calls.  ``relays`` are the functions that hand on what they are given."""

    def __init__(self, graph: CallGraph, relays: set[Func]) -> None:
        self.graph = graph
        self.relays = relays
        self._tests: dict[tuple[Func, int], list[tuple[ir.Expr, bool]]] = {}

    def switched_off(self, walk: Walk, func: Func, edge: Edge) -> set[int]:
        """Return the operations of ``func`` that the arguments of this very call switch off.

        That is a send under ``if trigger_response:`` when the call says False, and a send on a transport that is
        something else in this call (a stand-in that only records).
        """
        if edge.call is None or not func.params:
            return set()
        env = self.graph.evaluator.bind(func, edge.call, Frame(edge.caller, edge.op), edge.bound)
        return self._switched_off(walk, func, env, 3) if env else set()

    def _switched_off(self, walk: Walk, func: Func, env: dict[str, Thunk], depth: int) -> set[int]:
        constants = _Constants(self.graph.evaluator, env)
        off: set[int] = set()
        for op, sinks in walk.ops.get(func, {}).items():
            tests = self._parameter_tests(func, op)
            if any(_truth(test, constants) is (not wanted) for test, wanted in tests) or (
                depth and self._leads_elsewhere(walk, func, op, sinks, env, depth)
            ):
                off.add(op)
        return off

    def _parameter_tests(self, func: Func, op: int) -> list[tuple[ir.Expr, bool]]:
        """Return the conditions of an operation that speak of parameters, remembered: they are asked for every call."""
        key = (func, op)
        if key not in self._tests:
            self._tests[key] = [
                (condition.test, condition.wanted)
                for condition in conditions(func, op)
                if not func.params.keys().isdisjoint(names_in(condition.test))
            ]
        return self._tests[key]

    def _leads_elsewhere(
        self, walk: Walk, func: Func, op: int, sinks: list[Sink], env: dict[str, Thunk], depth: int
    ) -> bool:
        own = [sink for sink in sinks if sink.func is func and sink.op == op]
        if own:
            return all(self._other_transport(sink, env) for sink in own)
        edges = [e for e in self.graph.outgoing.get(func, ()) if e.op == op and e.callee in walk.ops]
        calls = [(edge, edge.call) for edge in edges if edge.call is not None]
        for edge, call in calls:
            if not any(
                type(node) is ir.Name and node.id in env for node in [*call.args, *(k.value for k in call.keywords)]
            ):
                return False
            inner = self.graph.evaluator.bind(edge.callee, call, Frame(func, op, env, 2), edge.bound)
            if set(walk.ops[edge.callee]) - self._switched_off(walk, edge.callee, inner, depth - 1):
                return False
        return bool(calls)

    def _other_transport(self, sink: Sink, env: dict[str, Thunk]) -> bool:
        """Say whether the transport of a sink is a parameter that this call binds to something that does not send."""
        receiver = sink.call.func.base if type(sink.call.func) is ir.Attr else None
        if type(receiver) is not ir.Name or receiver.id not in env:
            return False
        values = self.graph.evaluator.eval(sink.call.func, Frame(sink.func, sink.op, env, 2))
        return bool(values) and all(
            isinstance(value, Function) and value.func not in self.relays and value.func.name != "<lambda>"
            for value in values
        )


def _grows(thunk: Thunk) -> bool:
    """Say whether an argument is a name that is added to (``text += …``): what it begins with says nothing."""
    if type(thunk.node) is not ir.Name:
        return False
    function, env = thunk.frame.func, thunk.frame.env
    if env is not None and thunk.node.id in env and env[thunk.node.id] is not thunk:
        return _grows(env[thunk.node.id])
    return any(function.ir.ops[index].kind == "aug" for index in function.definitions.get(thunk.node.id, ()))


class _Constants:
    """The truth of the parameters that one call binds to a constant, each read when a condition asks for it."""

    def __init__(self, evaluator: Evaluator, env: dict[str, Thunk]) -> None:
        self.evaluator = evaluator
        self.env = env
        self._known: dict[str, bool | None] = {}

    def truth(self, name: str) -> bool | None:
        """Return the truth of a parameter; None where it may be either."""
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> bool | None:
        thunk = self.env.get(name)
        if thunk is None or type(thunk.node) not in (ir.Const, ir.Name, ir.Attr) or _grows(thunk):
            return None
        values = self.evaluator.force(thunk)
        return bool(values[0].value) if len(values) == 1 and isinstance(values[0], Literal) else None


def _truth(test: ir.Expr, constants: _Constants) -> bool | None:
    """Return the truth of a condition on parameters whose truth is known."""
    if type(test) is ir.Name:
        return constants.truth(test.id)
    return combined_truth(test, lambda part: _truth(part, constants))
