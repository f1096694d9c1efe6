"""What happens to the caller's audio when the model takes it more slowly than it comes: the bound of the live queue."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import Evidence, step_at
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Overflow, Queue, Step
from pipeline_guard.pipeline.queues import QueueIndex, QueueInfo, QueueKey, QueueOp
from pipeline_guard.program.code import Func
from pipeline_guard.program.pumps import Pumps
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.values import Frame, Literal

_ASKS = frozenset({"qsize", "full", "len"})
# The arguments by which a put does not wait for ever.
_IN_TIME = frozenset({"timeout", "block"})


class BoundReader:
    """Reads bounds of queues and what their producers do when the queue is full."""

    def __init__(self, queues: QueueIndex, pumps: Pumps, evidence: Evidence) -> None:
        self.queues = queues
        self.pumps = pumps
        self.evidence = evidence

    def read(self, queue: Queue) -> tuple[Overflow | None, tuple[Step, ...]]:
        """Return what a full queue means for a lane's audio, and where the handler of frames waits for room."""
        key = self._key(queue)
        if key is None or not queue.type.endswith(("Queue", "deque")):
            return None, ()
        info = self.queues.queues[key]
        users = (*self.queues.puts.get(key, ()), *self.queues.gets.get(key, ()))
        names = {name.rpartition(".")[2] for name in info.names}
        if any(_asks_size(use.func, names) for use in users):
            return None, ()
        puts = [put for put in self.queues.puts.get(key, ()) if type(put.argument) is not ir.Const]
        bounded = self._is_bounded(info)
        if bounded is False and puts:
            return "grows", ()
        waits = [put for put in puts if bounded and self._waits(info, put)]
        return ("waits" if waits else None), tuple(step_at(p.func, p.call.line, "waits for room") for p in waits)

    def _key(self, queue: Queue) -> QueueKey | None:
        for key, info in self.queues.queues.items():
            if (info.func.module.rel, info.call.line, info.type) == (queue.path, queue.line, queue.type):
                return key
        return None

    def _is_bounded(self, info: QueueInfo) -> bool | None:
        """Say whether a queue is made with a bound; None where the bound is not known."""
        call, kind = info.call, info.type.rpartition(".")[2]
        if kind == "SimpleQueue":
            return False
        if any(type(arg) is ir.Star for arg in call.args) or any(keyword.name is None for keyword in call.keywords):
            return None
        word, position = ("maxlen", 1) if kind == "deque" else ("maxsize", 0)
        node = next((keyword.value for keyword in call.keywords if keyword.name == word), None)
        if node is None and len(call.args) > position:
            node = call.args[position]
        if node is None:
            return False
        values = self.queues.evaluator.settled(self.queues.evaluator.eval(node, Frame(info.func, info.op)))
        sizes = [value.value for value in values if isinstance(value, Literal)]
        if not sizes or len(sizes) < len(values):
            return None
        bounds = {isinstance(size, (int, float)) and size > 0 for size in sizes}
        return bounds.pop() if len(bounds) == 1 else None

    def _waits(self, info: QueueInfo, put: QueueOp) -> bool:
        """Say whether the loop that reads the caller's messages itself waits for room in the queue."""
        function = put.call.func
        if type(function) is not ir.Attr or function.name != "put" or not self.pumps.in_pump(put.func, put.op):
            return False
        if self.evidence.context_at(put.func, put.op, None) in QUIET_CONTEXTS:
            return False
        if info.type.startswith("asyncio."):
            value = put.func.ir.ops[put.op].value
            return value is not None and any(type(n) is ir.Await and n.value is put.call for n in walk(value))
        threads = info.type.startswith("queue.") and len(put.call.args) == 1
        return threads and not any(keyword.name in _IN_TIME for keyword in put.call.keywords)


def _asks_size(func: Func, names: set[str]) -> bool:
    """Say whether a function looks at how full the queue is."""
    for site in func.calls:
        name = last_name(site.call.func)
        if name not in _ASKS:
            continue
        about = (
            site.call.func.base if type(site.call.func) is ir.Attr else site.call.args[0] if site.call.args else None
        )
        if about is not None and ir.source(about).rpartition(".")[2] in names:
            return True
    return False
