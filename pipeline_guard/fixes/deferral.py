"""Lets a trigger make good later what its guard skipped: a response led through it may not be lost where none is due.

A guard that only returns is fine while the trigger serves the caller's turns alone.  A key, a text or a tool's result
that is led through it as well may come in the middle of a response, and nobody would ask again.
"""

from __future__ import annotations

import ast

from pipeline_guard.fixes.edits import Insert, Operation
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reach import Target
from pipeline_guard.fixes.scope import find_function, functions_around, parameters, qualified_name, self_name
from pipeline_guard.fixes.surplus import _is_log
from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree, first_line
from pipeline_guard.pipeline.model import Lane, Step, Trigger

NAME = "deferred_response"
_REMARK = "what to ask for once the active response is over"


def remembered(program: Program, lane: Lane, target: Target, *, with_response: bool) -> list[Operation]:
    """Return the edits by which a trigger asks again, after ``response.done``, for what it skipped.

    There are none where it remembers already, and where guard and bookkeeping are no plain statements of one class or
    one handler.  ``with_response`` says that the trigger is being given a ``response`` parameter by other edits.
    """
    tree, definition = program.tree(target.path), target.definition
    symbol = qualified_name(tree, definition) if definition is not None else ""
    trigger = next((each for each in lane.triggers if (each.path, each.symbol) == (target.path, symbol)), None)
    if trigger is None or definition is None or trigger.gate.marker is None or len(trigger.gate.checks) != 1:
        return []
    guard = _guard(tree, definition, trigger.gate.checks[0])
    clear = _clear(program, trigger)
    if guard is None or clear is None or _is_taken(program, (target.path, clear[0].path)):
        return []
    home = _in_class(target) if target.owner is not None else _in_handler(tree, target, trigger, clear)
    if home is None:
        return []
    operations, own = home
    kept = [each.arg for each in parameters(definition) if each.arg != own.removesuffix(".")]
    if with_response and "response" not in kept:
        kept.append("response")
    if not kept:
        return []
    return [*operations, *_edits(target, trigger, guard, clear, own, kept)]


def _edits(
    target: Target, trigger: Trigger, guard: ast.If, clear: tuple[Step, ast.Assign], own: str, kept: list[str]
) -> list[Operation]:
    """Return what stores the arguments in the guard, and what hands them to the trigger when the marker is cleared."""
    marker = trigger.gate.marker or ""
    active = f"{own}{marker} is not None" if marker.endswith("_id") else f"{own}{marker}"
    store = f"{own}{NAME} = ({', '.join(kept)}{',' if len(kept) == 1 else ''})"
    # A request on its way answers what was there before it; only one that has begun may have come too early.
    alone = isinstance(guard.test, (ast.Compare, ast.Attribute, ast.Name))
    lines = (store,) if alone else (f"if {active}:", f"    {store}")
    step, statement = clear
    named = statement.targets[0]
    there = f"{_before_dot(named)}." if isinstance(named, ast.Attribute) else ""
    again = (
        f"if {there}{NAME} is not None:",
        f"    waiting, {there}{NAME} = {there}{NAME}, None",
        f"    await {there}{target.name}(*waiting)",
    )
    return [
        Insert(target.path, first_line(guard.body[-1]), lines),
        Insert(step.path, statement.lineno, again, after=True),
    ]


def _before_dot(node: ast.Attribute) -> str:
    return ast.unparse(node.value)


def _guard(tree: Tree, function: FunctionNode, check: Step) -> ast.If | None:
    """Return the trigger's ``if …: log; return``; None for any other guard, and for one that does something already."""
    for statement in function.body:
        if isinstance(statement, ast.If) and statement.lineno == check.line and not statement.orelse:
            *before, last = statement.body
            plain = all(isinstance(each, ast.Expr) and _is_report(each) for each in before)
            if plain and isinstance(last, ast.Return) and tree.stands_alone(last):
                return statement
    return None


def _is_report(statement: ast.Expr) -> bool:
    return isinstance(statement.value, ast.Call) and _is_log(statement.value)


def _clear(program: Program, trigger: Trigger) -> tuple[Step, ast.Assign] | None:
    """Return the one plain assignment that clears the marker in a coroutine, or None."""
    gate = trigger.gate
    if len(gate.clears) != 1 or not gate.cleared_on_done:
        return None
    step = gate.clears[0]
    tree = program.tree(step.path)
    for statement in tree.suites:
        if statement.lineno != step.line or not isinstance(statement, ast.Assign) or not tree.stands_alone(statement):
            continue
        named = statement.targets[0]
        plain = isinstance(named, ast.Name) or (isinstance(named, ast.Attribute) and isinstance(named.value, ast.Name))
        around = functions_around(tree, statement)
        if plain and len(statement.targets) == 1 and around and isinstance(around[0], ast.AsyncFunctionDef):
            return step, statement
    return None


def _is_taken(program: Program, paths: tuple[str, ...]) -> bool:
    return any(NAME in program.source(path).text for path in paths)


def _in_class(target: Target) -> tuple[list[Operation], str] | None:
    """Return the edit that gives a session the attribute, and what stands before its name in the trigger."""
    assert target.owner is not None
    own = self_name(target.definition) if target.definition is not None else None
    init = next((each for each in target.owner.body if isinstance(each, FUNCTIONS) and each.name == "__init__"), None)
    if own is None or init is None:
        return None
    line = f"{self_name(init) or 'self'}.{NAME} = None  # {_REMARK}"
    return [Insert(target.path, first_line(init), (line,), end=True)], f"{own}."


def _in_handler(
    tree: Tree, target: Target, trigger: Trigger, clear: tuple[Step, ast.Assign]
) -> tuple[list[Operation], str] | None:
    """Return the edits that give a handler the variable, where its trigger and its reader are functions inside it."""
    home, definition = target.inside, target.definition
    reader = find_function(tree, clear[0].symbol) if clear[0].path == target.path else None
    if home is None or definition is None or reader is None or home not in functions_around(tree, reader)[1:]:
        return None
    makers = [
        each
        for each in home.body
        if isinstance(each, ast.Assign)
        and [getattr(name, "id", "") for name in each.targets] == [trigger.gate.marker]
        and tree.stands_alone(each)
    ]
    makers += [
        each
        for block in home.body
        if isinstance(block, (ast.With, ast.AsyncWith, ast.Try))
        for each in block.body
        if isinstance(each, ast.Assign) and [getattr(name, "id", "") for name in each.targets] == [trigger.gate.marker]
    ]
    if len(makers) != 1 or makers[0].lineno > definition.lineno:
        return None
    declared = [
        Insert(target.path, first_line(each), (f"nonlocal {NAME}",), inside=True) for each in (definition, reader)
    ]
    return [Insert(target.path, makers[0].lineno, (f"{NAME} = None  # {_REMARK}",), after=True), *declared], ""
