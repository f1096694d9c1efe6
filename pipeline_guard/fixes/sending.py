"""What to do where a response is never sent, or is sent from the wrong loop or by two threads at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation, Unit, Wrap
from pipeline_guard.fixes.guards import replaced
from pipeline_guard.fixes.needed import need
from pipeline_guard.fixes.new_trigger import event_node
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reader import main_reader
from pipeline_guard.fixes.scope import constructor_of, find_function, method_around, self_name
from pipeline_guard.fixes.tree import FunctionNode, Tree, first_line, is_docstring
from pipeline_guard.pipeline.model import Site, Trigger

_SEND = "send response.create here"
_POST = (
    "keep the session's loop (asyncio.get_running_loop() when it starts) and post to it: "
    "asyncio.run_coroutine_threadsafe(self.trigger_response(reason), self.loop)"
)
_LOCK = "hold a threading.Lock from the check to the send"
_CLIENT_EVENTS = ("session.", "input_audio_buffer.", "conversation.item.", "response.")


def recursion(program: Program, finding: Finding) -> Iterator[Unit]:
    """Put the send back in the place of the trigger's call of itself, as its class sends everything else."""
    lane = program.lanes.get(finding.lane)
    steps = next(
        (
            each
            for each in (lane.endless if lane is not None else ())
            if (each[0].path, each[0].line) == (finding.path, finding.line)
        ),
        None,
    )
    if steps is None:
        raise CannotRewrite("the way round was not found", _SEND)
    last, first = steps[-1], steps[0]
    tree = program.tree(last.path)
    function = find_function(tree, last.symbol)
    method = method_around(tree, function) if function is not None else None
    own = self_name(function) if function is not None else None
    if function is None or method is None or own is None:
        raise CannotRewrite("it is no method of a class that sends", _SEND)
    name = first.symbol.rpartition(".")[2]
    calls = [
        node for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
        and getattr(node.func.value, "id", "") == own
    ]  # fmt: skip
    if len(calls) != 1 or not isinstance(tree.parents[calls[0]], (ast.Await, ast.Expr)):
        raise CannotRewrite("its call of itself is no statement of its own", _SEND)
    awaits = isinstance(tree.parents[calls[0]], ast.Await)
    code = _like_another_send(tree, method[0], function, awaits)
    operation = replaced(tree, last.path, calls[0], code)
    why = f"{last.symbol}() sends response.create again, in the way in which its class sends other events"
    yield Unit((operation,), finding.rule, "unsafe", why, (finding.fingerprint,))


def _like_another_send(tree: Tree, owner: ast.ClassDef, function: FunctionNode, awaits: bool) -> str:
    """Return the code that sends response.create as another method of the class sends an event."""
    for method in owner.body:
        if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) or method is function:
            continue
        own = self_name(method)
        for node in ast.walk(method):
            if not isinstance(node, ast.Call) or isinstance(tree.parents[node], ast.Await) is not awaits:
                continue
            event = event_node(node)
            if not isinstance(event, ast.Dict) or not _is_client_event(event) or own != self_name(function):
                continue
            text, start = tree.text(node), tree.start(node)
            code = text[: tree.start(event) - start] + '{"type": "response.create"}' + text[tree.end(event) - start :]
            names = {each.id for each in ast.walk(ast.parse(code, mode="eval")) if isinstance(each, ast.Name)}
            if "\n" not in code and names <= {own, "json", "orjson", "msgspec"}:
                return code
    raise CannotRewrite("no other send of the class was found that shows how to send", _SEND)


