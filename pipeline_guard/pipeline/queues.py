"""Queues, deques and buffers of the program: which one each put and get belongs to."""

from __future__ import annotations

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.values import External, Frame, Value

PUTS = frozenset({"put", "put_nowait", "append", "appendleft", "send_nowait", "extend"})
GETS = frozenset({"get", "get_nowait", "popleft", "pop", "receive", "receive_nowait"})
_OPS = PUTS | GETS
_CLASSES = ("Queue()", "deque()", "SimpleQueue()", "LifoQueue()", "PriorityQueue()", "JoinableQueue()")
_MAKERS = frozenset(name.removesuffix("()") for name in _CLASSES) | {"bytearray", "list", "Pipe", "Channel", "field"}
_BUFFERS = ("builtins.bytearray()", "builtins.list()")
QueueKey = tuple[str, int]


class QueueOp(msgspec.Struct, frozen=True):
    """One put into or get out of a queue."""

    func: Func
    op: int
    call: ir.Call
    argument: ir.Expr | None


class QueueInfo(msgspec.Struct):
    """A queue by where it is created; ``name`` is what the code calls it."""

    func: Func
    op: int
    call: ir.Call
    type: str
    names: set[str] = msgspec.field(default_factory=set)


class QueueIndex:
    """Every queue with its puts and gets.  ``control`` collects those whose items a writer hands to a transport."""

    def __init__(self, graph: CallGraph, evaluator: Evaluator) -> None:
        self.graph = graph
        self.evaluator = evaluator
        self.queues: dict[QueueKey, QueueInfo] = {}
        self.puts: dict[QueueKey, list[QueueOp]] = {}
        self.gets: dict[QueueKey, list[QueueOp]] = {}
        self.control: dict[QueueKey, str] = {}
        self._keys: dict[int, QueueKey | None] = {}

    def build(self) -> None:
        """Look at every put-like and get-like call, and at puts handed to another thread's loop."""
        functions = list(self.graph.program.functions())
        names = _queue_names(functions)
        for func in functions:
            for site in func.calls if func.may_call(_OPS) else ():
                function = site.call.func
                if type(function) is not ir.Attr or function.name not in _OPS or func.is_dead(site.op):
                    continue
                if last_name(function.base) not in names and not _is_parameter(func, function.base):
                    continue
                if function.name in PUTS:
                    self._record(self.puts, func, site.op, site.call, site.call.args[0] if site.call.args else None)
                else:
                    self._record(self.gets, func, site.op, site.call, None)
            for reference in func.references if func.has_words(PUTS) else ():
                node = reference.node
                if type(node) is ir.Attr and node.name in PUTS and reference.outer and len(reference.outer[0].args) > 1:
                    outer = reference.outer[0]
                    stand_in = ir.Call(node, outer.args[1:], [], outer.line, outer.end_line, outer.column)
                    self._record(self.puts, func, reference.op, stand_in, outer.args[1])

    def _record(
        self, table: dict[QueueKey, list[QueueOp]], func: Func, op: int, call: ir.Call, argument: ir.Expr | None
    ) -> None:
        key = self.key_of(func, op, call)
        if key is not None:
            table.setdefault(key, []).append(QueueOp(func, op, call, argument))
            assert type(call.func) is ir.Attr
            self.queues[key].names.add(ir.source(call.func.base))

    def key_of(self, func: Func, op: int, call: ir.Call) -> QueueKey | None:
        """Return the queue that ``call`` (a put or a get) works on, or None when its receiver is no known queue."""
        if id(call) in self._keys:
            return self._keys[id(call)]
        key: QueueKey | None = None
        if type(call.func) is ir.Attr and call.func.name in _OPS:
            values = self.evaluator.settled(self.evaluator.eval(call.func.base, Frame(func, op)))
            key = next((k for k in map(self._key, values) if k is not None), None)
        self._keys[id(call)] = key
        return key

    def _key(self, value: Value) -> QueueKey | None:
        if not isinstance(value, External) or value.origin is None or type(value.origin.node) is not ir.Call:
            return None
        if not (value.path.endswith(_CLASSES) or value.path in _BUFFERS):
            return None
        call, frame = value.origin.node, value.origin.frame
        key = (frame.func.module.rel, id(call))
        if key not in self.queues:
            last = value.path.removesuffix("()")
            self.queues[key] = QueueInfo(frame.func, frame.at or 0, call, last)
        return key

    def is_starved(self, key: QueueKey) -> bool:
        """Say whether nothing is ever put on a queue: no put is known, and no other code is given the queue."""
        names = {name.rpartition(".")[2] for name in self.queues[key].names}
        return not self.puts.get(key) and not self._is_passed(names)

    def _is_passed(self, names: set[str]) -> bool:
        """Say whether something of one of several names is an argument anywhere."""
        return any(
            reference.outer and ir.source(reference.node).rpartition(".")[2] in names
            for func in list(self.graph.program.functions())
            if func.has_lambdas or func.has_words(names)
            for reference in func.references
        )

    def source_of(self, value: Value) -> QueueKey | None:
        """Return the queue that a value was taken from."""
        if not isinstance(value, External) or value.origin is None or type(value.origin.node) is not ir.Call:
            return None
        for name in GETS:
            if value.path.endswith(f".{name}()"):
                base = value.path.removesuffix(f".{name}()")
                return self._key(External(base, value.call, value.frame, value.origin))
        return None


def _queue_names(functions: list[Func]) -> set[str]:
    """Return the names that queues and buffers are given: where they are made, and where those are assigned on."""
    names = {field.name for cls in {func.cls for func in functions if func.cls is not None} for field in cls.ir.fields}
    for func in functions:
        for op in func.ir.ops if func.may_call(_MAKERS) else ():
            if op.kind == "assign" and type(op.value) is ir.Call and last_name(op.value.func) in _MAKERS:
                names.update(map(last_name, op.targets))
    for func in functions:
        for op in func.ir.ops if func.has_words(names) else ():
            source = op.value if op.kind == "assign" else None
            if (type(source) is ir.Name or type(source) is ir.Attr) and last_name(source) in names:
                names.update(map(last_name, op.targets))
    return names


def _is_parameter(func: Func, node: ir.Expr) -> bool:
    """Say whether an expression is a parameter of the function or of one around it."""
    return type(node) is ir.Name and any(node.id in scope.params for scope in func.enclosing())
