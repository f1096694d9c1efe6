"""Gives a pipeline its one trigger: with the guard, a mark that is set before the send, and the bookkeeping."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.findings import Finding
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation, Unit
from pipeline_guard.fixes.needed import Logger, need
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reach import Target, target_of
from pipeline_guard.fixes.reader import Reader, main_reader
from pipeline_guard.fixes.scope import (
    constructor_of,
    functions_around,
    held_at,
    method_around,
    names_in_scope,
    parameters,
    self_name,
)
from pipeline_guard.fixes.tree import FunctionNode, Tree, first_line, is_docstring
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Site

BY_HAND = "add trigger_response with its guard to the session, and call it here"
NAME = "trigger_response"
DEFERRED = "deferred_response"
DEFERRED_IS = "what to ask for once the active response is over"
_STATE = (
    ("active_response_id", "None", "the response that is being made, from response.created to response.done"),
    ("pending_response", "None", "event_id of the response that was asked for and has not begun"),
    (DEFERRED, "None", DEFERRED_IS),
    ("responses_asked", "0", ""),
)
_LOCK = ("response_lock", "threading.Lock()", "the threads of a call share this guard")
_DEF = {True: "async def", False: "def"}


class Sending(NamedTuple):
    """How a primitive sends: its lines with ``event`` in the place of the event, or the SDK's call of ``create``.

    One that does not await is of a backend of threads: its guard is shared between them and needs a lock.
    """

    site: Site
    tree: Tree
    call: ast.Call
    function: FunctionNode
    lines: tuple[str, ...]
    names: frozenset[str]
    sdk: bool
    awaits: bool = True


def add_trigger(program: Program, finding: Finding) -> Iterator[Unit]:
    """Yield the unit that adds ``trigger_response`` to a lane and leads every asked-for response through it."""
    from pipeline_guard.fixes.responses import UNASKED, lead_through

    lane = program.lanes.get(finding.lane)
    if lane is None:
        raise CannotRewrite("its pipeline was not found", BY_HAND)
    live = [
        each
        for each in lane.sites
        if each.kind == "response_create" and each.role == "primitive" and each.context not in QUIET_CONTEXTS
    ]
    asked = [each for each in live if each.trigger not in UNASKED]
    if not asked:
        raise CannotRewrite("no turn, tool or greeting stands behind any response here", BY_HAND)
    idle = [each for each in lane.triggers if each.symbol.rpartition(".")[2] == NAME]
    if len(idle) == 1 and not any(each.symbol == idle[0].symbol for each in live):
        yield _into_idle(program, lane, asked, target_of(program, idle[0].path, idle[0].symbol), finding)
        return
    if any(each.name == NAME for path in {site.path for site in lane.sites} for each in program.tree(path).functions):
        raise CannotRewrite(f"there is a {NAME}() already, which is not the one trigger of this pipeline", BY_HAND)
    sendings = [sending for each in asked if (sending := _sending(program, each)) is not None]
    sendings = [each for each in sendings if each.awaits] or sendings
    if not sendings:
        raise CannotRewrite("no send here could be written as a coroutine of its own", BY_HAND)
    reader = main_reader(
        {path: program.tree(path) for path in dict.fromkeys(each.path for each in lane.sites)}, program.event_names
    )
    target, operations = _home(program, lane, sendings, reader)
    lost: dict[str, None] = {}
    for site in asked:
        more, _, said = lead_through(program, lane, target, site)
        operations += more
        lost.update(dict.fromkeys(each for each in said.split("; ")[1:] if "handed on" in each))
    why = (
        f"adds {target.symbol}() with its guard and the bookkeeping where events are read; "
        f"{_count(len(asked))} through it{''.join(f'; {each}' for each in lost)}"
    )
    yield Unit(tuple(dict.fromkeys(operations)), finding.rule, "unsafe", why, (finding.fingerprint,))


def _into_idle(program: Program, lane: Lane, asked: list[Site], target: Target, finding: Finding) -> Unit:
    """Return the unit that leads every asked-for response through a trigger that nothing calls yet."""
    from pipeline_guard.fixes.responses import lead_through

    operations: list[Operation] = []
    for site in asked:
        more, _, _ = lead_through(program, lane, target, site)
        operations += more
    why = f"{_count(len(asked))} through {target.symbol}(), which nothing called"
    return Unit(tuple(dict.fromkeys(operations)), finding.rule, "unsafe", why, (finding.fingerprint,))


def _count(sends: int) -> str:
    return "the one send goes" if sends == 1 else f"{sends} sends go"


def _sending(program: Program, site: Site) -> Sending | None:
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    around = functions_around(tree, calls[0])[:1] if calls else []
    if not calls or not around:
        return None
    awaits = isinstance(tree.parents[calls[0]], ast.Await)
    if not awaits and not (isinstance(tree.parents[calls[0]], ast.Expr) and isinstance(around[0], ast.FunctionDef)):
        return None
    call, statement = calls[0], tree.statement_of(calls[0])
    if isinstance(call.func, ast.Attribute) and call.func.attr == "create" and not call.args:
        text = tree.text(call.func)
        names = frozenset(node.id for node in ast.walk(call.func) if isinstance(node, ast.Name))
        return Sending(site, tree, call, around[0], (text,), names, True, awaits)
    event = event_node(call)
    if event is None:
        return None
    text, start = tree.text(call), tree.start(call)
    inside = text[: tree.start(event) - start] + "event" + text[tree.end(event) - start :]
    margin = tree.indentation(statement.lineno)
    lines = tuple(line.removeprefix(margin).rstrip() for line in inside.replace("\r\n", "\n").split("\n"))
    compact = "".join(line.strip() for line in lines).replace(",)", ")")
    try:
        parsed = ast.parse(compact, mode="eval")
        lines = (compact,)
    except SyntaxError:
        return None
    names = frozenset(node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)) - {"event"}
    return Sending(site, tree, call, around[0], lines, names, False, awaits)


def event_node(call: ast.Call) -> ast.expr | None:
    """Return the part of a send that is the event: a dict, or the one name handed over."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    for argument in arguments:
        for node in ast.walk(argument):
            if isinstance(node, ast.Dict):
                return node
    if len(arguments) != 1:
        return None
    item = arguments[0]
    while isinstance(item, ast.Call) and len(item.args) == 1 and not item.keywords:
        item = item.args[0]
    return item if isinstance(item, ast.Name) else None


