"""What inserted code needs at the top of a file: imports and a logger, only where they are missing."""

from __future__ import annotations

import ast

from pipeline_guard.fixes.edits import CannotRewrite, Insert, Operation
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.surplus import logger_of
from pipeline_guard.fixes.tree import Tree, is_docstring


def imported(tree: Tree, name: str) -> bool:
    """Say whether a module is bound to its own name at the top level of a file."""
    return any(
        isinstance(statement, ast.Import) and any((alias.asname or alias.name) == name for alias in statement.names)
        for statement in tree.module.body
    )


class Logger(str):
    """The name of a logger; ``braces`` says that it fills in braces (loguru), not ``%s``."""

    braces = False


def need(program: Program, path: str, *modules: str, logger: bool = False) -> tuple[list[Operation], Logger]:
    """Return the edits that bind modules (and a logger) at the top of a file, and the logger's name."""
    tree = program.tree(path)
    name = logger_of(tree) if logger else ""
    wanted = list(modules)
    lines: list[str] = []
    if name is None:
        wanted.append("logging")
        name = "logger"
        if is_bound(tree, name):
            raise CannotRewrite("'logger' means something else in this file", "give the file a logger first")
        lines = ["", "logger = logging.getLogger(__name__)"]
    imports = [module for module in sorted(wanted) if not imported(tree, module)]
    last = _last_import(tree)
    operations: list[Operation] = []
    if imports:
        first = _first_import(tree)
        if first is not None:
            operations += [_in_order(path, tree, first, module) for module in imports]
        elif tree.module.body:
            head = tree.module.body[0]
            new = [f"import {module}" for module in imports]
            operations.append(Insert(path, head.lineno, ("", *new) if is_docstring(head) else (*new, ""),
                                     after=is_docstring(head)))  # fmt: skip
    if lines:
        if last is None:
            raise CannotRewrite("the file has no imports behind which a logger could be made", "give the file a logger")
        operations.append(Insert(path, last.lineno, tuple(lines), after=True))
    made = Logger(name)
    made.braces = not lines and program.mentions("loguru") and "getLogger" not in tree.source.text
    return operations, made


def _in_order(path: str, tree: Tree, first: ast.stmt, module: str) -> Insert:
    """Return the import of a module among the first ones of a file, by the alphabet."""
    body = tree.module.body
    last: ast.stmt | None = None
    for statement in body[body.index(first) :]:
        if not isinstance(statement, ast.Import) or not tree.stands_alone(statement):
            break
        if last is not None and statement.lineno != (last.end_lineno or 0) + 1:
            break  # the next group
        if statement.names[0].name > module:
            return Insert(path, statement.lineno, (f"import {module}",))
        last = statement
    if last is None:
        return Insert(path, first.lineno, (f"import {module}",))
    return Insert(path, last.lineno, (f"import {module}",), after=True)


def _first_import(tree: Tree) -> ast.stmt | None:
    for statement in tree.module.body:
        if isinstance(statement, ast.Import):
            return statement
        if isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
            return statement
    return None


def _last_import(tree: Tree) -> ast.stmt | None:
    found = [each for each in tree.module.body if isinstance(each, (ast.Import, ast.ImportFrom))]
    return found[-1] if found else None


def is_bound(tree: Tree, name: str) -> bool:
    """Say whether something in a file is given a name."""
    return any(
        (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        or (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name)
        or (isinstance(node, ast.alias) and (node.asname or node.name) == name)
        or (isinstance(node, ast.arg) and node.arg == name)
        for node in tree.parents
    )
