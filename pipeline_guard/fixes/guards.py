"""What to do about a guard that is missing or comes too late: ask it first, mark before the send, follow the server."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.checks.responses import canonical_trigger
from pipeline_guard.findings import Finding
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation, Substitute, Unit, Wrap
from pipeline_guard.fixes.needed import need
from pipeline_guard.fixes.new_trigger import DEFERRED, receiver_at
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reader import Reader, main_reader, readers
from pipeline_guard.fixes.scope import constructor_of, functions_around, method_around, self_name
from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree, first_line
from pipeline_guard.pipeline.model import Lane, Trigger

BY_HAND = (
    "set a mark between the check and the send, give it up when the send fails, when response.created arrives and when "
    "an error names the event_id of the request"
)


def without_guard(program: Program, finding: Finding) -> Iterator[Unit]:
    """Give a pipeline whose send asks nothing a trigger with a guard, or its trigger the guard."""
    from pipeline_guard.fixes.new_trigger import NAME, add_trigger

    lane = program.lanes.get(finding.lane)
    trigger = canonical_trigger(lane) if lane is not None else None
    if lane is not None and trigger is not None and trigger.symbol.rpartition(".")[2] == NAME:
        yield _guarded(program, lane, trigger, finding)
    else:
        yield from add_trigger(program, finding)


def _guarded(program: Program, lane: Lane, trigger: Trigger, finding: Finding) -> Unit:
    """Return the unit that puts guard, mark and bookkeeping into a trigger that sends whatever happens."""
    from pipeline_guard.fixes.followers import followers
    from pipeline_guard.fixes.new_trigger import bookkeeping, state_lines, warning

    tree = program.tree(trigger.path)
    function, own = trigger_method(tree, trigger)
    send = _send(program, lane, trigger, function)
    event = _event(send, function)
    kept = trigger.gate.marker if trigger.gate.set_on_created else None
    if kept is not None and not kept.endswith("_id"):
        raise CannotRewrite(f"what {kept} holds is not known", BY_HAND)
    names = ("pending_response", DEFERRED, "responses_asked")
    declared = kept is not None or _is_only_declared(tree, function, "active_response_id")
    owner, init = _room(tree, function, names if declared else ("active_response_id", *names))
    reader = main_reader(
        {path: program.tree(path) for path in dict.fromkeys(each.path for each in lane.sites)}, program.event_names
    )
    receiver = receiver_at(program, trigger.path, owner, reader)
    if receiver is None:
        raise CannotRewrite("where events are read, the session is not at hand", BY_HAND)
    if "reason" not in {each.arg for each in function.args.args}:
        raise CannotRewrite(f"{trigger.symbol}() takes no reason that the guard could log", BY_HAND)
    operations, logger = need(program, trigger.path, logger=True)
    lines: list[str] = []
    for marker in (f"{own}.{kept or 'active_response_id'}", f"{own}.pending_response"):
        lines += [f"if {marker} is not None:", *(f"    {line}" for line in warning(logger, marker)), "    return"]
    operations += [
        Insert(
            trigger.path,
            first_line(init),
            state_lines(self_name(init) or "self", (DEFERRED, *(["active_response_id"] if declared else []))),
            end=True,
        ),
        Insert(trigger.path, first_line(function), tuple(lines), inside=True),
        *_marked(tree, trigger.path, send, event, own),
        *(
            bookkeeping(each, f"{at}.", kept, None, awaits=isinstance(function, ast.AsyncFunctionDef))
            for each, at in ((reader, receiver), *followers(program, trigger.path, owner, reader))
        ),
    ]
    why = f"{trigger.symbol}() asks for an active response first, and marks its own before the send"
    return Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def _is_only_declared(tree: Tree, function: FunctionNode, name: str) -> bool:
    """Say whether the class of a trigger sets an attribute to None in its constructor, and nothing else with it."""
    found = method_around(tree, function)
    nodes = (
        [node for node in ast.walk(found[0]) if isinstance(node, ast.Attribute) and node.attr == name]
        if found is not None
        else []
    )
    above = tree.parents[nodes[0]] if len(nodes) == 1 else None
    return isinstance(above, (ast.Assign, ast.AnnAssign)) and getattr(above.value, "value", 0) is None


def _room(tree: Tree, function: FunctionNode, names: tuple[str, ...]) -> tuple[ast.ClassDef, ast.FunctionDef]:
    """Return the class of a method and its constructor; raises where the class uses some of the names already."""
    found = method_around(tree, function)
    assert found is not None
    owner = found[0]
    init = constructor_of(owner)
    if init is None or any(isinstance(node, ast.Attribute) and node.attr in names for node in ast.walk(owner)):
        raise CannotRewrite(f"{owner.name} has no room for the mark", BY_HAND)
    return owner, init


def _marked(tree: Tree, path: str, send: ast.Call, event: ast.Dict, own: str) -> tuple[Operation, ...]:
    """Return the edits that mark a request before it is sent, and give the mark up where the send fails."""
    mark, value = f"{own}.pending_response", event.values[-1]
    return (
        Wrap(
            path,
            first_line(tree.statement_of(send)),
            (
                f"{own}.responses_asked += 1",
                f'{mark} = f"response_{{{own}.responses_asked}}"  # set before anything else can run',
                "try:",
            ),
            ("except BaseException:", f"    {mark} = None", "    raise"),
        ),
        replaced(tree, path, value, f'{tree.text(value)}, "event_id": {mark}'),
    )


def race(program: Program, finding: Finding) -> Iterator[Unit]:
    """Set a mark between the check and the send."""
    from pipeline_guard.fixes.followers import followers

    lane = program.lanes.get(finding.lane)
    trigger = canonical_trigger(lane) if lane is not None else None
    if lane is None or trigger is None or trigger.gate.race not in ("unmarked", "awaited"):
        raise CannotRewrite("the order of check, mark and send has to be put right by hand", BY_HAND)
    gate = trigger.gate
    if not gate.set_on_created or len(gate.checks) != 1 or len(trigger.sites) != 1:
        raise CannotRewrite("what the guard asks does not follow the server's events in one place", BY_HAND)
    tree = program.tree(trigger.path)
    function, own = trigger_method(tree, trigger)
    check = early_return(tree, function, gate.checks[0].line)
    send = _send(program, lane, trigger, function)
    event = _event(send, function)
    owner, init = _room(tree, function, ("pending_response", "responses_asked"))
    reader, prefix = _created(program, lane, trigger)
    # Between threads there must be no moment at which neither mark is set.
    threads = not isinstance(function, ast.AsyncFunctionDef)
    active = gate.marker if threads and gate.marker and gate.marker.endswith("_id") else None
    instance = self_name(init) or "self"
    mark = f"{own}.pending_response"
    test = tree.text(check.test)
    operations: tuple[Operation, ...] = (
        Insert(
            trigger.path,
            first_line(init),
            (
                f'{instance}.pending_response: "str | None" = None  # event_id of the response that was asked for',
                f"{instance}.responses_asked = 0",
            ),
            end=True,
        ),
        replaced(tree, trigger.path, check.test, f"{_grouped(check.test, test)} or {mark} is not None"),
        *_marked(tree, trigger.path, send, event, own),
        Insert(reader.path, first_line(reader.statement), _followed(reader, prefix, active)),
        *(
            Insert(each.path, first_line(each.statement), _followed(each, f"{at}.", active))
            for each, at in followers(program, trigger.path, owner, reader)
        ),
    )
    why = "a mark is set before the send, and given up on response.created, on a failed send and on a refusal"
    yield Unit(operations, finding.rule, "unsafe", why, (finding.fingerprint,))


def trigger_method(tree: Tree, trigger: Trigger) -> tuple[FunctionNode, str]:
    """Return a trigger's function and what it calls its instance; raises where it is no method."""
    function = tree.function_at(trigger.line)
    own = self_name(function) if function is not None and "." in trigger.symbol else None
    if function is None or own is None or not isinstance(tree.parents[function], ast.ClassDef):
        raise CannotRewrite(f"{trigger.symbol}() is no method", BY_HAND)
    return function, own


