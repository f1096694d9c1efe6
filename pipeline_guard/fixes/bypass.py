"""What to do about a way past the guard: nobody takes it any more, and what it stood for is asked for afterwards."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fixes.deferral import defer, the_trigger
from pipeline_guard.fixes.edits import CannotRewrite, Operation, Substitute, Unit
from pipeline_guard.fixes.guards import replaced, trigger_method
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import parameters
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.pipeline.model import Step, Trigger

BY_HAND = "remove the way past the guard; what it stood for is answered once, after response.done"


def past_the_guard(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take the argument that forces a response out of a call, and out of the guard where no call gives it."""
    trigger = the_trigger(program.lanes.get(finding.lane))
    gate = trigger.gate
    name = gate.bypass or ""
    tree = program.tree(trigger.path)
    function, _ = trigger_method(tree, trigger)
    if name not in {each.arg for each in parameters(function)} or name == "reason":
        raise CannotRewrite("what lets it past is no argument of its own", BY_HAND)
    # All calls at once, and the guard with them: what is left of a way past is the next quick fix's.
    operations: list[Operation] = [
        _without_argument(program.tree(step.path), step, name) for step in dict.fromkeys(gate.bypass_calls)
    ]
    operations.append(_without_test(tree, trigger, name))
    why = f"{name} no longer opens the guard; no call gives it"
    if gate.bypass_calls:
        operations += defer(program, trigger, without=name)
        why = f"no call gives {name} any more and the guard asks always; what it skips is asked for after response.done"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def _without_argument(tree: Tree, step: Step, name: str) -> Substitute:
    """Return the removal of a keyword from the one call on a line that gives it."""
    found = [
        (call, keyword) for call in tree.calls_on_line(step.line) for keyword in call.keywords if keyword.arg == name
    ]
    if len(found) != 1:
        raise CannotRewrite(f"{name} is not given by its name in one call", BY_HAND)
    call, keyword = found[0]
    given: list[ast.AST] = sorted([*call.args, *call.keywords], key=tree.start)
    index = given.index(keyword)
    if index > 0:
        start, end = tree.end(given[index - 1]), tree.end(keyword)
    else:
        start, end = tree.start(keyword), tree.start(given[1]) if len(given) > 1 else tree.end(keyword)
    if "#" in tree.source.text[start:end]:
        raise CannotRewrite("a comment stands beside the argument", BY_HAND)
    return Substitute(step.path, *_place(tree, start), *_place(tree, end), "")


def _place(tree: Tree, offset: int) -> tuple[int, int]:
    starts = tree.source.line_starts
    line = next(number for number in range(len(starts), 0, -1) if starts[number - 1] <= offset)
    return line, offset - starts[line - 1] + 1


def _without_test(tree: Tree, trigger: Trigger, name: str) -> Substitute:
    """Return the guard's test without the operand that lets a call past: ``active and not force`` → ``active``."""
    for step in trigger.gate.bypasses:
        statement = next((each for each in tree.suites if isinstance(each, ast.If) and each.lineno == step.line), None)
        test = statement.test if statement is not None else None
        if not isinstance(test, ast.BoolOp) or not isinstance(test.op, ast.And):
            continue
        kept = [each for each in test.values if not _only_names(each, name)]
        if len(kept) == len(test.values) - 1:
            texts = [_grouped(tree, each) for each in kept] if len(kept) > 1 else [tree.text(kept[0])]
            return replaced(tree, step.path, test, " and ".join(texts))
    raise CannotRewrite("the guard asks for it in a way that cannot be taken out", BY_HAND)


def _only_names(test: ast.expr, name: str) -> bool:
    return (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and isinstance(test.operand, ast.Name)
        and test.operand.id == name
    )  # fmt: skip


def _grouped(tree: Tree, node: ast.expr) -> str:
    text = tree.text(node)
    return f"({text})" if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) else text


FIXERS = {"PG209": past_the_guard}
