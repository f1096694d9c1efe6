"""Puts in the aids by which a person sees that there is one pipeline: the map as a comment, and the log lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fix_kinds import has_one_path
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation, Reroute, Substitute, Unit
from pipeline_guard.fixes.needed import need
from pipeline_guard.fixes.new_queue import PIPELINE_LOG
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.responses import GREETING_LOG
from pipeline_guard.fixes.scope import constructor_of, find_function, functions_around, method_around, self_name
from pipeline_guard.fixes.tree import FunctionNode, Tree, first_line, is_docstring
from pipeline_guard.pipeline.model import Aid, Lane

STATUS_SECONDS = 2.5
MAP = (
    "# The ONLY allowed pipeline:",
    "#   Twilio Media (μ-law base64)",
    "#        ↓",
    "#   media frame handler (single place)",
    "#        ↓",
    "#   enqueue to realtime_audio_in_queue   # exactly one queue",
    "#        ↓",
    "#   audio sender task (single loop)",
    "#        ↓",
    "#   client.send_audio_chunk(...)         # OpenAI Realtime",
)
_BY_HAND = "add it where the sender loop runs"
_KINDS = {"PG501": "map", "PG502": "pipeline_log", "PG503": "status_log", "PG504": "greeting_log"}


def _aid(program: Program, finding: Finding) -> tuple[Lane, Aid]:
    lane = program.lanes.get(finding.lane)
    for aid in lane.aids if lane is not None else ():
        if (
            aid.kind == _KINDS.get(finding.rule, aid.kind)
            and (aid.place.path, aid.place.line)
            == (
                finding.path,
                finding.line,
            )
            and (finding.rule == "PG505" or aid.state == "missing")
        ):
            assert lane is not None
            return lane, aid
    raise CannotRewrite("the line is there, but not where it belongs", "move it by hand")


def _function(program: Program, path: str, line: int, symbol: str) -> tuple[Tree, FunctionNode]:
    tree = program.tree(path)
    function = tree.function_at(line) or find_function(tree, symbol)
    if function is None:
        raise CannotRewrite("the function was not found", _BY_HAND)
    return tree, function


def pipeline_map(program: Program, finding: Finding) -> Iterator[Unit]:
    """Draw the one pipeline in the handler, where it is what the code does."""
    lane, aid = _aid(program, finding)
    _refuse_untruth(lane)
    _, function = _function(program, aid.belongs.path, aid.belongs.line, aid.belongs.symbol)
    operation = Insert(aid.belongs.path, first_line(function), MAP, inside=True)
    yield _unit(finding, (operation,), f"draws the one pipeline in {function.name}()")


def _refuse_untruth(lane: Lane) -> None:
    """Raise where the code has no single path with a queue yet: a map or a log line that says so would be a lie."""
    if not has_one_path(lane):
        raise CannotRewrite(
            "the code has no single path with a queue yet, so this would not be true", "fix the audio first"
        )


def pipeline_log(program: Program, finding: Finding) -> Iterator[Unit]:
    """Let the sender loop say that it starts."""
    lane, aid = _aid(program, finding)
    _refuse_untruth(lane)
    path = aid.belongs.path
    _, function = _function(program, path, aid.belongs.line, aid.belongs.symbol)
    operations, logger = need(program, path, logger=True)
    operations.append(Insert(path, first_line(function), (f"{logger}.info({PIPELINE_LOG})",), inside=True))
    yield _unit(finding, operations, f"{function.name}() logs that it starts")


def greeting_log(program: Program, finding: Finding) -> Iterator[Unit]:
    """Let the greeting say which voice it is."""
    lane, aid = _aid(program, finding)
    path, line = aid.belongs.path, aid.belongs.line
    tree = program.tree(path)
    sites = [
        each
        for each in lane.sites
        if each.kind == "response_create"
        and (each.path, each.line) == (path, line)
        and tree.calls_at(line, each.column)
    ]
    if not sites:
        raise CannotRewrite("the call that creates the greeting was not found", _BY_HAND)
    statement = tree.statement_of(tree.calls_at(line, sites[0].column)[0])
    if not tree.stands_alone(statement):
        raise CannotRewrite("the call shares its line with other code", _BY_HAND)
    operations, logger = need(program, path, logger=True)
    operations.append(Insert(path, first_line(statement), (f"{logger}.info({GREETING_LOG})",)))
    yield _unit(finding, operations, "the greeting says in the log which voice it is")


def status_log(program: Program, finding: Finding) -> Iterator[Unit]:
    """Log the status every 2.5 seconds from the sender loop, with a count of what was sent."""
    lane, aid = _aid(program, finding)
    sender = next((each for each in lane.senders if each.canonical and each.queue is not None), None)
    if sender is None or (sender.symbol != aid.belongs.symbol and aid.belongs.path != sender.path):
        raise CannotRewrite("there is no sender loop that could log it", _BY_HAND)
    tree, function = _function(program, sender.path, sender.line, sender.symbol)
    lines_of_sends = {step.line for step in sender.sites if step.path == sender.path}
    sends = [
        each for each in tree.statements_of(function) if isinstance(each, ast.Expr) and each.lineno in lines_of_sends
    ]
    if len(sends) != 1 or not tree.stands_alone(sends[0]):
        raise CannotRewrite("the sender loop has no one statement that sends", _BY_HAND)
    send = sends[0]
    operations, logger = need(program, sender.path, "time", logger=True)
    if logger.braces:
        raise CannotRewrite("its logger does not take the contract's form of the line", _BY_HAND)
    home, prefix, names = _counters(tree, function)
    fresh = [f"{name} = 0" for name in ("stats_audio_sent", "stats_audio_blocked") if name not in names]
    lines = (*(f"{prefix}{each}" for each in fresh), f"{prefix}status_logged_at = 0.0")
    own = [
        f"{prefix}{name}" if name in names else "None"
        for name in ("active_response_id", "is_ai_speaking", "user_has_spoken")
    ]
    status = (
        *([f"{prefix}stats_audio_sent += 1"] if "stats_audio_sent" not in names else []),
        f"if time.monotonic() - {prefix}status_logged_at >= {STATUS_SECONDS}:",
        f"    {prefix}status_logged_at = time.monotonic()",
        f"    {logger}.info(",
        '        "[PIPELINE STATUS] sent=%d blocked=%d | active_response=%s | ai_speaking=%s | user_has_spoken=%s",',
        f"        {prefix}stats_audio_sent, {prefix}stats_audio_blocked, {', '.join(own)},",
        "    )",
    )
    inside = home is function
    operations.append(Insert(sender.path, first_line(home), lines, inside=inside, end=not inside))
    operations.append(Insert(sender.path, first_line(send), status, after=True))
    yield _unit(finding, operations, f"{function.name}() logs the status every {STATUS_SECONDS} s")


def _counters(tree: Tree, function: FunctionNode) -> tuple[FunctionNode, str, set[str]]:
    """Return where a loop keeps its counters, what stands before their names, and the names that are there already.

    A method keeps them on its instance, any other function in its own variables.
    """
    found, own = method_around(tree, function), self_name(function)
    if found is not None and found[1] is function and own is not None:
        init = constructor_of(found[0])
        if init is not None:
            return init, f"{own}.", _stored(found[0])
        raise CannotRewrite(f"{found[0].name} has no __init__ for the counters", _BY_HAND)
    around = functions_around(tree, function)[1:]
    return function, "", {name for each in around for name in _local_names(each)}


def _local_names(function: FunctionNode) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _stored(owner: ast.ClassDef) -> set[str]:
    return {
        node.attr for node in ast.walk(owner) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def printed(program: Program, finding: Finding) -> Iterator[Unit]:
    """Turn a print of a required line into a log line."""
    _, aid = _aid(program, finding)
    tree = program.tree(finding.path)
    calls = [
        each for each in tree.calls_on_line(finding.line) if isinstance(each.func, ast.Name) and "print" in each.func.id
    ]
    if aid.state != "printed" or len(calls) != 1 or len(calls[0].args) != 1:
        raise CannotRewrite("why it does not reach the log has to be put right elsewhere", "let the logger pass INFO")
    if any(keyword.arg != "flush" for keyword in calls[0].keywords):
        raise CannotRewrite("the print has options that a logger does not take", "write it with logger.info")
    operations, logger = need(program, finding.path, logger=True)
    call = calls[0]
    operations.append(
        Reroute(finding.path, call.lineno, tree.column(call), f"{logger}.info({tree.text(call.args[0])})", awaits=False)
    )
    yield _unit(finding, operations, "the line goes to the log")


def _unit(finding: Finding, operations: list[Operation] | tuple[Operation, ...], why: str) -> Unit:
    return Unit(tuple(operations), finding.rule, "safe", why, (finding.fingerprint,))


def unbounded(program: Program, finding: Finding) -> Iterator[Unit]:
    """Bound the queue of the caller's audio, and let a full one lose its oldest frame."""
    lane = program.lanes.get(finding.lane)
    queue = next(
        (
            each
            for each in (lane.queues if lane is not None else ())
            if (each.path, each.line) == (finding.path, finding.line)
        ),
        None,
    )
    if queue is None or not queue.type.endswith("Queue") or not queue.producers:
        raise CannotRewrite(
            "who fills the queue was not found", "give it a maxsize and take out the oldest frame when full"
        )
    tree = program.tree(queue.path)
    makers = [each for each in tree.calls_on_line(queue.line) if not each.args and not each.keywords]
    makers = [each for each in makers if tree.text(each.func).endswith("Queue")]
    if len(makers) != 1:
        raise CannotRewrite("how the queue is made is not plainly seen", "give it a maxsize")
    end = tree.end(makers[0]) - tree.source.line_start(queue.line)
    operations: list[Operation] = [Substitute(queue.path, queue.line, end, queue.line, end, "maxsize=250")]
    for step in queue.producers:
        home = program.tree(step.path)
        puts = [
            each
            for each in home.calls_on_line(step.line)
            if isinstance(each.func, ast.Attribute) and each.func.attr == "put_nowait"
        ]
        statement = home.statement_of(puts[0]) if puts else None
        if (
            len(puts) != 1
            or not isinstance(statement, ast.Expr)
            or not home.stands_alone(statement)
            or is_docstring(statement)
        ):
            raise CannotRewrite(
                f"the put at {step.path}:{step.line} would have to make room first", "make room by hand"
            )
        assert isinstance(puts[0].func, ast.Attribute)
        receiver = home.text(puts[0].func.value)
        if _makes_room(home, statement, receiver):
            continue
        operations.append(
            Insert(
                step.path,
                first_line(statement),
                (
                    f"if {receiver}.full():",
                    f"    {receiver}.get_nowait()  # a slow socket costs the oldest frame, never the call",
                ),
            )
        )
    why = "the queue holds 5 s of frames, and a full one loses its oldest instead of growing"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def _makes_room(tree: Tree, statement: ast.stmt, receiver: str) -> bool:
    before = [each for each in tree.suites[statement].statements if each.lineno < statement.lineno]
    return any(f"{receiver}.full()" in tree.text(each) for each in before)


def not_awaited(program: Program, finding: Finding) -> Iterator[Unit]:
    """Await a call of the trigger whose coroutine is dropped."""
    tree = program.tree(finding.path)
    calls = tree.calls_at(finding.line, finding.column) or tree.calls_on_line(finding.line)[:1]
    if not calls or not isinstance(tree.parents[calls[0]], ast.Expr):
        raise CannotRewrite("it is no statement of its own", "await it")
    operation = Reroute(finding.path, calls[0].lineno, tree.column(calls[0]), tree.text(calls[0]))
    yield Unit(
        (operation,), finding.rule, "unsafe", "the coroutine is awaited, so that it runs", (finding.fingerprint,)
    )


FIXERS = {
    "PG501": pipeline_map,
    "PG502": pipeline_log,
    "PG503": status_log,
    "PG504": greeting_log,
    "PG505": printed,
    "PG106": unbounded,
    "PG218": not_awaited,
}