# -- where the trigger is at home


def _home(program: Program, lane: Lane, sendings: list[Sending], reader: Reader) -> tuple[Target, list[Operation]]:
    """Return the new trigger and the edits that write it: a method of the session class, else part of the handler."""
    classes: dict[int, list[tuple[Sending, ast.ClassDef, str]]] = {}
    for sending in sendings:
        method = method_around(sending.tree, sending.call)
        own = self_name(method[1]) if method is not None else None
        if method is None or own is None or functions_around(sending.tree, sending.call)[0] is not method[1]:
            continue
        if not (sending.names - {own}) & _bound_in(method[1]):
            classes.setdefault(id(method[0]), []).append((sending, method[0], own))
    for group in sorted(classes.values(), key=len, reverse=True):
        sending, owner, own = group[0]
        receiver = receiver_at(program, sending.site.path, owner, reader)
        if receiver is not None:
            return _in_class(program, lane, sending, owner, own, reader, receiver)
    return _in_handler(program, sendings, reader)


def receiver_at(program: Program, path: str, owner: ast.ClassDef, reader: Reader) -> str | None:
    """Return the expression by which the reader reaches an instance of the class, or None."""
    return held_at(program.tree(reader.path), reader.path, reader.statement, owner, path)


def _in_class(
    program: Program, lane: Lane, sending: Sending, owner: ast.ClassDef, own: str, reader: Reader, receiver: str
) -> tuple[Target, list[Operation]]:
    from pipeline_guard.fixes.followers import followers

    path = sending.site.path
    target = Target(path, NAME, owner, None, None, sending.awaits)
    operations, logger = need(program, path, *([] if sending.awaits else ["threading"]), logger=True)
    kept = _kept_marker(lane, owner)
    # Where a marker is kept already, its end is handled elsewhere, and nothing here may rely on the order of the two.
    stored = [each for each in _STATE if not (kept and each[0] in ("active_response_id", DEFERRED))]
    init = constructor_of(owner)
    _refuse_what_takes_no_attribute(sending.tree, owner)
    if not sending.awaits:
        stored.append(_LOCK)
    if any(program_has(owner, name) for name, _, _ in stored):
        raise CannotRewrite(f"{owner.name} has names already that the trigger would use", BY_HAND)
    if init is None and not sending.awaits:
        raise CannotRewrite(f"{owner.name} has no __init__ in which a lock could be made", BY_HAND)
    if init is not None:
        instance = self_name(init) or "self"
        lines = state_lines(instance, tuple(each[0] for each in _STATE if each not in stored), lock=not sending.awaits)
        operations.append(Insert(path, first_line(init), lines, end=True))
    else:
        lines = tuple(f"{name} = {value}{_remark(note)}" for name, value, note in stored)
        operations.append(Insert(path, first_line(owner), (*lines, ""), inside=True))
    head = f'{_DEF[sending.awaits]} {NAME}({own}, reason: str, response: "dict | None" = None) -> None:'
    body = _body(sending, f"{own}.", logger, kept)
    operations.append(Insert(path, first_line(sending.function), (head, *body, "")))
    for each, at in ((reader, receiver), *followers(program, path, owner, reader)):
        operations.append(bookkeeping(each, f"{at}.", kept, f"{at}.{NAME}", awaits=sending.awaits))
    return target, operations


