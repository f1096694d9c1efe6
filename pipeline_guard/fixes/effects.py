"""What a statement still does when the call it is goes away: arguments that drain, await or change something."""

from __future__ import annotations

import ast

from pipeline_guard.fixes.tree import FUNCTIONS, Tree

# Calls that only make a value of their arguments.
_PURE_NAMES = frozenset(
    """
    str int float bool bytes bytearray dict list tuple set frozenset len repr format min max sum abs round sorted
    isinstance getattr hasattr type id dumps b64encode b64decode encode decode strip lower upper join replace split
    format get keys values items copy time monotonic hex tobytes to_dict model_dump model_dump_json asdict memoryview
    ulaw2lin lin2ulaw ratecv create_task ensure_future wait_for shield run_coroutine_threadsafe gather get_event_loop
    get_running_loop
    """.split()
)


def kept_effects(statement: ast.stmt) -> list[ast.expr]:
    """Return the expressions inside a statement's call that have to be evaluated all the same, in their order.

    The outermost call (through ``await`` and what only starts it) is the one that goes.
    """
    value = statement.value if isinstance(statement, (ast.Expr, ast.Assign)) else None
    if value is None:
        return []
    call: ast.expr = value
    while True:
        if isinstance(call, ast.Await):
            call = call.value
        elif isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Call) and _is_carrier(call):
            call = call.args[0]
        else:
            break
    if not isinstance(call, ast.Call):
        return []
    found: list[ast.expr] = []
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        found += _effects(argument)
    return found


def spins_without(tree: Tree, statement: ast.stmt) -> bool:
    """Say whether a ``while`` loop around a statement would run without a pause if the statement went.

    In a coroutine it needs something that is awaited; elsewhere any call may be what takes its time.
    """
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    loop: ast.AST | None = None
    for above in tree.above(statement):
        if isinstance(above, ast.While):
            loop = above
            break
        if isinstance(above, (ast.For, ast.AsyncFor, *FUNCTIONS)):
            return False
    if loop is None or not any(isinstance(node, (ast.Await, ast.Call)) for node in ast.walk(statement)):
        return False
    inside = isinstance(tree.function_of(statement), ast.AsyncFunctionDef)
    if inside and not any(isinstance(node, waits) for node in ast.walk(statement)):
        return False
    gone = set(ast.walk(statement))
    kept = [node for node in ast.walk(loop) if node not in gone]
    effects = [node for effect in kept_effects(statement) for node in ast.walk(effect)]
    return not any(isinstance(node, waits if inside else ast.Call) for node in (*kept, *effects))


def _is_carrier(call: ast.Call) -> bool:
    return _name(call) in {"create_task", "ensure_future", "wait_for", "shield", "run_coroutine_threadsafe", "gather"}


def _effects(node: ast.expr) -> list[ast.expr]:
    """Return the outermost parts of an argument that do something."""
    if isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)):
        return [node]
    if isinstance(node, ast.Call) and (_name(node) not in _PURE_NAMES or _drains(node)):
        return [node]
    if isinstance(node, ast.Lambda):
        return []
    if isinstance(node, (ast.IfExp, ast.BoolOp, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        # What runs only sometimes, or several times, is kept as a whole.
        acts = (ast.Call, ast.Await, ast.NamedExpr)
        return [node] if any(_effects(child) for child in ast.walk(node) if isinstance(child, acts)) else []
    return [
        each
        for child in ast.iter_child_nodes(node)
        for each in (_effects(child) if isinstance(child, ast.expr) else ())
    ]


def _drains(call: ast.Call) -> bool:
    """Say whether ``x.get()`` may take something out of a queue: it has no key, as a mapping's would."""
    return isinstance(call.func, ast.Attribute) and call.func.attr == "get" and not call.args


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
