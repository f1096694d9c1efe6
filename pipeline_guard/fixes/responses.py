"""What to do about surplus responses: lead them through the trigger, or take them out where no turn asked for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Literal

from pipeline_guard.checks.responses import canonical_trigger
from pipeline_guard.findings import Finding
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import CannotRewrite, Insert, NoOpBody, Operation, Reroute, Unit
from pipeline_guard.fixes.payloads import Payload
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reach import BY_HAND, Target, TriggerCall, described, payload_at, target_of, trigger_call
from pipeline_guard.fixes.scope import functions_around
from pipeline_guard.fixes.skipped import remembered
from pipeline_guard.fixes.surplus import is_only_for, logger_of, take_out
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.fixes.wrappers import refuse_if_it_does_more
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Site

# Causes that no turn of the caller and no tool stands behind.
UNASKED = frozenset({"timer", "silence", "recovery", "error_retry"})
_NAMES = {"silence": "a silence timer", "timer": "a timer", "recovery": "a recovery", "error_retry": "a retry"}
GREETING_LOG = '"[GREETING] Using OpenAI Realtime for greeting (same session, same pipeline)"'
Safety = Literal["safe", "unsafe"]


def outside_trigger(program: Program, finding: Finding) -> Iterator[Unit]:
    """Re-route a response that a turn, a tool or the greeting stands behind; take out any other."""
    from pipeline_guard.fixes.new_trigger import add_trigger

    site = _site(program, finding)
    lane = program.lanes.get(finding.lane)
    if site.trigger in UNASKED and (site.cause_here or (lane is not None and _only_unasked(lane, site))):
        yield from unasked(program, finding)
        return
    trigger = canonical_trigger(lane) if lane is not None else None
    if lane is None or trigger is None:
        yield from add_trigger(program, finding)
        return
    target = target_of(program, trigger.path, trigger.symbol)
    if site.role == "primitive":
        yield _lead_through(program, lane, target, site, finding)
        return
    inner = [each for each in lane.sites if _is_primitive_of(each, site.callee)]
    if not inner:
        raise CannotRewrite("where it sends was not found", BY_HAND)
    for each in inner:
        yield _lead_through(program, lane, target, each, finding)


def _only_unasked(lane: Lane, site: Site) -> bool:
    """Say whether all that calls the function of a send is a timer, a recovery or the like."""
    callers = [
        each for each in lane.sites if each.kind == "response_create" and each.callee == f"{site.path}:{site.symbol}"
    ]
    live = [each for each in callers if each.context not in QUIET_CONTEXTS]
    return bool(live) and all(each.trigger in UNASKED and each.cause_here for each in live)


def no_trigger(program: Program, finding: Finding) -> Iterator[Unit]:
    """Add the trigger that several functions stand in for."""
    from pipeline_guard.fixes.new_trigger import add_trigger

    yield from add_trigger(program, finding)


def _is_primitive_of(site: Site, callee: str | None) -> bool:
    return site.kind == "response_create" and site.role == "primitive" and f"{site.path}:{site.symbol}" == callee


def _lead_through(program: Program, lane: Lane, target: Target, site: Site, finding: Finding) -> Unit:
    operations, safety, why = lead_through(program, lane, target, site)
    return Unit(tuple(operations), finding.rule, safety, why, (finding.fingerprint,))


def lead_through(program: Program, lane: Lane, target: Target, site: Site) -> tuple[list[Operation], Safety, str]:
    """Return what leads one send through the trigger: at its place, else at the calls of its function; and why."""
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        raise CannotRewrite("the call was not found", BY_HAND)
    payload = payload_at(program, site.path, site.line, site.column)
    try:
        call = trigger_call(program, target, site.path, calls[0], reason_for(site), payload)
    except CannotRewrite as error:
        return _at_its_callers(program, lane, target, site, payload, error)
    operations: list[Operation] = [Reroute(site.path, site.line, site.column, call.code, target.awaits), *call.widening]
    if site.trigger not in ("greeting", "user_turn"):
        operations += remembered(program, lane, target, with_response=bool(call.widening))
    if site.trigger == "greeting" and site.cause_here:
        operations += greeting_log(program, site)
    why = f"goes through {target.symbol}() as {reason_for(site)}{described([call])}"
    return operations, "safe" if payload.bare else "unsafe", why


def _at_its_callers(
    program: Program, lane: Lane, target: Target, site: Site, payload: Payload, error: CannotRewrite
) -> tuple[list[Operation], Safety, str]:
    """Return what takes the send out of a wrapper and has each live caller call the trigger behind it."""
    tree = program.tree(site.path)
    call = tree.calls_at(site.line, site.column)[0]
    function = functions_around(tree, call)[:1]
    if not function:
        raise error
    if payload.response is not None:
        # What the wrapper's own names hold is not at hand at its callers.
        payload = Payload(False)
    removal = take_out(program, site.path, site.line, site.column, comments.RESPONSE)
    only = is_only_for(tree, function[0], call) and isinstance(removal, NoOpBody)
    operations: list[Operation] = [removal]
    calls: list[TriggerCall] = []
    callers = list(_askers(program, lane, target, f"{site.path}:{site.symbol}", payload, error, 3))
    for caller, place, made in callers:
        calls.append(made)
        operations += made.widening
        if only and caller.callee == f"{site.path}:{site.symbol}":
            operations.append(Reroute(caller.path, caller.line, caller.column, made.code, target.awaits))
        else:
            statement = program.tree(caller.path).statement_of(place)
            asks = f"await {made.code}" if target.awaits else made.code
            operations.append(Insert(caller.path, statement.lineno, (asks,), after=True))
        if caller.trigger == "greeting" and caller.cause_here:
            operations += greeting_log(program, caller)
    name = site.symbol.rpartition(".")[2]
    where = "its callers ask" if len(callers) > 1 else "its caller asks"
    why = f"{name}() no longer sends response.create; {where} through {target.symbol}(){described(calls)}"
    return operations, "unsafe" if any(each.loses or each.widening for each in calls) else "safe", why


def _askers(
    program: Program, lane: Lane, target: Target, home: str, payload: Payload, error: CannotRewrite, depth: int
) -> Iterator[tuple[Site, ast.Call, TriggerCall]]:
    """Yield the live calls of a function behind which the trigger can be called, further up where it is not in reach.

    Raises the error where some live call has no such place.
    """
    callers = [
        each
        for each in lane.sites
        if each.kind == "response_create" and each.callee == home and each.context not in QUIET_CONTEXTS
    ]
    if not callers or depth == 0:
        raise error
    for caller in callers:
        if caller.trigger in UNASKED:
            continue
        tree = program.tree(caller.path)
        place = _statement_call(tree, caller, target.awaits)
        try:
            yield caller, place, trigger_call(program, target, caller.path, place, reason_for(caller), payload)
        except CannotRewrite:
            function = functions_around(tree, place)[0]
            if function.body[-1] is not tree.statement_of(place):
                raise error from None
            yield from _askers(program, lane, target, f"{caller.path}:{caller.symbol}", payload, error, depth - 1)


def _statement_call(tree: Tree, site: Site, awaits: bool) -> ast.Call:
    """Return a call that is a statement (of a coroutine function, where it ``awaits``); raises CannotRewrite."""
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        raise CannotRewrite("a call of it was not found", BY_HAND)
    statement = tree.statement_of(calls[0])
    if awaits and not isinstance(tree.function_of(statement), ast.AsyncFunctionDef):
        raise CannotRewrite(f"{site.path}:{site.line} calls it where nothing can be awaited", BY_HAND)
    inner = tree.parents[calls[0]]
    if not isinstance(statement, ast.Expr) or not isinstance(inner, (ast.Expr, ast.Await)):
        raise CannotRewrite(f"{site.path}:{site.line} uses what it returns", BY_HAND)
    return calls[0]


def unasked(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a response that no turn of the caller asked for."""
    site = _site(program, finding)
    lane = program.lanes.get(finding.lane)
    values = {session.value for session in lane.sessions if session.context != "dormant"} if lane is not None else set()
    if values == {"no_vad"} and site.trigger in ("timer", "silence"):
        raise CannotRewrite(
            "turn detection is off, so this may be what ends the caller's turn",
            "call the trigger here with the reason USER_TURN, or turn detection on and take this out",
        )
    if site.trigger in ("timer", "silence") and _follows(program, site, ("input_audio_buffer.commit", ".commit(")):
        raise CannotRewrite(
            "it commits the caller's audio first, so this is what ends the caller's turn",
            "call the trigger here with the reason USER_TURN, or turn detection on and take this out",
        )
    if _answers_a_tool(program, site):
        raise CannotRewrite("it follows the output of a tool, which would then be left without an answer", BY_HAND)
    name = _NAMES.get(site.trigger or "", "something")
    why = f"{name} asks for a response that no turn of the caller asked for"
    unit = _removed(program, site, finding, why)
    if site.trigger in ("recovery", "error_retry") and site.role != "primitive" and not _only_responds(program, site):
        called = (site.callee or "").rpartition(".")[2].rpartition(":")[2]
        raise CannotRewrite(
            f"{called}() tells the model something beside the response, and the caller would never hear of it",
            f"let {called}() ask through the trigger; where this answers a turn of the caller, suppress the finding",
        )
    yield unit


