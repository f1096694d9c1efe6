"""Reads what an expression can be: demand-driven, across assignments, attributes, calls, returns and modules.

Nothing is executed.  A question is answered by following the expression backwards: a name to the definitions that reach
it, an attribute to the stores of its class, a call to what its target returns, with the arguments of that very call
bound to the parameters.  Cycles and budgets end in ``UNKNOWN``, never in a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline_guard.facts import ir
from pipeline_guard.program import models
from pipeline_guard.program.attributes import Attributes
from pipeline_guard.program.binding import Binding
from pipeline_guard.program.classes import Classes
from pipeline_guard.program.code import Class
from pipeline_guard.program.names import Names
from pipeline_guard.program.questions import MAX_DEPTH, MAX_NESTING, MAX_STEPS, MAX_VALUES
from pipeline_guard.program.value_lists import is_none, merge_into, text_of, unique
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    Computed,
    Container,
    Environment,
    External,
    Frame,
    Function,
    Instance,
    Literal,
    Mapping,
    Parameter,
    Sequence,
    Text,
    Thunk,
    Value,
    Values,
)


class Evaluator(Names, Attributes, Classes, Binding):
    """Answers "what can this be" for one program: expressions here, the rest in the classes it is made of."""

    def eval(self, node: ir.Expr, frame: Frame) -> Values:
        """Return the values that ``node`` may have in ``frame``; ``UNKNOWN`` stands among them for what is unknown."""
        if type(node) is ir.Const:
            return [Literal(node.value)]
        key = (id(node), id(frame.func), frame.at, id(frame.env) if frame.env is not None else 0)
        known = self._memo.get(key)
        if known is not None:
            return known
        if not self._active:
            self._steps = 0
        self._steps += 1
        if key in self._active or frame.depth > MAX_DEPTH or self._steps > MAX_STEPS or self._nesting > MAX_NESTING:
            return [UNKNOWN]
        self._active.add(key)
        self._nesting += 1
        try:
            handler = _HANDLERS.get(type(node))
            values: Values = handler(self, node, frame) if handler is not None else [UNKNOWN]
            if len(values) > 1:
                values = unique(values)
        finally:
            self._active.discard(key)
            self._nesting -= 1
        if len(values) > MAX_VALUES:
            values = [*values[:MAX_VALUES], UNKNOWN]
        self._memo[key] = values
        self._keep.append(node)  # the memo is keyed by identity, and some nodes are made for one question only
        if frame.env is not None:
            self._keep.append(frame.env)
        return values

    # -- texts, dicts and conditions

    def _dict(self, node: ir.DictNode, frame: Frame) -> Values:
        entries: dict[str, list[Thunk]] = {}
        is_open = False
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                is_open = merge_into(entries, self.eval(value, frame)) or is_open
                continue
            if type(key) is ir.Const:
                entries[str(key.value)] = [Thunk(value, frame)]
                continue
            names = [v.value for v in self.eval(key, frame) if isinstance(v, Literal)]
            if not names:
                is_open = True
            for name in names:
                entries[str(name)] = [Thunk(value, frame)]
        return [Mapping(entries, is_open, node.line, frame.func)]

    def _join(self, node: ir.Join, frame: Frame) -> Values:
        parts: list[str | None] = []
        for part in node.parts:
            values = self.eval(part, frame)
            first = values[0] if len(values) == 1 else UNKNOWN
            if isinstance(first, Literal):
                parts.append(str(first.value))
            elif isinstance(first, Text):
                parts.extend(first.parts)
            elif isinstance(first, Environment) and first.default is not None:
                default = self.force(first.default)
                parts.append(str(default[0].value) if default and isinstance(default[0], Literal) else None)
            else:
                parts.append(None)
        return [text_of(parts)]

    def _merge(self, node: ir.Merge, frame: Frame) -> Values:
        left, right = self.eval(node.left, frame), self.eval(node.right, frame)
        results: Values = []
        for a in left:
            for b in right:
                if isinstance(a, Mapping) and isinstance(b, Mapping):
                    results.append(Mapping({**a.entries, **b.entries}, a.open or b.open, a.line, a.func))
                elif isinstance(a, Mapping):
                    results.append(Mapping(a.entries, True, a.line, a.func))
        return results or [UNKNOWN]

    def _bool(self, node: ir.Bool, frame: Frame) -> Values:
        values = [v for item in node.values for v in self.eval(item, frame)]
        kept = [v for v in values if not (isinstance(v, Literal) and not v.value)]
        return kept or values

    # -- elements of containers

    def _subscript(self, node: ir.Sub, frame: Frame) -> Values:
        results: Values = []
        keys = [v.value for v in self.eval(node.key, frame) if isinstance(v, Literal)]
        for base in self.eval(node.base, frame):
            results.extend(self.item(base, keys))
        if not results or results == [UNKNOWN]:
            results.extend(self.stored_elements(node.base, frame))
        return results or [UNKNOWN]

    def item(self, base: Value, keys: list[Any]) -> Values:
        """Return ``base[key]`` for constant keys (or any element when there is none)."""
        if isinstance(base, Mapping):
            if keys:
                thunks = [t for key in keys for t in base.entries.get(str(key), ())]
            else:
                thunks = [t for group in base.entries.values() for t in group]
            return self.force_all(thunks)
        if isinstance(base, Container):
            return list(base.elements)
        if isinstance(base, Sequence):
            index = keys[0] if len(keys) == 1 and isinstance(keys[0], int) else None
            if index is not None and -len(base.items) <= index < len(base.items):
                return self.force(base.items[index])
            return self.force_all(base.items)
        if isinstance(base, External):
            if base.path == "os.environ" and keys:
                return [Environment(str(keys[0]), None)]
            return [External(f"{base.path}[]", base.call, base.frame, base.origin)]
        if isinstance(base, ClassValue):  # Enum["NAME"]
            return [v for key in keys for v in self.class_attribute(base.cls, str(key))]
        if isinstance(base, Parameter):
            return [v for value in self.expand(base) for v in self.item(value, keys)] or [UNKNOWN]
        return [UNKNOWN]

    def stored_elements(self, base: ir.Expr, frame: Frame) -> Values:
        """Return what is stored into a container by ``base[k] = v`` or ``base.append(v)`` anywhere it can be seen."""
        text = ir.source(base)
        functions = [frame.func]
        if text.startswith(f"{frame.func.self_name}.") and frame.func.owner_class is not None:
            functions = frame.func.owner_class.own_functions
        elif type(base) is ir.Name and not frame.func.definitions.get(base.id):
            functions = frame.func.module.functions
        results: Values = []
        for function in functions:
            for index in function.mutations.get(text, ()):
                op = function.ir.ops[index]
                inner = Frame(function, index, None, frame.depth + 1)
                if op.kind == "assign" and op.value is not None:
                    results.extend(self.eval(op.value, inner))
                elif type(op.value) is ir.Call and op.value.args:
                    results.extend(self.eval(op.value.args[-1], inner))
        return results

    def _element(self, node: ir.Elem, frame: Frame) -> Values:
        values = self.eval(node.value, frame)
        if node.how == "enter":
            return [entered for value in values for entered in self._entered(value, frame)]
        if node.how == "iter":
            results: Values = []
            for value in values:
                if isinstance(value, (Sequence, Container)):
                    results.extend(self.item(value, []))
                elif isinstance(value, External):
                    results.append(External(f"{value.path}[]", value.call, value.frame, value.origin))
            return results or [UNKNOWN]
        return [UNKNOWN]

    def _entered(self, value: Value, frame: Frame) -> Values:
        if isinstance(value, Instance):
            for name in ("__aenter__", "__enter__"):
                method = self.method(value.cls, name)
                if method is not None:
                    return self.returned(Function(method, value), None, frame)
        return [value]

    # -- calls

    def _call(self, node: ir.Call, frame: Frame) -> Values:
        results: Values = []
        func = node.func
        if type(func) is ir.Name and func.id == "super" and frame.func.owner_class is not None:
            bases = [b for b in self.mro(frame.func.owner_class)[1:] if isinstance(b, Class)]
            return [Instance(bases[0], exact=True)] if bases else [UNKNOWN]
        if type(func) is ir.Attr:
            for base in self.eval(func.base, frame):
                special = models.method_result(self, base, func.name, node, frame)
                if special is not None:
                    results.extend(special)
                else:
                    for target in self.attribute(base, func.name, frame):
                        results.extend(self.apply(target, node, frame))
            vague = all(value is UNKNOWN or is_none(value) for value in results)
            if vague and func.name in ("get", "pop", "setdefault"):
                results.extend(self.stored_elements(func.base, frame))
            return results or [UNKNOWN]
        for target in self.eval(func, frame):
            results.extend(self.apply(target, node, frame))
        return results or [UNKNOWN]


_HANDLERS: dict[type, Callable[..., Values]] = {
    ir.DictNode: Evaluator._dict,
    ir.Seq: lambda _, node, frame: [Sequence([Thunk(item, frame) for item in node.items])],
    ir.Join: Evaluator._join,
    ir.Merge: Evaluator._merge,
    ir.Bool: Evaluator._bool,
    ir.Not: lambda *_: [Computed("not")],
    ir.Compare: lambda *_: [Computed("comparison")],
    ir.IfExp: lambda self, node, frame: [*self.eval(node.then, frame), *self.eval(node.other, frame)],
    ir.Await: lambda self, node, frame: self.eval(node.value, frame),
    ir.Star: lambda self, node, frame: self.eval(node.value, frame),
    ir.Walrus: lambda self, node, frame: self.eval(node.value, frame),
    ir.Lambda: lambda _, node, frame: [Function(frame.func.module.functions[node.function])],
    ir.Sub: Evaluator._subscript,
    ir.Elem: Evaluator._element,
    ir.Name: Evaluator._name,
    ir.Attr: Evaluator._attribute,
    ir.Call: Evaluator._call,
}
