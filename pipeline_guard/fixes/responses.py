"""What to do about surplus responses: lead them through the trigger, or take them out where no turn asked for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from pipeline_guard.checks.responses import canonical_trigger
from pipeline_guard.findings import Finding
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import CannotRewrite, NoOpCall, Reroute, Unit
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.tree import FUNCTIONS, FunctionNode, Tree
from pipeline_guard.pipeline.model import Site, Trigger

# Causes that no turn of the caller and no tool stands behind.
_UNASKED = frozenset({"timer", "silence", "recovery", "error_retry"})
_BY_HAND = "call the session's trigger with a reason in its place"


def outside_trigger(program: Program, finding: Finding) -> Iterator[Unit]:
    """Re-route a response that a turn, a tool or the greeting stands behind; take out any other."""
    site = _site(program, finding)
    if site.trigger in _UNASKED:
        yield from unasked(program, finding)
        return
    lane = program.lanes.get(finding.lane)
    trigger = canonical_trigger(lane) if lane is not None else None
    if trigger is None:
        raise CannotRewrite("this pipeline has no trigger yet that it could go through", "add trigger_response first")
    if site.role != "primitive":
        raise CannotRewrite("it is a wrapper that does more than create a response", _BY_HAND)
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        raise CannotRewrite("the call was not found", _BY_HAND)
    code = trigger_call(program, trigger, tree, calls[0], site.path, site.trigger or "other")
    bare = _is_bare(calls[0])
    why = f"goes through {trigger.symbol}() as {site.trigger!r}"
    if not bare:
        why += "; what its payload asked for is not handed on"
    yield Unit(
        (Reroute(site.path, site.line, site.column, code),),
        finding.rule, "safe" if bare else "unsafe", why, (finding.fingerprint,),
    )  # fmt: skip


def unasked(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a response that no turn of the caller asked for."""
    site = _site(program, finding)
    yield Unit(
        (NoOpCall(site.path, site.line, site.column, comments.RESPONSE),),
        finding.rule, "safe", f"a {site.trigger} asks for a response that no turn of the caller asked for",
        (finding.fingerprint,),
    )  # fmt: skip


def dormant(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a send that nothing reaches today."""
    site = _site(program, finding)
    yield Unit(
        (NoOpCall(site.path, site.line, site.column, comments.RESPONSE),),
        finding.rule, "safe", "nothing reaches it today, and one edit would revive it", (finding.fingerprint,),
    )  # fmt: skip


def _site(program: Program, finding: Finding) -> Site:
    for site in program.sites_at(finding):
        if site.kind == "response_create":
            return site
    raise CannotRewrite("it stands at no call", _BY_HAND)


def trigger_call(program: Program, trigger: Trigger, tree: Tree, node: ast.AST, path: str, reason: str) -> str:
    """Return the expression that calls a trigger from a place in a file; raises CannotRewrite where none reaches it."""
    definition = program.tree(trigger.path).function_at(trigger.line)
    if definition is None or not isinstance(definition, ast.AsyncFunctionDef):
        raise CannotRewrite(f"{trigger.symbol}() is no coroutine function", _BY_HAND)
    argument = _reason_argument(definition, trigger, reason)
    owner, _, name = trigger.symbol.rpartition(".")
    functions = [each for each in tree.above(node) if isinstance(each, FUNCTIONS)]
    if path == trigger.path and any(_is_in(definition, each, program.tree(path)) for each in functions):
        return f"{name}({argument})"  # the trigger is a function inside one that this stands in as well
    classes = [each.name for each in tree.above(node) if isinstance(each, ast.ClassDef)]
    if owner and path == trigger.path and classes and ".".join(reversed(classes)) == owner:
        receiver = _receiver(functions)
        if receiver is not None:
            return f"{receiver}.{name}({argument})"
    if not owner and path == trigger.path:
        return f"{name}({argument})"
    raise CannotRewrite(f"{trigger.symbol}() ({trigger.path}) is not in reach here", _BY_HAND)


def _is_in(definition: FunctionNode, function: ast.AST, tree: Tree) -> bool:
    return any(each is function for each in tree.above(definition))


def _receiver(functions: Sequence[ast.AST]) -> str | None:
    """Return the name of ``self`` in the method that a place stands in."""
    method = functions[-1] if functions else None
    if not isinstance(method, FUNCTIONS) or not method.args.args:
        return None
    if any(getattr(decorator, "id", "") in ("staticmethod", "classmethod") for decorator in method.decorator_list):
        return None
    return method.args.args[0].arg


def _reason_argument(definition: FunctionNode, trigger: Trigger, reason: str) -> str:
    arguments = definition.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    if "." in trigger.symbol and names and names[0] in ("self", "cls"):
        names = names[1:]
    required = names[: len(names) - len(arguments.defaults)] if arguments.defaults else names
    if None in arguments.kw_defaults or len(required) > 1:
        raise CannotRewrite(f"{trigger.symbol}() wants more than a reason", _BY_HAND)
    return f'"{reason}"' if names else ""


def _is_bare(call: ast.Call) -> bool:
    """Say whether a call sends nothing but the type: no instructions and no tools that would be lost."""
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Dict):
                keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
                if any(key not in ("type", "event_id") for key in keys):
                    return False
            elif isinstance(node, ast.Name) and node.id not in ("json", "orjson"):
                return False  # a payload that was built elsewhere
    return True


FIXERS = {
    "PG201": outside_trigger,
    "PG303": outside_trigger,
    "PG207": unasked,
    "PG208": unasked,
    "PG215": dormant,
}