def _only_responds(program: Program, site: Site) -> bool:
    """Say whether the function that a call leads to does nothing but ask for a response."""
    path, _, symbol = (site.callee or "").rpartition(":")
    if path not in program.sources.data:
        return False
    for each in program.map.sites():
        if each.kind == "response_create" and each.role == "primitive" and (each.path, each.symbol) == (path, symbol):
            tree = program.tree(path)
            calls = tree.calls_at(each.line, each.column)
            around = functions_around(tree, calls[0])[:1] if calls else []
            return bool(around) and is_only_for(tree, around[0], calls[0])
    return False


def _answers_a_tool(program: Program, site: Site) -> bool:
    """Say whether the statements before a send, in its block, hand the model a tool's output."""
    words = ("function_call_output", "output(", "tool_result", "function_result", "tool_output")
    return _follows(program, site, words)


def _follows(program: Program, site: Site, words: tuple[str, ...]) -> bool:
    """Say whether some word stands in the statements before a send, in its block."""
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        return False
    statement = tree.statement_of(calls[0])
    if statement not in tree.suites:
        return False
    before = [each for each in tree.suites[statement].statements if each.lineno < statement.lineno]
    return any(word in tree.text(each) for each in before for word in words)


def dormant(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a send that nothing reaches today."""
    from pipeline_guard.fixes.audio import refuse_if_it_is_all

    if _site(program, finding).symbol.rpartition(".")[2] == "trigger_response":
        raise CannotRewrite("it is the trigger, which nothing calls yet", "lead the other sends through it")
    lane = program.lanes.get(finding.lane)
    if lane is not None:
        refuse_if_it_is_all(lane, "response_create", "ask for a response")
    refuse_if_it_does_more(program, _site(program, finding))
    yield _removed(program, _site(program, finding), finding, "nothing reaches it today, and one edit would revive it")


def _removed(program: Program, site: Site, finding: Finding, why: str) -> Unit:
    lane = program.lanes.get(finding.lane)
    operations = [take_out(program, site.path, site.line, site.column, comments.RESPONSE)]
    if site.role != "primitive" and _hands_over(program, site):
        trigger = canonical_trigger(lane) if lane is not None else None
        if trigger is None or site.callee != f"{trigger.path}:{trigger.symbol}":
            operations = _in_what_is_started(program, lane, site)
    return Unit(tuple(operations), finding.rule, "safe", why, (finding.fingerprint,))


def _hands_over(program: Program, site: Site) -> bool:
    """Say whether a call hands its function over to be run later (``call_later(4, self.recover)``)."""
    symbol = (site.callee or "").rpartition(":")[2]
    name = symbol.rpartition(".")[2]
    for call in program.tree(site.path).calls_at(site.line, site.column):
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            last = argument.attr if isinstance(argument, ast.Attribute) else getattr(argument, "id", "")
            if name and last == name:
                return True
    return False


def _in_what_is_started(program: Program, lane: Lane | None, site: Site) -> list[Operation]:
    """Return what takes the responses out of a function that is started; raises where a turn asks through it as well.

    What it does beside them goes on being done, and what starts it goes where nothing is left to do.
    """
    sites = [each for each in (lane.sites if lane is not None else ()) if each.kind == "response_create"]
    inner = [each for each in sites if f"{each.path}:{each.symbol}" == site.callee and each.context != "dormant"]
    callers = [each for each in sites if each.callee == site.callee and each.context not in ("dormant", "test")]
    name = (site.callee or "").rpartition(":")[2].rpartition(".")[2]
    if not inner or any(each.trigger not in UNASKED for each in callers):
        raise CannotRewrite(f"it starts {name}(), which answers turns as well", "take the response out there")
    if any(_answers_a_tool(program, each) or each.per_tool is not None for each in inner):
        raise CannotRewrite(f"{name}() answers a tool as well", "take the response out there")
    return [take_out(program, each.path, each.line, each.column, comments.RESPONSE) for each in inner]


def _site(program: Program, finding: Finding) -> Site:
    for site in program.sites_at(finding):
        if site.kind == "response_create":
            return site
    raise CannotRewrite("it stands at no call", BY_HAND)


def reason_for(site: Site) -> str:
    """Return the reason that a place gives the trigger: its cause, or its function's name where that is not known."""
    if site.trigger in (None, "other"):
        return site.symbol.rpartition(".")[2].strip("_").upper()
    return str(site.trigger).upper()


def greeting_log(program: Program, site: Site) -> Iterator[Insert]:
    """Yield the contract's log line for the greeting, above the statement at a site, where a logger is at hand."""
    tree = program.tree(site.path)
    logger = logger_of(tree)
    calls = tree.calls_at(site.line, site.column)
    if logger is None or not calls or program.mentions("[GREETING] Using OpenAI Realtime"):
        return
    statement = tree.statement_of(calls[0])
    if tree.stands_alone(statement):
        yield Insert(site.path, statement.lineno, (f"{logger}.info({GREETING_LOG})",))


FIXERS = {
    "PG201": outside_trigger,
    "PG202": no_trigger,
    "PG303": outside_trigger,
    "PG207": unasked,
    "PG208": unasked,
    "PG215": dormant,
}
