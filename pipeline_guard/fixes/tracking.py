"""What to do about a guard whose marker does not follow the server's responses: set and clear it where it has to."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fixes.deferral import the_trigger
from pipeline_guard.fixes.edits import CannotRewrite, Insert, Unit
from pipeline_guard.fixes.guards import identity, trigger_method, without_guard
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.pumps import receiver_at
from pipeline_guard.fixes.reader import main_reader
from pipeline_guard.fixes.scope import method_around
from pipeline_guard.fixes.tree import first_line
from pipeline_guard.pipeline.model import Lane, Trigger

BY_HAND = "set active_response_id on response.created, and to None on the response.done of the same id"


def not_tracked(program: Program, finding: Finding) -> Iterator[Unit]:
    """Set the marker on response.created, clear it on response.done; add the guard where none asks."""
    lane = program.lanes.get(finding.lane)
    trigger = the_trigger(lane)
    gate = trigger.gate
    if lane is None or not gate.checked:
        yield from without_guard(program, finding)
        return
    name = gate.marker or (gate.markers[0] if gate.markers else "")
    if not name.endswith("_id") or (not gate.set_on_created and gate.marks):
        raise CannotRewrite(f"{name} holds no id of a response", BY_HAND)
    lines = _lines(program, lane, trigger, name, sets=not gate.set_on_created, clears=not gate.cleared_on_done)
    done = "set on response.created" if not gate.set_on_created else "cleared on the response.done of its own response"
    yield Unit((lines,), finding.rule, "unsafe", f"{name} is {done}", (finding.fingerprint,))


def _lines(program: Program, lane: Lane, trigger: Trigger, name: str, *, sets: bool, clears: bool) -> Insert:
    """Return the lines that keep a marker, before the server's events are told apart."""
    tree = program.tree(trigger.path)
    function, _ = trigger_method(tree, trigger)
    method = method_around(tree, function)
    reader = main_reader(
        {path: program.tree(path) for path in dict.fromkeys(each.path for each in lane.sites)}, program.event_names
    )
    receiver = receiver_at(program, trigger.path, method[0], reader) if method is not None else None
    if receiver is None:
        raise CannotRewrite("where events are read, the session is not at hand", BY_HAND)
    marker = f"{receiver}.{name}"
    arms = []
    if sets:
        arms.append((f'{reader.kind} == "response.created"', f"{marker} = {identity(reader)}"))
    if clears:
        arms.append((f'{reader.kind} == "response.done" and {identity(reader)} == {marker}', f"{marker} = None"))
    lines: list[str] = []
    for test, statement in arms:
        lines += [f"{'elif' if lines else 'if'} {test}:", f"    {statement}"]
    return Insert(reader.path, first_line(reader.statement), (*lines, ""))


FIXERS = {"PG205": not_tracked}
