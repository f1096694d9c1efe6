"""What the standard library and a few data libraries do with values: the calls that reading code has to see through."""

from __future__ import annotations

import builtins
import re

from pipeline_guard.facts import ir
from pipeline_guard.program.questions import Questions
from pipeline_guard.program.value_lists import is_none, merge_into, parse_json, text_of
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
    Parameter,
    Sequence,
    Text,
    Thunk,
    Value,
    Values,
)

BUILTINS = frozenset(dir(builtins))
ENUM_BASES = frozenset({"Enum", "StrEnum", "IntEnum", "Flag", "TextChoices"})
# Bases from outside that add no attributes of their own, so that an attribute nobody assigns is really missing.
PLAIN_BASES = frozenset({
    "abc.ABC", "builtins.object", "typing.Protocol", "typing.Generic", "typing_extensions.Protocol",
    "threading.Thread", "builtins.Exception",
})  # fmt: skip
# Objects of frameworks on which an application keeps what all its handlers share.
SHARED_STATE = frozenset({"state", "session_state", "app_state", "app", "current_app", "g", "extensions"})
CONTAINER_ANNOTATIONS = frozenset({
    "list", "List", "dict", "Dict", "set", "Set", "tuple", "Tuple", "Sequence", "Iterable", "Iterator", "Mapping",
    "MutableMapping", "defaultdict", "DefaultDict", "deque", "Deque", "OrderedDict", "WeakValueDictionary",
    "AsyncIterator", "AsyncGenerator", "Generator", "Awaitable", "Coroutine",
})  # fmt: skip

_DUMPS = frozenset({
    "json.dumps", "orjson.dumps", "ujson.dumps", "simplejson.dumps", "rapidjson.dumps", "msgspec.json.encode",
    "pydantic_core.to_json",
})  # fmt: skip
_LOADS = frozenset({"json.loads", "orjson.loads", "ujson.loads", "simplejson.loads", "msgspec.json.decode"})
_FIRST_ARGUMENT = frozenset({
    "copy.copy", "copy.deepcopy", "dataclasses.asdict", "builtins.vars", "builtins.str", "builtins.bytes",
    "builtins.list", "builtins.tuple", "asyncio.create_task", "asyncio.ensure_future", "asyncio.wait_for",
    "asyncio.shield", "asyncio.run", "asyncio.run_coroutine_threadsafe", "attrs.asdict", "attr.asdict",
    "asgiref.sync.async_to_sync", "types.MappingProxyType",
})  # fmt: skip
_RUNNERS = (".run_in_executor", "asyncio.to_thread", ".run_in_threadpool", "anyio.to_thread.run_sync")
_DUMP_METHODS = frozenset({
    "model_dump", "model_dump_json", "dict", "json", "to_dict", "to_json", "asdict", "serialize", "as_dict",
    "to_message", "to_event",
})  # fmt: skip
_STRING_METHODS = frozenset({
    "encode", "decode", "strip", "lstrip", "rstrip", "lower", "upper", "title", "replace",
})  # fmt: skip


def call_result(evaluator: Questions, target: External, node: ir.Call | None, frame: Frame) -> Values | None:
    """Return what a call of something external gives, or None when nothing special is known about it."""
    if node is None:
        return None
    path = target.path
    if path in _DUMPS:
        return [JsonText(tuple(evaluator.eval(node.args[0], frame)))] if node.args else None
    if path in _LOADS:
        return _loaded(evaluator, node, frame)
    if path == "builtins.dict":
        return [_dict_call(evaluator, node, frame)]
    if path in ("functools.partial", "functools.partialmethod") and node.args:
        return _partial(evaluator, node, frame)
    if path == "builtins.getattr" and len(node.args) >= 2:
        return _getattr(evaluator, node, frame)
    if path in ("os.getenv", "os.environ.get", "decouple.config", "environ.Env()"):
        return _environment(evaluator, node, frame)
    if path in ("builtins.bool", "builtins.int", "builtins.float", "builtins.isinstance", "builtins.callable"):
        return [Computed(path.rpartition(".")[2])]
    if path == "typing.cast" and len(node.args) == 2:
        return evaluator.eval(node.args[1], frame)
    if path.endswith(_RUNNERS):
        return _run_elsewhere(evaluator, path, node, frame)
    if path in _FIRST_ARGUMENT and node.args:
        return evaluator.eval(node.args[0], frame)
    return None


