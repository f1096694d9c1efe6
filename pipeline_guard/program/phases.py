"""Phases of a call: which operations of a stream's handler run only when the call is over."""

from __future__ import annotations

from collections.abc import Callable

from pipeline_guard.facts import ir
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import conditions
from pipeline_guard.program.pumps import Pumps
from pipeline_guard.program.trees import walk
from pipeline_guard.vocabulary import Vocabulary

_MESSAGE_WORDS = ("event", "type", "msg", "message", "data", "kind", "name", "state", "status", "action")


class Phases:
    """Answers when an operation runs."""

    def __init__(self, pumps: Pumps, vocabulary: Vocabulary, is_handler: Callable[[Func], bool]) -> None:
        self.pumps = pumps
        self.vocabulary = vocabulary
        self.is_handler = is_handler
        self._known: dict[tuple[Func, int], str] = {}
        self._runs: dict[Func, bool] = {}

    def after_call(self, func: Func, op: int) -> str:
        """Return why an operation runs only after the call ("finally", "on stop"); empty when it may run during it."""
        if not func.ir.blocks or func.index == 0:
            return ""
        key = (func, op)
        if key not in self._known:
            self._known[key] = self._on_end(func, op) or self._after_stream(func, op)
        return self._known[key]

    def _on_end(self, func: Func, op: int) -> str:
        """Return the message that says that the call is over, when the operation handles it."""
        if not func.has_strings(self.vocabulary.ended_messages):
            return ""
        for condition in conditions(func, op):
            test = condition.test
            entry = func.ir.blocks[condition.block]
            if entry.kind == "case":
                words = {node.value for node in walk(test) if type(node) is ir.Const}
                if words and words <= self.vocabulary.ended_messages and condition.wanted:
                    return f"on {sorted(map(str, words))[0]!r}"
            elif type(test) is ir.Compare and len(test.ops) == 1 and self._names_message(test.left):
                equal = test.ops[0] in ("==", "in")
                words = {node.value for right in test.rights for node in walk(right) if type(node) is ir.Const}
                known = test.ops[0] in ("==", "!=", "in") and equal is condition.wanted
                if not (known and words and words <= self.vocabulary.ended_messages):
                    continue
                # A browser's {"type": "stop"} may end one sentence only; Twilio's {"event": "stop"} ends the stream.
                if condition.early or "event" in _words(test.left) or self._leaves(func, condition.block):
                    return f"on {sorted(map(str, words))[0]!r}"
        return ""

    @staticmethod
    def _leaves(func: Func, block: int) -> bool:
        """Say whether an arm ends the loop or the function, as far as its own operations say."""
        entry = func.ir.blocks[block]
        return entry.leaves or any(op.kind in ("exit", "return") for op in func.ir.ops[entry.first : entry.last])

    @staticmethod
    def _names_message(node: ir.Expr) -> bool:
        return any(part in word for word in _words(node) for part in _MESSAGE_WORDS)

    def _after_stream(self, func: Func, op: int) -> str:
        blocks = func.ir.blocks
        around = func.ancestors(func.ir.ops[op].block)
        kinds = {blocks[block].kind for block in around}
        if "except" in kinds:
            for block in around:
                test = blocks[block].test
                if blocks[block].kind == "except" and test is not None:
                    names = {ir.source(node).rpartition(".")[2] for node in walk(test)}
                    if names & self.vocabulary.ended_exceptions:
                        return "when the caller's stream is closed"
        if "finally" in kinds and self._streams(func):
            for block in reversed(around):
                if blocks[block].kind in LOOPS and self.pumps.is_pump(func, block, audio=True):
                    break
                if blocks[block].kind == "finally":
                    return "in the stream handler's finally"
        return "after the stream's loop" if self._is_past_streams(func, op, around) else ""

    def _streams(self, func: Func) -> bool:
        if func not in self._runs:
            self._runs[func] = self.pumps.runs_stream(func)
        return self._runs[func]

    def _is_past_streams(self, func: Func, op: int, around: tuple[int, ...]) -> bool:
        """Say whether all that a stream's own handler stays for lies behind an operation, and no loop around both.

        Only the handler itself is judged: elsewhere a loop may wait for the first message and go on.
        """
        if not self.is_handler(func):
            return False
        blocks = func.ir.blocks
        ends = [
            (entry.last - 1, entry.parent)
            for index, entry in enumerate(blocks)
            if entry.kind in LOOPS and self.pumps.is_pump(func, index)
        ]
        for edge in self.pumps.graph.outgoing.get(func, ()):
            if edge.kind in ("call", "task") and self._streams(edge.callee):
                ends.append((edge.op, func.ir.ops[edge.op].block))
        if not ends or any(end >= op for end, _ in ends) or self.pumps.waits_from(func, op):
            return False
        outer = {block for block in around if blocks[block].kind in LOOPS}
        return not any(
            outer & set(func.ancestors(block)) or func.exclusive(block, func.ir.ops[op].block) for _, block in ends
        )


def _words(node: ir.Expr) -> set[str]:
    """Return the names, attribute names and constants in an expression, in lower case."""
    words = {n.id if type(n) is ir.Name else n.name if type(n) is ir.Attr else "" for n in walk(node)}
    return {word.lower() for word in words | {str(n.value) for n in walk(node) if type(n) is ir.Const}}
