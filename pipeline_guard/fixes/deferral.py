"""Has a trigger keep what it could not ask for, and ask for it once when the active response is over."""

from __future__ import annotations

import ast

from pipeline_guard.checks.responses import canonical_trigger
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation
from pipeline_guard.fixes.guards import early_return, trigger_method
from pipeline_guard.fixes.new_trigger import DEFERRED, DEFERRED_IS, ask_again, receiver_at
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.reader import Reader, readers
from pipeline_guard.fixes.scope import constructor_of, method_around, parameters, self_name
from pipeline_guard.fixes.tree import FunctionNode, Tree, first_line
from pipeline_guard.pipeline.model import Lane, Trigger

BY_HAND = (
    "keep what the trigger was asked for while a response was active, and ask for it in the branch of response.done"
)
_IS_SET = " is not None"


def the_trigger(lane: Lane | None) -> Trigger:
    """Return the one trigger of a lane; raises CannotRewrite where there is none."""
    trigger = canonical_trigger(lane) if lane is not None else None
    if trigger is None:
        raise CannotRewrite("there is no one trigger that could keep it", BY_HAND)
    return trigger


def defer(program: Program, trigger: Trigger, *, without: str | None = None) -> list[Operation]:
    """Return the edits by which a trigger defers what it skips; none where it does so already.

    ``without`` is a parameter that is on its way out and is not kept.  Raises CannotRewrite.
    """
    tree = program.tree(trigger.path)
    function, own = trigger_method(tree, trigger)
    if not trigger.gate.checks:
        raise CannotRewrite(f"{trigger.symbol}() asks for no active response", BY_HAND)
    guard = early_return(tree, function, trigger.gate.checks[0].line)
    if _keeps_something(guard, own):
        return []
    leaves = guard.body[-1]
    if not tree.stands_alone(leaves):
        raise CannotRewrite("the guard stands on one line", BY_HAND)
    kept = kept_by(function, own, without=without)
    marker = f"{own}.{trigger.gate.marker}"
    # A request that has not begun yet stands for this one as well; kept, it would be answered twice.
    asks_more = isinstance(guard.test, ast.BoolOp) and trigger.gate.marker is not None
    asks_more = asks_more and marker in tree.text(guard.test)
    is_set = _IS_SET if marker.endswith("_id") else ""
    lines = (f"if {marker}{is_set}:", f"    {kept}") if asks_more else (kept,)
    return [*answered_later(program, trigger), Insert(trigger.path, leaves.lineno, lines)]


def answered_later(program: Program, trigger: Trigger) -> list[Operation]:
    """Return the edits that make room for what is deferred, and ask for it behind response.done."""
    tree = program.tree(trigger.path)
    function, _ = trigger_method(tree, trigger)
    found = method_around(tree, function)
    assert found is not None
    owner = found[0]
    init = constructor_of(owner)
    if init is None or any(isinstance(node, ast.Attribute) and node.attr == DEFERRED for node in ast.walk(owner)):
        raise CannotRewrite(f"{owner.name} has no room for what is deferred", BY_HAND)
    if function.args.vararg is not None or function.args.kwarg is not None or function.args.kwonlyargs:
        raise CannotRewrite(f"{trigger.symbol}() takes arguments in a form that cannot be kept", BY_HAND)
    room = f"{self_name(init) or 'self'}.{DEFERRED} = None  # {DEFERRED_IS}"
    return [
        Insert(trigger.path, first_line(init), (room,), end=True),
        _asked_again(program, trigger, owner, isinstance(function, ast.AsyncFunctionDef)),
    ]


def kept_by(function: FunctionNode, own: str, *, without: str | None = None) -> str:
    """Return the statement by which a trigger keeps its own arguments, but for the one named."""
    names = [each.arg for each in parameters(function)[1:] if each.arg != without]
    return f"{own}.{DEFERRED} = ({', '.join(names)},)" if names else f"{own}.{DEFERRED} = ()"


def _keeps_something(guard: ast.If, own: str) -> bool:
    """Say whether the guard leaves a mark behind for what it skips."""
    nodes = [node for statement in guard.body for node in ast.walk(statement) if isinstance(node, ast.Attribute)]
    return any(
        (getattr(node.value, "id", "") == own and isinstance(node.ctx, ast.Store))
        or node.attr in ("append", "put_nowait", "add")
        for node in nodes
    )


def _asked_again(program: Program, trigger: Trigger, owner: ast.ClassDef, awaits: bool) -> Insert:
    """Return the lines behind the clearing of the marker that ask for what was deferred."""
    for step in trigger.gate.clears:
        tree = program.tree(step.path)
        clear = next((each for each in tree.suites if each.lineno == step.line and isinstance(each, ast.Assign)), None)
        branch = _branch_of_done(tree, clear) if clear is not None else None
        if clear is None or branch is None:
            continue
        reader = _reader_at(program, tree, step.path, clear)
        receiver = receiver_at(program, trigger.path, owner, reader) if reader is not None else None
        if reader is None or receiver is None or (awaits and not isinstance(reader.function, ast.AsyncFunctionDef)):
            continue
        name = trigger.symbol.rpartition(".")[2]
        lines = ask_again(f"{receiver}.{DEFERRED}", f"{receiver}.{name}", awaits=awaits)
        last = branch[-1]
        leaves = isinstance(last, (ast.Continue, ast.Return, ast.Break))
        if not tree.stands_alone(last):
            continue
        return Insert(step.path, first_line(last), lines, after=not leaves)
    raise CannotRewrite("the branch of response.done in which the marker is cleared was not found", BY_HAND)


def _branch_of_done(tree: Tree, clear: ast.stmt) -> list[ast.stmt] | None:
    """Return the statements of the branch of response.done that a statement stands in."""
    child: ast.AST = clear
    for above in tree.above(clear):
        if isinstance(above, ast.If) and child in above.body and "response.done" in tree.text(above.test):
            return above.body
        if hasattr(ast, "match_case") and isinstance(above, ast.match_case):
            if "response.done" in ast.unparse(above.pattern):
                return above.body
            return None
        child = above
    return None


def _reader_at(program: Program, tree: Tree, path: str, node: ast.AST) -> Reader | None:
    around = list(tree.above(node))
    return next((each for _, each in readers(tree, path, program.event_names) if each.function in around), None)
