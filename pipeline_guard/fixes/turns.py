"""What to do where one turn gets two responses: one event answers it, one response follows the tools."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.deferral import answered_later, defer, kept_by, the_trigger
from pipeline_guard.fixes.edits import CannotRewrite, Insert, NoOpCall, Operation, Remove, Unit
from pipeline_guard.fixes.guards import trigger_method
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.responses import outside_trigger
from pipeline_guard.fixes.surplus import take_out
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Site, Trigger
from pipeline_guard.pipeline.policy import SERVER_CREATES

# The events of one utterance, the one that answers it first.
_ORDER = (
    "input_audio_buffer.committed",
    "input_audio_buffer.speech_stopped",
    "conversation.item.input_audio_transcription.completed",
)
_ONE_EVENT = "trigger on input_audio_buffer.committed alone; the other branches log, store or extract"
_AFTER_DONE = "send the cancel, return, and ask for the next response in the branch of response.done"
_AFTER_TOOLS = "ask for one response in the branch of response.done, when its output holds a function_call"
_COMMIT = "take the commit out; or set turn_detection to null, where the client is to say when a turn ends"


def two_triggers(program: Program, finding: Finding) -> Iterator[Unit]:
    """Leave the trigger of one event of an utterance, and take the other out."""
    lane = program.lanes.get(finding.lane)
    places = {(s.path, s.line, s.column): s for s in (lane.sites if lane else ()) if s.kind == "response_create"}
    double = next(
        (
            each
            for each in (lane.double_turns if lane is not None else ())
            if each.place == (finding.path, finding.line, finding.column)
        ),
        None,
    )
    if lane is None or double is None or double.place not in places or double.first_place not in places:
        raise CannotRewrite("the two triggers were not found", _ONE_EVENT)
    first, second = (double.first_event, double.first_place), (double.event, double.place)
    known = [event for event, _ in (first, second) if event in _ORDER]
    if len(known) != 2:
        raise CannotRewrite("which of the two events is to answer the turn is not known", _ONE_EVENT)
    gone, stays = (second, first) if _ORDER.index(first[0]) <= _ORDER.index(second[0]) else (first, second)
    site = places[gone[1]]
    operations = list(_out_of_the_way(program, lane, site, gone[0], 3))
    why = f"{gone[0]} no longer asks for a response: {stays[0]} ({_where(stays[1])}) answers the turn"
    if gone[0] == stays[0]:
        why = f"one {gone[0]} asks for one response, in {_where(stays[1])}"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def _where(place: tuple[str, int, int]) -> str:
    return f"{place[0]}:{place[1]}"


def _out_of_the_way(program: Program, lane: Lane, site: Site, event: str, depth: int) -> Iterator[Operation]:
    """Yield what takes a trigger out of the branch of an event: at its place, or in a function that only it calls."""
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    if not calls:
        raise CannotRewrite("the call was not found", _ONE_EVENT)
    if site.role == "primitive" or site.callee in site.leads_to:
        yield NoOpCall(site.path, site.line, site.column, comments.RESPONSE)
        return
    sites = [each for each in lane.sites if each.kind == "response_create" and each.context not in QUIET_CONTEXTS]
    inner = [each for each in sites if f"{each.path}:{each.symbol}" == site.callee]
    others = [each for each in sites if each.callee == site.callee and each is not site]
    if not inner or others or depth == 0:
        name = (site.callee or "").rpartition(":")[2]
        raise CannotRewrite(f"{name}() answers other events as well", _ONE_EVENT)
    for each in inner:
        yield from _out_of_the_way(program, lane, each, event, depth - 1)


def one_per_tool(program: Program, finding: Finding) -> Iterator[Unit]:
    """Have the trigger defer what comes while the response that asked for the tools is active."""
    lane = program.lanes.get(finding.lane)
    site = _response_at(program, finding, _AFTER_TOOLS)
    if site.per_tool == "loop":
        raise CannotRewrite("the loop over the tools asks once for each of them", _AFTER_TOOLS)
    trigger = the_trigger(lane)
    if not _is_through(site, trigger):
        raise CannotRewrite(f"it does not go through {trigger.symbol}()", _AFTER_TOOLS)
    operations = defer(program, trigger)
    if not operations:
        raise CannotRewrite(f"{trigger.symbol}() keeps what it skips, in a way that was not understood", _AFTER_TOOLS)
    why = f"{trigger.symbol}() keeps what it skips, and asks for it once, after response.done"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def cancel_then_create(program: Program, finding: Finding) -> Iterator[Unit]:
    """Have the response behind a cancel wait for the end of the cancelled one."""
    lane = program.lanes.get(finding.lane)
    site = _response_at(program, finding, _AFTER_DONE)
    trigger = the_trigger(lane)
    inside = (site.path, site.symbol) == (trigger.path, trigger.symbol)
    if not inside and not _is_through(site, trigger):
        yield from outside_trigger(program, finding)
        return
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    steps = [step for step in site.after_cancel if step.path == site.path]
    if not calls or not steps:
        raise CannotRewrite("the cancel stands in another function", _AFTER_DONE)
    cancel = next((each for each in tree.suites if _holds(each, steps[0].line)), None)
    if cancel is None or not tree.stands_alone(cancel):
        raise CannotRewrite("the cancel is no statement of its own", _AFTER_DONE)
    suite = tree.suites[cancel].statements
    behind = suite[suite.index(cancel) + 1 :]
    marker = trigger.gate.marker or "active_response_id"
    create = tree.statement_of(calls[0])
    gone = [each for each in behind if each.lineno < create.lineno and _only_pretends(tree, each, marker)]
    operations: list[Operation] = [Remove(site.path, each.lineno) for each in gone]
    if inside:
        operations += _deferred_inside(program, trigger, cancel, [each for each in behind if each not in gone], create)
    else:
        if create not in behind:
            raise CannotRewrite("the cancel and the create stand in different blocks", _AFTER_DONE)
        operations += defer(program, trigger)
    why = "the response behind the cancel is asked for once response.done has ended the cancelled one"
    yield Unit(tuple(operations), finding.rule, "unsafe", why, (finding.fingerprint,))


def _holds(statement: ast.stmt, line: int) -> bool:
    return not hasattr(statement, "body") and statement.lineno <= line <= (statement.end_lineno or 0)


def _only_pretends(tree: Tree, statement: ast.stmt, marker: str) -> bool:
    """Say whether a statement behind a cancel clears the marker by hand, or sleeps instead of waiting."""
    if isinstance(statement, ast.Assign):
        cleared = isinstance(statement.value, ast.Constant) and statement.value.value in (None, False)
        return cleared and all(tree.text(each).rpartition(".")[2] == marker for each in statement.targets)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Await):
        call = statement.value.value
        return isinstance(call, ast.Call) and tree.text(call.func).rpartition(".")[2] == "sleep"
    return False


def _deferred_inside(
    program: Program, trigger: Trigger, cancel: ast.stmt, behind: list[ast.stmt], create: ast.stmt
) -> list[Operation]:
    """Return what makes a trigger that replaces the active response keep the new one until the old one is over."""
    tree = program.tree(trigger.path)
    function, own = trigger_method(tree, trigger)
    owner = tree.suites[cancel].owner
    if behind or not isinstance(owner, ast.If) or owner.orelse or owner not in function.body or create in owner.body:
        raise CannotRewrite("the cancel is not all that stands under the guard", _AFTER_DONE)
    kept = Insert(trigger.path, cancel.lineno, (kept_by(function, own), "return"), after=True)
    return [kept, *answered_later(program, trigger)]


def by_hand_commit(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a commit of the client's where the server's turn detection commits as well."""
    lane = program.lanes.get(finding.lane)
    tree = program.tree(finding.path)
    calls = tree.calls_at(finding.line, finding.column)
    if lane is None or not calls:
        raise CannotRewrite("the commit was not found", _COMMIT)
    operations: list[Operation] = [take_out(program, finding.path, finding.line, finding.column, comments.COMMIT)]
    why = "the server's turn detection commits the caller's audio"
    asked = _asked_behind(lane, tree, calls[0], finding.path)
    if asked:
        values = {each.value for each in lane.sessions if each.context not in QUIET_CONTEXTS}
        if not values or not values <= SERVER_CREATES:
            raise CannotRewrite("the response behind it answers what it commits", _COMMIT)
        operations += [take_out(program, each.path, each.line, each.column, comments.RESPONSE) for each in asked]
        why += ", and creates the response that was asked for behind it"
    yield Unit(tuple(dict.fromkeys(operations)), finding.rule, "unsafe", why, (finding.fingerprint,))


