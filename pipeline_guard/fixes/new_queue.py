"""Gives a pipeline its queue and its sender loop, where the frame handler sends the caller's audio itself."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.findings import Finding
from pipeline_guard.fixes.commits import waits_before_commits
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation, Remove, Reroute, Unit, Wrap
from pipeline_guard.fixes.frames import frame_at, local_event
from pipeline_guard.fixes.needed import imported, is_bound, need
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import (
    classes_around,
    constructor_of,
    find_function,
    functions_around,
    method_around,
    names_in_scope,
    self_name,
)
from pipeline_guard.fixes.source import lines_of
from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree
from pipeline_guard.pipeline.model import Lane, Sender, Site

BY_HAND = (
    "add realtime_audio_in_queue and a task audio_sender_loop that reads it and sends, and put the frame on it here"
)
QUEUE, LOOP, TASK = "realtime_audio_in_queue", "audio_sender_loop", "audio_sender_task"
PIPELINE_LOG = (
    '"[PIPELINE] LIVE AUDIO PIPELINE ACTIVE: Twilio → realtime_audio_in_queue → send_audio_chunk (single path)"'
)
_THREAD = "audio_sender_thread"
_SIZE = "(maxsize=250)  # 5 s of the caller's 20 ms frames"
_MAKE = {
    True: f"{QUEUE}: asyncio.Queue = asyncio.Queue{_SIZE}",
    False: f"{QUEUE}: queue.Queue = queue.Queue{_SIZE}",
}
_MODULES = {True: ("asyncio",), False: ("queue", "threading")}


class Send(NamedTuple):
    """A send in a frame handler: the call, what of it goes onto the queue, and the send as the loop writes it.

    ``unused`` is the statement that built the event and is not needed any more; ``counted`` says that somebody waits
    until all of the queue is sent; without ``awaits`` the handler is a thread's, and so is the loop.
    """

    site: Site
    tree: Tree
    call: ast.Call
    function: FunctionNode
    item: str
    name: str
    lines: tuple[str, ...]
    unused: ast.stmt | None = None
    counted: bool = False
    awaits: bool = True


def add_queue(program: Program, lane: Lane, sender: Sender, finding: Finding) -> Iterator[Unit]:
    """Yield the unit that puts the frames of a handler on a new queue, with the loop that reads it."""
    sites = [
        each
        for step in sender.sites
        for each in lane.sites
        if each.kind == "audio_send" and (each.path, each.line) == (step.path, step.line)
    ]
    send = _send(program, lane, sites)
    inner = _per_frame(program, lane, sender, send)
    operations: list[Operation] = []
    if inner is not None:
        send = inner
    if frame_at(program, lane, send.site) is None:
        raise CannotRewrite("what it sends need not be audio, and a queue of frames may drop the oldest", BY_HAND)
    around = functions_around(send.tree, send.call)
    method = method_around(send.tree, send.call)
    in_class = method is not None and len(around) == 1 and not _needs_locals(send, method[1])
    queue = f"{self_name(method[1])}.{QUEUE}" if in_class and method is not None else QUEUE
    waits = waits_before_commits(program, lane, around[0], send.site.path, queue)
    send = send._replace(counted=bool(waits))
    home: ast.AST = (*classes_around(send.tree, send.call)[:1], around[-1])[0]
    if any(isinstance(node, FUNCTIONS) and node.name == LOOP for node in ast.walk(home)):
        raise CannotRewrite(f"there is a {LOOP}() already, but it does not read the queue of this call", BY_HAND)
    if in_class and method is not None:
        operations += _in_class(program, lane, send, method[0], method[1])
    else:
        operations += _in_handler(program, send, around)
    operations += waits
    runs = "task" if send.awaits else "thread"
    why = f"the frame goes onto a new {QUEUE}, and one {runs}, {LOOP}(), sends it; a slow socket costs the oldest frame"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def _send(program: Program, lane: Lane, sites: list[Site]) -> Send:
    if len(sites) != 1:
        raise CannotRewrite("the handler sends audio in several places", BY_HAND)
    site = sites[0]
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        raise CannotRewrite("the call was not found", BY_HAND)
    call = calls[0]
    around = functions_around(tree, call)
    awaits = bool(around) and isinstance(around[0], ast.AsyncFunctionDef)
    if not around or not isinstance(tree.parents[call], ast.Await if awaits else ast.Expr):
        raise CannotRewrite("it is no call whose end its function waits for", BY_HAND)
    statement = tree.statement_of(call)
    if not isinstance(statement, ast.Expr) or not tree.stands_alone(statement):
        raise CannotRewrite("it is no statement with lines of its own", BY_HAND)
    frame = frame_at(program, lane, site)
    within = frame is not None and any(node is frame.value for node in ast.walk(call))
    item = frame.value if frame is not None and within else _item(call)
    text, start = tree.text(call), tree.start(call)
    event = local_event(tree, call, item.id) if isinstance(item, ast.Name) else None
    if event is not None and frame is not None and any(node is frame.value for node in ast.walk(event)):
        return _of_event(tree, site, call, around[0], item, event, frame.value)._replace(awaits=awaits)
    name = item.id if isinstance(item, ast.Name) else "payload"
    inside = text[: tree.start(item) - start] + name + text[tree.end(item) - start :]
    if '"""' in text or "'''" in text:
        raise CannotRewrite("it holds a text of several lines", BY_HAND)
    others = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    if not isinstance(item, ast.Name) and name in others - {
        node.id for node in ast.walk(item) if isinstance(node, ast.Name)
    }:
        raise CannotRewrite("its names clash with that of the frame", BY_HAND)
    margin = tree.indentation(statement.lineno)
    lines = tuple(line.removeprefix(margin).rstrip() for line in inside.replace("\r\n", "\n").split("\n"))
    return Send(site, tree, call, around[0], tree.text(item), name, lines, awaits=awaits)


