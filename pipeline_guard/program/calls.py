"""The call graph: which function each call, thread, task, timer and callback of the program leads to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.factories import Factories
from pipeline_guard.program.heat import GENERIC_METHODS, Heat
from pipeline_guard.program.jobs import jobs_of
from pipeline_guard.program.link import Program
from pipeline_guard.program.models import PLAIN_BASES
from pipeline_guard.program.places import is_test
from pipeline_guard.program.spawners import JOB_METHODS, SPAWNERS, spawned_call
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite, Reference
from pipeline_guard.program.values import (
    ClassValue,
    External,
    Frame,
    Function,
    Instance,
    Missing,
    ModuleValue,
    Parameter,
    Value,
    Values,
)

MAX_ROUNDS = 5
_SORTED_AT_ONCE = frozenset({"send_task", *JOB_METHODS})
# Private methods that frameworks call on objects derived from theirs.
_RUNS = frozenset({"_run", "_main_task", "_recognize_impl", "_synthesize"})


class Edge(msgspec.Struct, frozen=True):
    """One way control gets from ``caller`` to ``callee``.

    ``kind``: "call", "task", "thread", "executor", "timer", "callback" (handed to a library), "register" (handed to a
    function of the program), "escape" (stored or returned).  ``call`` carries the arguments, where they are known.
    """

    caller: Func
    callee: Func
    kind: str
    op: int
    line: int
    end_line: int
    column: int
    call: ir.Call | None
    site: ir.Call | None
    bound: bool
    confidence: Confidence


class CallGraph:
    """The edges of the program that matter, from both ends.

    ``events`` are the types of client events; ``hot`` are the names of functions and classes that lead to a sink.
    Calls of other names are resolved only when the arguments of a function are asked for: most calls of a large program
    have nothing to do with the pipeline.
    """

    def __init__(
        self,
        program: Program,
        evaluator: Evaluator,
        hot: Iterable[str],
        events: Iterable[str],
        factories: Factories,
    ) -> None:
        self.program = program
        self.evaluator = evaluator
        self.factories = factories
        self._heat = Heat(hot, events)
        # Calls that nobody has asked for yet, by name; None stands for all that a function has of that name.
        self._quiet: dict[str, list[tuple[Func, CallSite | None]]] = {}
        self._quiet_references: list[tuple[Func, Reference | None]] = []
        self._by_site: dict[int, list[Edge]] = {}
        self._waiting: list[tuple[Func, CallSite]] = []
        self.outgoing: dict[Func, list[Edge]] = {}
        self.incoming: dict[Func, list[Edge]] = {}
        self.unresolved: list[tuple[Func, CallSite]] = []
        self.constructed: dict[Class, list[tuple[Func, CallSite]]] = {}
        self.implied: dict[Func, list[Edge]] = {}
        self._protocol_methods: dict[Func, list[Func]] = {}
        self._seen: set[tuple[Func, int, int, int, Func, str]] = set()
        evaluator.callers = self._callers

    def calls_of(self, func: Func) -> list[Edge]:
        """Return the edges into a function, resolving the calls of its name that nobody had asked for."""
        self._wake(
            {func.name} if func.name not in ("__init__", "__post_init__") or func.cls is None else {func.cls.name}
        )
        return self.incoming.get(func, [])

    def _callers(self, func: Func) -> Iterable[tuple[ir.Call, Frame, bool]]:
        for edge in list(self.calls_of(func)):
            if edge.call is not None and edge.kind not in ("register", "escape") and not is_test(edge.caller.module):
                yield edge.call, Frame(edge.caller, edge.op, None, 2), edge.bound

    def _wake(self, names: Iterable[str]) -> None:
        """Resolve the calls of names that nobody had asked for yet."""
        for name in names:
            for func, quiet in self._quiet.pop(name, ()):
                for site in [quiet] if quiet is not None else func.calls_named.get(name, ()):
                    if (quiet is not None or not func.is_dead(site.op)) and not self._resolve(func, site):
                        self._waiting.append((func, site))

    def build(self) -> None:
        """Resolve every call; repeat for what needed callers' arguments until nothing new is found.

        Reading values can load further modules; their calls join in.
        """
        known: set[Module] = set()
        for _ in range(MAX_ROUNDS):
            before = len(self._seen)
            fresh = [module for module in self.program.modules.values() if module not in known]
            known.update(fresh)
            functions = [func for module in fresh for func in module.functions]
            self._sort_calls(functions)
            self._sort_references(functions)
            self._add_references()
            self._add_decorators(functions)
            names = self._heat.callable_names(self.program.modules.values())
            self._wake([name for name in self._quiet if name in names])
            waiting, self._waiting = self._waiting, []
            self._waiting += [(func, site) for func, site in waiting if not self._resolve(func, site)]
            grown = self._spread_heat()
            if len(self._seen) == before and len(known) == len(self.program.modules) and not grown:
                break
            self.evaluator.forget()
        self._by_name(self._waiting)
        self._add_implied()

    def led_into_program(self) -> set[int]:
        """Return the identities of the calls that lead to a function of the program (tests apart): its own affair."""
        return {
            id(edge.site)
            for edges in self.outgoing.values()
            for edge in edges
            if edge.kind != "register" and not is_test(edge.callee.module)
        }

    def carries_event(self, func: Func, site: CallSite) -> bool:
        """Say whether an argument of a call looks like a typed event."""
        return self._heat.carries_event(func, site)

    def _sort_calls(self, functions: list[Func]) -> None:
        for func in functions:
            if not (self._heat.may_carry_event(func) or func.may_call(_SORTED_AT_ONCE)):
                for name in func.ir.called:
                    self._quiet.setdefault(name, []).append((func, None))
                continue
            for site in func.calls:
                if func.is_dead(site.op):
                    continue
                name = last_name(site.call.func)
                if self._heat.carries_event(func, site) or name == "send_task":
                    self._waiting.append((func, site))
                    continue
                self._quiet.setdefault(name, []).append((func, site))
                if name in JOB_METHODS and type(site.call.func) is ir.Attr:
                    self._quiet.setdefault(last_name(site.call.func.base), []).append((func, site))

    def _spread_heat(self) -> bool:
        """Make the callers of hot functions hot as well; say whether any name is new."""
        hot = self._heat.names
        before = len(hot)
        for callee, edges in self.incoming.items():
            if callee.name in hot:
                for edge in edges:
                    caller = edge.caller
                    while caller.parent is not None and (caller.name == "<lambda>" or caller.is_registered):
                        caller = caller.parent
                    if edge.kind != "escape" and caller.index != 0 and not self.factories.has(caller):
                        hot.add(caller.name)
                        if caller.owner_class is not None:
                            hot.add(caller.owner_class.name)
        return len(hot) > before

    # -- calls

    def _resolve(self, func: Func, site: CallSite) -> bool:
        frame = Frame(func, site.op)
        values, through_parameter = self._callee(site.call.func, frame)
        settled = self._hand_to_worker(func, site, frame)
        for value in values:
            if isinstance(value, External):
                settled = settled or not value.path.startswith("?")
            if isinstance(value, ClassValue):
                self.constructed.setdefault(value.cls, []).append((func, site))
                settled = True
            for target, bound in self._functions(value):
                settled = True
                confidence: Confidence = "medium" if through_parameter else "high"
                self._add(func, site, target, bound, confidence)
        return settled

    def _hand_to_worker(self, func: Func, site: CallSite, frame: Frame) -> bool:
        """Add the edges of a call that hands a job to a worker; say whether it does."""
        found = jobs_of(self.program, self.evaluator, site, frame)
        for job, call, bound, confidence in found:
            self._edge(func, site.op, job, "job", call, site.call, bound, confidence)
        return bool(found)

    def _callee(self, node: ir.Expr, frame: Frame) -> tuple[Values, bool]:
        evaluator = self.evaluator
        if type(node) is ir.Attr:
            base = node.base
            outer = evaluator.outer_name(base.id, frame.func) if type(base) is ir.Name else None
            bases = outer if outer is not None else evaluator.eval(base, frame)
            through = any(isinstance(base, Parameter) for base in bases)
            values = [v for base in evaluator.settled(bases) for v in evaluator.attribute(base, node.name, frame)]
        else:
            outer = evaluator.outer_name(node.id, frame.func) if type(node) is ir.Name else None
            values = outer if outer is not None else evaluator.eval(node, frame)
            through = False
        if any(isinstance(value, Parameter) for value in values):
            through = True
            values = evaluator.settled(values)
        return values, through

    def _functions(self, value: Value) -> list[tuple[Func, bool]]:
        evaluator = self.evaluator
        if isinstance(value, Function):
            bound = value.bound is not None
            return [(value.func, bound), *((method, bound) for method in self._structural(value.func))]
        if isinstance(value, ClassValue):
            found = [evaluator.method(value.cls, name) for name in ("__init__", "__post_init__")]
            return [(method, True) for method in found if method is not None]
        if isinstance(value, Instance):
            method = evaluator.method(value.cls, "__call__")
            return [(method, True)] if method is not None else []
        return []

    def _structural(self, method: Func) -> list[Func]:
        """Return the methods that stand in for a protocol's: those of the classes that have all its methods."""
        if method.cls is None or method not in self._protocol_methods:
            is_protocol = method.cls is not None and any(
                isinstance(entry, External) and entry.path.rpartition(".")[2] == "Protocol"
                for entry in self.evaluator.mro(method.cls)
            )
            found: list[Func] = []
            if is_protocol and method.cls is not None:
                wanted = {name for name in method.cls.ir.methods if not name.startswith("__")}
                for other in self.program.functions_by_name.get(method.name, ()):
                    cls = other.cls
                    if cls is not None and cls is not method.cls and all(self.evaluator.method(cls, n) for n in wanted):
                        found.append(other)
            self._protocol_methods[method] = found
        return self._protocol_methods[method]

    def _add(self, func: Func, site: CallSite, target: Func, bound: bool, confidence: Confidence) -> None:
        kind = "call"
        for outer in site.outer[:2]:
            name = last_name(outer.func)
            if name in SPAWNERS and (target.ir.is_async or SPAWNERS[name] != "call"):
                kind = SPAWNERS[name]
                if kind != "call":
                    break
            elif not target.ir.is_async:
                break
        self._edge(func, site.op, target, kind, site.call, site.call, bound, confidence)

    def _edge(
        self,
        func: Func,
        op: int,
        target: Func,
        kind: str,
        call: ir.Call | None,
        site: ir.Call | None,
        bound: bool,
        confidence: Confidence,
    ) -> None:
        operation = func.ir.ops[op]
        line, end_line, column = (
            (site.line, site.end_line, site.column) if site is not None else (operation.line, operation.end_line, 1)
        )
        key = (func, op, line, column, target, kind)
        if key in self._seen:
            return
        self._seen.add(key)
        self.evaluator.barren.clear()
        edge = Edge(func, target, kind, op, line, end_line, column, call, site, bound, confidence)
        self.outgoing.setdefault(func, []).append(edge)
        self.incoming.setdefault(target, []).append(edge)
        if site is not None:
            self._by_site.setdefault(id(site), []).append(edge)

    def edges_at(self, func: Func, call: ir.Call) -> list[Edge]:
        """Return the edges of a function that one of its calls makes."""
        return [edge for edge in self._by_site.get(id(call), ()) if edge.caller is func]

    def way(self, start: Func, goal: Func, *, implied: bool = False) -> list[Edge]:
        """Return a shortest way between two functions, edge by edge; empty when there is none."""
        before: dict[Func, Edge] = {}
        queue = deque([start])
        seen = {start}
        while queue and goal not in seen:
            current = queue.popleft()
            for edge in (*self.outgoing.get(current, ()), *(self.implied.get(current, ()) if implied else ())):
                if edge.callee not in seen:
                    seen.add(edge.callee)
                    before[edge.callee] = edge
                    queue.append(edge.callee)
        way: list[Edge] = []
        current = goal
        while current is not start and current in before:
            way.append(before[current])
            current = before[current].caller
        way.reverse()
        return way

    # -- functions handed on as values

    def _sort_references(self, functions: list[Func]) -> None:
        for func in functions:
            if func.has_lambdas:
                self._quiet_references.extend((func, reference) for reference in self._references_of(func))
            else:
                self._quiet_references.append((func, None))

    def _references_of(self, func: Func) -> list[Reference]:
        """Return what a function hands on that may be a function of the program."""
        return [
            reference
            for reference in func.references
            if (type(reference.node) is ir.Lambda or last_name(reference.node) in self.program.functions_by_name)
            and not func.is_dead(reference.op)
        ]

    def _add_references(self) -> None:
        """Hand over the functions that lead to a sink; the others wait until they turn out to."""
        waiting: list[tuple[Func, Reference | None]] = []
        for func, quiet in self._quiet_references:
            if quiet is None and not func.has_words(self._heat.names):
                waiting.append((func, None))
                continue
            for reference in [quiet] if quiet is not None else self._references_of(func):
                if not self._is_hot(func, reference):
                    waiting.append((func, reference))
                    continue
                for value in self.evaluator.eval(reference.node, Frame(func, reference.op)):
                    if isinstance(value, Function):
                        self._hand_over(func, reference, value)
        self._quiet_references = waiting

    def _is_hot(self, func: Func, reference: Reference) -> bool:
        node = reference.node
        if type(node) is ir.Lambda:
            if reference.outer and last_name(reference.outer[0].func) in SPAWNERS:
                return True  # it is run, whatever it calls
            return not self._heat.names.isdisjoint(func.module.functions[node.function].names_used)
        return last_name(node) in self._heat.names

    def _hand_over(self, func: Func, reference: Reference, value: Function) -> None:
        bound = value.bound is not None
        if not reference.outer:
            self._edge(func, reference.op, value.func, "escape", None, None, bound, "medium")
            return
        outer = reference.outer[0]
        name = last_name(outer.func)
        if name in ("partial", "wraps", "getattr", "hasattr") and len(reference.outer) > 1:
            outer, name = reference.outer[1], last_name(reference.outer[1].func)
        callees, _ = self._callee(outer.func, Frame(func, reference.op))
        if any(isinstance(callee, (Function, ClassValue)) for callee in callees):
            self._edge(func, reference.op, value.func, "register", None, outer, bound, "medium")
            return
        kind = SPAWNERS.get(name, "callback")
        call = spawned_call(outer, name, reference.node)
        self._edge(func, reference.op, value.func, kind, call, outer, bound, "high" if kind != "callback" else "medium")

    def _add_decorators(self, functions: list[Func]) -> None:
        """Add the call that applying a decorator of the program is: it may register the function it is given."""
        for func in functions:
            for decorator in func.ir.decorators if func.name in self._heat.names else ():
                outer = func.parent or func.module.body
                for value in self.evaluator.eval(decorator, Frame(outer, None)):
                    if isinstance(value, Function):
                        line = func.ir.line
                        call = ir.Call(decorator, [ir.Lambda(func.index)], [], line, line, 1)
                        op = next((i for i, o in enumerate(outer.ir.ops) if o.line == line), 0)
                        if outer.ir.ops:
                            self._edge(outer, op, value.func, "call", call, None, value.bound is not None, "medium")
                        self._stand_in(func, value.func)

    def _stand_in(self, func: Func, decorator: Func) -> None:
        """Let what a decorator returns in place of a function run where that function would."""
        for wrapper in decorator.nested:
            if any(
                op.kind == "return" and type(op.value) is ir.Name and op.value.id == wrapper.name
                for op in decorator.ir.ops
            ):
                self._edge(func, 0, wrapper, "escape", None, None, False, "medium")

    # -- calls that a library makes

    def _add_implied(self) -> None:
        """Connect whoever makes an instance with the methods that a library calls on it.

        That is ``run`` of a thread class, dunder methods, and every method of a class whose base is outside the
        program.
        """
        for cls, sites in self.constructed.items():
            order = self.evaluator.mro(cls)
            outside = [entry for entry in order if isinstance(entry, External)]
            open_bases = any(entry.path not in PLAIN_BASES for entry in outside)
            threads = any(entry.path.endswith(("Thread", "Process")) for entry in outside)
            for entry in order:
                if not isinstance(entry, Class):
                    continue
                for name, index in entry.ir.methods.items():
                    dunder = name.startswith("__") and name.endswith("__")
                    called_back = open_bases and (not name.startswith("_") or name in _RUNS)
                    if dunder or called_back or (threads and name == "run"):
                        method = entry.module.functions[index]
                        for func, site in sites:
                            self._imply(func, site, method, "callback")
        for func, site in self.unresolved:
            node = site.call.func
            if type(node) is ir.Attr and node.name not in GENERIC_METHODS:
                for method in self.program.functions_by_name.get(node.name, ()):
                    if method.cls is not None:
                        self._imply(func, site, method, "call")

    def _imply(self, func: Func, site: CallSite, method: Func, kind: str) -> None:
        call = site.call
        edge = Edge(func, method, kind, site.op, call.line, call.end_line, call.column, None, None, True, "low")
        self.implied.setdefault(func, []).append(edge)

    # -- what no value explains

    def _by_name(self, pending: list[tuple[Func, CallSite]]) -> None:
        """Resolve a method call on an unknown receiver when its name belongs to one class family only."""
        for func, site in pending:
            node = site.call.func
            if type(node) is not ir.Attr:
                continue
            methods = [f for f in self.program.functions_by_name.get(node.name, ()) if f.cls is not None]
            if not methods:
                continue
            values, _ = self._callee(node, Frame(func, site.op))
            if any(isinstance(value, (Missing, ModuleValue, External)) for value in values):
                continue
            receiver = ir.source(node.base).rpartition(".")[2].lower().replace("_", "")
            alike = [m for m in methods if m.cls is not None and _resembles(receiver, m.cls)]
            if alike:
                methods = alike
            elif node.name in GENERIC_METHODS or node.name.startswith("__"):
                self.unresolved.append((func, site))
                continue
            if self._one_family(methods):
                for method in methods:
                    self._add(func, site, method, True, "medium" if alike else "low")
            else:
                self.unresolved.append((func, site))

    def _one_family(self, methods: list[Func]) -> bool:
        roots = set()
        for method in methods:
            if method.cls is not None:
                order = [entry for entry in self.evaluator.mro(method.cls) if isinstance(entry, Class)]
                roots.add(id(order[-1]))
        return len(roots) == 1


def _resembles(receiver: str, cls: Class) -> bool:
    """Say whether a variable's name is (the tail of) a class name: ``realtime_client`` and ``OpenAIRealtimeClient``."""
    name = cls.name.lower().replace("_", "")
    return len(receiver) > 5 and (name.endswith(receiver) or receiver.endswith(name))
