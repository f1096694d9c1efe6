"""What a name can be: the definitions that reach it, parameters, module globals, imports, and stores into it since."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.program import models
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.questions import MAX_CHAIN, Bindings, Questions
from pipeline_guard.program.trees import walk
from pipeline_guard.program.value_lists import merge_into, overlay, unique, without_none
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    External,
    Frame,
    Function,
    Instance,
    Literal,
    Mapping,
    ModuleValue,
    Parameter,
    Sequence,
    Thunk,
    Values,
)


class Names(Questions):
    """Answers what names are."""

    def _name(self, node: ir.Name, frame: Frame) -> Values:
        values = self.name(node.id, frame)
        if len(values) > 1 and frame.at is not None and sum(isinstance(value, Instance) for value in values) > 1:
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

    def outer_name(self, name: str, func: Func) -> Values | None:
        """Return the one value of a module-level name as a function sees it.

        None where the name is bound nearer, or may be several things: then it takes a place in the code to tell.
        """
        scope: Func | None = func
        while scope is not None and scope.index != 0:
            if name not in scope.ir.globals and self._binds(scope, name):
                return None
            scope = scope.parent
        if func.index == 0:
            return None
        if not self._active:
            self._steps = 0
        values = self.module_name(func.module, name)
        return values if len(values) == 1 else None

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
        return self.mutated(name, results, frame)

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
                        return self.unpacked(op.value, position, inner)
        if op.value is not None:
            return self._walrus_in(op.value, name, inner)
        return [UNKNOWN]

    def unpacked(self, value: ir.Expr, position: int, frame: Frame) -> Values:
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
        for current in walk(node):
            if type(current) is ir.Walrus and current.name == name:
                return self.eval(current.value, frame)
        return [UNKNOWN]

    def _parameter(self, function: Func, name: str, frame: Frame) -> Values:
        if name == function.self_name and function.cls is not None and function.ir.params[0].name == name:
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

    # -- stores into what a name holds

    def mutated(self, text: str, values: Values, frame: Frame) -> Values:
        """Overlay the ``x["k"] = v`` and ``x.update(…)`` stores between the definition and this use."""
        stores = frame.func.mutations.get(text)
        if not stores or not any(isinstance(v, Mapping) for v in values):
            return values
        function = frame.func
        for index in stores:
            if frame.at is not None and (
                index >= frame.at or function.exclusive(function.ir.ops[index].block, function.ir.ops[frame.at].block)
            ):
                continue
            sure = frame.at is not None and function.dominates(index, frame.at)
            added = self.store_entries(function.ir.ops[index], Frame(function, index, frame.env, frame.depth))
            values = [overlay(v, added, sure) if isinstance(v, Mapping) else v for v in values]
        return values

    def store_entries(self, op: ir.Op, frame: Frame) -> Mapping:
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
                    is_open = merge_into(entries, self.eval(arg, frame))
                entries.update({k.name: [Thunk(k.value, frame)] for k in call.keywords if k.name})
            elif name == "setdefault" and len(call.args) > 1:
                for key in self.eval(call.args[0], frame):
                    if isinstance(key, Literal):
                        entries.setdefault(str(key.value), [Thunk(call.args[1], frame)])
        return Mapping(entries, is_open, op.line)

    # -- modules

    def module_name(self, module: Module, name: str, at: int | None = None) -> Values:
        """Return the values of a module-level name."""
        key = (module.rel, name)
        if at is None and key in self._globals:
            return self._globals[key]
        marker = ("global", module.rel, name, at)
        if marker in self._active or self._chained > MAX_CHAIN:
            return [UNKNOWN]
        self._active.add(marker)
        self._chained += 1
        try:
            values = self._module_name(module, name, at)
        finally:
            self._chained -= 1
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
            return self.mutated(name, without_none(unique(results)), frame)
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