def _of_event(
    tree: Tree, site: Site, call: ast.Call, function: FunctionNode, name: ast.expr, event: ast.Dict, audio: ast.expr
) -> Send:
    """Return a send whose event is built before: the loop builds it, and the audio alone goes onto the queue."""
    assert isinstance(name, ast.Name)
    start = tree.start(event)
    text = tree.text(event)
    text = text[: tree.start(audio) - start] + "payload" + text[tree.end(audio) - start :]
    compact = (
        " ".join(line.strip() for line in lines_of(text)).replace(", }", "}").replace("{ ", "{").replace(" }", "}")
    )
    begin = tree.start(call)
    whole = tree.text(call)
    line = whole[: tree.start(name) - begin] + compact + whole[tree.end(name) - begin :]
    try:
        ast.parse(line)
    except SyntaxError:
        raise CannotRewrite("the event it sends could not be written in one line", BY_HAND) from None
    if "\n" in line or "#" in text:
        raise CannotRewrite("the event it sends could not be written in one line", BY_HAND)
    used = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name.id]
    statement = tree.statement_of(event)
    return Send(site, tree, call, function, tree.text(audio), "payload", (line,), statement if len(used) == 2 else None)


def _item(call: ast.Call) -> ast.expr:
    """Return the part of a send that changes from frame to frame: the audio of an event, or the one argument."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    for argument in arguments:
        for node in ast.walk(argument):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "audio":
                        return value
    if len(arguments) != 1 or isinstance(arguments[0], ast.Starred):
        audio = next((keyword.value for keyword in call.keywords if keyword.arg and "audio" in keyword.arg), None)
        if audio is None:
            raise CannotRewrite("which of its arguments is the audio is not plainly seen", BY_HAND)
        return audio
    item = arguments[0]
    while isinstance(item, ast.Call) and len(item.args) == 1 and not item.keywords and _last(item.func) == "dumps":
        item = item.args[0]
    return item


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _per_frame(program: Program, lane: Lane, sender: Sender, send: Send) -> Send | None:
    """Return the send inside the method that the handler hands its frame to, where that method is of the program."""
    callee = send.site.callee
    if callee is None:
        return None
    path, _, symbol = callee.rpartition(":")
    inner = [each for each in lane.sites if each.kind == "audio_send" and (each.path, each.symbol) == (path, symbol)]
    if path not in program.sources.data or not inner or _is_audio(program, path, symbol):
        return None
    if len(inner) != 1:
        raise CannotRewrite(f"{symbol}() sends audio in several places", BY_HAND)
    deeper = _send(program, lane, inner)
    further = _per_frame(program, lane, sender, deeper)
    return further or deeper


def _is_audio(program: Program, path: str, symbol: str) -> bool:
    """Say whether a callee takes nothing but the audio: then it is the client's send, which the loop calls."""
    function = find_function(program.tree(path), symbol)
    if function is None:
        return True
    names = [each.arg for each in function.args.args if each.arg not in ("self", "cls")]
    words = ("message", "msg", "data", "event", "frame")
    return not any(name in words for name in names)


# -- where the loop stands


