"""Where code waits for the other side: for a future, an event, a condition, or by polling; a plain sleep is no waiting.

Also reads where a condition says that no response is active.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.triggers import GuardReader, set_names
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.paths import EXIT, Paths
from pipeline_guard.program.trees import last_name, walk

_WAITING = frozenset({"wait", "wait_closed", "join", "recv", "receive", "receive_text", "receive_json", "result"})
_AROUND = frozenset({"wait_for", "shield", "gather", "timeout"})
_SLEEPS = frozenset({"sleep"})
_DEPTH = 4
# Words of which a name holds one of each when it says, as an event or a helper, that a response is over.
_OVER = frozenset({"idle", "done", "finished", "complete", "completed", "inactive", "free", "ended", "cancelled"})
_PENDING = frozenset({"pending", "waiting", "sent", "requested", "create"})
_RESPONSE = frozenset({"response", "responses", "responding", "reply", "generation", "model", "ai", "turn"})


class Void(msgspec.Struct, frozen=True):
    """Flags that say nothing of the response in question: those put back by hand before.

    ``pending`` adds those that only speak of a request that has not been answered yet.
    """

    names: frozenset[str] = frozenset()
    pending: bool = False

    def covers(self, name: str) -> bool:
        """Say whether a flag is void."""
        return name in self.names or (self.pending and not _PENDING.isdisjoint(_words(name)))


NOT_VOID = Void()


class Waits:
    """Answers where operations wait, and which operations only run while no response is active.

    ``names`` are attributes that the contract declares to hold the active response.
    """

    def __init__(self, graph: CallGraph, guards: GuardReader, names: frozenset[str]) -> None:
        self.graph = graph
        self.guards = guards
        self.names = names
        self._paths: dict[Func, Paths] = {}
        self._inside: dict[Func, bool] = {}
        self._at: dict[Func, frozenset[int]] = {}

    def paths(self, func: Func) -> Paths:
        """Return the control flow of a function."""
        if func not in self._paths:
            self._paths[func] = Paths(func)
        return self._paths[func]

    def waiting(self, func: Func) -> frozenset[int]:
        """Return the operations of a function that wait."""
        if func not in self._at:
            self._at[func] = frozenset()  # a function that waits for itself
            found = {index for index, op in enumerate(func.ir.ops) if self._waits(func, index, op)}
            found |= self._polling(func)
            self._at[func] = frozenset(found)
        return self._at[func]

    def sleeping(self, func: Func) -> frozenset[int]:
        """Return the operations of a function that sleep."""
        return frozenset(site.op for site in func.calls if last_name(site.call.func) in _SLEEPS)

    def always_waits(self, func: Func, depth: int = _DEPTH) -> bool:
        """Say whether every way through a function waits."""
        if func not in self._inside:
            self._inside[func] = False
            if depth and func.ir.ops:
                self._inside[func] = EXIT not in self.paths(func).from_top(self.waiting(func))
        return self._inside[func]

    def _waits(self, func: Func, index: int, op: ir.Op) -> bool:
        if op.value is None or op.kind in ("def", "class"):
            return False
        for node in walk(op.value):
            if type(node) is ir.Await and type(node.value) is not ir.Call:
                return type(node.value) in (ir.Name, ir.Attr, ir.Sub)
            if type(node) is ir.Call and self._is_waiting_call(func, index, node):
                return True
        return False

    def _is_waiting_call(self, func: Func, op: int, call: ir.Call) -> bool:
        name = last_name(call.func)
        if name in _AROUND:
            return any(type(arg) in (ir.Name, ir.Attr) and arg is not call.func for arg in call.args[:1])
        if name in _WAITING or ("wait" in name.lower().split("_") and name not in ("wait_ms", "no_wait")):
            return name != "join" or type(call.func) is not ir.Attr or type(call.func.base) is not ir.Const
        callees = [edge.callee for edge in self.graph.edges_at(func, call) if edge.op == op]
        return bool(callees) and all(self.always_waits(callee) for callee in callees if callee is not func)

    def _polling(self, func: Func) -> set[int]:
        """Return the operations that enter a loop which sleeps until a flag says that no response is active."""
        found: set[int] = set()
        for index, block in enumerate(func.ir.blocks):
            if block.kind not in LOOPS or not any(
                last_name(site.call.func) in _SLEEPS for site in func.calls if block.first <= site.op < block.last
            ):
                continue
            inside = [(place, func.ir.ops[place]) for place in range(block.first, block.last)]
            tests = [op.value for place, op in inside if op.kind == "test" and func.loop_of(place) == index]
            if any(test is not None and self._speaks_of_guard(test) for test in tests):
                found.add(block.first - 1 if block.kind == "for" else block.first)
        return found

    def _speaks_of_guard(self, test: ir.Expr, void: Void = NOT_VOID) -> bool:
        names = [name for name in names_in(test) if not void.covers(name)]
        return any(self.guards.is_guard(name, self.names) or _is_over(name) for name in names)

    # -- guards

    def is_idle(self, func: Func, op: int, void: Void = NOT_VOID) -> bool:
        """Say whether an operation only runs when a flag says that no response is active.

        Flags that are ``void`` say nothing.
        """
        return any(
            self._says_idle(condition.test, condition.wanted, func, op, void) for condition in conditions(func, op)
        )

    def _says_idle(self, test: ir.Expr, wanted: bool, func: Func, op: int, void: Void) -> bool:
        if type(test) is ir.Not:
            return self._says_idle(test.value, not wanted, func, op, void)
        if type(test) is ir.Bool:
            if wanted is not (test.op == "and"):
                return False
            return any(self._says_idle(part, wanted, func, op, void) for part in test.values)
        if type(test) is ir.Compare:
            if not self._speaks_of_guard(test.left, void):
                return False
            right = test.rights[0]
            empty = type(right) is ir.Const and not right.value
            same = test.ops[0] in ("is", "==")
            if not same and test.ops[0] not in ("is not", "!="):
                return True  # a comparison of times or counts: it says something of the response, who knows what
            return not empty or wanted is same
        if type(test) is ir.Call:
            # A helper of the program, or an event: which way round it answers, only its name could tell.
            if self._speaks_of_guard(test.func, void):
                return True
            callees = [edge.callee for edge in self.graph.edges_at(func, test)]
            return any(self._reads_guard(callee, void) for callee in callees)
        if type(test) is ir.Name and not self._speaks_of_guard(test):
            values = [func.ir.ops[place].value for place in func.reaching(test.id, op)[0]]
            return any(value is not None and self._speaks_of_guard(value, void) for value in values)
        return wanted is False and self._speaks_of_guard(test, void)

    def is_latched(self, func: Func, op: int) -> bool:
        """Say whether an operation runs once only: behind a test of a flag, none of a guard, that is set before it."""
        for condition in conditions(func, op):
            test, wanted = condition.test, condition.wanted
            while type(test) is ir.Not:
                test, wanted = test.value, not wanted
            if wanted or type(test) not in (ir.Name, ir.Attr):
                continue
            if self._speaks_of_guard(test):
                continue
            text = ir.source(test)
            tested = func.ir.blocks[condition.block]
            for index in range(tested.last if condition.early else tested.first, op):
                if text in set_names(func.ir.ops[index], clearing=False) and func.dominates(index, op):
                    return True
        return False

    def _reads_guard(self, func: Func, void: Void) -> bool:
        return any(
            op.value is not None and self._speaks_of_guard(op.value, void)
            for op in func.ir.ops
            if op.kind in ("test", "return")
        )

    def cleared(self, func: Func, ops: Collection[int], depth: int = 2) -> frozenset[str]:
        """Return the flags by which operations, or what they call, say that no response is active any more."""
        found: set[str] = set()
        for index in ops:
            names = {name.rpartition(".")[2] for name in set_names(func.ir.ops[index], clearing=True)}
            found |= {name for name in names if self.guards.is_guard(name, self.names)}
        wanted = set(ops)
        for edge in self.graph.outgoing.get(func, ()) if depth else ():
            if edge.op in wanted and edge.kind == "call" and edge.callee is not func:
                found |= self.cleared(edge.callee, range(len(edge.callee.ir.ops)), depth - 1)
        return frozenset(found)


def _is_over(name: str) -> bool:
    """Say whether a name says that a response is over: ``response_done``, ``ai_idle``."""
    words = _words(name)
    return bool(words & _OVER) and bool(words & _RESPONSE)


def _words(name: str) -> set[str]:
    return set(name.lower().strip("_").split("_"))
