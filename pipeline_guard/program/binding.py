"""What a call gives: arguments bound to parameters, what the body returns, and what callers pass for a parameter."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.program import models
from pipeline_guard.program.code import Func
from pipeline_guard.program.questions import MAX_CHAIN, MAX_DEPTH, MAX_STEPS, MAX_VALUES, Bindings, Questions
from pipeline_guard.program.value_lists import is_none, unique, without_none
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    External,
    Frame,
    Function,
    Instance,
    Parameter,
    Thunk,
    Value,
    Values,
)


class Binding(Questions):
    """Answers what calls give and what parameters are given."""

    def apply(self, target: Value, node: ir.Call | None, frame: Frame) -> Values:
        """Return what calling ``target`` gives."""
        if isinstance(target, Function):
            return self.returned(target, node, frame)
        if isinstance(target, ClassValue):
            if self.is_enum(target.cls) and node is not None and node.args:
                return self.eval(node.args[0], frame)
            return [Instance(target.cls, node, frame, True)]
        if isinstance(target, External):
            special = models.call_result(self, target, node, frame)
            if special is not None:
                return special
            origin = target.origin or (Thunk(node, frame) if node is not None else None)
            return [External(f"{target.path}()", node, frame, origin)]
        if isinstance(target, Instance):
            method = self.method(target.cls, "__call__")
            return self.returned(Function(method, target), node, frame) if method else [UNKNOWN]
        if isinstance(target, Parameter):
            return [v for value in self.expand(target) for v in self.apply(value, node, frame)] or [UNKNOWN]
        return [UNKNOWN]

    def returned(self, target: Function, node: ir.Call | None, frame: Frame) -> Values:
        """Return what a function of the program returns (or yields, for a context manager) when called so."""
        function = target.func
        if frame.depth >= MAX_DEPTH:
            return [UNKNOWN]
        env = self.bind(function, node, frame, target.bound is not None, target.partial)
        if isinstance(target.bound, Instance):
            env.receiver = target.bound
        kind = "yield" if function.ir.is_generator else "return"
        results: Values = []
        for index, op in enumerate(function.ir.ops):
            if op.kind == kind and op.value is not None and not function.is_dead(index):
                results.extend(self.eval(op.value, Frame(function, index, env, frame.depth + 1)))
        if all(v is UNKNOWN or is_none(v) for v in results):
            results.extend(self.annotated(function.ir.returns, function))
        return without_none(unique(results)) or [UNKNOWN]

    def bind(
        self,
        function: Func,
        node: ir.Call | None,
        frame: Frame,
        bound: bool,
        partial: tuple[tuple[ir.Call, Frame], ...] = (),
    ) -> Bindings:
        """Return parameter → argument for one call; parameters that the call leaves out get their default."""
        env = Bindings()
        positional = [p for p in function.ir.params if p.kind == "pos"]
        if (
            function.cls is not None
            and not function.is_static
            and positional
            and (bound or function.name == "__init__")
        ):
            positional = positional[1:]
        names = {p.name for p in function.ir.params if p.kind in ("pos", "kw")}
        rest = next((p.name for p in function.ir.params if p.kind == "**"), None)
        extra: list[tuple[ir.Keyword, Frame]] = []
        splat = False
        for call, where in (*[(c, f) for c, f in partial], *([(node, frame)] if node is not None else [])):
            args = call.args[1:] if call is not node else call.args  # partial(f, a): the function itself comes first
            for arg in args:
                if type(arg) is ir.Star:
                    splat = True
                    break
                if not positional:
                    break
                env[positional.pop(0).name] = Thunk(arg, where)
            for keyword in call.keywords:
                if keyword.name is None:
                    splat = True
                elif keyword.name in names:
                    env[keyword.name] = Thunk(keyword.value, where)
                else:
                    extra.append((keyword, where))
        if rest is not None and extra and not splat:
            keys: list[ir.Expr | None] = [ir.Const(keyword.name) for keyword, _ in extra]
            env[rest] = Thunk(ir.DictNode(keys, [keyword.value for keyword, _ in extra], 0, 0), extra[0][1])
        if not splat:
            outer = Frame(function.parent or function.module.body, None, None, frame.depth + 1)
            for param in function.ir.params:
                if param.name not in env and param.default is not None:
                    env[param.name] = Thunk(param.default, outer)
        return env

    def expand(self, parameter: Parameter) -> Values:
        """Return what the known callers pass for a parameter (its default when none does)."""
        known = self._expanded.get(parameter)
        if known is not None:
            return known
        if parameter in self.barren:
            return []
        marker = ("expand", id(parameter.func), parameter.name)
        if marker in self._active or self._steps > MAX_STEPS or self._chained > MAX_CHAIN:
            self._cut += 1
            return []
        cut_before = self._cut
        self._active.add(marker)
        self._chained += 1
        try:
            results: Values = []
            for call, frame, bound in self.callers(parameter.func):
                thunk = self.bind(parameter.func, call, frame, bound).get(parameter.name)
                if thunk is not None:
                    results.extend(self.force(thunk))
            if not results:
                param = parameter.func.params.get(parameter.name)
                if param is not None and param.default is not None:
                    outer = Frame(parameter.func.parent or parameter.func.module.body, None)
                    results = self.eval(param.default, outer)
            expanded: Values = []
            for value in results:
                if isinstance(value, Parameter):
                    expanded.extend(self.expand(value))
                elif value is not UNKNOWN:
                    expanded.append(value)
            found = without_none(unique(expanded))[:MAX_VALUES]
            if found:
                self._expanded[parameter] = found
            elif self._cut == cut_before:
                self.barren.add(parameter)
            return found
        finally:
            self._chained -= 1
            self._active.discard(marker)

    def settled(self, values: Values) -> Values:
        """Return ``values`` with parameters replaced by what callers pass, where that is known."""
        results: Values = []
        for value in values:
            if isinstance(value, Parameter):
                results.extend(self.expand(value) or [value])
            else:
                results.append(value)
        return unique(results)
