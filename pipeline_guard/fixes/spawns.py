"""Takes away what starts a function that does nothing any more: tasks, threads, timers, jobs.

A task that ends at once is not always harmless: what waits for the first of its tasks would end the call, and what
starts a thread again whenever it is over would do so without a pause.  There the function has to keep its shape.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.fixes.edits import CannotRewrite, NoOpBody, NoOpCall, Operation, Remove, TakeElement
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.references import references
from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree
from pipeline_guard.program.spawners import SPAWNERS

_BY_HAND = "take out what starts it together with what waits for it, then the function"
# Spawners that only run what they are given, here and now.
_RUNNERS = frozenset({"run", "run_until_complete", "wait_for", "shield", "async_to_sync", "timeout", "map"})
_COLLECTORS = frozenset({"gather", "wait", "as_completed"})
_ADDERS = frozenset({"append", "add"})
_ASKS_WHETHER_OVER = frozenset({"done", "is_alive", "running", "poll"})
_WAITS_FOR = frozenset({"join", "result", "wait"})


class Spawn(NamedTuple):
    """A place that starts a function: the spawning call, and the outermost expression that it is part of."""

    path: str
    tree: Tree
    call: ast.Call
    whole: ast.expr


def without_spawns(program: Program, operation: NoOpBody) -> list[Operation]:
    """Return the edits that take away what starts a function whose body goes; raises CannotRewrite (see above)."""
    tree = program.tree(operation.path)
    function = tree.function_at(operation.line)
    if function is None:
        return []
    operations: list[Operation] = []
    for spawn in spawns_of(program, operation.path, function):
        if not _is_handle_known_elsewhere(program, spawn):
            operations += _edits(spawn, function.name, operation.comment)
    return list(dict.fromkeys(operations))


def only_started(program: Program, path: str, function: FunctionNode) -> bool:
    """Say whether nobody calls a function and waits for its end: everything known only starts it."""
    found = False
    for where, tree, node in references(program, path, function):
        if _spawn(where, tree, node) is None:
            return False
        found = True
    return found


def spawns_of(program: Program, path: str, function: FunctionNode) -> Iterator[Spawn]:
    """Yield the places that start a function as a task, in a thread, later, or as a job."""
    for where, tree, node in references(program, path, function):
        spawn = _spawn(where, tree, node)
        if spawn is not None:
            yield spawn


def _spawn(path: str, tree: Tree, node: ast.expr) -> Spawn | None:
    """Follow an expression outwards to what starts it: ``Thread(target=f).start()``, ``call_later(4, f)``."""
    spawner: ast.Call | None = None
    child: ast.AST = node
    while True:
        above = tree.parents[child]
        if isinstance(above, ast.Call) and child is not above.func:
            name = _name(above)
            if name in SPAWNERS and name not in _RUNNERS and (name not in _COLLECTORS or spawner is None):
                if name in _COLLECTORS:
                    return Spawn(path, tree, above, child) if isinstance(child, ast.expr) else None
                spawner = above
            elif name != "partial":
                break
        elif isinstance(above, ast.Await) and spawner is None:
            return None
        elif not isinstance(above, (ast.Call, ast.Attribute, ast.keyword, ast.Lambda, ast.Await)):
            break
        child = above
    if spawner is None or not isinstance(child, ast.expr):
        return None
    return Spawn(path, tree, spawner, child)


def _is_handle_known_elsewhere(program: Program, spawn: Spawn) -> bool:
    """Say whether another file may use the attribute that holds what was started."""
    above = spawn.tree.parents[spawn.whole]
    target = above.targets[0] if isinstance(above, ast.Assign) else getattr(above, "target", None)
    if not isinstance(above, (ast.Assign, ast.AnnAssign)) or not isinstance(target, ast.Attribute):
        return False
    name = re.compile(rf"\b{re.escape(target.attr)}\b".encode())
    return any(name.search(data) for path, data in program.sources.data.items() if path != spawn.path)


def _edits(spawn: Spawn, name: str, comment: str) -> list[Operation]:
    tree, whole = spawn.tree, spawn.whole
    above = tree.parents[whole]
    if isinstance(above, ast.Expr):
        return [_gone(spawn, whole, comment)]
    if isinstance(above, ast.Call) and _name(above) in _COLLECTORS:
        return _out_of_a_collector(spawn, above, name, comment)
    if isinstance(above, (ast.List, ast.Tuple, ast.Set)):
        return _out_of_a_list(spawn, above, name, comment)
    if isinstance(above, ast.Call) and _name(above) in _ADDERS and isinstance(above.func, ast.Attribute):
        return _out_of_a_collection(spawn, above, above.func.value, name, comment)
    if isinstance(above, (ast.Assign, ast.AnnAssign)):
        target = above.targets[0] if isinstance(above, ast.Assign) else above.target
        if isinstance(target, (ast.Name, ast.Attribute)):
            return _out_of_a_handle(spawn, above, target, name, comment)
    return []


def _gone(spawn: Spawn, whole: ast.expr, comment: str) -> NoOpCall:
    start: ast.expr = whole.value if isinstance(whole, ast.Await) else whole
    return NoOpCall(spawn.path, start.lineno, spawn.tree.column(start), comment)


# -- handles


def _out_of_a_handle(
    spawn: Spawn, statement: ast.stmt, target: ast.Name | ast.Attribute, name: str, comment: str
) -> list[Operation]:
    """Take a task or thread out whose handle only starts it; where somebody cancels or joins it, it stays."""
    tree = spawn.tree
    loads = list(_loads(tree, statement, target))
    uses = [_use(tree, load) for load in loads]
    in_loop = _in_loop(tree, statement)
    asked = any(use in _ASKS_WHETHER_OVER for use in uses)
    if asked and (in_loop or _is_conditional(tree, statement, target)):
        raise CannotRewrite(f"{name}() is started again whenever it is over", _BY_HAND)
    if in_loop and any(use in _WAITS_FOR or use == "await" for use in uses):
        raise CannotRewrite(f"{name}() is started in a loop that waits for its end", _BY_HAND)
    for load in loads:
        waiting = next(
            (each for each in tree.above(load) if isinstance(each, ast.Call) and _waits_for_first(each)), None
        )
        holder = tree.parents[load]
        listed = isinstance(holder, (ast.List, ast.Tuple, ast.Set)) and _first_wins(tree, holder)
        if waiting is not None or listed:
            raise CannotRewrite(f"what waits for the first of its tasks would end when {name}() does", _BY_HAND)
    starts = [tree.statement_of(load) for load, use in zip(loads, uses, strict=True) if use in ("start", "daemon")]
    if len(starts) == len(loads) and all(tree.stands_alone(each) for each in starts) and tree.stands_alone(statement):
        if not starts and isinstance(target, ast.Attribute):
            return []  # other code may ask whether it is None
        gone: list[Operation] = [Remove(spawn.path, each.lineno) for each in starts]
        return [Remove(spawn.path, statement.lineno, comment), *gone]
    return []


def _loads(tree: Tree, statement: ast.stmt, target: ast.Name | ast.Attribute) -> Iterator[ast.expr]:
    """Yield the uses of a handle: of a local name in its function, of an attribute in its file."""
    if isinstance(target, ast.Name):
        scope: ast.AST = next((each for each in tree.above(statement) if isinstance(each, FUNCTIONS)), tree.module)
        for node in ast.walk(scope):
            if isinstance(node, ast.Name) and node.id == target.id and not isinstance(node.ctx, ast.Store):
                yield node
        return
    for each in tree.parents:
        same = isinstance(each, ast.Attribute) and each.attr == target.attr
        if same and isinstance(each, ast.Attribute) and not isinstance(each.ctx, ast.Store):
            yield each


def _use(tree: Tree, load: ast.expr) -> str:
    """Return what is done with a handle: the name of the method called on it, "await", "daemon", or ""."""
    above = tree.parents[load]
    if isinstance(above, ast.Await):
        return "await"
    if isinstance(above, ast.Attribute):
        if isinstance(tree.parents[above], ast.Call):
            statement = tree.parents[tree.parents[above]]
            return above.attr if above.attr != "start" or isinstance(statement, ast.Expr) else ""
        if above.attr == "daemon" and isinstance(above.ctx, ast.Store):
            return "daemon"
    return ""


def _in_loop(tree: Tree, node: ast.AST) -> bool:
    for each in tree.above(node):
        if isinstance(each, (ast.For, ast.AsyncFor, ast.While)):
            return True
        if isinstance(each, FUNCTIONS):
            return False
    return False


def _is_conditional(tree: Tree, statement: ast.stmt, target: ast.Name | ast.Attribute) -> bool:
    """Say whether a handle's own state decides that it is made again."""
    text = tree.text(target)
    return any(isinstance(each, ast.If) and text in tree.text(each.test) for each in tree.above(statement))