def _in_handler(program: Program, send: Send, around: list[FunctionNode]) -> list[Operation]:
    """Return the edits for a handler that is a function, or a closure in one."""
    tree, path = send.tree, send.site.path
    loop = _loop_around(tree, send)
    _refuse_other_meanings(tree, send)
    operations, logger = need(program, path, *_MODULES[send.awaits], logger=True)
    made = (
        _MAKE[send.awaits],
        "",
        f"{_def(send)} {LOOP}():",
        *_loop_body(send, QUEUE, logger),
        "",
    )
    if len(around) > 1:
        home: ast.stmt = around[0]
        operations.append(Insert(path, _first(home), made))
        _refuse_unknown_names(send, tree, home)
        operations += _start(send, tree, path, loop, "", {QUEUE})
    else:
        _refuse_unknown_names(send, tree, loop)
        place = _try_around(tree, loop, _locals_used(send)) or loop
        operations.append(Insert(path, _first(place), made))
        operations += _start(send, tree, path, loop, "", set())
    return [*operations, *_puts(send, QUEUE)]


def _in_class(program: Program, lane: Lane, send: Send, owner: ast.ClassDef, method: FunctionNode) -> list[Operation]:
    """Return the edits for a handler that is a method: the queue is an attribute, the loop a method."""
    path, own = send.site.path, self_name(method)
    if own is None:
        raise CannotRewrite(f"{method.name}() has no instance", BY_HAND)
    init = constructor_of(owner)
    if init is None:
        raise CannotRewrite(f"{owner.name} has no __init__ in which the queue could be made", BY_HAND)
    _refuse_other_meanings(send.tree, send)
    operations, logger = need(program, path, *_MODULES[send.awaits], logger=True)
    instance = self_name(init) or "self"
    body = _loop_body(send, f"{own}.{QUEUE}", logger)
    # What ends the method comes before what follows it.
    operations += _start_of_class(program, lane, send, own)
    operations += [
        Insert(path, _first(init), (f"{instance}.{_MAKE[send.awaits]}",), end=True),
        Insert(path, _first(method), ("", f"{_def(send)} {LOOP}({own}) -> None:", *body), after=True),
    ]
    return [*operations, *_puts(send, f"{own}.{QUEUE}")]


def _needs_locals(send: Send, method: FunctionNode) -> bool:
    """Say whether a send needs what only its method knows: then queue and loop belong into the method."""
    used = {node.id for node in ast.walk(send.call) if isinstance(node, ast.Name)} - {self_name(method), send.name}
    return bool((used & names_in_scope(send.tree, send.call)) - _names_of(send))


def _start_of_class(program: Program, lane: Lane, send: Send, own: str) -> list[Operation]:
    """Return the start of a loop that is a method: at the loop over the caller's frames, here or at a caller."""
    tree, site, call, receiver = send.tree, send.site, send.call, own
    for _ in range(4):
        loop = _find_loop(tree, call)
        if loop is not None:
            operations: list[Operation] = []
            if site.path != send.site.path:
                operations, _ = need(program, site.path, *(["asyncio"] if send.awaits else ["threading"]))
            return [*operations, *_start(send, tree, site.path, loop, f"{receiver}.", _roots(receiver))]
        home = f"{site.path}:{site.symbol}"
        callers = [each for each in lane.sites if each.kind == "audio_send" and each.callee == home]
        if len(callers) != 1:
            break
        site = callers[0]
        tree = program.tree(site.path)
        calls = tree.calls_at(site.line, site.column)
        if not calls or not isinstance(calls[0].func, ast.Attribute):
            break
        call = calls[0]
        base = tree.text(calls[0].func.value)
        if base not in ("self", own) and "." in base:
            break
        receiver = base
    raise CannotRewrite("the loop over the caller's frames was not found", BY_HAND)


def _roots(receiver: str) -> set[str]:
    return {receiver.split(".", maxsplit=1)[0]}


def _loop_body(send: Send, queue: str, logger: str) -> tuple[str, ...]:
    first, *rest = send.lines
    waits = "await " if send.awaits else ""
    sending = (f"{waits}{first}", *rest)
    if send.counted:
        sending = ("try:", *(f"    {line}" if line else "" for line in sending), "finally:", f"    {queue}.task_done()")
    return (
        '    """Send the caller\'s audio to Realtime: the one place that does."""',
        f"    {logger}.info({PIPELINE_LOG})",
        "    while True:",
        f"        {send.name} = {waits}{queue}.get()",
        *([] if send.awaits else [f"        if {send.name} is None:", "            return  # the call is over"]),
        *(f"        {line}" if line else "" for line in sending),
    )


def _puts(send: Send, queue: str) -> list[Operation]:
    statement = send.tree.statement_of(send.call)
    gone = [Remove(send.site.path, send.unused.lineno)] if send.unused is not None else []
    return [
        *gone,
        Insert(
            send.site.path,
            statement.lineno,
            (
                f"if {queue}.full():",
                f"    {queue}.get_nowait()  # a slow socket costs the oldest frame, never the call",
                *([f"    {queue}.task_done()"] if send.counted else []),
            ),
        ),
        Reroute(send.site.path, send.site.line, send.site.column, f"{queue}.put_nowait({send.item})", awaits=False),
    ]