def _run_elsewhere(evaluator: Questions, path: str, node: ir.Call, frame: Frame) -> Values | None:
    """Return what ``to_thread(f, x)`` or ``run_in_executor(None, f, x)`` gives: what ``f(x)`` gives."""
    skip = 1 if path.endswith("run_in_executor") else 0
    if len(node.args) <= skip:
        return None
    function, rest = node.args[skip], node.args[skip + 1 :]
    return evaluator.eval(ir.Call(function, rest, node.keywords, node.line, node.end_line, node.column), frame)


def _loaded(evaluator: Questions, node: ir.Call, frame: Frame) -> Values | None:
    if not node.args:
        return None
    results: Values = []
    for value in evaluator.eval(node.args[0], frame):
        if isinstance(value, JsonText):
            results.extend(value.inner)
        elif isinstance(value, Literal) and isinstance(value.value, str):
            results.append(from_python(parse_json(value.value), frame))
    return results or None


def from_python(data: object, frame: Frame) -> Value:
    """Return a plain Python object (parsed JSON) as an abstract value."""
    if isinstance(data, dict):
        return Mapping({str(k): [Thunk(_node(v), frame)] for k, v in data.items()}, False, 0)
    if isinstance(data, list):
        return Sequence([Thunk(_node(item), frame) for item in data])
    if data is None or isinstance(data, (str, int, float, bool)):
        return Literal(data)
    return UNKNOWN


def _node(data: object) -> ir.Expr:
    if isinstance(data, dict):
        return ir.DictNode([ir.Const(str(key)) for key in data], [_node(value) for value in data.values()], 0, 0)
    if isinstance(data, list):
        return ir.Seq([_node(item) for item in data])
    return ir.Const(data if isinstance(data, (str, int, float, bool)) else None)


def _dict_call(evaluator: Questions, node: ir.Call, frame: Frame) -> Mapping:
    entries: dict[str, list[Thunk]] = {}
    is_open = False
    sources = [*node.args, *(keyword.value for keyword in node.keywords if keyword.name is None)]
    for source in sources:
        is_open = merge_into(entries, evaluator.eval(source, frame)) or is_open
    entries.update({keyword.name: [Thunk(keyword.value, frame)] for keyword in node.keywords if keyword.name})
    return Mapping(entries, is_open, node.line)


def _partial(evaluator: Questions, node: ir.Call, frame: Frame) -> Values:
    results: Values = []
    for value in evaluator.eval(node.args[0], frame):
        if isinstance(value, Function):
            results.append(Function(value.func, value.bound, (*value.partial, (node, frame))))
        else:
            results.append(value)
    return results


def _getattr(evaluator: Questions, node: ir.Call, frame: Frame) -> Values:
    results: Values = []
    for name in evaluator.eval(node.args[1], frame):
        if isinstance(name, Literal) and isinstance(name.value, str):
            for base in evaluator.eval(node.args[0], frame):
                results.extend(evaluator.attribute(base, name.value, frame))
    if len(node.args) > 2:
        results.extend(evaluator.eval(node.args[2], frame))
    return results or [UNKNOWN]


def _environment(evaluator: Questions, node: ir.Call, frame: Frame) -> Values:
    default = node.args[1] if len(node.args) > 1 else None
    for keyword in node.keywords:
        if keyword.name == "default":
            default = keyword.value
    names = [v.value for v in evaluator.eval(node.args[0], frame) if isinstance(v, Literal)] if node.args else []
    return [Environment(str(names[0]) if names else "?", Thunk(default, frame) if default is not None else None)]


