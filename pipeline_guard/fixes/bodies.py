"""Makes a function do nothing: its body becomes a comment and ``return``, and it stays the kind of function it was."""

from __future__ import annotations

import ast

from pipeline_guard.fixes.edits import CannotRewrite, Replacement
from pipeline_guard.fixes.source import lines_of
from pipeline_guard.fixes.tree import FunctionNode, Tree, is_docstring, is_generator, own_nodes

# Methods whose emptiness somebody relies on not being there.
_SPECIAL = frozenset({"__init__", "__new__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__iter__", "__next__",
                      "__aiter__", "__anext__", "__call__", "__del__", "__await__"})  # fmt: skip
# Decorators under which a function that does nothing is still what callers expect.
_HARMLESS = frozenset({"staticmethod", "classmethod", "override", "final", "deprecated", "wraps", "typing.override"})
# What a function that nothing calls returns for its declaration's sake: a type checker refuses a bare ``return``.
_EMPTY = {"str": '""', "bytes": 'b""', "bool": "False", "int": "0", "float": "0.0", "list": "[]", "dict": "{}"}
_BY_HAND = "take its calls out by hand, then remove it"


def empty_body(tree: Tree, function: FunctionNode, comment: str, *, returns_are_fine: bool = False) -> Replacement:
    """Return the replacement of a function's body; raises CannotRewrite where an empty one would break its callers."""
    refuse_unless_empty_is_fine(tree, function, returns_are_fine=returns_are_fine)
    source = tree.source
    newline = source.newline_near(function.lineno)
    first = function.body[0]
    kept = first if is_docstring(first) else None
    header_ends = tree.end(kept) if kept is not None else _colon(tree, function) + 1
    indentation = _body_indentation(tree, function)
    empty = None if is_generator(function) else _empty_value(tree, function)
    lines = [comment, "return" if empty is None else f"return {empty}"]
    if is_generator(function):
        # Without a ``yield`` it would be no generator any more, and iterating over it an error.
        lines.append("yield")
    text = "".join(f"{newline}{indentation}{line}" for line in lines)
    end = tree.end(function.body[-1])
    behind = source.text[end : source.line_start((function.body[-1].end_lineno or 0) + 1)]
    if "#" in behind:
        end += len(behind.rstrip("\r\n"))  # a comment behind the last statement spoke of that statement
    return Replacement(header_ends, end, text)


def refuse_unless_empty_is_fine(tree: Tree, function: FunctionNode, *, returns_are_fine: bool = False) -> None:
    """Raise CannotRewrite for a function whose callers need more than nothing.

    ``returns_are_fine`` says that nothing calls it, so that nobody misses what it returns.
    """
    name = function.name
    if name in _SPECIAL:
        raise CannotRewrite(f"{name} must do its work", _BY_HAND)
    for decorator in function.decorator_list:
        text = tree.text(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if text.rpartition(".")[2] not in _HARMLESS:
            raise CannotRewrite(f"@{text} may need what {name} does or returns", _BY_HAND)
    if returns_are_fine:
        return
    if any(isinstance(node, ast.Return) and _is_value(node.value) for node in own_nodes(function)):
        raise CannotRewrite(f"{name} returns a value that callers may use", _BY_HAND)
    returns = function.returns
    if returns is not None and not _may_be_none(tree.text(returns)) and not is_generator(function):
        raise CannotRewrite(f"{name} is declared to return {tree.text(returns)}", _BY_HAND)


def _is_value(value: ast.expr | None) -> bool:
    return value is not None and not (isinstance(value, ast.Constant) and value.value is None)


def _empty_value(tree: Tree, function: FunctionNode) -> str | None:
    """Return the source of the empty value of the type that a function is declared to return, if it is plain."""
    if function.returns is None:
        return None
    return _EMPTY.get(tree.text(function.returns).strip("\"'").partition("[")[0].lower())


def _may_be_none(annotation: str) -> bool:
    text = annotation.strip("\"'")
    return text in ("None", "Any", "typing.Any", "object") or text.startswith(("Optional[", "typing.Optional["))


def _colon(tree: Tree, function: FunctionNode) -> int:
    """Return the offset of the colon that ends a function's header."""
    import io
    import tokenize

    start = tree.start(function)
    text = tree.source.text[start : tree.end(function)]
    starts = [0]
    depth = 0
    for line in lines_of(text):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        if token.type == tokenize.OP:
            if token.string in "([{":
                depth += 1
            elif token.string in ")]}":
                depth -= 1
            elif token.string == ":" and depth == 0:
                return start + starts[token.start[0] - 1] + token.start[1]
    raise CannotRewrite("the end of its header was not found", _BY_HAND)


def _body_indentation(tree: Tree, function: FunctionNode) -> str:
    first = function.body[0]
    outer = tree.indentation(function.lineno)
    if first.lineno > function.lineno:
        inner = tree.indentation(first.lineno)
        if inner.startswith(outer) and len(inner) > len(outer):
            return inner
    return outer + tree.unit