# -- the loop over the frames, and what is started around it


def _find_loop(tree: Tree, node: ast.AST) -> ast.stmt | None:
    """Return the outermost loop of its function that a node stands in."""
    found: ast.stmt | None = None
    for each in tree.above(node):
        if isinstance(each, FUNCTIONS):
            break
        if isinstance(each, (ast.For, ast.AsyncFor, ast.While)):
            found = each
    return found


def _loop_around(tree: Tree, send: Send) -> ast.stmt:
    loop = _find_loop(tree, send.call)
    if loop is None:
        raise CannotRewrite("it stands in no loop over the caller's frames", BY_HAND)
    return loop


def _start(send: Send, tree: Tree, path: str, loop: ast.stmt, receiver: str, names: set[str]) -> list[Operation]:
    """Return the edits that start the sender before a loop and end it behind, whatever ends the loop."""
    start, stop = _start_and_stop(send, receiver)
    watch: list[Operation] = []
    if send.awaits:
        # Where frames were sent here, a broken connection ended this loop; the task alone would only fall silent.
        lines = (f"if {TASK}.done():", f"    await {TASK}  # it failed: so does this")
        watch.append(Insert(path, loop.lineno, lines, inside=True))
    block = _try_around(tree, loop, names | (_locals_used(send) if path == send.site.path else set()))
    if block is None:
        return [*watch, Wrap(path, loop.lineno, (*start, "try:"), ("finally:", *(f"    {line}" for line in stop)))]
    operations: list[Operation] = [*watch, Insert(path, block.lineno, start)]
    if block.finalbody:
        operations.append(Insert(path, block.finalbody[0].lineno, stop))
    else:
        operations.append(Insert(path, block.lineno, ("finally:", *(f"    {line}" for line in stop)), after=True))
    return operations


def _start_and_stop(send: Send, receiver: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines that start and end the loop; ``receiver`` is what comes before its name and the queue's."""
    if send.awaits:
        return (f"{TASK} = asyncio.create_task({receiver}{LOOP}())",), (f"{TASK}.cancel()",)
    queue = f"{receiver}{QUEUE}"
    return (
        (f"{_THREAD} = threading.Thread(target={receiver}{LOOP}, daemon=True)", f"{_THREAD}.start()"),
        (
            f"if {queue}.full():",
            f"    {queue}.get_nowait()",
            f"{queue}.put_nowait(None)  # ends the loop",
            f"{_THREAD}.join(2)",
        ),
    )


def _def(send: Send) -> str:
    return "async def" if send.awaits else "def"


def _refuse_other_meanings(tree: Tree, send: Send) -> None:
    """Raise where a file calls something else by the name of a module that the loop needs."""
    for module in () if send.awaits else _MODULES[False]:
        if is_bound(tree, module) and not imported(tree, module):
            raise CannotRewrite(f"{module!r} means something else in this file", BY_HAND)


def _try_around(tree: Tree, loop: ast.stmt, names: set[str]) -> ast.Try | None:
    """Return the ``try`` that a loop is the body of, where all names are known before it already."""
    above = tree.parents.get(loop)
    if not isinstance(above, ast.Try) or loop not in above.body or not tree.stands_alone(above):
        return None
    if above.finalbody and not tree.stands_alone(above.finalbody[0]):
        return None
    local = {
        name for function in functions_around(tree, loop)[:1] for name in _assigned(tree, function) if name in names
    }
    return above if local <= names_in_scope(tree, above) else None


def _assigned(tree: Tree, function: FunctionNode) -> set[str]:
    return {
        node.id
        for statement in tree.statements_of(function)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _names_of(send: Send) -> set[str]:
    """Return the names in the part of a send that goes onto the queue."""
    return {node.id for node in ast.walk(ast.parse(send.item.strip(), mode="eval")) if isinstance(node, ast.Name)}


def _locals_used(send: Send) -> set[str]:
    """Return the names that the loop's send reads."""
    text = "\n".join(send.lines)
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)} - {send.name}


def _refuse_unknown_names(send: Send, tree: Tree, place: ast.AST) -> None:
    """Raise where the loop would read a name that has no value at the place where it is defined."""
    known = names_in_scope(tree, place)
    inner = {name for function in functions_around(tree, send.call) for name in _assigned(tree, function)} | {
        each.arg for function in functions_around(tree, send.call) for each in function.args.args
    }
    missing = sorted(name for name in _locals_used(send) if name in inner - known and not hasattr(builtins, name))
    if missing:
        raise CannotRewrite(f"the send needs {', '.join(missing)}, known only further in", BY_HAND)


def _first(statement: ast.stmt) -> int:
    from pipeline_guard.fixes.tree import first_line

    return first_line(statement)
