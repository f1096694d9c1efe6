"""Lets a trigger make good later what its guard skipped: a response led through it may not be lost where none is due.

A guard that only returns is fine while the trigger serves the caller's turns alone.  A key, a text or a tool's result
that is led through it as well may come in the middle of a response, and nobody would ask again.
"""

from __future__ import annotations

import ast

from pipeline_guard.fixes.deferral import defer
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation
from pipeline_guard.fixes.new_trigger import DEFERRED, DEFERRED_IS, ask_again
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reach import Target
from pipeline_guard.fixes.scope import find_function, functions_around, parameters, qualified_name
from pipeline_guard.fixes.surplus import is_log
from pipeline_guard.fixes.tree import FunctionNode, Tree, first_line
from pipeline_guard.pipeline.model import Lane, Step, Trigger


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
    if target.owner is not None:
        try:
            return defer(program, trigger)
        except CannotRewrite:
            return []
    guard = _guard(tree, definition, trigger.gate.checks[0])
    clear = _clear(program, trigger)
    if guard is None or clear is None or _is_taken(program, (target.path, clear[0].path)):
        return []
    operations = _in_handler(tree, target, trigger, clear)
    kept = [each.arg for each in parameters(definition)]
    if with_response and "response" not in kept:
        kept.append("response")
    return [*operations, *_edits(target, trigger, guard, clear, kept)] if operations and kept else []


def _edits(
    target: Target, trigger: Trigger, guard: ast.If, clear: tuple[Step, ast.stmt], kept: list[str]
) -> list[Operation]:
    """Return what stores the arguments in the guard, and what hands them to the trigger when the marker is cleared."""
    marker = trigger.gate.marker or ""
    store = f"{DEFERRED} = ({', '.join(kept)}{',' if len(kept) == 1 else ''})"
    # A request on its way answers what was there before it; only one that has begun may have come too early.
    alone = isinstance(guard.test, (ast.Compare, ast.Name))
    active = f"{marker} is not None" if marker.endswith("_id") else marker
    again = ask_again(DEFERRED, target.name, awaits=True)
    step, statement = clear
    return [
        Insert(target.path, first_line(guard.body[-1]), (store,) if alone else (f"if {active}:", f"    {store}")),
        Insert(step.path, statement.lineno, again, after=True),
    ]


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
    return isinstance(statement.value, ast.Call) and is_log(statement.value)


def _clear(program: Program, trigger: Trigger) -> tuple[Step, ast.stmt] | None:
    """Return the one plain assignment that clears the marker in a coroutine, or None."""
    gate = trigger.gate
    if len(gate.clears) != 1 or not gate.cleared_on_done:
        return None
    step = gate.clears[0]
    tree = program.tree(step.path)
    for statement in tree.suites:
        if statement.lineno != step.line or not isinstance(statement, ast.Assign) or not tree.stands_alone(statement):
            continue
        around = functions_around(tree, statement)
        if isinstance(statement.targets[0], ast.Name) and around and isinstance(around[0], ast.AsyncFunctionDef):
            return step, statement
    return None


def _is_taken(program: Program, paths: tuple[str, ...]) -> bool:
    return any(DEFERRED in program.source(path).text for path in paths)


def _in_handler(tree: Tree, target: Target, trigger: Trigger, clear: tuple[Step, ast.stmt]) -> list[Operation]:
    """Return the edits that give a handler the variable, where its trigger and its reader are functions inside it."""
    home, definition = target.inside, target.definition
    reader = find_function(tree, clear[0].symbol) if clear[0].path == target.path else None
    if home is None or definition is None or reader is None or home not in functions_around(tree, reader)[1:]:
        return []
    blocks = [each.body for each in home.body if isinstance(each, (ast.With, ast.AsyncWith, ast.Try))]
    makers = [
        each
        for block in (home.body, *blocks)
        for each in block
        if isinstance(each, ast.Assign)
        and [getattr(name, "id", "") for name in each.targets] == [trigger.gate.marker]
        and tree.stands_alone(each)
    ]
    if len(makers) != 1 or makers[0].lineno > definition.lineno:
        return []
    made = Insert(target.path, makers[0].lineno, (f"{DEFERRED} = None  # {DEFERRED_IS}",), after=True)
    return [made, *(Insert(target.path, first_line(each), (f"nonlocal {DEFERRED}",), inside=True)
                    for each in (definition, reader))]  # fmt: skip