# -- several tasks together


def _waits_for_first(call: ast.Call) -> bool:
    if _name(call) == "as_completed":
        return True
    if _name(call) != "wait":
        return False
    return any(
        keyword.arg == "return_when" and "ALL_COMPLETED" not in ast.unparse(keyword.value) for keyword in call.keywords
    )


def _out_of_a_collector(spawn: Spawn, collector: ast.Call, name: str, comment: str) -> list[Operation]:
    """Take an argument out of ``gather``, where nobody uses its results; elsewhere it stays and ends at once."""
    tree = spawn.tree
    if _name(collector) != "gather":
        raise CannotRewrite(f"what waits for the first of its tasks may end when {name}() does", _BY_HAND)
    above = tree.parents[collector]
    dropped = isinstance(above, ast.Await) and isinstance(tree.parents[above], ast.Expr)
    if dropped and len([each for each in collector.args if not isinstance(each, ast.Starred)]) > 1:
        return [_element(spawn, comment)]
    return []


def _out_of_a_list(spawn: Spawn, holder: ast.List | ast.Tuple | ast.Set, name: str, comment: str) -> list[Operation]:
    if len(holder.elts) > 1 and _only_collected(spawn.tree, holder):
        return [_element(spawn, comment)]
    if _first_wins(spawn.tree, holder):
        raise CannotRewrite(f"what waits for the first of its tasks would end when {name}() does", _BY_HAND)
    return []


