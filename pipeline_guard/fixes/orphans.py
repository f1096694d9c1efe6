"""Finds the imports that nothing needs any more once edits are made: only those that the edits orphaned."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from pipeline_guard.fixes.edits import Replacement, splice
from pipeline_guard.fixes.tree import Tree, first_line


def orphaned_imports(
    tree: Tree, replacements: Sequence[Replacement], others: Mapping[str, bytes], path: str
) -> list[Replacement]:
    """Return the removal of imports that the code used before the edits and nothing names after them.

    A name that a comment, a string, ``__all__`` or another file's import still holds is kept, and so is an import
    that is tried (``try: import x``), has a comment, or shares its line or its statement with other names.
    """
    text = splice(tree.source.text, replacements)
    found: list[Replacement] = []
    for statement in tree.module.body:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)) or len(statement.names) != 1:
            continue
        alias = statement.names[0]
        name = alias.asname or alias.name
        if "." in name or name == "*" or getattr(statement, "module", "") == "__future__":
            continue
        word = re.compile(rf"\b{re.escape(name)}\b")
        own = len(word.findall(tree.text(statement)))
        before, after = len(word.findall(tree.source.text)), len(word.findall(text))
        if after > own or before <= own or not tree.stands_alone(statement) or _is_exported(name, others, path):
            continue
        start = tree.source.line_start(first_line(statement))
        end = tree.source.line_start((statement.end_lineno or statement.lineno) + 1)
        if "#" in tree.source.text[start:end] or any(each.start < end and start < each.end for each in replacements):
            continue
        found.append(Replacement(start, end, ""))
    return found


def _is_exported(name: str, others: Mapping[str, bytes], path: str) -> bool:
    """Say whether another file may import a name from this one."""
    if path.endswith("__init__.py"):
        return True
    module = path.removesuffix(".py").rpartition("/")[2]
    pattern = re.compile(rf"\b{re.escape(module)}\b[^\n]*\b{re.escape(name)}\b".encode())
    return any(module.encode() in data and pattern.search(data) for other, data in others.items() if other != path)