def early_return(tree: Tree, function: FunctionNode, line: int) -> ast.If:
    """Return the guard of a trigger: an ``if`` at a line that ends in ``return``; raises where it is anything else."""
    for statement in tree.statements_of(function):
        if not isinstance(statement, ast.If) or statement.lineno != line or statement.orelse:
            continue
        if isinstance(statement.body[-1], ast.Return) and statement in function.body:
            return statement
    raise CannotRewrite("the guard is no plain 'if …: return'", BY_HAND)


def _send(program: Program, lane: Lane, trigger: Trigger, function: FunctionNode) -> ast.Call:
    tree = program.tree(trigger.path)
    for site in lane.sites:
        here = (site.kind, site.role, site.path, site.line)
        if here != ("response_create", "primitive", trigger.path, trigger.sites[0].line):
            continue
        for call in tree.calls_at(site.line, site.column)[:1]:
            awaited = isinstance(tree.parents[call], ast.Await)
            plain = awaited is isinstance(function, ast.AsyncFunctionDef) and tree.stands_alone(tree.statement_of(call))
            plain = plain and (awaited or isinstance(tree.parents[call], ast.Expr))
            if plain and functions_around(tree, call)[0] is function:
                return call
    raise CannotRewrite("the send of the trigger is no statement of its own", BY_HAND)


