"""What following a transcript asks of the program: who reads an attribute, what runs during a call, what sends."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.pipeline.transports import Transports
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.values import Frame, Instance
from pipeline_guard.vocabulary import Vocabulary


class TranscriptReader(msgspec.Struct):
    """Answers what a walk along a text asks of the program.

    ``leading`` are the functions whose calls lead to a send to Realtime, ``sends`` the identities of calls that send.
    ``resolved`` are those of the calls that no other step had asked for, whose targets were looked up since.
    """

    graph: CallGraph
    reach: Reachability
    queues: QueueIndex
    vocabulary: Vocabulary
    leading: frozenset[Func]
    sends: frozenset[int]
    transports: Transports
    resolved: set[int] = msgspec.field(default_factory=set)
    _shared: dict[Class, bool] = msgspec.field(default_factory=dict)
    _names: dict[int, frozenset[str]] = msgspec.field(default_factory=dict)

    def names_below(self, node: ir.Expr) -> frozenset[str]:
        """Return the names in an expression of the program, remembered: each text comes by the same calls."""
        if id(node) not in self._names:
            self._names[id(node)] = frozenset(n.id for n in walk(node) if type(n) is ir.Name)
        return self._names[id(node)]

    def attribute_readers(self, owner: Class, name: str) -> Iterator[tuple[Func, int]]:
        """Yield the operations that read an attribute of a class: in the class, and where its file is imported."""
        stem = owner.module.parts[-1]
        for module in list(self.graph.program.modules.values()):
            imports = any(imported.rpartition(".")[2] == stem for imported in module.imported)
            if module is not owner.module and not imports:
                continue
            for func in module.functions:
                for index in func.mentions.get(f".{name}", ()):
                    if func.owner_class is owner or self._reads(func, index, owner, name):
                        yield func, index

    def _reads(self, func: Func, op: int, owner: Class, name: str) -> bool:
        """Say whether an operation reads an attribute of an object of a class, from outside the class."""
        value = func.ir.ops[op].value
        evaluator = self.graph.evaluator
        for node in walk(value) if value is not None else ():
            if type(node) is ir.Attr and node.name == name:
                for base in evaluator.settled(evaluator.eval(node.base, Frame(func, op))):
                    if isinstance(base, Instance) and (base.cls is owner or owner in evaluator.mro(base.cls)):
                        return True
        return False

    def is_shared(self, cls: Class) -> bool:
        """Say whether an object of a class outlives a call: it is made by a module, or kept in a global."""
        if cls not in self._shared:
            self._shared[cls] = any(
                type(op.value) is ir.Call
                and last_name(op.value.func) == cls.name
                and (func.index == 0 or any(type(t) is ir.Name and t.id in func.ir.globals for t in op.targets))
                for module in list(self.graph.program.modules.values())
                for func in module.functions
                if func.has_words({cls.name}) and cls.name in func.names_used
                for op in func.ir.ops
            )
        return self._shared[cls]

    def is_live(self, func: Func, op: int, depth: int = 3) -> bool:
        """Say whether an operation runs during a call.

        Calls that nothing else had asked for are looked at now: a getter leads to no sink.
        """
        if func in self.reach.contexts or depth == 0:
            return self.reach.reached(func, op) == "live"
        return any(
            edge.kind not in ("escape", "job") and self.is_live(edge.caller, edge.op, depth - 1)
            for edge in list(self.graph.calls_of(func))
        )
