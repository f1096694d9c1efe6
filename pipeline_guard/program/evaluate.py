"""Reads what an expression can be: demand-driven, across assignments, attributes, calls, returns and modules.

Nothing is executed.  A question is answered by following the expression backwards: a name to the definitions that reach
it, an attribute to the stores of its class, a call to what its target returns, with the arguments of that very call
bound to the parameters.  Cycles and budgets end in ``UNKNOWN``, never in a guess.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from pipeline_guard.facts import ir
from pipeline_guard.program import models
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.link import Program
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
    JsonText,
    Literal,
    Mapping,
    Missing,
    ModuleValue,
    Parameter,
    Sequence,
    Text,
    Thunk,
    Value,
)

MAX_DEPTH = 6
MAX_STEPS = 6000  # per question: generated or hostile code must not make one question cost minutes
MAX_VALUES = 24
MAX_NESTING = 60  # expressions deep: a thousand reassignments of one name must not exhaust the stack
Values = list[Value]


class Bindings(dict[str, Thunk]):
    """Parameter → argument of one call; ``receiver`` is the instance that a method is called on, where it is known."""

    receiver: Instance | None = None


class Evaluator:
    """Answers "what can this be" for one program.

    ``callers`` returns the known calls of a function as (call, frame of the caller, offset of the first argument); it is
    consulted only where a parameter's own value is needed (attribute access on it, a receiver), never for payloads.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.callers: Callable[[Func], Iterable[tuple[ir.Call, Frame, bool]]] = lambda _: ()
        self._memo: dict[tuple[int, int, int | None, int], Values] = {}
        self._active: set[tuple[Any, ...]] = set()
        self._keep: list[object] = []
        self._globals: dict[tuple[str, str], Values] = {}
        self._mro: dict[int, list[Class | External]] = {}
        self._subclasses: dict[str, list[Class]] | None = None
        self._attribute_stores: dict[str, list[tuple[Func, int, ir.Attr]]] = {}
        self._modules_seen = 0
        self._steps = 0
        self._nesting = 0
        self._cut = 0
        self._expanded: dict[Parameter, Values] = {}
        self.barren: set[Parameter] = set()  # parameters that no caller says anything about; to be cleared with new edges

    def forget(self) -> None:
        """Drop remembered answers, after new call edges or modules became known."""
        self._memo.clear()
        self._globals.clear()
        self._mro.clear()
        self._keep.clear()
        self._expanded.clear()
        self.barren.clear()
        self._subclasses = None

    # -- expressions

    def force(self, thunk: Thunk) -> Values:
        return self.eval(thunk.node, thunk.frame)

    def force_all(self, thunks: Iterable[Thunk]) -> Values:
        return _unique(value for thunk in thunks for value in self.force(thunk))

    def eval(self, node: ir.Expr, frame: Frame) -> Values:
        """Return the values that ``node`` may have in ``frame``; ``UNKNOWN`` stands among them for what is not known."""
        kind = type(node)
        if kind is ir.Const:
            return [Literal(node.value)]  # type: ignore[union-attr]
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
            handler = _HANDLERS.get(kind)
            values = handler(self, node, frame) if handler else [UNKNOWN]
            if len(values) > 1:
                values = _unique(values)
        finally:
            self._active.discard(key)
            self._nesting -= 1
        if len(values) > MAX_VALUES:
            values = [*values[:MAX_VALUES], UNKNOWN]
        self._memo[key] = values
        if frame.env is not None:
            self._keep.append(frame.env)  # the memo is keyed by identity
        return values

    def _dict(self, node: ir.DictNode, frame: Frame) -> Values:
        entries: dict[str, list[Thunk]] = {}
        is_open = False
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                for inner in self.eval(value, frame):
                    if isinstance(inner, Mapping):
                        entries.update(inner.entries)
                        is_open = is_open or inner.open
                    else:
                        is_open = True
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

    def _subscript(self, node: ir.Sub, frame: Frame) -> Values:
        results: Values = []
        keys = [v.value for v in self.eval(node.key, frame) if isinstance(v, Literal)]
        for base in self.eval(node.base, frame):
            results.extend(self.item(base, keys))
        if not results or results == [UNKNOWN]:
            results.extend(self._stored_elements(node.base, frame))
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

    def _stored_elements(self, base: ir.Expr, frame: Frame) -> Values:
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

    # -- names

    def _name(self, node: ir.Name, frame: Frame) -> Values:
        values = self.name(node.id, frame)
        if frame.at is not None and sum(isinstance(value, Instance) for value in values) > 1:
            return self._narrowed(node.id, values, frame)
        return values

    def _narrowed(self, name: str, values: Values, frame: Frame) -> Values:
        """Drop the instances that an ``isinstance(name, Class)`` test around this use rules out."""
        function = frame.func
        for block in function.ancestors(function.ir.ops[frame.at or 0].block):
            entry = function.ir.blocks[block]
            test = entry.test
            if entry.kind not in ("if", "else") or type(test) is not ir.Call or len(test.args) != 2:
                continue
            if ir.source(test.func) != "isinstance" or ir.source(test.args[0]) != name:
                continue
            classes = [
                v.cls for v in self.eval(test.args[1], Frame(function, entry.first)) if isinstance(v, ClassValue)
            ]
            wanted = entry.kind == "if"
            values = [
                v
                for v in values
                if not isinstance(v, Instance) or any(c in self.mro(v.cls) for c in classes) is wanted or not classes
            ]
        return values

    def name(self, name: str, frame: Frame) -> Values:
        """Return the values of a name: local, parameter, enclosing scope, module, builtin."""
        function: Func | None = frame.func
        at, env, depth = frame.at, frame.env, frame.depth
        while function is not None and function.index != 0:
            if name not in function.ir.globals:
                here = Frame(function, at, env, depth)
                if self._binds(function, name):
                    return self._local(name, here)
            function = function.parent
            at, env = None, (env if function is frame.func else None)
        return self.module_name(frame.func.module, name, at if frame.func.index == 0 else None)

    @staticmethod
    def _binds(function: Func, name: str) -> bool:
        if name in function.ir.nonlocals:
            return False
        return name in function.params or name in function.definitions or name in function.imports

    def _local(self, name: str, frame: Frame) -> Values:
        function = frame.func
        results: Values = []
        definitions, certain = function.reaching(name, frame.at)
        if not definitions and frame.at is not None and name not in function.params:
            definitions = function.definitions.get(name, [])
        for index in definitions:
            results.extend(self.defined(function, index, name, frame))
        if frame.at is None:
            results.extend(self._nonlocal_definitions(function, name))
        if name in function.params and not certain:
            results.extend(self._parameter(function, name, frame))
        for imp in function.imports.get(name, ()):
            results.extend(self.imported(function.module, imp))
        return self._mutated(name, results, frame)

    def _nonlocal_definitions(self, function: Func, name: str) -> Values:
        results: Values = []
        for inner in function.nested:
            if name in inner.ir.nonlocals:
                for index in inner.definitions.get(name, ()):
                    results.extend(self.defined(inner, index, name, Frame(inner, index)))
        return results

    def defined(self, function: Func, index: int, name: str, frame: Frame) -> Values:
        """Return what operation ``index`` of ``function`` assigns to ``name``."""
        op = function.ir.ops[index]
        inner = Frame(function, index, frame.env if function is frame.func else None, frame.depth)
        if op.kind == "def" and type(op.value) is ir.Lambda:
            return [Function(function.module.functions[op.value.function])]
        if op.kind == "class" and type(op.value) is ir.Const:
            return [ClassValue(function.module.classes[int(op.value.value or 0)])]
        if op.kind == "aug":
            return []
        for target in op.targets:
            if type(target) is ir.Name and target.id == name:
                if op.value is None:
                    return self.annotated(op.annotation, function)
                values = self.eval(op.value, inner)
                if op.annotation is not None and all(isinstance(v, Literal) and v.value is None for v in values):
                    return [*values, *self.annotated(op.annotation, function)]
                return values
            if type(target) is ir.Seq and op.value is not None:
                for position, item in enumerate(target.items):
                    if type(item) is ir.Name and item.id == name:
                        return self._unpacked(op.value, position, inner)
        if op.value is not None:
            return self._walrus_in(op.value, name, inner)
        return [UNKNOWN]

    def _unpacked(self, value: ir.Expr, position: int, frame: Frame) -> Values:
        if type(value) is ir.Seq and position < len(value.items):
            return self.eval(value.items[position], frame)
        results: Values = []
        for whole in self.eval(value, frame):
            if isinstance(whole, Sequence) and position < len(whole.items):
                results.extend(self.force(whole.items[position]))
            else:
                results.append(UNKNOWN)
        return results

    def _walrus_in(self, node: ir.Expr, name: str, frame: Frame) -> Values:
        stack = [node]
        while stack:
            current = stack.pop()
            if type(current) is ir.Walrus and current.name == name:
                return self.eval(current.value, frame)
            stack.extend(ir.children(current))
        return [UNKNOWN]

    def _parameter(self, function: Func, name: str, frame: Frame) -> Values:
        if name == function.self_name and function.cls is not None and function.params and not function.is_static:
            if function.ir.params[0].name == name:
                if "classmethod" in function.decorator_names:
                    return [ClassValue(function.cls)]
                if isinstance(frame.env, Bindings) and frame.env.receiver is not None:
                    return [frame.env.receiver]
                return [Instance(function.cls)]
        if frame.env is not None:
            bound = frame.env.get(name)
            if bound is not None:
                return self.force(bound)
        param = function.params[name]
        annotated = [v for v in self.annotated(param.annotation, function) if v is not UNKNOWN]
        return [*annotated, Parameter(function, name)]

    def _mutated(self, text: str, values: Values, frame: Frame) -> Values:
        """Overlay the ``x["k"] = v`` and ``x.update(…)`` stores between the definition and this use."""
        stores = frame.func.mutations.get(text)
        if not stores or not any(isinstance(v, Mapping) for v in values):
            return values
        function = frame.func
        for index in stores:
            if frame.at is not None:
                if index >= frame.at or function.exclusive(
                    function.ir.ops[index].block, function.ir.ops[frame.at].block
                ):
                    continue
            sure = frame.at is not None and function.dominates(index, frame.at)
            added = self._store_entries(function.ir.ops[index], Frame(function, index, frame.env, frame.depth))
            values = [_overlay(v, added, sure) if isinstance(v, Mapping) else v for v in values]
        return values

    def _store_entries(self, op: ir.Op, frame: Frame) -> Mapping:
        entries: dict[str, list[Thunk]] = {}
        is_open = False
        for target in op.targets:
            if type(target) is ir.Sub and type(target.base) is not ir.Sub and op.value is not None:
                for key in self.eval(target.key, frame):
                    if isinstance(key, Literal):
                        entries[str(key.value)] = [Thunk(op.value, frame)]
        call = op.value
        if not op.targets and type(call) is ir.Call:
            name = call.func.name if type(call.func) is ir.Attr else ""
            if name == "update":
                for arg in call.args[:1]:
                    for value in self.eval(arg, frame):
                        if isinstance(value, Mapping):
                            entries.update(value.entries)
                            is_open = is_open or value.open
                        else:
                            is_open = True
                entries.update({k.name: [Thunk(k.value, frame)] for k in call.keywords if k.name})
            elif name == "setdefault" and len(call.args) > 1:
                for key in self.eval(call.args[0], frame):
                    if isinstance(key, Literal):
                        entries.setdefault(str(key.value), [Thunk(call.args[1], frame)])
        return Mapping(entries, is_open, op.line)

    def module_name(self, module: Module, name: str, at: int | None = None) -> Values:
        """Return the values of a module-level name."""
        key = (module.rel, name)
        if at is None and key in self._globals:
            return self._globals[key]
        marker = ("global", module.rel, name, at)
        if marker in self._active:
            return [UNKNOWN]
        self._active.add(marker)
        try:
            values = self._module_name(module, name, at)
        finally:
            self._active.discard(marker)
        if at is None:
            self._globals[key] = values
        return values

    def _module_name(self, module: Module, name: str, at: int | None) -> Values:
        body = module.body
        results: Values = []
        frame = Frame(body, at)
        definitions, _ = body.reaching(name, at)
        for index in definitions:
            results.extend(self.defined(body, index, name, frame))
        for function in module.functions[1:]:
            if name in function.ir.globals:
                for index in function.definitions.get(name, ()):
                    results.extend(self.defined(function, index, name, Frame(function, index)))
        for imp in body.imports.get(name, ()):
            results.extend(self.imported(module, imp))
        if not results:
            for imp in module.star_imports:
                target = self.program.find(imp.module, module, imp.level)
                source = self.program.module(target) if target else None
                if source is not None and source is not module:
                    results.extend(v for v in self.module_name(source, name) if not isinstance(v, External))
        if results:
            return self._mutated(name, _without_none(_unique(results)), frame)
        return [External(f"builtins.{name}")] if name in models.BUILTINS else [UNKNOWN]

    def imported(self, module: Module, imp: ir.Import) -> Values:
        """Return what an import statement binds."""
        if imp.attr is None:
            rel = self.program.find(imp.module, module)
            found = self.program.module(rel) if rel else None
            return [ModuleValue(found)] if found is not None else [External(imp.module)]
        rel = self.program.find(imp.module, module, imp.level)
        source = self.program.module(rel) if rel else None
        if source is not None:
            if not (source is module and imp.level):
                values = [v for v in self.module_name(source, imp.attr) if v is not UNKNOWN]
                if values and not (
                    len(values) == 1 and isinstance(values[0], External) and values[0].path.startswith("builtins.")
                ):
                    return values
            sub = self.program.submodule(source, imp.attr)
            found = self.program.module(sub) if sub else None
            return [ModuleValue(found)] if found is not None else [UNKNOWN]
        dotted = f"{imp.module}.{imp.attr}" if imp.module else imp.attr
        rel = self.program.find(dotted, module, imp.level)  # a namespace package without __init__
        found = self.program.module(rel) if rel else None
        if found is not None:
            return [ModuleValue(found)]
        return [UNKNOWN] if imp.level else [External(dotted)]

    # -- attributes

    def _attribute(self, node: ir.Attr, frame: Frame) -> Values:
        results: Values = []
        for base in self.eval(node.base, frame):
            results.extend(self.attribute(base, node.name, frame))
        if all(value is UNKNOWN or isinstance(value, External) for value in results):
            results = [*self._shared_state(ir.source(node.base), node.name), *results]
        text = f"{ir.source(node.base)}.{node.name}"
        if type(node.base) is ir.Name and node.base.id == frame.func.self_name:
            results = self._self_mutations(text, results, frame)
        else:
            results = self._mutated(text, results, frame)
        return results or [UNKNOWN]

    def _shared_state(self, base: str, name: str) -> Values:
        """Return what is stored as ``app.state.name`` anywhere, for a read of ``request.app.state.name``."""
        last = base.rpartition(".")[2]
        if last not in models.SHARED_STATE:
            return []
        results: Values = []
        for function, index, target in self._stores().get(name, ()):
            op = function.ir.ops[index]
            if ir.source(target.base).rpartition(".")[2] == last and op.value is not None and op.kind == "assign":
                results.extend(v for v in self.eval(op.value, Frame(function, index, None, 2)) if v is not UNKNOWN)
        return _without_none(_unique(results))

    def _self_mutations(self, text: str, values: Values, frame: Frame) -> Values:
        cls = frame.func.owner_class
        if cls is None or not any(isinstance(v, Mapping) for v in values):
            return values
        for function in cls.own_functions:
            for index in function.mutations.get(text, ()):
                if function is frame.func and frame.at is not None and index >= frame.at:
                    continue
                added = self._store_entries(function.ir.ops[index], Frame(function, index))
                values = [_overlay(v, added, False) if isinstance(v, Mapping) else v for v in values]
        return values

    def attribute(self, base: Value, name: str, frame: Frame) -> Values:
        """Return ``base.name``."""
        if isinstance(base, External):
            return [External(f"{base.path}.{name}", base.call, base.frame, base.origin)]
        if isinstance(base, ModuleValue):
            values = [v for v in self.module_name(base.module, name) if v is not UNKNOWN]
            if values:
                return values
            sub = self.program.submodule(base.module, name)
            found = self.program.module(sub) if sub else None
            return [ModuleValue(found)] if found is not None else [UNKNOWN]
        if isinstance(base, Instance):
            return self.instance_attribute(base, name)
        if isinstance(base, ClassValue):
            return self.class_attribute(base.cls, name)
        if isinstance(base, (Literal, Text)) and name in ("value", "name"):
            return [base] if name == "value" else [UNKNOWN]
        if isinstance(base, Parameter):
            expanded = self.expand(base)
            return [v for value in expanded for v in self.attribute(value, name, frame)] or [UNKNOWN]
        if isinstance(base, Mapping):
            return self.force_all(base.entries.get(name, ())) or [UNKNOWN]
        return [UNKNOWN]

    def class_attribute(self, cls: Class, name: str) -> Values:
        for entry in self.mro(cls):
            if isinstance(entry, External):
                continue
            method = entry.method(name)
            if method is not None:
                return [Function(method, ClassValue(cls))]
            for field in entry.ir.fields:
                if field.name == name:
                    frame = Frame(self._defining(entry), None)
                    if field.value is not None:
                        return self.eval(field.value, frame)
                    return self.annotated(field.annotation, frame.func)
            for nested in entry.module.classes:
                if nested.name == name and nested.ir.owner >= 0 and entry.module.classes[nested.ir.owner] is entry:
                    return [ClassValue(nested)]
        return self._stored_attribute(cls, name) or [UNKNOWN]

    def _defining(self, cls: Class) -> Func:
        return cls.module.functions[cls.ir.function]

    def instance_attribute(self, base: Instance, name: str) -> Values:
        """Return ``instance.name``: method, property, stores to ``self.name`` in the class or its bases, fields."""
        marker = ("attr", id(base.cls), name, id(base.call))
        if marker in self._active:
            return [UNKNOWN]
        self._active.add(marker)
        try:
            return self._instance_attribute(base, name)
        finally:
            self._active.discard(marker)

    def _instance_attribute(self, base: Instance, name: str) -> Values:
        if name == "__class__":
            return [ClassValue(base.cls)]
        results: Values = []
        outside = False
        family = [*self.mro(base.cls), *(() if base.exact else self.subclasses(base.cls))]
        for entry in family:
            if isinstance(entry, External):
                outside = True
                continue
            results.extend(self._own_attribute(entry, base, name))
            if results and any(isinstance(v, Function) and v.bound is not None for v in results):
                if base.exact:
                    return results
        results = _without_none(_unique(results))
        if not [v for v in results if v is not UNKNOWN and not _is_none(v)]:
            results = _without_none(_unique([*results, *self._stored_attribute(base.cls, name)]))
        if results:
            return results
        if outside:
            first = next(entry for entry in family if isinstance(entry, External))
            return [External(f"{first.path}().{name}", base.call, base.frame)]
        return [UNKNOWN] if self._dynamic(base.cls) else [Missing(base.cls, name)]

    def _own_attribute(self, entry: Class, base: Instance, name: str) -> Values:
        method = entry.method(name)
        if method is not None:
            bound = base
            if method.is_property:
                return self.returned(Function(method, bound), None, Frame(method, None))
            return [Function(method, bound)]
        results: Values = []
        constructed = base.call is not None and base.frame is not None
        for function, index in entry.attribute_writes.get(name, ()):
            op = function.ir.ops[index]
            if op.kind == "aug" or function.is_dead(index):
                continue
            env = None
            if constructed and function.name == "__init__" and function.cls is entry:
                env = self.bind(function, base.call, base.frame, True)  # type: ignore[arg-type]
            if op.value is None:
                results.extend(self.annotated(op.annotation, function))
                continue
            values = self._assigned_value(
                op, name, Frame(function, index, env, base.frame.depth + 1 if constructed else 1)
            )  # type: ignore[union-attr]
            results.extend(values)
            if op.annotation is not None and not [v for v in values if not _is_none(v)]:
                results.extend(self.annotated(op.annotation, function))
        for field in entry.ir.fields:
            if field.name == name:
                results.extend(self._field(field, entry, base))
        for nested in entry.module.classes:
            if nested.name == name and nested.ir.owner >= 0 and entry.module.classes[nested.ir.owner] is entry:
                results.append(ClassValue(nested))
        return results

    def _assigned_value(self, op: ir.Op, name: str, frame: Frame) -> Values:
        assert op.value is not None
        for target in op.targets:
            if type(target) is ir.Seq:
                for position, item in enumerate(target.items):
                    if type(item) is ir.Attr and item.name == name:
                        return self._unpacked(op.value, position, frame)
        return self.eval(op.value, frame)

    def _field(self, field: ir.Field, entry: Class, base: Instance) -> Values:
        """Return a class-level field as seen on an instance: the constructor's keyword, its default, its annotation."""
        frame = Frame(self._defining(entry), None)
        if base.call is not None and base.frame is not None and entry.method("__init__") is None:
            for keyword in base.call.keywords:
                if keyword.name == field.name:
                    return self.eval(keyword.value, base.frame)
            if base.call.args and not any(keyword.name is None for keyword in base.call.keywords):
                fields = [f.name for f in entry.ir.fields if f.annotation is not None]
                if field.name in fields and fields.index(field.name) < len(base.call.args):
                    return self.eval(base.call.args[fields.index(field.name)], base.frame)
        if field.value is not None:
            return self._field_default(field.value, frame)
        return self.annotated(field.annotation, frame.func)

    def _field_default(self, node: ir.Expr, frame: Frame) -> Values:
        """Read ``Field(default=x)`` / ``field(default_factory=f)`` as what they default to."""
        if type(node) is ir.Call and ir.source(node.func).rpartition(".")[2] in ("Field", "field"):
            for keyword in node.keywords:
                if keyword.name == "default":
                    return self.eval(keyword.value, frame)
                if keyword.name == "default_factory":
                    return [v for f in self.eval(keyword.value, frame) for v in self.apply(f, None, frame)]
            if node.args:
                return self.eval(node.args[0], frame)
            return [UNKNOWN]
        return self.eval(node, frame)

    def _stores(self) -> dict[str, list[tuple[Func, int, ir.Attr]]]:
        """Return attribute name → the stores to it on anything but ``self``, over all loaded modules."""
        if self._modules_seen != len(self.program.modules):
            fresh = list(self.program.modules.values())[self._modules_seen :]
            self._modules_seen += len(fresh)
            for function in (function for module in fresh for function in module.functions):
                for index, op in enumerate(function.ir.ops):
                    for target in op.targets:
                        if type(target) is ir.Attr and not (
                            type(target.base) is ir.Name and target.base.id == function.self_name
                        ):
                            self._attribute_stores.setdefault(target.name, []).append((function, index, target))
        return self._attribute_stores

    def _stored_attribute(self, cls: Class, name: str) -> Values:
        """Return what code outside the class stores into ``something.name`` where something is of this class."""
        results: Values = []
        for function, index, target in self._stores().get(name, ()):
            op = function.ir.ops[index]
            frame = Frame(function, index, None, 2)
            bases = self.eval(target.base, frame)
            ours = any(
                (
                    isinstance(v, (Instance, ClassValue))
                    and (v.cls is cls or cls in self.mro(v.cls) or v.cls in self.mro(cls))
                )
                for v in bases
            )
            vague = all(not isinstance(v, (Instance, ClassValue, ModuleValue, External)) for v in bases)
            if (ours or vague) and op.value is not None and op.kind == "assign":
                results.extend(self.eval(op.value, frame))
                if vague and not ours:
                    results.append(UNKNOWN)
        return results

    def _dynamic(self, cls: Class) -> bool:
        """Say whether attributes of the class may appear in ways that are not written down as stores."""
        for entry in self.mro(cls):
            if isinstance(entry, External):
                if entry.path not in models.PLAIN_BASES:
                    return True
            elif entry.method("__getattr__") or entry.method("__getattribute__") or _sets_attributes(entry):
                return True
        return False

    # -- classes

    def mro(self, cls: Class) -> list[Class | External]:
        """Return the class, then its bases, nearest first; bases outside the program as externals."""
        known = self._mro.get(id(cls))
        if known is not None:
            return known
        self._mro[id(cls)] = [cls]  # a cycle ends here
        order: list[Class | External] = [cls]
        for base in cls.ir.bases:
            node = base.base if type(base) is ir.Sub else base
            for value in self.eval(node, Frame(self._defining(cls), None)):
                if isinstance(value, ClassValue):
                    order.extend(entry for entry in self.mro(value.cls) if entry not in order)
                elif isinstance(value, External):
                    order.append(value)
                elif value is UNKNOWN:
                    order.append(External(f"?.{ir.source(base)}"))
        self._mro[id(cls)] = order
        return order

    def subclasses(self, cls: Class) -> list[Class]:
        """Return the classes of the loaded modules that derive from ``cls``, at any distance."""
        if self._subclasses is None:
            self._subclasses = {}
            for module in list(self.program.modules.values()):
                for entry in module.classes:
                    for base in entry.ir.bases:
                        name = ir.source(base.base if type(base) is ir.Sub else base).rpartition(".")[2]
                        self._subclasses.setdefault(name, []).append(entry)
        found: list[Class] = []
        queue = [cls]
        while queue:
            current = queue.pop()
            for entry in self._subclasses.get(current.name, ()):
                if entry not in found and entry is not cls and current in self.mro(entry):
                    found.append(entry)
                    queue.append(entry)
        return found

    def method(self, cls: Class, name: str) -> Func | None:
        for entry in self.mro(cls):
            if isinstance(entry, Class):
                found = entry.method(name)
                if found is not None:
                    return found
        return None

    def annotated(self, node: ir.Expr | None, function: Func) -> Values:
        """Return the values that an annotation allows: instances of its class, its literals, its elements."""
        if node is None or (type(node) is ir.Const and node.value is None):
            return []
        if type(node) is ir.Merge:
            return [*self.annotated(node.left, function), *self.annotated(node.right, function)]
        frame = Frame(function, None, None, 3)
        if type(node) is ir.Sub:
            return self._generic(node, function, frame)
        if type(node) not in (ir.Name, ir.Attr):
            return []
        results: Values = []
        for value in self.eval(node, frame):
            if isinstance(value, ClassValue):
                results.append(Instance(value.cls))
            elif isinstance(value, External) and not value.path.startswith(("builtins.", "typing.")):
                results.append(External(f"{value.path}()"))
        return results

    def _generic(self, node: ir.Sub, function: Func, frame: Frame) -> Values:
        name = ir.source(node.base).rpartition(".")[2]
        inner = list(node.key.items) if type(node.key) is ir.Seq else [node.key]
        if name == "Literal":
            return [v for item in inner for v in self.eval(item, frame)]
        if name in ("Optional", "Union", "Annotated", "ClassVar", "Final"):
            return [v for item in inner for v in self.annotated(item, function)]
        if name in models.CONTAINER_ANNOTATIONS:
            elements = [v for item in inner[-1:] for v in self.annotated(item, function)]
            return [Container(tuple(elements))] if elements else []
        return self.annotated(node.base, function)

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
            if func.name in ("get", "pop", "setdefault") and all(value is UNKNOWN or _is_none(value) for value in results):
                results.extend(self._stored_elements(func.base, frame))
            return results or [UNKNOWN]
        for target in self.eval(func, frame):
            results.extend(self.apply(target, node, frame))
        return results or [UNKNOWN]

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

    def is_enum(self, cls: Class) -> bool:
        return any(isinstance(e, External) and e.path.rpartition(".")[2] in models.ENUM_BASES for e in self.mro(cls))

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
        if not results and function.ir.returns is not None:
            results.extend(self.annotated(function.ir.returns, function))
        elif all(v is UNKNOWN or _is_none(v) for v in results):
            results.extend(self.annotated(function.ir.returns, function))
        return _without_none(_unique(results)) or [UNKNOWN]

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
        if marker in self._active or self._steps > MAX_STEPS:
            self._cut += 1
            return []
        cut_before = self._cut
        self._active.add(marker)
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
            found = _without_none(_unique(expanded))[:MAX_VALUES]
            if found:
                self._expanded[parameter] = found
            elif self._cut == cut_before:
                self.barren.add(parameter)
            return found
        finally:
            self._active.discard(marker)

    def settled(self, values: Values) -> Values:
        """Return ``values`` with parameters replaced by what callers pass, where that is known."""
        results: Values = []
        for value in values:
            if isinstance(value, Parameter):
                results.extend(self.expand(value) or [value])
            else:
                results.append(value)
        return _unique(results)


