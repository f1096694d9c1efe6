"""Takes surplus code out: a whole function where it is there for nothing else, else the one call."""

from __future__ import annotations

import ast

from pipeline_guard.fixes.bodies import refuse_unless_empty_is_fine
from pipeline_guard.fixes.edits import CannotRewrite, NoOpBody, NoOpCall, Operation
from pipeline_guard.fixes.effects import kept_effects
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import functions_around
from pipeline_guard.fixes.spawns import only_started, without_spawns
from pipeline_guard.fixes.tree import FunctionNode, Tree, is_docstring

_LOG_METHODS = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print"})


def take_out(program: Program, path: str, line: int, column: int, comment: str) -> Operation:
    """Return the operation that takes a call out, together with its function where that has no other purpose."""
    tree = program.tree(path)
    calls = tree.calls_at(line, column)
    if calls:
        around = functions_around(tree, calls[0])
        if around and is_only_for(tree, around[0], calls[0], waits=True):
            operation = NoOpBody(path, around[0].lineno, comment)
            try:
                refuse_unless_empty_is_fine(tree, around[0])
                without_spawns(program, operation)
            except CannotRewrite:
                pass  # the function keeps its shape, for those that wait for its end
            else:
                if is_only_for(tree, around[0], calls[0]) or only_started(program, path, around[0]):
                    return operation
    return NoOpCall(path, line, column, comment)


def is_only_for(tree: Tree, function: FunctionNode, call: ast.Call, *, waits: bool = False) -> bool:
    """Say whether a function does nothing beside one call but prepare it, guard it and log (``waits``: and sleep)."""
    statement = tree.statement_of(call)
    if isinstance(statement, (ast.Return, ast.If, ast.While, ast.With, ast.AsyncWith, ast.For, ast.AsyncFor)):
        return False
    if kept_effects(statement):
        return False
    return all(
        each is statement or _means_nothing_alone(each) or (waits and _only_waits(each))
        for each in tree.statements_of(function)
    )


def _only_waits(statement: ast.stmt) -> bool:
    """Say whether a statement sleeps, or is a loop that asks nothing of anybody else."""
    if isinstance(statement, ast.While):
        return not _acts(statement.test)
    if isinstance(statement, (ast.Continue, ast.Break)):
        return True
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
    if not isinstance(value, ast.Call):
        return False
    name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
    return name == "sleep" and not any(_acts(each) for each in value.args)


def _means_nothing_alone(statement: ast.stmt) -> bool:
    """Say whether a statement only prepares, guards or reports."""
    if is_docstring(statement) or isinstance(statement, (ast.Pass, ast.Assert, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, (ast.Return, ast.Raise)):
        value = statement.value if isinstance(statement, ast.Return) else None
        return value is None or (isinstance(value, ast.Constant) and value.value is None)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(isinstance(each, ast.Name) for each in targets) and not _acts(statement.value)
    if isinstance(statement, ast.If):
        return not _acts(statement.test)
    if isinstance(statement, ast.Try):
        return not statement.finalbody
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and is_log(statement.value)
    return False


def _acts(value: ast.expr | None) -> bool:
    """Say whether an expression may do something: it awaits, assigns, or calls what is no plain query."""
    if value is None:
        return False
    holder = ast.Expr(ast.Call(ast.Name("f", ast.Load()), [value], []))
    return bool(kept_effects(holder))


def is_log(call: ast.Call) -> bool:
    """Say whether a call only writes to the log, and waits for nothing on the way."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    return name in _LOG_METHODS and not any(
        isinstance(node, ast.Await) for each in arguments for node in ast.walk(each)
    )


def logger_of(tree: Tree) -> str | None:
    """Return the name of a file's logger, or None."""
    for statement in tree.module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            name = statement.value.func
            last = name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")
            target = statement.targets[0]
            if last.lower() in ("getlogger", "get_logger", "setup_logger") and isinstance(target, ast.Name):
                return target.id
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) in ("logger", "log", "LOGGER"):
                    return alias.asname or alias.name
    return None
