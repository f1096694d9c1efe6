"""Calls that have a function run on its own: as a task, in a thread, after a while, as a callback."""

from __future__ import annotations

from pipeline_guard.facts import ir

# Calls whose argument is a coroutine or function that runs on its own: last name of the callee → kind of edge.
SPAWNERS = {
    "create_task": "task", "ensure_future": "task", "gather": "task", "start_soon": "task", "wait": "task",
    "run_coroutine_threadsafe": "task", "as_completed": "task", "start_background_task": "task", "add_task": "task",
    "Thread": "thread", "Process": "thread", "Greenlet": "thread", "spawn": "thread", "start_new_thread": "thread",
    "submit": "executor", "run_in_executor": "executor", "to_thread": "executor", "run_sync": "executor",
    "run_in_threadpool": "executor", "sync_to_async": "executor", "map": "executor",
    "Timer": "timer", "call_later": "timer", "call_at": "timer", "spawn_later": "timer", "add_job": "timer",
    "delay": "job", "apply_async": "job", "enqueue": "job", "enqueue_in": "job", "enqueue_at": "job", "kiq": "job",
    "call_soon": "callback", "call_soon_threadsafe": "callback", "add_done_callback": "callback",
    "run": "call", "run_until_complete": "call", "wait_for": "call", "shield": "call", "async_to_sync": "call",
    "timeout": "call",
}  # fmt: skip
# Spawners that hand their keywords on to the function.
_PASS_KEYWORDS = frozenset({"to_thread", "submit", "run_in_threadpool", "add_task", "enqueue"})
# Those of the spawners above that hand a function to a scheduler: it runs apart from whoever does so.
SCHEDULERS = frozenset({"add_job", "enqueue_in", "enqueue_at"})
# Methods of a job itself that hand it to a worker (Celery, Dramatiq, RQ, TaskIQ).
JOB_METHODS = frozenset({"delay", "apply_async", "send", "send_with_options", "kiq", "enqueue", "defer", "s", "si"})
# How many leading arguments precede the function in a spawner that takes ``f, *args``.
_FUNCTION_POSITION = {
    "run_in_executor": 1, "call_later": 1, "call_at": 1, "Timer": 1, "submit": 0, "to_thread": 0, "call_soon": 0,
    "call_soon_threadsafe": 0, "start_soon": 0, "run_in_threadpool": 0, "start_background_task": 0, "add_task": 0,
    "spawn": 0, "spawn_later": 1, "enqueue": 0,
}  # fmt: skip


def spawned_call(outer: ir.Call, name: str, function: ir.Expr) -> ir.Call | None:
    """Return the call that a spawner makes later: ``Thread(target=f, args=(a,))`` → ``f(a)``; None when unknown."""
    args: list[ir.Expr] = []
    keywords: list[ir.Keyword] = []
    position = _FUNCTION_POSITION.get(name)
    if position is not None and name != "Timer":
        if len(outer.args) <= position:
            return None
        args = list(outer.args[position + 1 :])
        keywords = list(outer.keywords) if name in _PASS_KEYWORDS else []
    for keyword in outer.keywords:
        if keyword.name == "args" and type(keyword.value) is ir.Seq:
            args = list(keyword.value.items)
        elif keyword.name == "kwargs" and type(keyword.value) is ir.DictNode:
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if type(key) is ir.Const and isinstance(key.value, str):
                    keywords.append(ir.Keyword(key.value, value))
    if name == "Timer" and len(outer.args) > 2 and type(outer.args[2]) is ir.Seq:
        args = list(outer.args[2].items)
    if name not in SPAWNERS:
        return None
    return ir.Call(function, args, keywords, outer.line, outer.end_line, outer.column)
