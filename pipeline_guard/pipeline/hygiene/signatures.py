"""Calls of the project's own functions, on the way to Realtime, with arguments that those functions do not take."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import Evidence, step_at
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Confidence, Misuse
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.flow import conditions, names_in, strings_in
from pipeline_guard.program.models import PLAIN_BASES
from pipeline_guard.program.reach import RANK
from pipeline_guard.program.values import ClassValue, External, Frame, Function, Instance, Value

# Decorators that leave the parameters as they are.
_TRANSPARENT = frozenset({
    "staticmethod", "classmethod", "abstractmethod", "override", "final", "contextmanager", "asynccontextmanager",
    "cache", "lru_cache",
})  # fmt: skip


class _Shape(msgspec.Struct, frozen=True):
    """The parameters that a call must fill: ``first`` names those that may be given by position, in order."""

    first: tuple[str, ...]
    named: frozenset[str]
    required: tuple[str, ...]
    takes_more: bool
    takes_any: bool


class SignatureReader:
    """Compares the calls of a lane with the functions they lead to."""

    def __init__(self, graph: CallGraph, evidence: Evidence) -> None:
        self.graph = graph
        self.evaluator = graph.evaluator
        self.evidence = evidence
        self._edges: dict[Func, dict[int, list[Edge]]] = {}

    def bad_calls(self, hops: list[Hop]) -> Iterator[Misuse]:
        """Yield the running calls that raise TypeError.

        Those are looked at that lead to a send, from the entry point on, and that make an object which sends.
        """
        seen: set[int] = set()
        for hop in hops:
            if self.evidence.context(hop) in QUIET_CONTEXTS:
                continue
            if hop.edge is not None and hop.edge.site is not None:
                yield from self._look(hop.edge.caller, hop.edge.op, hop.edge.site, seen)
            for part in self.evidence.reach.path(hop.func, RANK):
                if isinstance(part, Edge) and part.site is not None:
                    yield from self._look(part.caller, part.op, part.site, seen)
        classes = dict.fromkeys(hop.func.owner_class for hop in hops if hop.func.owner_class is not None)
        for cls in classes:
            for func, site in self.graph.constructed.get(cls, ()) if cls is not None else ():
                if self.evidence.context_at(func, site.op, None) not in QUIET_CONTEXTS:
                    yield from self._look(func, site.op, site.call, seen)

    def _look(self, func: Func, op: int, call: ir.Call, seen: set[int]) -> Iterator[Misuse]:
        if id(call) in seen:
            return
        seen.add(id(call))
        targets = self._targets(func, op, call)
        if not targets or self._is_prepared(func, op, call):
            return
        problems = [_mismatch(shape, call) for _, shape in targets]
        if any(not problem for problem in problems):
            return
        callee = targets[0][0]
        name = callee.symbol.removesuffix(".__init__")
        confidence: Confidence = "high" if self._is_sure(func, op, call) else "low"
        steps = self.evidence.path_to(func, call.line)
        yield Misuse(
            kind="bad_call", path=func.module.rel, line=call.line, end_line=call.end_line, column=call.column,
            symbol=func.symbol, what=f"{name}() {problems[0]}", confidence=confidence,
            reached_from=(*steps, step_at(callee, callee.ir.line, f"def {callee.name}({_written(callee)})")),
        )  # fmt: skip

    def _targets(self, func: Func, op: int, call: ir.Call) -> list[tuple[Func, _Shape]]:
        """Return every function that a call may lead to with its shape; none where one of them cannot be told."""
        edges = [edge for edge in self._edges_at(func).get(id(call), ()) if edge.kind != "register"]
        if any(edge.call is not call for edge in edges):
            return []  # a thread, a timer, a worker's job: it is called with something else
        values = self.evaluator.settled(self.evaluator.eval(call.func, Frame(func, op)))
        found: list[tuple[Func, _Shape]] = []
        for value in values:
            one = self._of_value(value, call, func, op)
            if one is None:
                return self._by_name(edges, call) if all(_is_nothing(v) for v in values) else []
            found.append(one)
        if {target for target, _ in found} < {edge.callee for edge in edges}:
            return []
        return found

    def _edges_at(self, func: Func) -> dict[int, list[Edge]]:
        """Return the edges out of a function by the identity of the call that they stand for."""
        if func not in self._edges:
            found = self._edges.setdefault(func, {})
            for edge in self.graph.outgoing.get(func, ()):
                found.setdefault(id(edge.site), []).append(edge)
        return self._edges[func]

    def _of_value(self, value: Value, call: ir.Call, func: Func, op: int) -> tuple[Func, _Shape] | None:
        if isinstance(value, Function):
            if value.partial or not self._is_plain(value.func):
                return None
            drop = self._drops_first(value, call, func, op)
            return None if drop is None else (value.func, _shape(value.func, drop))
        if isinstance(value, ClassValue):
            init = self._constructor(value.cls)
            return None if init is None else (init, _shape(init, True))
        return None

    def _by_name(self, edges: list[Edge], call: ir.Call) -> list[tuple[Func, _Shape]]:
        """Return the methods that a call on an unknown receiver was given to because of its name."""
        methods = [edge.callee for edge in edges]
        if not methods or type(call.func) is not ir.Attr or any(edge.confidence == "low" for edge in edges):
            return []
        if not all(method.cls is not None and self._is_plain(method) for method in methods):
            return []
        return [(method, _shape(method, not method.is_static)) for method in methods]

    def _drops_first(self, value: Function, call: ir.Call, func: Func, op: int) -> bool | None:
        """Say whether the first parameter is filled by what the function is bound to; None where both may be."""
        target = value.func
        if target.cls is None or target.is_static:
            return False
        if "classmethod" in target.decorator_names or value.bound is None:
            return value.bound is not None
        if type(call.func) is not ir.Attr:
            return True if isinstance(value.bound, Instance) else None
        bases = self.evaluator.settled(self.evaluator.eval(call.func.base, Frame(func, op)))
        from_class = {isinstance(base, ClassValue) for base in bases}
        return not from_class.pop() if len(from_class) == 1 else None

    def _is_plain(self, target: Func) -> bool:
        """Say whether what the definition says is what a call meets."""
        if target.ir.name == "<lambda>" or target.is_property:
            return False
        if any(name.rpartition(".")[2] not in _TRANSPARENT for name in target.decorator_names):
            return False
        if self.evaluator.is_stored_outside(target.name):
            return False  # replaced at run time
        twins = [f for f in target.module.functions if f.symbol == target.symbol and f.index > 0]
        return len(twins) == 1 or (target.cls is not None and target.cls.ir.methods.get(target.name) == target.index)

    def _constructor(self, cls: Class) -> Func | None:
        """Return the ``__init__`` that making an instance calls, or None where something else may stand between."""
        if cls.ir.decorators:
            return None
        for entry in self.evaluator.mro(cls):
            if isinstance(entry, External):
                if entry.path not in PLAIN_BASES:
                    return None
            elif "__new__" in entry.ir.methods or entry.ir.decorators:
                return None
            elif "__init__" in entry.ir.methods:
                init = entry.module.functions[entry.ir.methods["__init__"]]
                return init if self._is_plain(init) else None
        return None

    def _is_prepared(self, func: Func, op: int, call: ir.Call) -> bool:
        """Say whether the code asks beforehand what the function takes, or catches what it raises."""
        words = {keyword.name for keyword in call.keywords} | {"signature", "getfullargspec"}
        for condition in conditions(func, op):
            if not words.isdisjoint(strings_in(condition.test)) or "signature" in set(names_in(condition.test)):
                return True
        for block in func.ancestors(func.ir.ops[op].block):
            entry = func.ir.blocks[block]
            if entry.kind == "try" and any(
                other.kind == "except" and other.group == entry.group and other.test is not None
                and "TypeError" in set(names_in(other.test))
                for other in func.ir.blocks
            ):  # fmt: skip
                return True
        return False

    def _is_sure(self, func: Func, op: int, call: ir.Call) -> bool:
        values = self.evaluator.eval(call.func, Frame(func, op))
        return all(isinstance(value, (Function, ClassValue)) for value in values)


def _is_nothing(value: Value) -> bool:
    return not isinstance(value, (Function, ClassValue, External))


def _shape(func: Func, drop_first: bool) -> _Shape:
    positional = [param for param in func.ir.params if param.kind == "pos"][1 if drop_first else 0 :]
    keyword_only = [param for param in func.ir.params if param.kind == "kw"]
    kinds = {param.kind for param in func.ir.params}
    return _Shape(
        tuple(param.name for param in positional),
        frozenset(param.name for param in (*positional, *keyword_only)),
        tuple(param.name for param in (*positional, *keyword_only) if param.default is None),
        "*" in kinds,
        "**" in kinds,
    )


def _mismatch(shape: _Shape, call: ir.Call) -> str:
    """Return what is wrong with a call of a function of this shape; empty where it fits or may fit."""
    given = [keyword.name for keyword in call.keywords if keyword.name is not None]
    stars = any(type(arg) is ir.Star for arg in call.args)
    splats = any(keyword.name is None for keyword in call.keywords)
    unknown = [name for name in given if name not in shape.named]
    if unknown and not shape.takes_any:
        return f"takes no argument called {unknown[0]!r}"
    count = len(call.args)
    if not stars and count > len(shape.first) and not shape.takes_more:
        most = len(shape.first)
        return f"takes {most or 'no'} positional argument{'' if most == 1 else 's'}, not {count}"
    if not stars:
        twice = [name for name in given if name in shape.first[:count]]
        if twice:
            return f"gets {twice[0]!r} twice: by position and by name"
        if not splats:
            filled = {*shape.first[:count], *given}
            missing = [name for name in shape.required if name not in filled]
            if missing:
                return f"needs {' and '.join(repr(name) for name in missing)}, which this call leaves out"
    return ""


def _written(func: Func) -> str:
    """Return the parameters as a person would write them down."""
    words: list[str] = []
    starred = False
    for param in func.ir.params:
        if param.kind == "kw" and not starred:
            words.append("*")
            starred = True
        starred = starred or param.kind == "*"
        mark = {"*": "*", "**": "**"}.get(param.kind, "")
        words.append(f"{mark}{param.name}{'=…' if param.default is not None else ''}")
    return ", ".join(words)