def _refuse_what_takes_no_attribute(tree: Tree, owner: ast.ClassDef) -> None:
    """Raise for a class to which no attribute can be added by writing it down: slots, frozen, models of a library."""
    decorators = " ".join(tree.text(each) for each in owner.decorator_list)
    slots = any(isinstance(node, ast.Name) and node.id == "__slots__" for each in owner.body for node in ast.walk(each))
    if slots or "slots=True" in decorators or "frozen=True" in decorators:
        raise CannotRewrite(f"{owner.name} takes no new attributes", BY_HAND)
    known = {node.name: node for node in tree.parents if isinstance(node, ast.ClassDef)}
    for base in owner.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if name in known and known[name] is not owner:
            _refuse_what_takes_no_attribute(tree, known[name])
        elif name.endswith(("Model", "Settings", "NamedTuple", "TypedDict", "Struct")):
            raise CannotRewrite(f"{owner.name} is a {name}, whose attributes are fields", BY_HAND)


def state_lines(instance: str, without: tuple[str, ...] = (), *, lock: bool = False) -> tuple[str, ...]:
    """Return the lines of a constructor that give the trigger's state its first values."""
    return tuple(
        f"{instance}.{name}{_annotation(name)} = {value}{_remark(note)}"
        for name, value, note in ((_LOCK, *_STATE) if lock else _STATE)
        if name not in without
    )


def program_has(owner: ast.ClassDef, name: str) -> bool:
    """Say whether a class stores an attribute of a name, or defines it."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        for node in ast.walk(owner)
    )


def _annotation(name: str) -> str:
    return ': "str | None"' if name in ("active_response_id", "pending_response") else ""


def _remark(note: str) -> str:
    return f"  # {note}" if note else ""


def _kept_marker(lane: Lane, owner: ast.ClassDef) -> str | None:
    """Return the attribute that follows the server's responses already and holds an id, or None."""
    for trigger in lane.triggers:
        gate = trigger.gate
        kept = gate.set_on_created and gate.sets and gate.sets[0].symbol.split(".")[0] == owner.name
        if kept and gate.marker and gate.marker.endswith("_id"):
            return gate.marker
    return None


