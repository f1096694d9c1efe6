"""What a name stands for at a place in one file, read from its syntax alone: parameters, constructors, annotations.

The whole program's linker knows more, but its answers are about values; an edit needs a text that can be written down.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree


def functions_around(tree: Tree, node: ast.AST) -> list[FunctionNode]:
    """Return the functions that a node stands in, the innermost first."""
    return [each for each in (node, *tree.above(node)) if isinstance(each, FUNCTIONS)]


def classes_around(tree: Tree, node: ast.AST) -> list[ast.ClassDef]:
    """Return the classes that a node stands in, the innermost first."""
    return [each for each in (node, *tree.above(node)) if isinstance(each, ast.ClassDef)]


def qualified_name(tree: Tree, node: FunctionNode | ast.ClassDef) -> str:
    """Return a function's or class's name with those of what it stands in, as the map writes symbols."""
    above = [each.name for each in tree.above(node) if isinstance(each, (*FUNCTIONS, ast.ClassDef))]
    return ".".join(reversed([node.name, *above]))


def find_function(tree: Tree, symbol: str) -> FunctionNode | None:
    """Return the function of a qualified name; the last one where several bear it."""
    found = [node for node in tree.functions if node.name == symbol.rpartition(".")[2]]
    return next((node for node in reversed(found) if qualified_name(tree, node) == symbol), None)


def constructor_of(owner: ast.ClassDef) -> ast.FunctionDef | None:
    """Return the ``__init__`` that a class defines itself."""
    return next((each for each in owner.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)


def imports_name(tree: Tree, name: str) -> bool:
    """Say whether a file imports a name from somewhere."""
    return any(
        (alias.asname or alias.name) == name
        for each in tree.imports
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    )


def self_name(function: FunctionNode) -> str | None:
    """Return what a method calls its instance, or None for functions that have none."""
    decorators = {getattr(decorator, "id", "") for decorator in function.decorator_list}
    if decorators & {"staticmethod", "classmethod"} or not function.args.args:
        return None
    return function.args.args[0].arg


def method_around(tree: Tree, node: ast.AST) -> tuple[ast.ClassDef, FunctionNode] | None:
    """Return the class and its method that a node stands in, closures within the method included."""
    for each in (node, *tree.above(node)):
        if isinstance(each, FUNCTIONS):
            above = tree.parents.get(each)
            if isinstance(above, ast.ClassDef):
                return above, each
    return None


def parameters(function: FunctionNode | ast.Lambda) -> list[ast.arg]:
    """Return every parameter of a function."""
    arguments = function.args
    starred = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]


def names_in_scope(tree: Tree, node: ast.AST) -> set[str]:
    """Return the parameters and local names of the functions around a node that are set before it."""
    found: set[str] = set()
    for function in functions_around(tree, node):
        found.update(each.arg for each in parameters(function))
        found.update(name for name, _ in _bindings(tree, function, node))
    return found


def _bindings(tree: Tree, function: FunctionNode, node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names that certainly have a value when a node in a function runs, with an expression given to them."""
    child = tree.statement_of(node)
    while child is not function:
        suite = tree.suites[child]
        for statement in suite.statements:
            if statement is child:
                break
            yield from _given(statement)
        if isinstance(child, (ast.With, ast.AsyncWith)) and child is not node:
            yield from _given_by_items(child)
        owner: ast.AST = suite.owner
        while not isinstance(owner, ast.stmt):
            if owner not in tree.parents:
                return
            owner = tree.parents[owner]
        child = owner


