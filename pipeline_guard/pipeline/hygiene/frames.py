"""Whether a line is written once per frame of audio, or by a clock."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.model import Step
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.trees import walk

_CLOCK = ("time", "last", "due", "tick", "interval", "count", "every", "elapsed", "now", "n_", "stat", "log", "debug")


def is_per_frame(graph: CallGraph, frames: set[tuple[Func, int]], func: Func, op: int) -> tuple[Step, ...] | None:
    """Return the way from the loop over frames to an operation that runs in every round of it; None where it does not.

    ``frames`` are the operations that hand on one frame each.  What stands behind a test that may be a clock, and a
    loop that sleeps, are no such place.
    """
    loop = func.loop_of(op)
    if loop is not None:
        return (step_at(func, func.ir.ops[op].line),) if _runs_each_round(frames, func, op, loop) else None
    if any(_may_be_clock(condition.test) for condition in conditions(func, op)):
        return None
    for edge in graph.calls_of(func):
        outer = edge.caller.loop_of(edge.op)
        if edge.kind == "call" and outer is not None and _runs_each_round(frames, edge.caller, edge.op, outer):
            return (step_at(edge.caller, edge.line, f"calls {func.name}()"), step_at(func, func.ir.ops[op].line))
    return None


def _runs_each_round(frames: set[tuple[Func, int]], func: Func, op: int, loop: int) -> bool:
    entry = func.ir.blocks[loop]
    if not any(other is func and entry.first <= place < entry.last for other, place in frames):
        return False
    if any("sleep" in ir.source(site.call.func) for site in func.calls if entry.first <= site.op < entry.last):
        return False
    for condition in conditions(func, op):
        if loop in func.ancestors(condition.block) and condition.block != loop and _may_be_clock(condition.test):
            return False
    return True


def _may_be_clock(test: ir.Expr) -> bool:
    """Say whether a test may let a line through only now and then: anything but a question about the message read."""
    if any(sign in name.lower() for name in names_in(test) for sign in _CLOCK):
        return True
    for node in walk(test):
        if type(node) is ir.Compare and not set(node.ops) <= {"==", "!=", "in", "not in", "is", "is not"}:
            return True
        if type(node) is ir.Compare and any(
            type(right) is ir.Const and _is_number(right.value) for right in node.rights
        ):
            return True
        if type(node) is ir.Other:
            return True
    return False


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