def _out_of_a_collection(spawn: Spawn, call: ast.Call, holder: ast.expr, name: str, comment: str) -> list[Operation]:
    """Take a task out that is put among others, where those are only waited for: ``tasks.append(create_task(f()))``."""
    tree = spawn.tree
    if not isinstance(holder, (ast.Name, ast.Attribute)) or not isinstance(tree.parents[call], ast.Expr):
        return []
    loads = [each for each in _loads(tree, tree.statement_of(call), holder) if not _is_added_to(tree, each)]
    statement = tree.statement_of(call)
    if loads and all(_is_gone_through(tree, each) for each in loads) and tree.stands_alone(statement):
        return [Remove(spawn.path, statement.lineno, comment, whole=True)]
    waits = (tree.parents[each] for each in loads)
    if any(isinstance(each, ast.Call) and _waits_for_first(each) for each in waits):
        raise CannotRewrite(f"what waits for the first of its tasks would end when {name}() does", _BY_HAND)
    return []


def _is_added_to(tree: Tree, load: ast.expr) -> bool:
    above = tree.parents[load]
    return isinstance(above, ast.Attribute) and above.attr in _ADDERS


def _element(spawn: Spawn, comment: str) -> Operation:
    return TakeElement(spawn.path, spawn.whole.lineno, spawn.tree.column(spawn.whole), comment)


def _only_collected(tree: Tree, holder: ast.List | ast.Tuple | ast.Set) -> bool:
    """Say whether a display of tasks is only waited for or gone through: none of them has a place of its own."""
    above = tree.parents[holder]
    if isinstance(above, ast.Starred):
        above = tree.parents[above]
    if isinstance(above, ast.Call):
        return _name(above) in ("wait", "as_completed")
    if not isinstance(above, (ast.Assign, ast.AnnAssign)):
        return False
    target = above.targets[0] if isinstance(above, ast.Assign) else above.target
    if not isinstance(target, (ast.Name, ast.Attribute)):
        return False
    return all(_is_gone_through(tree, load) for load in _loads(tree, above, target))


def _is_gone_through(tree: Tree, load: ast.expr) -> bool:
    above = tree.parents[load]
    if isinstance(above, (ast.For, ast.AsyncFor)):
        return above.iter is load
    if isinstance(above, ast.comprehension):
        return above.iter is load
    if isinstance(above, ast.Starred):
        call = tree.parents[above]
        if not isinstance(call, ast.Call) or _name(call) != "gather":
            return False
        waiting = tree.parents[call]
        return isinstance(waiting, ast.Await) and isinstance(tree.parents[waiting], ast.Expr)
    return isinstance(above, ast.Call) and _name(above) in ("wait", "as_completed")


def _first_wins(tree: Tree, holder: ast.AST) -> bool:
    """Say whether somebody waits for the first of these tasks, here or by the name that holds them."""
    above = tree.parents[holder]
    if isinstance(above, ast.Call):
        return _waits_for_first(above)
    if isinstance(above, (ast.Assign, ast.AnnAssign)):
        target = above.targets[0] if isinstance(above, ast.Assign) else above.target
        if isinstance(target, (ast.Name, ast.Attribute)):
            return any(
                isinstance(call := tree.parents[load], ast.Call) and _waits_for_first(call)
                for load in _loads(tree, above, target)
            )
    return False


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