def method_result(evaluator: Questions, base: Value, name: str, node: ir.Call, frame: Frame) -> Values | None:
    """Return what a method of a dict, a string, JSON text or a data class gives, or None when nothing is known."""
    if isinstance(base, Mapping):
        return _mapping_method(evaluator, base, name, node, frame)
    if isinstance(base, (Literal, Text)):
        if name == "format" and isinstance(base, Literal) and isinstance(base.value, str):
            return [_formatted(evaluator, base.value, node, frame)]
        if name == "join" and isinstance(base, Literal) and node.args:
            return [_joined(evaluator, str(base.value), node.args[0], frame)]
        if name == "__mod__" and isinstance(base, Literal) and isinstance(base.value, str):
            return [_percent_formatted(base.value)]
        return [base] if name in _STRING_METHODS else None
    if isinstance(base, JsonText):
        return [base] if name in _STRING_METHODS else None
    if isinstance(base, Environment):
        return [Computed(f"environment variable {base.name}")] if name in _STRING_METHODS else None
    if isinstance(base, (Instance, Parameter)) and name in _DUMP_METHODS | _STRING_METHODS | {"copy", "model_copy"}:
        if isinstance(base, Instance) and evaluator.method(base.cls, name) is not None:
            return None
        if isinstance(base, Instance) and any(k.name and k.name.startswith("exclude_") for k in node.keywords):
            return [_without_nulls(evaluator, base)]
        return [base]
    if isinstance(base, External) and name in _DUMP_METHODS and base.call is not None and base.path.endswith("()"):
        last = base.path[:-2].rpartition(".")[2]
        return [base] if last[:1].isupper() else None  # an event object of an SDK, not a response of an HTTP client
    if isinstance(base, (Sequence, Container)) and name == "pop":
        return evaluator.item(base, [])
    if isinstance(base, ClassValue) and name in ("model_validate", "parse_obj", "model_construct"):
        return [Instance(base.cls)]
    return None


def _without_nulls(evaluator: Questions, base: Instance) -> Mapping:
    """Return ``model.model_dump(exclude_none=True)``: the fields of a data class that are not None."""
    entries: dict[str, list[Thunk]] = {}
    for cls in evaluator.mro(base.cls):
        if isinstance(cls, External):
            continue
        for field in cls.ir.fields:
            values = evaluator.instance_attribute(base, field.name)
            if field.name not in entries and not all(is_none(v) for v in values):
                given = [k.value for k in base.call.keywords if k.name == field.name] if base.call is not None else []
                if given and base.frame is not None:
                    entries[field.name] = [Thunk(given[0], base.frame)]
                elif field.value is not None:
                    entries[field.name] = [Thunk(field.value, Frame(cls.scope, None))]
    return Mapping(entries, False, 0, None)


def _mapping_method(evaluator: Questions, base: Mapping, name: str, node: ir.Call, frame: Frame) -> Values | None:
    if name == "copy":
        return [base]
    if name in ("get", "pop", "setdefault") and node.args:
        keys = [v.value for v in evaluator.eval(node.args[0], frame) if isinstance(v, Literal)]
        found = evaluator.item(base, keys)
        if not found and len(node.args) > 1:
            return evaluator.eval(node.args[1], frame)
        return found or [UNKNOWN]
    if name == "values":
        return [Sequence([thunk for group in base.entries.values() for thunk in group])]
    return None


def _percent_formatted(template: str) -> Value:
    parts: list[str | None] = []
    for index, piece in enumerate(re.split(r"%(?:\(\w+\))?[-+ #0-9.]*[sdrfixa]", template)):
        if index:
            parts.append(None)
        parts.append(piece.replace("%%", "%"))
    return text_of(parts)


def _only_text(evaluator: Questions, node: ir.Expr | None, frame: Frame) -> str | None:
    values = evaluator.eval(node, frame) if node is not None else []
    return str(values[0].value) if len(values) == 1 and isinstance(values[0], Literal) else None


def _joined(evaluator: Questions, separator: str, node: ir.Expr, frame: Frame) -> Value:
    if type(node) is not ir.Seq:
        return Text((None,))
    parts: list[str | None] = []
    for index, item in enumerate(node.items):
        parts += [separator] if index else []
        parts.append(_only_text(evaluator, item, frame))
    return text_of(parts)


def _formatted(evaluator: Questions, template: str, node: ir.Call, frame: Frame) -> Value:
    import string  # templates are rare, and it costs a regular expression

    given: dict[str, ir.Expr] = {str(index): arg for index, arg in enumerate(node.args)}
    given.update({keyword.name: keyword.value for keyword in node.keywords if keyword.name})
    parts: list[str | None] = []
    automatic = 0
    try:
        for text, field, _, _ in string.Formatter().parse(template):
            parts.append(text)
            if field is not None:
                parts.append(_only_text(evaluator, given.get(field or str(automatic)), frame))
                automatic += not field
    except ValueError:
        return UNKNOWN
    return text_of(parts)
