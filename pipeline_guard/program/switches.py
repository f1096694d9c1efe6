"""Switches: conditions that a setting from the environment decides, and on which side its default leaves them."""

from __future__ import annotations

from collections.abc import Collection

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.flow import combined_truth, conditions
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.values import ClassValue, External, Frame, Function, Instance, ModuleValue

_MAX_DEPTH = 6
_READS = frozenset({"os.getenv", "os.environ.get", "decouple.config", "environ.Env()"})
_SAME = frozenset({"strip", "lower", "casefold", "lstrip", "rstrip"})
_YES = frozenset({"1", "true", "yes", "on", "y", "t", "enabled"})
Known = str | int | float | bool | None


class _Unknown(Exception):
    """A value that its default does not decide."""


class Switches:
    """Answers which setting must be changed before an operation runs.

    ``words`` in the name of a setting without a default make it a switch ("USE", "ENABLE"), ``unless`` in any name make
    it none (a key, an address).
    """

    def __init__(self, evaluator: Evaluator, words: Collection[str], unless: Collection[str]) -> None:
        self.evaluator = evaluator
        self.words = frozenset(words)
        self.unless = frozenset(unless)
        self._known: dict[tuple[Func, int], str | None] = {}

    def off(self, func: Func, op: int) -> str | None:
        """Return the setting whose default keeps an operation from running; None when it runs by default."""
        if not func.ir.blocks:
            return None
        key = (func, op)
        if key not in self._known:
            self._known[key] = self._off(func, op)
        return self._known[key]

    def _off(self, func: Func, op: int) -> str | None:
        for condition in conditions(func, op):
            names: list[str] = []
            frame = Frame(func, func.ir.blocks[condition.block].first or None)
            truth = self._truth(condition.test, frame, names)
            if truth is not None and truth is not condition.wanted:
                name = next((name for name in names if self.unless.isdisjoint(name.upper().split("_"))), None)
                if name is not None:
                    return name
        return None

    def _truth(self, test: ir.Expr, frame: Frame, names: list[str]) -> bool | None:
        if type(test) in (ir.Not, ir.Bool):
            return combined_truth(test, lambda part: self._truth(part, frame, names))
        found: list[str] = []
        try:
            value = self._default(test, frame, found, 0)
        except _Unknown:
            return None
        if not found:
            return None
        names.extend(found)
        return bool(value)

    def _default(self, node: ir.Expr, frame: Frame, names: list[str], depth: int) -> Known:
        """Return what an expression is while every setting has its default.  Raises _Unknown when that is not known."""
        if depth > _MAX_DEPTH:
            raise _Unknown
        if isinstance(node, ir.Const):
            return node.value
        if isinstance(node, ir.Call):
            return self._called(node, frame, names, depth + 1)
        if isinstance(node, ir.Compare):
            return self._compared(node, frame, names, depth + 1)
        if isinstance(node, ir.Not):
            return not self._default(node.value, frame, names, depth + 1)
        if isinstance(node, ir.Bool):
            return self._either(node, frame, names, depth + 1)
        if isinstance(node, ir.Name):
            return self._named(node, frame, names, depth + 1)
        if isinstance(node, ir.Attr):
            return self._attribute(node, frame, names, depth + 1)
        raise _Unknown

    def _either(self, node: ir.Bool, frame: Frame, names: list[str], depth: int) -> Known:
        value: Known = None
        for part in node.values:
            value = self._default(part, frame, names, depth)
            if bool(value) is (node.op == "or"):
                return value
        return value

    def _compared(self, node: ir.Compare, frame: Frame, names: list[str], depth: int) -> Known:
        if len(node.ops) != 1:
            raise _Unknown
        left = self._default(node.left, frame, names, depth)
        right = node.rights[0]
        op = node.ops[0]
        if op in ("in", "not in") and type(right) is ir.Seq:
            inside = left in [self._default(item, frame, names, depth) for item in right.items]
            return inside is (op == "in")
        other = self._default(right, frame, names, depth)
        if op in ("==", "is"):
            return left == other
        if op in ("!=", "is not"):
            return left != other
        raise _Unknown

    def _called(self, node: ir.Call, frame: Frame, names: list[str], depth: int) -> Known:
        if type(node.func) is ir.Attr and node.func.name in _SAME and not node.args:
            value = self._default(node.func.base, frame, names, depth)
            return value.lower() if node.func.name in ("lower", "casefold") and isinstance(value, str) else value
        for callee in self.evaluator.eval(node.func, frame):
            if isinstance(callee, External) and callee.path in _READS and node.args:
                return self._read(node, frame, names, depth)
            if isinstance(callee, External) and callee.path in ("builtins.bool", "builtins.int") and node.args:
                value = self._default(node.args[0], frame, names, depth)
                try:
                    return bool(value) if callee.path.endswith("bool") else int(value or 0)
                except ValueError:
                    raise _Unknown from None
            if isinstance(callee, Function) and node.args:
                return self._helper(callee.func, node, frame, names, depth)
        raise _Unknown

    def _read(self, node: ir.Call, frame: Frame, names: list[str], depth: int) -> Known:
        first = node.args[0]
        names.append(str(first.value) if type(first) is ir.Const else ir.source(first))
        default = node.args[1] if len(node.args) > 1 else None
        for keyword in node.keywords:
            if keyword.name == "default":
                default = keyword.value
            elif keyword.name == "cast" and ir.source(keyword.value) != "bool":
                raise _Unknown
        if default is None:
            if self.words.isdisjoint(names[-1].upper().split("_")):
                raise _Unknown  # required, or at least meant to be set: only its name could make it a switch
            return None
        return self._default(default, frame, names, depth)

    def _helper(self, func: Func, node: ir.Call, frame: Frame, names: list[str], depth: int) -> Known:
        """Read ``env_flag("NAME", default)``: a function of the program that reads its first argument."""
        reads = any(last_name(site.call.func) in ("getenv", "get") for site in func.calls)
        first = node.args[0]
        if not reads or type(first) is not ir.Const or not str(first.value).isupper():
            raise _Unknown
        names.append(str(first.value))
        default = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords), None)
        if default is None:
            parameters = list(func.params.values())
            default = parameters[1].default if len(parameters) > 1 else None
        value = None if default is None else self._default(default, frame, names, depth)
        return value.lower() in _YES if isinstance(value, str) else value

    def _named(self, node: ir.Name, frame: Frame, names: list[str], depth: int) -> Known:
        function: Func | None = frame.func
        while function is not None:
            if node.id in function.params:
                raise _Unknown
            places = function.definitions.get(node.id, ())
            if places:
                value = function.ir.ops[places[0]].value
                if len(places) > 1 or value is None:
                    raise _Unknown
                return self._default(value, Frame(function, places[0]), names, depth)
            if function.imports.get(node.id):
                return self._imported(node, function, names, depth)
            function = function.parent
        raise _Unknown

    def _imported(self, node: ir.Name, function: Func, names: list[str], depth: int) -> Known:
        imp = function.imports[node.id][0]
        rel = self.evaluator.program.find(imp.module, function.module, imp.level)
        source = self.evaluator.program.module(rel) if rel and imp.attr else None
        if source is None or imp.attr is None:
            raise _Unknown
        return self._default(ir.Name(imp.attr), Frame(source.body, None), names, depth)

    def _attribute(self, node: ir.Attr, frame: Frame, names: list[str], depth: int) -> Known:
        for base in self.evaluator.settled(self.evaluator.eval(node.base, frame)):
            if isinstance(base, ModuleValue):
                return self._default(ir.Name(node.name), Frame(base.module.body, None), names, depth)
            if isinstance(base, (Instance, ClassValue)):
                return self._field(base.cls, node.name, names, depth)
        raise _Unknown

    def _field(self, cls: Class, name: str, names: list[str], depth: int) -> Known:
        order = self.evaluator.mro(cls)
        from_environment = any(isinstance(entry, External) and entry.path.endswith("BaseSettings") for entry in order)
        for entry in order:
            if not isinstance(entry, Class) or (name in entry.attribute_writes and not from_environment):
                continue
            for field in entry.ir.fields:
                if field.name == name and field.value is not None:
                    value = field.value
                    if type(value) is ir.Call and last_name(value.func) == "Field":
                        given = [k.value for k in value.keywords if k.name == "default"] or value.args[:1]
                        if not given:
                            raise _Unknown
                        value = given[0]
                    if from_environment:
                        names.append(name.upper())
                    return self._default(value, Frame(entry.scope, None), names, depth)
        raise _Unknown
