"""Which calls are worth resolving: those of names that lead to a sink, and those that are handed an event."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite

# Method names that say nothing about their class: never resolved by name alone.
GENERIC_METHODS = frozenset(dir(str)) | frozenset(dir(dict)) | frozenset(dir(list)) | frozenset(dir(set)) | frozenset({
    "send", "put", "close", "run", "start", "stop", "connect", "write", "read", "emit", "on", "handle", "create",
    "execute", "process", "call", "save", "delete", "open", "receive", "recv", "accept", "send_text", "send_json",
    "send_bytes", "submit", "commit", "cancel", "set", "wait", "result", "done", "join", "info", "error", "warning",
    "debug", "exception", "log", "publish", "subscribe", "disconnect", "flush", "reset", "main", "init", "setup",
    "put_nowait", "get_nowait", "append", "extend", "query", "filter", "add", "all", "first", "invoke", "generate",
    "get", "post", "patch", "send_audio", "send_message", "dispatch", "register", "shutdown", "cleanup", "interrupt",
})  # fmt: skip
# Calls that turn an event into another shape of the same event.
_WRAPPERS = frozenset({
    "dumps", "dict", "asdict", "model_dump", "model_dump_json", "json", "encode", "decode", "copy", "deepcopy",
    "loads", "cast", "to_json", "to_dict", "strip", "format",
})  # fmt: skip


class Heat:
    """The hot names: those of functions and classes that lead to a sink.  ``events`` are the types of client events."""

    def __init__(self, names: Iterable[str], events: Iterable[str]) -> None:
        self.names = set(names)
        self._events = frozenset(events)
        self._signs = self._events | {"type"}
        self._alias_cache: dict[Module, set[str]] = {}

    def may_carry_event(self, func: Func) -> bool:
        """Say whether any call of a function may carry an event, without reading it."""
        return func.has_strings(self._signs) or func.has_words(self.names)

    def carries_event(self, func: Func, site: CallSite) -> bool:
        """Say whether an argument of a call looks like a typed event: whoever takes it may send it."""
        call = site.call
        if call.args and any(self._may_be_event(func, node) for node in call.args):
            return True
        return bool(call.keywords) and any(self._may_be_event(func, keyword.value) for keyword in call.keywords)

    def _may_be_event(self, func: Func, node: ir.Expr) -> bool:
        if type(node) is ir.Name:
            for place in func.definitions.get(node.id, ()):
                if self._is_eventlike(func.ir.ops[place].value):
                    return True
        return self._is_eventlike(node)

    def _is_eventlike(self, node: ir.Expr | None) -> bool:
        if type(node) is ir.DictNode:
            return any(type(key) is ir.Const and key.value == "type" for key in node.keys)
        if type(node) is ir.Const:
            return node.value in self._events
        if type(node) is ir.Name:
            return node.id in self.names
        if type(node) is ir.Attr:
            return node.name in self.names or self._is_eventlike(node.base)
        if type(node) is ir.Call:
            name = last_name(node.func)
            if name in self.names:
                return True
            receiver = node.func.base if type(node.func) is ir.Attr else None
            return name in _WRAPPERS and any(self._is_eventlike(part) for part in (*node.args, receiver))
        return False

    def callable_names(self, modules: Iterable[Module]) -> set[str]:
        """Return the hot names, and the other names that a hot function may go by in the given modules."""
        names = set(self.names)
        for module in modules:
            if module not in self._alias_cache:
                self._alias_cache[module] = _alias_names(module)
            names |= self._alias_cache[module]
            names.update(imp.name for imp in module.body.ir.imports if imp.attr in self.names)
        return names


def _alias_names(module: Module) -> set[str]:
    """Return the names by which a function can be called that is not its own: parameters, attributes and aliases."""
    names: set[str] = {""}
    for func in module.functions:
        if any(func.may_call(scope.params.keys()) for scope in func.enclosing()):
            called = {site.call.func.id for site in func.calls if type(site.call.func) is ir.Name}
            for scope in func.enclosing():
                names |= called & scope.params.keys()
        for op in func.ir.ops:
            if op.targets and _may_be_function(op.value):
                names.update(last_name(target) for target in op.targets if type(target) in (ir.Attr, ir.Name))
    for cls in module.classes:
        names.update(field.name for field in cls.ir.fields)
    return names


def _may_be_function(value: ir.Expr | None) -> bool:
    """Say whether what is assigned may be a function, or None in place of one that comes later."""
    if type(value) is ir.Await:
        value = value.value
    if type(value) is ir.Call:
        return last_name(value.func) in ("partial", "getattr", "get")
    if type(value) is ir.Const:
        return value.value is None
    return type(value) in (ir.Name, ir.Attr, ir.Lambda, ir.IfExp, ir.Bool, ir.Sub)