def _event(send: ast.Call, function: FunctionNode) -> ast.Dict:
    """Return the event of a send, to which an event_id can be added."""
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        and any(isinstance(value, ast.Constant) and value.value == "response.create" for value in node.values)
    ]
    keys = [key.value for node in found for key in node.keys if isinstance(key, ast.Constant)]
    if len(found) != 1 or "event_id" in keys or not any(node is found[0] for node in ast.walk(send)):
        raise CannotRewrite("the event it sends is not written where it is sent", BY_HAND)
    return found[0]


def _created(program: Program, lane: Lane, trigger: Trigger) -> tuple[Reader, str]:
    """Return the reader that sets the marker, and the text before the marker's name there."""
    step = trigger.gate.sets[0]
    tree = program.tree(step.path)
    reader = next(
        (
            each
            for _, each in readers(tree, step.path, program.event_names)
            if each.function.lineno <= step.line <= (each.function.end_lineno or 0)
        ),
        None,
    )
    if reader is None:
        reader = main_reader(
            {path: program.tree(path) for path in dict.fromkeys(each.path for each in lane.sites)}, program.event_names
        )
    for statement in tree.suites:
        if statement.lineno == step.line and isinstance(statement, ast.Assign):
            target = statement.targets[0]
            if isinstance(target, ast.Attribute):
                return reader, tree.text(target.value) + "."
    raise CannotRewrite("where the marker is set is no plain assignment", BY_HAND)


def _followed(reader: Reader, prefix: str, active: str | None) -> tuple[str, ...]:
    event = reader.event
    refused = (
        f'getattr({event}.error, "event_id", None)'
        if reader.typed
        else f'({event}.get("error") or {{}}).get("event_id")'
    )
    return (
        f'if {reader.kind} == "response.created":',
        *([f"    {prefix}{active} = {identity(reader)}"] if active else []),
        f"    {prefix}pending_response = None",
        f'elif {reader.kind} == "error" and {refused} == {prefix}pending_response:',
        f"    {prefix}pending_response = None  # refused: no response.created will come",
        "",
    )


def identity(reader: Reader) -> str:
    """Return the expression for the id of the response that an event speaks of."""
    return f"{reader.event}.response.id" if reader.typed else f'{reader.event}["response"]["id"]'


def _grouped(node: ast.expr, text: str) -> str:
    return text if isinstance(node, (ast.Compare, ast.Attribute, ast.Name, ast.Call)) else f"({text})"


def replaced(tree: Tree, path: str, node: ast.expr, code: str) -> Substitute:
    """Return the operation that puts code in the place of an expression."""
    end_line: int = node.end_lineno or node.lineno
    end = tree.end(node) - tree.source.line_start(end_line) + 1
    return Substitute(path, node.lineno, tree.column(node), end_line, end, code)


def cleared_elsewhere(program: Program, finding: Finding) -> Iterator[Unit]:
    """Clear the marker only for the response that it stands for."""
    lane = program.lanes.get(finding.lane)
    clears = [
        clear
        for trigger in (lane.triggers if lane is not None else ())
        for clear in trigger.gate.wrong_clears
        if (clear.place.path, clear.place.line) == (finding.path, finding.line)
    ]
    if not clears or clears[0].on != "any_response" or not clears[0].marker.endswith("_id"):
        raise CannotRewrite(
            "what else this place does when it gives the marker up is not known",
            "take the assignment out; the marker is cleared on the response.done of its own response",
        )
    tree = program.tree(finding.path)
    statement = next(
        (each for each in tree.suites if each.lineno == finding.line and isinstance(each, ast.Assign)), None
    )
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or not tree.stands_alone(statement):
        raise CannotRewrite("it is no plain assignment", BY_HAND)
    around = next((each for each in tree.above(statement) if isinstance(each, FUNCTIONS)), None)
    reader = next(
        (each for _, each in readers(tree, finding.path, program.event_names) if each.function is around), None
    )
    if reader is None:
        raise CannotRewrite("the event is not at hand here", BY_HAND)
    marker = tree.text(statement.targets[0])
    wrap = Wrap(finding.path, statement.lineno, (f"if {identity(reader)} == {marker}:",), ())
    why = f"{marker} is cleared by the end of its own response only"
    yield Unit((wrap,), finding.rule, "unsafe", why, (finding.fingerprint,))


FIXERS = {"PG203": without_guard, "PG204": race, "PG206": cleared_elsewhere}
