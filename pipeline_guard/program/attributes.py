"""What an attribute can be: stores to it inside and outside its class, fields, methods, properties, shared state."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.program import models
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.questions import Questions
from pipeline_guard.program.value_lists import is_none, overlay, unique, without_none
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    External,
    Frame,
    Function,
    Instance,
    Literal,
    Mapping,
    Missing,
    ModuleValue,
    Parameter,
    Text,
    Value,
    Values,
)


class Attributes(Questions):
    """Answers what attributes are."""

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
            results = self.mutated(text, results, frame)
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
        return without_none(unique(results))

    def _self_mutations(self, text: str, values: Values, frame: Frame) -> Values:
        cls = frame.func.owner_class
        if cls is None or not any(isinstance(v, Mapping) for v in values):
            return values
        for function in cls.own_functions:
            for index in function.mutations.get(text, ()):
                if function is frame.func and frame.at is not None and index >= frame.at:
                    continue
                added = self.store_entries(function.ir.ops[index], Frame(function, index))
                values = [overlay(v, added, False) if isinstance(v, Mapping) else v for v in values]
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
                    frame = Frame(entry.scope, None)
                    if field.value is not None:
                        return self.eval(field.value, frame)
                    return self.annotated(field.annotation, frame.func)
            for nested in entry.module.classes:
                if nested.name == name and nested.ir.owner >= 0 and entry.module.classes[nested.ir.owner] is entry:
                    return [ClassValue(nested)]
        return self._stored_attribute(cls, name) or [UNKNOWN]

    # -- instances

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
            if base.exact and any(isinstance(v, Function) and v.bound is not None for v in results):
                return results
        results = without_none(unique(results))
        if not [v for v in results if v is not UNKNOWN and not is_none(v)]:
            results = without_none(unique([*results, *self._stored_attribute(base.cls, name)]))
        if results:
            return results
        if outside:
            first = next(entry for entry in family if isinstance(entry, External))
            return [External(f"{first.path}().{name}", base.call, base.frame)]
        return [UNKNOWN] if self._dynamic(base.cls) else [Missing(base.cls, name)]

    def _own_attribute(self, entry: Class, base: Instance, name: str) -> Values:
        method = entry.method(name)
        if method is not None:
            if method.is_property:
                return self.returned(Function(method, base), None, Frame(method, None))
            return [Function(method, base)]
        results: Values = []
        depth = 1 if base.call is None or base.frame is None else base.frame.depth + 1
        for function, index in entry.attribute_writes.get(name, ()):
            op = function.ir.ops[index]
            if op.kind == "aug" or function.is_dead(index):
                continue
            env = None
            if (
                base.frame is not None
                and base.call is not None
                and function.name == "__init__"
                and function.cls is entry
            ):
                env = self.bind(function, base.call, base.frame, True)
            if op.value is None:
                results.extend(self.annotated(op.annotation, function))
                continue
            values = self._assigned_value(op.value, op, name, Frame(function, index, env, depth))
            results.extend(values)
            if op.annotation is not None and not [v for v in values if not is_none(v)]:
                results.extend(self.annotated(op.annotation, function))
        for field in entry.ir.fields:
            if field.name == name:
                results.extend(self._field(field, entry, base))
        for nested in entry.module.classes:
            if nested.name == name and nested.ir.owner >= 0 and entry.module.classes[nested.ir.owner] is entry:
                results.append(ClassValue(nested))
        return results

    def _assigned_value(self, value: ir.Expr, op: ir.Op, name: str, frame: Frame) -> Values:
        for target in op.targets:
            if type(target) is ir.Seq:
                for position, item in enumerate(target.items):
                    if type(item) is ir.Attr and item.name == name:
                        return self.unpacked(value, position, frame)
        return self.eval(value, frame)

    def _field(self, field: ir.Field, entry: Class, base: Instance) -> Values:
        """Return a class-level field as seen on an instance: the constructor's keyword, its default, its annotation."""
        frame = Frame(entry.scope, None)
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

    # -- stores from outside

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

    def is_stored_outside(self, name: str) -> bool:
        """Say whether any code sets an attribute of this name on something other than ``self``."""
        return bool(self._stores().get(name))

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


def _sets_attributes(cls: Class) -> bool:
    for function in cls.own_functions:
        for site in function.calls:
            name = ir.source(site.call.func)
            if name in ("setattr", "object.__setattr__", "super().__setattr__") or name.endswith("__dict__.update"):
                return True
    return False
