"""Writes the call of a lane's trigger as it has to stand at a place: through ``self``, an attribute, or by its name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

from pipeline_guard.fixes.edits import CannotRewrite, Operation, Substitute
from pipeline_guard.fixes.payloads import Payload, payload_of
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import (
    classes_around,
    find_function,
    functions_around,
    held_at,
    imports_name,
    names_in_scope,
    parameters,
)
from pipeline_guard.fixes.source import lines_of
from pipeline_guard.fixes.tree import FunctionNode, Tree, is_generator

BY_HAND = "call the session's trigger with a reason in its place"
_PAYLOAD_NAMES = ("response", "payload", "response_config", "response_payload")
_REASON_NAMES = ("reason", "cause", "why", "source", "label", "trigger", "context")


class TriggerCall(NamedTuple):
    """The expression that calls the trigger, what must change at the trigger for it, and what it cannot hand on."""

    code: str
    widening: tuple[Operation, ...] = ()
    loses: str = ""


class Target(NamedTuple):
    """The trigger of a lane as code: its file, what it stands in, its name, and its parameters beside ``self``.

    ``definition`` is None for one that is only about to be written; that one takes ``reason`` and ``response``.
    ``awaits`` says that it is a coroutine function; a plain one is of a backend of threads, or only starts the send.
    """

    path: str
    name: str
    owner: ast.ClassDef | None
    inside: FunctionNode | None
    definition: FunctionNode | None
    awaits: bool = True

    @property
    def symbol(self) -> str:
        return f"{self.owner.name}.{self.name}" if self.owner is not None else self.name


def target_of(program: Program, path: str, symbol: str) -> Target:
    """Return a trigger's definition; raises CannotRewrite where it is no function."""
    tree = program.tree(path)
    definition = find_function(tree, symbol)
    if definition is None or is_generator(definition):
        raise CannotRewrite(f"{symbol}() is no function that could be called", BY_HAND)
    around = functions_around(tree, definition)[1:]
    inside = around[0] if around else None
    owners = [] if inside is not None else classes_around(tree, definition)
    awaits = isinstance(definition, ast.AsyncFunctionDef)
    return Target(path, definition.name, owners[0] if owners else None, inside, definition, awaits)


def trigger_call(
    program: Program, target: Target, path: str, node: ast.AST, reason: str, payload: Payload
) -> TriggerCall:
    """Return how a place calls the trigger; raises CannotRewrite where none reaches it."""
    tree = program.tree(path)
    name = callable_at(program, target, path, node)
    given, missing = _arguments(target, tree, node, reason)
    if missing:
        raise CannotRewrite(f"{target.symbol}() wants {', '.join(missing)}, which is not at hand here", BY_HAND)
    if not payload.known:
        return TriggerCall(f"{name}({', '.join(given)})", loses="what its payload held is not handed on")
    if payload.response is None:
        return TriggerCall(f"{name}({', '.join(given)})")
    parameter = payload_parameter(target)
    widening: tuple[Operation, ...] = ()
    if parameter is None:
        widening = _widened(program, target)
        parameter = "response"
    if not widening and not parameter:
        return TriggerCall(f"{name}({', '.join(given)})", loses="the instructions it carried are not handed on")
    handed = [*given, f"{parameter}={_indented_as(tree, node, payload.response)}"]
    return TriggerCall(f"{name}({', '.join(handed)})", widening)


def _indented_as(tree: Tree, node: ast.AST, text: str) -> str:
    """Return an expression of several lines as it is indented where a statement begins."""
    first, *rest = lines_of(text)
    if not rest or '"""' in text or "'''" in text:
        return text
    margin = tree.indentation(tree.statement_of(node).lineno)
    known = [line[: len(line) - len(line.lstrip())] for line in rest if line.strip()]
    common = min(known, key=len)
    if not all(each.startswith(common) for each in known):
        return text
    return first + "".join(margin + line[len(common) :] if line.strip() else line for line in rest)


