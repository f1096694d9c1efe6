"""Finds the triggers whose guard several threads read and set at once, without a lock."""

from __future__ import annotations

from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.model import Step
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import names_in
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name

_LOCKS = frozenset({"lock", "rlock", "mutex", "semaphore"})
_THREAD_CALLS = frozenset({"Thread", "Timer", "submit", "run_in_executor", "to_thread", "start_new_thread"})
# What reads a socket on a thread of its own and calls back from there.
_SOCKETS = frozenset({"WebSocketApp"})


class Threads:
    """Follows a plain function up to the threads it runs on.

    A coroutine is no matter here: wherever it is posted from, it runs on its loop's own thread.
    """

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph

    def of(self, func: Func, op: int) -> tuple[Step, ...]:
        """Return where the threads start on which ``func`` sends at ``op``; empty unless there are several."""
        if func.ir.is_async or func.index == 0 or self._is_locked(func, op):
            return ()
        origins: dict[str, Step] = {}
        self._climb(func, origins, {func})
        apart = [name for name in origins if name != "main"]
        return tuple(origins[name] for name in origins) if apart and len(origins) > 1 else ()

    @staticmethod
    def _is_locked(func: Func, op: int) -> bool:
        """Say whether a lock is held around an operation, or taken before it."""
        held = [func.ir.blocks[b] for b in func.ancestors(func.ir.ops[op].block) if func.ir.blocks[b].kind == "with"]
        words = {
            word for block in held if block.test is not None for name in names_in(block.test) for word in _words(name)
        }
        taken = any(last_name(site.call.func) == "acquire" for site in func.calls if site.op < op)
        return taken or bool(words & _LOCKS) or any(word.endswith("lock") for word in words)

    def _climb(self, func: Func, origins: dict[str, Step], seen: set[Func]) -> None:
        edges = [e for e in self.graph.calls_of(func) if e.kind != "escape" and not is_test(e.caller.module)]
        for edge in edges:
            name = _origin(edge)
            if name is not None:
                origins.setdefault(name, step_at(edge.caller, edge.line, f"{edge.callee.name}() runs on a thread"))
            elif edge.kind == "call" and not self._is_locked(edge.caller, edge.op):
                if edge.caller.ir.is_async or edge.caller.index == 0:
                    origins.setdefault("main", step_at(edge.caller, edge.line, "runs on the event loop"))
                elif edge.caller not in seen:
                    seen.add(edge.caller)
                    self._climb(edge.caller, origins, seen)


def _origin(edge: Edge) -> str | None:
    """Return a name for the thread that an edge starts; None when it starts none."""
    name = last_name(edge.site.func) if edge.site is not None else ""
    if edge.kind in ("thread", "timer", "executor") and name in _THREAD_CALLS:
        return f"{edge.callee.place}"
    if edge.kind in ("callback", "register") and name in _SOCKETS:
        return "socket"
    return None


def _words(name: str) -> list[str]:
    return name.lower().strip("_").split("_")