def _is_client_event(event: ast.Dict) -> bool:
    for key, value in zip(event.keys, event.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "type" and isinstance(value, ast.Constant):
            return isinstance(value.value, str) and value.value.startswith(_CLIENT_EVENTS)
    return False


def foreign_loop(program: Program, finding: Finding) -> Iterator[Unit]:
    """Post a response to the session's own loop, or hold a lock around check and send."""
    lane = program.lanes.get(finding.lane)
    site = next((each for each in program.sites_at(finding) if each.own_loop is not None), None)
    if lane is None:
        raise CannotRewrite("its pipeline was not found", _POST)
    if site is None:
        trigger = next((each for each in lane.triggers if each.threads and _sends_at(each, finding)), None)
        if trigger is None:
            raise CannotRewrite("the trigger was not found", _LOCK)
        yield _locked(program, trigger, finding)
        return
    tree = program.tree(site.path)
    method = method_around(tree, site_call(tree, site))
    own = self_name(method[1]) if method is not None else None
    runner = next((each for each in tree.above(site_call(tree, site)) if _runs_a_loop(each)), None)
    call = runner if isinstance(runner, ast.Call) else site_call(tree, site)
    if method is None or own is None or not _runs_a_loop(call) or not call.args:
        raise CannotRewrite("the session's loop is not at hand here", _POST)
    if not isinstance(tree.parents[call], ast.Expr):
        raise CannotRewrite("what the response's coroutine returns is used", _POST)
    if site.role != "primitive" and site.callee not in site.leads_to:
        name = (site.callee or "").rpartition(":")[2]
        raise CannotRewrite(f"{name}() does other work too, which would hold up the session's loop", _POST)
    coroutine = tree.text(call.args[0])
    loop, operations = _loop_of(program, site.path, method[0], own)
    code = f"asyncio.run_coroutine_threadsafe({coroutine}, {own}.{loop})"
    operations.append(replaced(tree, site.path, call, code))
    why = "the response is posted to the session's own loop, where its guard and its socket are"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def site_call(tree: Tree, site: Site) -> ast.Call:
    """Return the call at a site; raises CannotRewrite."""
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        raise CannotRewrite("the call was not found", _POST)
    return calls[0]


def _runs_a_loop(node: ast.AST) -> bool:
    name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
    return name in ("run", "run_until_complete")


def _loop_of(program: Program, path: str, owner: ast.ClassDef, own: str) -> tuple[str, list[Operation]]:
    """Return the attribute that holds the session's loop, and what makes it one where none does."""
    tree = program.tree(path)
    for node in ast.walk(owner):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            value = tree.text(node.value)
            if "get_running_loop(" in value or "get_event_loop(" in value:
                return node.targets[0].attr, []
    reader = main_reader({path: tree}, program.event_names)
    found = method_around(tree, reader.function)
    if found is None or found[0] is not owner or not isinstance(reader.function, ast.AsyncFunctionDef):
        raise CannotRewrite("where the session's loop could be kept was not found", _POST)
    init = constructor_of(owner)
    taken = {node.attr for node in ast.walk(owner) if isinstance(node, ast.Attribute)}
    name = next((each for each in ("loop", "realtime_loop") if each not in taken), None)
    if init is None or name is None:
        raise CannotRewrite(f"{owner.name} has no room for its loop", _POST)
    instance = self_name(reader.function) or own
    keeps = f"{instance}.{name} = asyncio.get_running_loop()  # guard and socket belong to it"
    operations, _ = need(program, path, "asyncio")
    operations.append(Insert(path, first_line(init), (f"{self_name(init) or 'self'}.{name} = None",), end=True))
    operations.append(Insert(path, first_line(reader.function), (keeps,), inside=True))
    return name, operations


def _sends_at(trigger: Trigger, finding: Finding) -> bool:
    return any((step.path, step.line) == (finding.path, finding.line) for step in trigger.sites)


def _locked(program: Program, trigger: Trigger, finding: Finding) -> Unit:
    """Return the unit that puts the body of a trigger under a lock."""
    tree = program.tree(trigger.path)
    function = find_function(tree, trigger.symbol)
    method = method_around(tree, function) if function is not None else None
    if not isinstance(function, ast.FunctionDef) or method is None:
        raise CannotRewrite("it is no plain method", _LOCK)
    own = self_name(function)
    init = constructor_of(method[0])
    lock = "response_lock"
    if own is None or init is None or any(getattr(node, "attr", "") == lock for node in ast.walk(method[0])):
        raise CannotRewrite(f"{method[0].name} has no room for a lock", _LOCK)
    body = function.body[1:] if is_docstring(function.body[0]) else function.body
    operations, _ = need(program, trigger.path, "threading")
    made = f"{self_name(init) or 'self'}.{lock} = threading.Lock()  # from the check to the send"
    operations.append(Insert(trigger.path, first_line(init), (made,), end=True))
    last = body[-1].end_lineno or body[-1].lineno
    operations.append(Wrap(trigger.path, first_line(body[0]), (f"with {own}.{lock}:",), (), last))
    why = f"{trigger.symbol}() holds a lock from the check to the send, for the threads that call it"
    return Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


FIXERS = {"PG213": foreign_loop, "PG217": recursion}