def callable_at(program: Program, target: Target, path: str, node: ast.AST) -> str:
    """Return the expression for the trigger at a place: ``self.trigger_response``, ``session.trigger_response``."""
    tree, name, owner = program.tree(path), target.name, target.owner
    if target.inside is not None:
        # A function inside another: only what stands in the same one sees it.
        if path == target.path and any(each is target.inside for each in functions_around(tree, node)):
            return name
        raise CannotRewrite(f"{name}() stands inside {target.inside.name}(), which this does not", BY_HAND)
    if owner is None:
        if path == target.path or imports_name(tree, name):
            return name
        raise CannotRewrite(f"{target.symbol}() ({target.path}) is not imported here", BY_HAND)
    instance = held_at(tree, path, node, owner, target.path)
    if instance is None:
        raise CannotRewrite(f"no {owner.name} is at hand here to call {name}() on", BY_HAND)
    return f"{instance}.{name}"


def _own_parameters(target: Target) -> list[ast.arg]:
    if target.definition is None:
        return [ast.arg("reason"), ast.arg("response")]
    names = parameters(target.definition)
    return names[1:] if names and names[0].arg in ("self", "cls") else names


def reason_parameter(target: Target) -> str | None:
    """Return the name of the parameter that takes the reason."""
    own = [each.arg for each in _own_parameters(target)]
    return next((name for name in _REASON_NAMES if name in own), own[0] if len(own) == 1 else None)


def payload_parameter(target: Target) -> str | None:
    """Return the name of the parameter that takes the ``response`` object, or None."""
    own = [each.arg for each in _own_parameters(target)]
    return next((name for name in _PAYLOAD_NAMES if name in own), None)


def _arguments(target: Target, tree: Tree, node: ast.AST, reason: str) -> tuple[list[str], list[str]]:
    """Return the arguments of a call, and the required ones that a place has nothing for."""
    if target.definition is None:
        return [f'"{reason}"'], []
    arguments = target.definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = positional[: len(positional) - len(arguments.defaults)] if arguments.defaults else positional
    keyword_only = [
        each for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    ]
    own = [each for each in needed if each not in positional[:1] or each.arg not in ("self", "cls")]
    wanted = reason_parameter(target)
    given: list[str] = []
    missing: list[str] = []
    scope = names_in_scope(tree, node)
    for each in (*own, *keyword_only):
        by_name = f"{each.arg}=" if each in keyword_only else ""
        if each.arg == wanted:
            given.append(f'{by_name}"{reason}"')
        elif each.arg in scope:
            given.append(f"{by_name}{each.arg}")
        else:
            missing.append(each.arg)
    if wanted is not None and not any(f'"{reason}"' in each for each in given):
        given.append(f'{wanted}="{reason}"')  # it has a default
    return given, missing


def _widened(program: Program, target: Target) -> tuple[Operation, ...]:
    """Return the edits that let a trigger take a ``response`` object; none where its send is not a plain event."""
    tree = program.tree(target.path)
    if target.definition is None:
        return ()
    arguments = target.definition.args
    if arguments.kwarg is not None or arguments.kwonlyargs or arguments.vararg is not None:
        return ()
    events = [
        node
        for node in ast.walk(target.definition)
        if isinstance(node, ast.Dict)
        and any(isinstance(value, ast.Constant) and value.value == "response.create" for value in node.values)
    ]
    last = parameters(target.definition)[-1] if parameters(target.definition) else None
    if len(events) != 1 or last is None or any(_key(each) == "response" for each in events[0].keys):
        return ()
    event = events[0]
    end: ast.AST = arguments.defaults[-1] if arguments.defaults else last
    value = event.values[-1]
    return (
        _at_end(tree, target.path, end, ', response: "dict | None" = None'),
        _at_end(tree, target.path, value, ', **({"response": response} if response else {})'),
    )


def _key(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _at_end(tree: Tree, path: str, node: ast.AST, code: str) -> Substitute:
    line: int = node.end_lineno  # type: ignore[attr-defined]
    column = tree.end(node) - tree.source.line_start(line) + 1
    return Substitute(path, line, column, line, column, code)


def described(calls: Sequence[TriggerCall]) -> str:
    """Return what the calls cannot hand on, for a sentence."""
    lost = dict.fromkeys(call.loses for call in calls if call.loses)
    return "".join(f"; {each}" for each in lost)


def payload_at(program: Program, path: str, line: int, column: int) -> Payload:
    """Return what the send at a place asks for."""
    calls = program.tree(path).calls_at(line, column)
    return payload_of(program.tree(path), calls[0]) if calls else Payload(False)