def _asked_behind(lane: Lane, tree: Tree, call: ast.Call, path: str) -> list[Site]:
    """Return the responses that are asked for behind a commit, in its block."""
    statement = tree.statement_of(call)
    suite = tree.suites[statement].statements
    behind = suite[suite.index(statement) + 1 :]
    return [
        site
        for site in lane.sites
        if site.kind == "response_create" and site.path == path
        and any(each.lineno <= site.line <= (each.end_lineno or 0) for each in behind)
    ]  # fmt: skip


def _response_at(program: Program, finding: Finding, by_hand: str) -> Site:
    for site in program.sites_at(finding):
        if site.kind == "response_create":
            return site
    raise CannotRewrite("it stands at no call", by_hand)


def _is_through(site: Site, trigger: Trigger) -> bool:
    place = f"{trigger.path}:{trigger.symbol}"
    if site.role == "primitive":
        return (site.path, site.symbol) == (trigger.path, trigger.symbol)
    return bool(site.leads_to) and all(target == place for target in site.leads_to)


def audio_item(_program: Program, _finding: Finding) -> Iterator[Unit]:
    """Refuse: only a person knows whether the frames of an item are in the audio buffer as well."""
    yield from _refused(
        "whether its audio is in the buffer as well is not known: put there twice, the caller would be heard twice",
        "take the item out where its frames are sent anyway, else put them on the queue that the sender loop reads",
    )


def _refused(why: str, by_hand: str) -> Iterator[Unit]:
    raise CannotRewrite(why, by_hand)


FIXERS = {
    "PG107": by_hand_commit,
    "PG108": audio_item,
    "PG210": two_triggers,
    "PG214": cancel_then_create,
    "PG219": one_per_tool,
}
