"""Finds where a program names a function, by the syntax of its files: only names that can mean no other function."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.facts.extract import Unreadable
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import functions_around, imports_name, is_subclass, method_around, self_name
from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree


def references(program: Program, path: str, function: FunctionNode) -> Iterator[tuple[str, Tree, ast.expr]]:
    """Yield the expressions that mean a function, with their file, outside of the function itself.

    ``self.name`` in its class and below, the bare name in its file or where it is imported; of other objects
    (``session.name``) only where no other function of the program bears the name.
    """
    home = program.tree(path)
    owner = home.parents.get(function)
    inside = functions_around(home, function)[1:2]
    files = list(_files_with(program, function.name))
    alone = sum(each.name == function.name for _, tree in files for each in tree.functions) == 1
    for where, tree in files:
        imported = where == path or imports_name(tree, function.name)
        for node in list(tree.parents):
            if isinstance(node, ast.Attribute) and node.attr == function.name and isinstance(node.ctx, ast.Load):
                if inside:
                    continue
                means = alone or (isinstance(owner, ast.ClassDef) and _is_own(tree, node, owner, where == path))
            elif isinstance(node, ast.Name) and node.id == function.name and isinstance(node.ctx, ast.Load):
                if isinstance(owner, ast.ClassDef) or not imported:
                    continue
                around = functions_around(tree, node)
                means = inside[0] in around if inside else not _is_shadowed(around, function.name)
            else:
                continue
            if means and function not in functions_around(tree, node):
                yield where, tree, node


def _files_with(program: Program, name: str) -> Iterator[tuple[str, Tree]]:
    for path, data in program.sources.data.items():
        if name.encode() in data:
            try:
                yield path, program.tree(path)
            except (Unreadable, SyntaxError, RecursionError):
                continue


def _is_own(tree: Tree, node: ast.Attribute, owner: ast.ClassDef, same_file: bool) -> bool:
    method = method_around(tree, node)
    if method is None or not isinstance(node.value, ast.Name) or node.value.id != self_name(method[1]):
        return False
    return method[0] is owner if same_file else is_subclass(tree, method[0], owner.name)


def _is_shadowed(around: list[FunctionNode], name: str) -> bool:
    return any(isinstance(node, FUNCTIONS) and node.name == name for function in around for node in ast.walk(function))
