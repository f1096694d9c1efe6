"""Finds responses that are asked for once per tool call instead of once for all the tools of a response."""

from __future__ import annotations

from typing import Literal

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.cancels import Cancels
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.server_events import ARGUMENTS_DONE, ITEM_DONE, Branches
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import conditions, names_in, strings_in
from pipeline_guard.program.pumps import Pumps
from pipeline_guard.program.trees import walk

PerTool = Literal["loop", "item"]
_TOOL_WORDS = frozenset({"tool", "tools", "function", "functions", "fn"})
_CALL_WORDS = frozenset({"call", "calls", "output", "outputs", "result", "results", "item", "items"})
# Names of what is counted until the last tool is through.
_COUNTS = frozenset({
    "pending", "remaining", "outstanding", "open", "left", "last", "count", "total", "all", "expected", "unfinished",
    "inflight", "running",
})  # fmt: skip


class PerToolReader:
    """Reads at a hop whether it runs once per tool call."""

    def __init__(self, branches: Branches, pumps: Pumps, cancels: Cancels) -> None:
        self.branches = branches
        self.pumps = pumps
        self.cancels = cancels

    def read(self, hop: Hop, cause: str) -> PerTool | None:
        """Return "loop" (over the tools of a response), "item" (in the branch of an event that each tool sends)."""
        if hop.edge is not None and hop.edge.kind in ("timer", "register", "escape", "job"):
            return None
        found = self._once_per(hop, cause)
        if found is None or self._counts(hop.func, hop.op) or not self.cancels.prompt(hop):
            return None
        return found

    def _once_per(self, hop: Hop, cause: str) -> PerTool | None:
        if cause == "tool_result" and self._in_loop(hop.func, hop.op):
            return "loop"
        events = self.branches.events(hop.func, hop.op)
        if events == {ARGUMENTS_DONE}:
            return "item"
        if events == {ITEM_DONE} and "function_call" in self.branches.words(hop.func, hop.op):
            return "item"
        return None

    def _in_loop(self, func: Func, op: int) -> bool:
        """Say whether the innermost loop around an operation goes over tool calls and goes on after it."""
        loop = func.loop_of(op)
        if loop is None or func.ir.blocks[loop].kind != "for" or self.pumps.is_pump(func, loop):
            return False
        block = func.ir.blocks[loop]
        if type(block.test) is ir.Await or block.test is None:
            return False
        if self._ends_loop(func, op, loop):
            return False
        names = [*names_in(block.test), *strings_in(block.test), *self._targets(func, loop)]
        words = {word for name in names for word in name.lower().split("_")}
        if words & _TOOL_WORDS:
            return True
        inside = [c for c in conditions(func, op) if c.block >= loop]
        types = {text for c in inside for text in strings_in(c.test)}
        return bool(words & _CALL_WORDS) and "function_call" in types

    @staticmethod
    def _targets(func: Func, loop: int) -> list[str]:
        first = func.ir.blocks[loop].first
        found = [node for target in func.ir.ops[first].targets for node in walk(target)]
        return [node.id for node in found if type(node) is ir.Name]

    @staticmethod
    def _ends_loop(func: Func, op: int, loop: int) -> bool:
        """Say whether the loop is left once the operation has run: the first tool's response is the only one."""
        for block in func.ancestors(func.ir.ops[op].block):
            if block > loop and func.ir.blocks[block].kind not in LOOPS:
                rest = func.ir.ops[op : func.ir.blocks[block].last]
                if any(o.kind in ("exit", "return") and o.block == block for o in rest):
                    return True
        entry = func.ir.blocks[loop]
        return any(o.kind in ("exit", "return") and o.block == loop for o in func.ir.ops[op : entry.last])

    def _counts(self, func: Func, op: int) -> bool:
        """Say whether an operation stands behind a count of the tools that are still to come."""
        for condition in conditions(func, op):
            calls = [node for node in walk(condition.test) if type(node) is ir.Call]
            if any(ir.source(call.func) in ("len", "all", "any") for call in calls):
                return True
            words = {word for name in names_in(condition.test) for word in name.lower().split("_")}
            if words & _COUNTS:
                return True
        return False
