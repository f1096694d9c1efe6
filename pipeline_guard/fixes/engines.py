"""What to do about other recognisers and other voices: dead ones emptied, offline ones marked, greetings out."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.fix_kinds import greets
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.bodies import refuse_unless_empty_is_fine
from pipeline_guard.fixes.edits import CannotRewrite, Insert, NoOpBody, NoOpCall, Operation, Substitute, Unit
from pipeline_guard.fixes.producers import without_producers
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import functions_around
from pipeline_guard.fixes.tree import FunctionNode, Tree, first_line
from pipeline_guard.pipeline.model import Site

_DEAD = ("nothing calls", "nothing makes", "nothing loads", "switched off", "never assigned")
_BY_HAND_DEAD = "delete the branch together with the setting"
_BY_HAND_LIVE = (
    "take the recogniser out with what feeds it; read the caller's words from "
    "conversation.item.input_audio_transcription.completed"
)
_BY_HAND_VOICE = "let the session say it: await trigger_response(reason), with the words in its instructions"
_SAY = re.compile(r"<(Say|Play)\b[^<>]*>[^<]*</\1>")


def dead(comment: str, kind: str) -> Callable[[Program, Finding], Iterator[Unit]]:
    """Return the fixer that empties a function in which an engine runs that nothing reaches."""

    def fixer(program: Program, finding: Finding) -> Iterator[Unit]:
        site = _site(program, finding, kind)
        if site.flag is not None:
            raise CannotRewrite(
                f"one setting ({site.flag}) turns it on, and code behind it expects a result", _BY_HAND_DEAD
            )
        reason = next((part for part in site.note.split("; ") if any(each in part for each in _DEAD)), None)
        if reason is None:
            raise CannotRewrite("why nothing reaches it was not understood", "delete it if it is dead")
        tree, function = _function(program, site)
        switch = reason.partition("switched off: ")[2].strip()
        if switch and re.search(rf"\b{re.escape(switch.rpartition('.')[2])}\b", tree.text(function)):
            raise CannotRewrite(f"only a branch of {function.name}() is switched off", _BY_HAND_DEAD)
        refuse_unless_empty_is_fine(tree, function, returns_are_fine=True)
        safe = function.returns is None or tree.text(function.returns).strip("\"'") in ("None", "Any", "object")
        why = f"nothing reaches {function.name}() today ({reason}), and one edit would revive it"
        if not safe:
            why += "; it no longer returns what its annotation says"
        operation = NoOpBody(site.path, function.lineno, comment, returns_are_fine=True)
        yield Unit((operation,), finding.rule, "safe" if safe else "unsafe", why, (finding.fingerprint,))

    return fixer


def live_recogniser(program: Program, finding: Finding) -> Iterator[Unit]:
    """Empty a function that transcribes during the call and returns nothing to anybody."""
    site = _site(program, finding, "stt")
    tree, function = _function(program, site)
    home = f"{site.path}:{site.symbol}"
    others = [
        each.kind
        for each in program.map.sites()
        # Asking for a response to the words it wrote down is part of what goes: the turn itself is answered elsewhere.
        if f"{each.path}:{each.symbol}" == home and each.kind not in ("stt", "guard_check", "response_create")
    ]
    waits = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("get", "get_nowait", "receive", "recv", "iter_text", "receive_text", "iter_json")
        and not (node.func.attr == "get" and node.args)
        for node in ast.walk(function)
    )  # fmt: skip
    if others or waits or any(isinstance(node, (ast.AsyncFor, ast.While)) for node in ast.walk(function)):
        raise CannotRewrite(f"{function.name}() does other work of the call as well", _BY_HAND_LIVE)
    refuse_unless_empty_is_fine(tree, function)
    why = f"{function.name}() no longer transcribes during the call; Realtime's own transcription is the one"
    if site.effects:
        last = site.effects[-1]
        why += f"; what it wrote at {last.path}:{last.line} is no longer written"
    operations = (NoOpBody(site.path, function.lineno, comments.TRANSCRIPTION), *without_producers(tree, function))
    yield Unit(operations, finding.rule, "unsafe", why, (finding.fingerprint,))


def live_voice(_program: Program, _finding: Finding) -> Iterator[Unit]:
    """Refuse: what another voice says has to be said by the session, and only a person knows in which words."""
    yield from _refusal("what it says would be lost, and the session has to be told the words", _BY_HAND_VOICE)


def _refusal(why: str, by_hand: str) -> Iterator[Unit]:
    raise CannotRewrite(why, by_hand)


def offline_unmarked(program: Program, finding: Finding) -> Iterator[Unit]:
    """Say in a comment that a recogniser runs after the call only."""
    site = _site(program, finding, "stt")
    _, function = _function(program, site)
    why = f"says that {function.name}() runs after the call only"
    yield Unit((Insert(site.path, first_line(function), (comments.OFFLINE,)),), finding.rule, "safe", why,
               (finding.fingerprint,))  # fmt: skip


def twiml_voice(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out what TwiML says before the stream opens."""
    site = next((each for each in program.sites_at(finding) if each.kind in ("twiml_say", "twiml_play")), None)
    if site is None:
        raise CannotRewrite("it stands at no verb", _BY_HAND_VOICE)
    if site.beside != "before":
        raise CannotRewrite("when the session has to say it instead is not known here", _BY_HAND_VOICE)
    tree = program.tree(site.path)
    calls = [each for each in tree.calls_at(site.line, site.column) if _is_verb(each)]
    operation: Operation
    if calls:
        words = _words(calls[0])
        operation = NoOpCall(site.path, site.line, site.column, comments.VOICE)
    else:
        operation, words = _written(tree, site)
    lane = program.lanes.get(finding.lane)
    if lane is None or not greets(lane):
        raise CannotRewrite(
            f"nothing else greets, and the caller would be met by silence{f' instead of {words}' if words else ''}",
            'await trigger_response("GREETING"), with the words in its instructions, when the session is ready; then '
            "run the fix again",
        )
    said = f": {words}" if words else ""
    why = f"the stream opens at once; the caller no longer hears Twilio's voice first{said}"
    yield Unit((operation,), finding.rule, "unsafe", why, (finding.fingerprint,))