def _in_handler(program: Program, sendings: list[Sending], reader: Reader) -> tuple[Target, list[Operation]]:
    """Return a trigger that is a function inside the handler which the reader stands in."""
    tree, path = program.tree(reader.path), reader.path
    around = functions_around(tree, reader.function)
    home = around[1] if len(around) > 1 else around[0]
    sending = next((each for each in sendings if each.site.path == path), None)
    if sending is None:
        raise CannotRewrite("the sends stand in another file than the code that reads the server's events", BY_HAND)
    inside = reader.function if home is not reader.function else reader.statement
    place = _place(tree, home, inside, sending)
    if home is reader.function and _is_in_loop(tree, place, home):
        raise CannotRewrite("the handler opens its session in a loop", BY_HAND)
    taken = {node.id for node in ast.walk(home) if isinstance(node, ast.Name)}
    if any(name in taken for name, _, _ in (*_STATE, _LOCK)):
        raise CannotRewrite(f"{home.name}() has names already that the trigger would use", BY_HAND)
    target = Target(path, NAME, None, home, None, sending.awaits)
    operations, logger = need(program, path, *([] if sending.awaits else ["threading"]), logger=True)
    state = _STATE if sending.awaits else (_LOCK, *_STATE)
    lines = [f"{name} = {value}{_remark(note)}" for name, value, note in state]
    head = f'{_DEF[sending.awaits]} {NAME}(reason: str, response: "dict | None" = None) -> None:'
    body = _body(sending, "", logger, None)
    after = isinstance(place, ast.Assign)
    block = (*lines, "", head, *body)
    operations.append(Insert(path, first_line(place), ("", *block, "") if after else (*block, ""), after=after))
    if home is not reader.function:
        names = ", ".join(name for name, _, _ in _STATE[:3])
        operations.append(Insert(path, first_line(reader.function), (f"nonlocal {names}",), inside=True))
    operations.append(bookkeeping(reader, "", None, NAME, awaits=sending.awaits))
    return target, operations


def _place(tree: Tree, home: FunctionNode, inside: ast.AST, sending: Sending) -> ast.stmt:
    """Return the statement of the handler before (or, for an assignment, behind) which the trigger is written.

    There the connection has a value, and everything that may call the trigger comes later.
    """
    connection = sending.names - {"json", "self"}
    node: ast.AST = inside
    while True:
        statement = tree.statement_of(node)
        suite = tree.suites[statement]
        if not isinstance(suite.owner, (ast.Try, ast.If)):
            first = suite.statements[1 if is_docstring(suite.statements[0]) and len(suite.statements) > 1 else 0]
            if isinstance(suite.owner, (ast.For, ast.AsyncFor, ast.While)):
                node = suite.owner
                continue
            local = {name for name in connection if name in _bound_in(home)}
            if local <= names_in_scope(tree, first):
                return first
            for each in suite.statements:
                targets = each.targets if isinstance(each, ast.Assign) else ()
                binds = any(isinstance(target, ast.Name) and target.id in local for target in targets)
                if binds and each.lineno < statement.lineno and tree.stands_alone(each):
                    return each
            raise CannotRewrite("where the connection has a value for sure was not found", BY_HAND)
        node = suite.owner


def _bound_in(home: FunctionNode) -> set[str]:
    return {node.id for node in ast.walk(home) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)} | {
        each.arg for each in parameters(home)
    }


def _is_in_loop(tree: Tree, node: ast.AST, home: FunctionNode) -> bool:
    for each in tree.above(node):
        if each is home:
            return False
        if isinstance(each, (ast.For, ast.AsyncFor, ast.While)):
            return True
    return False


# -- what is written


