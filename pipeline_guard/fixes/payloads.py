"""What a send of ``response.create`` asks for beside a response: its instructions, its tools, as source text."""

from __future__ import annotations

import ast
import json
from typing import NamedTuple

from pipeline_guard.fixes.scope import functions_around
from pipeline_guard.fixes.tree import Tree

_ADDRESS = frozenset({"type", "event_id"})


class Payload(NamedTuple):
    """``response`` is the text of the event's ``response`` object, None where it has none.

    ``known`` is False where the event is built in a way that is not read here; then anything may be in it.
    """

    known: bool
    response: str | None = None

    @property
    def bare(self) -> bool:
        return self.known and self.response is None


def payload_of(tree: Tree, call: ast.Call) -> Payload:
    """Return what a call that sends ``response.create`` puts into it."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "create" and not call.args:
        return _of_keywords(tree, call)  # the SDK's ``connection.response.create(response=…)``
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    for argument in arguments:
        found = _of_event(tree, call, argument)
        if found is not None:
            return found
    return Payload(not arguments)


def _of_keywords(tree: Tree, call: ast.Call) -> Payload:
    response: str | None = None
    for keyword in call.keywords:
        if keyword.arg == "response":
            response = _text(tree, keyword.value)
        elif keyword.arg not in _ADDRESS:
            return Payload(False)
    return Payload(True, response)


def _of_event(tree: Tree, place: ast.AST, node: ast.expr) -> Payload | None:
    if isinstance(node, ast.Dict):
        return _of_dict(tree, node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "response.create" in node.value:
        return _of_text(node.value)
    if isinstance(node, ast.Call):
        if _takes_type(node):
            return _of_keywords(tree, node)
        for argument in node.args:
            found = _of_event(tree, place, argument)
            if found is not None:
                return found
    if isinstance(node, ast.Name):
        return _of_name(tree, place, node.id)
    return None


def _takes_type(call: ast.Call) -> bool:
    """Say whether a call builds an event: ``ResponseCreateEvent(type="response.create", …)``, ``dict(type=…)``."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "dict" or (name[:1].isupper() and "response" in name.lower())


def _of_dict(tree: Tree, node: ast.Dict) -> Payload:
    response: str | None = None
    for key, value in zip(node.keys, node.values, strict=True):
        name = key.value if isinstance(key, ast.Constant) else None
        if name == "response":
            response = _text(tree, value)
        elif name not in _ADDRESS and not _is_type(key):
            return Payload(False)
    return Payload(True, response)


def _is_type(key: ast.expr | None) -> bool:
    return key is not None and "type" in (getattr(key, "id", "") + getattr(key, "attr", "")).lower()


def _text(tree: Tree, value: ast.expr) -> str | None:
    if isinstance(value, ast.Dict) and not value.keys:
        return None
    if isinstance(value, ast.Constant) and value.value is None:
        return None
    return tree.text(value)


def _of_text(text: str) -> Payload:
    try:
        event = json.loads(text)
    except ValueError:
        return Payload(False)
    if not isinstance(event, dict) or event.keys() - _ADDRESS:
        return Payload(False)
    return Payload(True)


def _of_name(tree: Tree, place: ast.AST, name: str) -> Payload | None:
    """Follow a local name to the one event it was given."""
    for function in functions_around(tree, place):
        stores = [
            node
            for node in tree.statements_of(function)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and _stores(node, name) and node.value is not None
        ]
        if len(stores) > 1:
            return Payload(False)
        if stores:
            value = stores[0].value
            if not isinstance(value, ast.Dict):
                return _of_event(tree, stores[0], value) if value is not None else None
            found = _of_dict(tree, value)
            if found.response is not None:
                return Payload(found.known, f'{name}["response"]')
            if _is_changed(function, name):
                return Payload(found.known, f'{name}.get("response")')
            return found
    return _of_constant(tree, name)


def _of_constant(tree: Tree, name: str) -> Payload | None:
    """Follow a name of the file's top level to the one dict that it is and stays."""
    stores = [
        node
        for node in tree.parents
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript))
        and isinstance(node.ctx, ast.Store)
        and name in (getattr(node, "id", ""), getattr(getattr(node, "value", None), "id", ""))
    ]
    above = tree.parents[stores[0]] if len(stores) == 1 else None
    if (
        isinstance(above, (ast.Assign, ast.AnnAssign))
        and above in tree.module.body
        and isinstance(above.value, ast.Dict)
    ):
        found = _of_dict(tree, above.value)
        return Payload(found.known, f'{name}["response"]') if found.response is not None else found
    return None


def _stores(node: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _is_changed(function: ast.AST, name: str) -> bool:
    """Say whether something is put into a dict that a name holds."""
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Store)
            and getattr(node.value, "id", "") == name
        ):
            return True
        if isinstance(node, ast.Attribute) and node.attr == "update" and getattr(node.value, "id", "") == name:
            return True
    return False
