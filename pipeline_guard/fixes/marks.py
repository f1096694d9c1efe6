"""Takes away the mark of a request together with the request: kept, it would hold back every later response."""

from __future__ import annotations

import ast

from pipeline_guard.checks.responses import canonical_trigger
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import NoOpCall, Operation, Remove, Reroute, Unit
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.pipeline.model import Trigger


def without_marks(program: Program, lane_name: str, unit: Unit) -> list[Operation]:
    """Return the removal of the marks that stand beside the requests which a unit takes out or leads elsewhere.

    A request that is led through the trigger must not find the trigger's own mark set by whoever calls it.
    """
    lane = program.lanes.get(lane_name)
    if lane is None:
        return []
    trigger = canonical_trigger(lane)
    own = _markers(trigger) if trigger is not None else frozenset()
    every = frozenset(name for each in lane.triggers for name in _markers(each))
    sets = {(site.path, site.line) for site in program.map.sites() if site.kind == "guard_set"}
    found: list[Operation] = []
    for operation in unit.operations:
        if isinstance(operation, NoOpCall) and operation.comment == comments.RESPONSE:
            found += _beside(program, operation, sets, every)
        elif isinstance(operation, Reroute) and trigger is not None and not _is_in(operation, trigger):
            found += _beside(program, operation, set(), own)
    return list(dict.fromkeys(found))


def _markers(trigger: Trigger) -> frozenset[str]:
    names = (*trigger.gate.markers, trigger.gate.pending_marker)
    return frozenset(name for name in names if name)


def _is_in(operation: Reroute, trigger: Trigger) -> bool:
    return operation.path == trigger.path and trigger.line <= operation.line <= trigger.end_line


def _beside(
    program: Program, operation: NoOpCall | Reroute, sets: set[tuple[str, int]], markers: frozenset[str]
) -> list[Operation]:
    tree = program.tree(operation.path)
    calls = tree.calls_at(operation.line, operation.column)
    if not calls:
        return []
    found: list[Operation] = []
    child: ast.stmt = tree.statement_of(calls[0])
    while True:
        suite = tree.suites[child]
        for statement in suite.statements:
            said = (operation.path, statement.lineno) in sets
            if statement is not child and _is_mark(tree, statement, None if said else markers):
                found.append(Remove(operation.path, statement.lineno))
        if not isinstance(suite.owner, ast.Try) or suite.name != "body":
            return found
        child = suite.owner  # the mark is set before the ``try`` around the send


def _is_mark(tree: Tree, statement: ast.stmt, markers: frozenset[str] | None) -> bool:
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or not tree.stands_alone(statement):
        return False
    target = statement.targets[0]
    if not isinstance(target, (ast.Name, ast.Attribute)):
        return False
    constant = isinstance(statement.value, ast.Constant) and statement.value.value not in (None, False)
    return constant and (markers is None or tree.text(target).rpartition(".")[2] in markers)
