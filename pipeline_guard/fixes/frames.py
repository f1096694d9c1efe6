"""What a send of caller audio is given, and in which form, so that the same can be put on a queue instead."""

from __future__ import annotations

import ast
from typing import NamedTuple

from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import find_function, functions_around, parameters
from pipeline_guard.fixes.tree import FunctionNode, Tree
from pipeline_guard.pipeline.model import Lane, Site

_DEPTH = 4


class Frame(NamedTuple):
    """``form`` is "base64", "bytes", or "for path:symbol" (what that function takes); ``value`` is the expression."""

    form: str
    value: ast.expr


def frame_at(program: Program, lane: Lane, site: Site) -> Frame | None:
    """Return the frame that a send (or a call that leads to one) is given, or None where it is not plainly seen."""
    calls = program.tree(site.path).calls_at(site.line, site.column)
    return _frame(program, lane, site.path, calls[0], site.callee, _DEPTH) if calls else None


def _frame(program: Program, lane: Lane, path: str, call: ast.Call, callee: str | None, depth: int) -> Frame | None:
    tree = program.tree(path)
    direct = _in_event(tree, call)
    if direct is not None:
        return _peeled(direct)
    if callee is None:
        return _given_to_the_sdk(call)
    if depth == 0:
        return None
    home, _, symbol = callee.rpartition(":")
    function = find_function(program.tree(home), symbol) if home in program.sources.data else None
    if function is None:
        return None
    given = _by_parameter(call, function)
    inner = _inside(program, lane, home, symbol, depth)
    if inner is not None and isinstance(inner.value, ast.Name) and inner.value.id in given:
        value = given[inner.value.id]
        return _peeled(value) if inner.form == "base64" else Frame(inner.form, value)
    if len(given) == 1:
        return Frame(f"for {callee}", next(iter(given.values())))
    return None


def _inside(program: Program, lane: Lane, path: str, symbol: str, depth: int) -> Frame | None:
    """Return the frame of the one send in a function, in terms of its parameters."""
    sites = [each for each in lane.sites if each.kind == "audio_send" and (each.path, each.symbol) == (path, symbol)]
    if len(sites) != 1:
        return None
    tree = program.tree(path)
    calls = tree.calls_at(sites[0].line, sites[0].column)
    return _frame(program, lane, path, calls[0], sites[0].callee, depth - 1) if calls else None


def _given_to_the_sdk(call: ast.Call) -> Frame | None:
    """Return the frame of the Agents SDK's ``session.send_audio(audio)``, which takes raw bytes."""
    plain = len(call.args) == 1 and not call.keywords and not isinstance(call.args[0], ast.Starred)
    if plain and isinstance(call.func, ast.Attribute) and call.func.attr == "send_audio":
        return Frame("bytes", call.args[0])
    return None


def _in_event(tree: Tree, call: ast.Call) -> ast.expr | None:
    """Return the value of "audio" in an event that a call is given, or of ``audio=`` of the SDK's ``append``."""
    for keyword in call.keywords:
        if keyword.arg == "audio":
            return keyword.value
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Dict):
                value = _audio_of(node)
                if value is not None:
                    return value
            elif isinstance(node, ast.Name):
                event = local_event(tree, call, node.id)
                value = _audio_of(event) if event is not None else None
                if value is not None:
                    return value
    return None


def _audio_of(event: ast.Dict) -> ast.expr | None:
    for key, value in zip(event.keys, event.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "audio":
            return value
    return None


def local_event(tree: Tree, place: ast.AST, name: str) -> ast.Dict | None:
    """Return the dict that a local name is given, where it is given one only."""
    for function in functions_around(tree, place):
        found = [
            node.value
            for node in tree.statements_of(function)
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        ]
        if found:
            return found[0] if len(found) == 1 and isinstance(found[0], ast.Dict) else None
    return None


def _peeled(value: ast.expr) -> Frame:
    """Return bytes where an expression only encodes them: ``base64.b64encode(x).decode("ascii")``."""
    node = value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "decode":
        node = node.func.value
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("b64encode", "standard_b64encode"):
            return Frame("bytes", node.args[0])
    return Frame("base64", value)


def _by_parameter(call: ast.Call, function: FunctionNode) -> dict[str, ast.expr]:
    """Return the arguments of a call by the parameter that takes them."""
    names = [each.arg for each in parameters(function)]
    if names and names[0] in ("self", "cls") and isinstance(call.func, ast.Attribute):
        names = names[1:]
    given = {name: value for name, value in zip(names, call.args, strict=False) if not isinstance(value, ast.Starred)}
    given.update({each.arg: each.value for each in call.keywords if each.arg is not None})
    return given