def _given(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names that a statement certainly gives a value, if it does not leave the block."""
    if isinstance(statement, ast.Assign):
        yield from ((target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name))
        for target in statement.targets:
            if isinstance(target, ast.Tuple):
                yield from ((each.id, None) for each in target.elts if isinstance(each, ast.Name))
    elif (
        isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None
    ):
        yield statement.target.id, statement.value
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        yield from _given_by_items(statement)
        yield from (each for inner in statement.body for each in _given(inner))
    elif isinstance(statement, ast.Try) and all(_leaves(handler.body) for handler in statement.handlers):
        yield from (each for inner in statement.body for each in _given(inner))
    elif isinstance(statement, ast.If) and statement.orelse:
        arms = [
            dict(each for inner in arm for each in _given(inner))
            for arm in (statement.body, statement.orelse)
            if not _leaves(arm)
        ]
        if arms:
            yield from ((name, value) for name, value in arms[0].items() if all(name in arm for arm in arms))


def _given_by_items(statement: ast.With | ast.AsyncWith) -> Iterator[tuple[str, ast.expr | None]]:
    for item in statement.items:
        if isinstance(item.optional_vars, ast.Name):
            yield item.optional_vars.id, item.context_expr


def _leaves(statements: list[ast.stmt]) -> bool:
    return isinstance(statements[-1], (ast.Return, ast.Continue, ast.Break, ast.Raise))


def instance_at(tree: Tree, node: ast.AST, wanted: str) -> str | None:
    """Return an expression that holds an instance of a class at a place: a parameter, a local, an attribute of self."""
    for function in functions_around(tree, node):
        for parameter in parameters(function):
            if _is_annotated(parameter.annotation, wanted):
                return parameter.arg
        for name, value in _bindings(tree, function, node):
            if value is not None and _makes(value, wanted):
                return name
    found = method_around(tree, node)
    if found is not None:
        owner, method = found
        instance, attribute = self_name(method), attribute_of_type(owner, wanted)
        if instance is not None and attribute is not None:
            return f"{instance}.{attribute}"
    return None


def attribute_of_type(owner: ast.ClassDef, wanted: str) -> str | None:
    """Return the attribute that holds an instance of a class, as the owner's own code says."""
    for statement in owner.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if _is_annotated(statement.annotation, wanted):
            return statement.target.id
    for method in owner.body:
        if not isinstance(method, FUNCTIONS) or self_name(method) is None:
            continue
        typed = {each.arg for each in parameters(method) if _is_annotated(each.annotation, wanted)}
        for node in ast.walk(method):
            target, value = _attribute_store(node, self_name(method))
            if target is None:
                continue
            if isinstance(node, ast.AnnAssign) and _is_annotated(node.annotation, wanted):
                return target
            if value is not None and (_makes(value, wanted) or (isinstance(value, ast.Name) and value.id in typed)):
                return target
    return None


def _attribute_store(node: ast.AST, instance: str | None) -> tuple[str | None, ast.expr | None]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target: ast.expr = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return None, None
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == instance:
        return target.attr, node.value
    return None, None


def _makes(value: ast.expr, wanted: str) -> bool:
    """Say whether an expression makes an instance: ``Session(…)``, ``await Session(…)``, ``module.Session(…)``."""
    if isinstance(value, ast.Await):
        value = value.value
    return isinstance(value, ast.Call) and _last_name(value.func) == wanted


def _is_annotated(annotation: ast.expr | None, wanted: str) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.strip().rpartition(".")[2] == wanted
    return annotation is not None and _last_name(annotation) == wanted


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def knows_class(tree: Tree, path: str, wanted: str, home: str) -> bool:
    """Say whether a class name in one file means the class of another (``home``): it is imported from there."""
    if path == home:
        return True
    module = home.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]
    for node in tree.imports:
        if isinstance(node, ast.ImportFrom):
            last = (node.module or "").rpartition(".")[2]
            for alias in node.names:
                if (alias.asname or alias.name) == wanted and (last == module or alias.name == wanted):
                    return True
                if alias.name == module:
                    return True
        elif any(alias.name.rpartition(".")[2] == module for alias in node.names):
            return True
    return False


def held_at(tree: Tree, path: str, node: ast.AST, owner: ast.ClassDef, home: str) -> str | None:
    """Return the expression by which a place in ``path`` reaches an instance of a class of ``home``, or None."""
    method = method_around(tree, node)
    if method is not None:
        own = self_name(method[1])
        if own is not None and (method[0] is owner or is_subclass(tree, method[0], owner.name)):
            return own
    return instance_at(tree, node, owner.name) if knows_class(tree, path, owner.name, home) else None


def is_subclass(tree: Tree, owner: ast.ClassDef, wanted: str) -> bool:
    """Say whether a class names another among its bases, in this file transitively."""
    known = {node.name: node for node in tree.parents if isinstance(node, ast.ClassDef)}
    seen: set[str] = set()
    todo = [owner]
    while todo:
        for base in todo.pop().bases:
            name = _last_name(base)
            if name == wanted:
                return True
            if name in known and name not in seen:
                seen.add(name)
                todo.append(known[name])
    return False