def text_of(parts: Iterable[str | None]) -> Value:
    """Return a Literal when every part is known, else a Text with neighbouring parts merged."""
    merged: list[str | None] = []
    for part in parts:
        if part is not None and merged and merged[-1] is not None:
            merged[-1] += part
        else:
            merged.append(part)
    if all(part is not None for part in merged):
        return Literal("".join(part for part in merged if part is not None))
    return Text(tuple(merged))


def parse_json(text: str) -> Any:
    """Return the object in a JSON text, or None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _overlay(base: Mapping, added: Mapping, sure: bool) -> Mapping:
    entries = dict(base.entries)
    for key, thunks in added.entries.items():
        entries[key] = thunks if sure else [*entries.get(key, ()), *thunks]
    return Mapping(entries, base.open or added.open, base.line, base.func)


def _unique(values: Iterable[Value]) -> Values:
    result: Values = []
    seen: set[int] = set()
    for value in values:
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = type(value)
        if (
            kind is Mapping
            or kind is Sequence
            or not any(kind is type(other) and _same(value, other) for other in result)
        ):
            result.append(value)
    return result


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, Instance):
        return one.cls is other.cls and one.call is other.call and one.exact == other.exact  # type: ignore[union-attr]
    if isinstance(one, External):
        return one.path == other.path and one.call is other.call  # type: ignore[union-attr]
    if isinstance(one, Function):
        return one.func is other.func and not one.partial and not other.partial  # type: ignore[union-attr]
    if isinstance(one, Literal):
        return one.value == other.value and type(one.value) is type(other.value)  # type: ignore[union-attr]
    return one == other


def _is_none(value: Value) -> bool:
    return isinstance(value, Literal) and value.value is None


def _without_none(values: Values) -> Values:
    kept = [v for v in values if not _is_none(v)]
    return kept or values


def _sets_attributes(cls: Class) -> bool:
    for function in cls.own_functions:
        for site in function.calls:
            name = ir.source(site.call.func)
            if name in ("setattr", "object.__setattr__", "super().__setattr__") or name.endswith("__dict__.update"):
                return True
    return False


_HANDLERS: dict[type, Callable[..., Values]] = {
    ir.DictNode: Evaluator._dict,
    ir.Seq: lambda self, node, frame: [Sequence([Thunk(item, frame) for item in node.items])],
    ir.Join: Evaluator._join,
    ir.Merge: Evaluator._merge,
    ir.Bool: Evaluator._bool,
    ir.Not: lambda self, node, frame: [Computed("not")],
    ir.Compare: lambda self, node, frame: [Computed("comparison")],
    ir.IfExp: lambda self, node, frame: [*self.eval(node.then, frame), *self.eval(node.other, frame)],
    ir.Await: lambda self, node, frame: self.eval(node.value, frame),
    ir.Star: lambda self, node, frame: self.eval(node.value, frame),
    ir.Walrus: lambda self, node, frame: self.eval(node.value, frame),
    ir.Lambda: lambda self, node, frame: [Function(frame.func.module.functions[node.function])],
    ir.Sub: Evaluator._subscript,
    ir.Elem: Evaluator._element,
    ir.Name: Evaluator._name,
    ir.Attr: Evaluator._attribute,
    ir.Call: Evaluator._call,
}
