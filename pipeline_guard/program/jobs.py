"""Jobs of workers: which function a queue's worker runs for ``job.delay(x)`` or ``app.send_task("mail.send")``."""

from __future__ import annotations

from typing import NamedTuple

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.program.code import Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.link import Program
from pipeline_guard.program.spawners import JOB_METHODS
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.values import Frame, Function

# Methods whose own arguments are the job's.
_TAKE_ARGUMENTS = frozenset({"delay", "send", "kiq", "s", "si"})


class Job(NamedTuple):
    """A function that a worker runs; ``call`` carries its arguments where they are known, ``bound`` skips ``self``."""

    func: Func
    call: ir.Call | None
    bound: bool
    confidence: Confidence


def jobs_of(program: Program, evaluator: Evaluator, site: CallSite, frame: Frame) -> list[Job]:
    """Return the jobs that a call hands to a worker; empty when it is another kind of call."""
    node = site.call.func
    if type(node) is not ir.Attr:
        return []
    if node.name == "send_task":
        return _named(program, site.call)
    if node.name not in JOB_METHODS:
        return []
    call = site.call if node.name in _TAKE_ARGUMENTS else None
    return [
        Job(value.func, call, _takes_itself(value.func), "high")
        for value in evaluator.eval(node.base, frame)
        if isinstance(value, Function) and value.func.ir.decorators
    ]


def _named(program: Program, call: ir.Call) -> list[Job]:
    """Return the job that a text names: by the name its decorator gives it, else by its own."""
    first = call.args[0] if call.args else None
    if type(first) is not ir.Const or not isinstance(first.value, str):
        return []
    found = [func for func in program.functions() if _name_given(func) == first.value] or [
        func
        for func in program.functions_by_name.get(first.value.rpartition(".")[2], ())
        if func.ir.decorators and func.cls is None
    ]
    return [Job(found[0], None, False, "medium")] if len(found) == 1 else []


def _name_given(job: Func) -> str | None:
    """Return the name that a decorator gives a job (``@app.task(name="mail.send")``)."""
    for decorator in job.ir.decorators:
        for keyword in decorator.keywords if type(decorator) is ir.Call else ():
            if keyword.name == "name" and type(keyword.value) is ir.Const:
                return str(keyword.value.value)
    return None


def _takes_itself(job: Func) -> bool:
    """Say whether a worker passes the job itself as the first argument (``@app.task(bind=True)``)."""
    return any(
        keyword.name == "bind" and type(keyword.value) is ir.Const and bool(keyword.value.value)
        for decorator in job.ir.decorators
        if type(decorator) is ir.Call
        for keyword in decorator.keywords
    )