def _is_verb(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("say", "play")


def _words(call: ast.Call) -> str:
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in ("message", "url"))]
    text = values[0].value if values and isinstance(values[0], ast.Constant) else ""
    return f"«{text}»" if isinstance(text, str) and text else ""


def _written(tree: Tree, site: Site) -> tuple[Operation, str]:
    """Return the removal of a verb that is written as text, where it stands in one literal."""
    start, end = tree.source.line_start(site.line), tree.source.line_start(site.end_line + 1)
    found = list(_SAY.finditer(tree.source.text, start, end))
    if len(found) != 1:
        raise CannotRewrite("the verb is not written in one piece", "take <Say> out of the TwiML before <Connect>")
    match = found[0]
    whole = any(
        isinstance(node, (ast.Constant, ast.JoinedStr))
        and tree.start(node) < match.start()
        and match.end() < tree.end(node)
        for node in tree.parents
        if site.line <= getattr(node, "lineno", 0) <= site.end_line
    )
    if not whole or ("{" in match[0] and "}" not in match[0]):
        raise CannotRewrite("the verb is not written in one literal", "take <Say> out of the TwiML before <Connect>")
    first, last = match.span()
    line_begin = tree.source.text.rfind("\n", 0, first) + 1
    line_end = tree.source.text.find("\n", last)
    if line_end >= 0 and not tree.source.text[line_begin:first].strip() and not tree.source.text[last:line_end].strip():
        first, last = line_begin, line_end + 1
    words = re.sub(r"<[^>]*>", "", match[0]).strip()
    return Substitute(site.path, *_place(tree, first), *_place(tree, last), ""), f"«{words}»" if words else ""


def _place(tree: Tree, offset: int) -> tuple[int, int]:
    starts = tree.source.line_starts
    line = next(number for number in range(len(starts), 0, -1) if starts[number - 1] <= offset)
    return line, offset - starts[line - 1] + 1


def _site(program: Program, finding: Finding, kind: str) -> Site:
    for site in program.sites_at(finding):
        if site.kind == kind:
            return site
    raise CannotRewrite("the call of the engine was not found", "look at it by hand")


def _function(program: Program, site: Site) -> tuple[Tree, FunctionNode]:
    tree = program.tree(site.path)
    calls = tree.calls_at(site.line, site.column)
    around = functions_around(tree, calls[0]) if calls else []
    if not around:
        raise CannotRewrite("it stands in no function", "look at it by hand")
    return tree, around[0]


FIXERS = {
    "PG301": live_voice,
    "PG302": twiml_voice,
    "PG304": dead(comments.VOICE, "tts"),
    "PG401": live_recogniser,
    "PG404": offline_unmarked,
    "PG405": dead(comments.TRANSCRIPTION, "stt"),
}
