"""What inserted code needs at the top of a file: imports and a logger, only where they are missing."""

from __future__ import annotations

import ast
import itertools

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
        if _is_bound(tree, name):
            raise CannotRewrite("'logger' means something else in this file", "give the file a logger first")
        lines = ["", "logger = logging.getLogger(__name__)"]
    last = _last_import(tree)
    operations: list[Operation] = [_import(tree, path, module) for module in wanted if not imported(tree, module)]
    if lines:
        if last is None:
            raise CannotRewrite("the file has no imports behind which a logger could be made", "give the file a logger")
        operations.append(Insert(path, last.lineno, tuple(lines), after=True))
    made = Logger(name)
    made.braces = not lines and program.mentions("loguru") and "getLogger" not in tree.source.text
    return operations, made


def _import(tree: Tree, path: str, module: str) -> Insert:
    """Return the import of a module, among the first ``import`` lines of a file in their order where they have one."""
    line = f"import {module}"
    body = [each for each in tree.module.body if not _is_future(each)]
    start = next((at for at, each in enumerate(body) if isinstance(each, (ast.Import, ast.ImportFrom))), None)
    if start is None:
        head = tree.module.body[0]
        after = is_docstring(head)
        return Insert(path, head.lineno, ("", line) if after else (line, ""), after=after)
    run = list(itertools.takewhile(lambda each: isinstance(each, ast.Import), body[start:]))
    names = [each.names[0].name for each in run if isinstance(each, ast.Import)]
    if not names:
        return Insert(path, body[start].lineno, (line,))
    if names == sorted(names):
        later = next((each for each, name in zip(run, names, strict=True) if name > module), None)
        if later is not None:
            return Insert(path, later.lineno, (line,))
    return Insert(path, run[-1].lineno, (line,), after=True)


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _last_import(tree: Tree) -> ast.stmt | None:
    found = [each for each in tree.module.body if isinstance(each, (ast.Import, ast.ImportFrom))]
    return found[-1] if found else None


def _is_bound(tree: Tree, name: str) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        or (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name)
        or (isinstance(node, ast.alias) and (node.asname or node.name) == name)
        for node in tree.parents
    )