def _body(sending: Sending, prefix: str, logger: Logger, kept: str | None) -> tuple[str, ...]:
    marker = kept or "active_response_id"
    lines = ['"""Ask for one response: the only place that sends response.create."""']
    if not prefix:
        lines.append(f"nonlocal pending_response, {DEFERRED}, responses_asked")
    head = tuple(lines)
    lines += [
        f"if {prefix}{marker} is not None:",
        *(f"    {line}" for line in warning(logger, f"{prefix}{marker}")),
        *([] if kept else [f"    {prefix}{DEFERRED} = (reason, response)"]),
        "    return",
        f"if {prefix}pending_response is not None:",
        *(f"    {line}" for line in warning(logger, f"{prefix}pending_response")),
        "    return",
        f"{prefix}responses_asked += 1",
        f'{prefix}pending_response = f"response_{{{prefix}responses_asked}}"  # set before anything else can run',
    ]
    waits = "await " if sending.awaits else ""
    if sending.sdk:
        lines += [
            'options = {"response": response} if response else {}',
            "try:",
            f"    {waits}{sending.lines[0]}(event_id={prefix}pending_response, **options)",
        ]
    else:
        lines += [
            f'event = {{"type": "response.create", "event_id": {prefix}pending_response}}',
            "if response:",
            '    event["response"] = response',
            "try:",
            f"    {waits}{sending.lines[0]}",
        ]
    lines += ["except BaseException:", f"    {prefix}pending_response = None", "    raise"]
    if not sending.awaits:
        lines = [*head, f"with {prefix}{_LOCK[0]}:", *(f"    {line}" for line in lines[len(head) :])]
    return tuple(f"    {line}" for line in lines)


def warning(logger: Logger, marker: str) -> list[str]:
    """Return the contract's guard message, written as the file's logger takes it."""
    if logger.braces:
        text = f"[RESPONSE GUARD] Active response in progress ({{{marker}}}) – skipping new response ({{reason}})"
        return [f'{logger}.warning(f"{text}")']
    text = "[RESPONSE GUARD] Active response in progress (%s) – skipping new response (%s)"
    return [f"{logger}.warning(", f'    "{text}",', f"    {marker}, reason,", ")"]


def bookkeeping(reader: Reader, prefix: str, kept: str | None, trigger: str | None, *, awaits: bool = True) -> Insert:
    """Return the lines that follow response.created, response.done and a refusal, before events are told apart.

    Without ``awaits`` several threads read what they set: no moment may look as if nothing were asked for or active.
    """
    event = reader.event
    identity = f"{event}.response.id" if reader.typed else f'{event}["response"]["id"]'
    refused = (
        f'getattr({event}.error, "event_id", None)'
        if reader.typed
        else f'({event}.get("error") or {{}}).get("event_id")'
    )
    lines = [f'if {reader.kind} == "response.created":']
    if kept is None or not awaits:
        lines.append(f"    {prefix}{kept or 'active_response_id'} = {identity}")
    lines += [f"    {prefix}pending_response = None"]
    if kept is None:
        lines += [f'elif {reader.kind} == "response.done" and {identity} == {prefix}active_response_id:']
        lines += [f"    {line}" for line in _done(reader, prefix, trigger, awaits)]
    lines += [
        f'elif {reader.kind} == "error" and {refused} == {prefix}pending_response:',
        f"    {prefix}pending_response = None  # refused: no response.created will come",
        "",
    ]
    return Insert(reader.path, first_line(reader.statement), tuple(lines))


def _done(reader: Reader, prefix: str, trigger: str | None, awaits: bool) -> list[str]:
    """Return the lines for the end of the active response: what was skipped meanwhile is asked for now."""
    cleared = f"{prefix}active_response_id = None"
    deferred = f"{prefix}{DEFERRED}"
    if trigger is None or (awaits and not isinstance(reader.function, ast.AsyncFunctionDef)):
        return [cleared]
    if awaits:
        return [cleared, *ask_again(deferred, trigger, awaits=True)]
    return [
        f"with {prefix}{_LOCK[0]}:",
        f"    {cleared}",
        f"    waiting, {deferred} = {deferred}, None",
        "if waiting is not None:",
        f"    {trigger}(*waiting)",
    ]


def ask_again(deferred: str, trigger: str, *, awaits: bool) -> tuple[str, ...]:
    """Return the lines that ask for what a variable keeps, once."""
    return (
        f"if {deferred} is not None:",
        f"    waiting, {deferred} = {deferred}, None",
        f"    {'await ' if awaits else ''}{trigger}(*waiting)",
    )
