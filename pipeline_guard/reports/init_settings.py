"""Words a contract as settings: what the map found, why each name is the one, and where the code differs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, PipelineMap, Queue, Sender, Site, Trigger
from pipeline_guard.pipeline.policy import SERVER_CREATES
from pipeline_guard.reports import words
from pipeline_guard.reports.source_frame import source_line
from pipeline_guard.reports.terminal import clean, count, place
from pipeline_guard.settings_file import MARK

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
# The attribute or variable that a line assigns.
_ASSIGNED = re.compile(r"\s*(?:\w+\.)*([^\W\d]\w*)\s*(?::[^=]+)?=[^=]")
_WRITTEN = (
    f"{MARK} from what the code does: correct what is not meant that way. With these names a "
    "second path is told from the one that is meant, and a renamed part is noticed."
)
_BASELINE = (
    "Where the backend is not clean yet: record what is known with 'pipeline-guard baseline', commit that file, and "
    'put baseline = "pipeline-guard-baseline.json" {where}; each check then fails only on what gets worse.'
)
_WIDTH = 110


class AppDraft(msgspec.Struct, frozen=True):
    """A lane with the name and the path patterns of the app that it would be."""

    lane: Lane
    name: str
    paths: tuple[str, ...]


def live_lanes(pipeline_map: PipelineMap) -> list[Lane]:
    """Return the lanes of OpenAI Realtime that something runs."""
    return [
        lane
        for lane in pipeline_map.lanes
        if words.is_realtime(lane) and any(site.context not in QUIET_CONTEXTS for site in _core(lane))
    ]


def app_drafts(lanes: Sequence[Lane]) -> list[AppDraft]:
    """Return the lanes as apps, each with the files that are its alone; empty where a lane has none."""
    files = [{site.path for site in _core(lane)} for lane in lanes]
    drafts: list[AppDraft] = []
    for lane, own in zip(lanes, files, strict=True):
        others = set[str]().union(*(other for other in files if other is not own))
        alone = sorted(own - others)
        if not alone:
            return []
        folder = _common_folder(alone)
        paths: tuple[str, ...]
        if folder and not any(path.startswith(f"{folder}/") for path in others):
            name, paths = folder.rpartition("/")[2], (f"/{_escaped(folder)}/",)
        else:
            name, paths = (
                PurePosixPath(lane.name.rpartition(":")[0] or alone[0]).stem,
                tuple(f"/{_escaped(p)}" for p in alone),
            )
        taken = {draft.name for draft in drafts}
        drafts.append(AppDraft(lane, _unique(name, taken), paths))
    return drafts


def render(pipeline_map: PipelineMap, lanes: Sequence[Lane], apps: Sequence[AppDraft], prefix: str) -> str:
    """Return the tables: one contract, or one app for each of several lanes.

    ``prefix`` is what stands before the names of tables ("tool.pipeline-guard."), empty in a file of our own.
    """
    lines = list(_comment(_WRITTEN))
    table = prefix.rstrip(".")
    lines += _comment(_BASELINE.format(where=f"into [{table}]" if table else "above all tables of this file"))
    if apps:
        for draft in apps:
            lines += ["", f"[[{prefix}app]]", f"name = {_quoted(draft.name)}"]
            lines += [f"paths = [{', '.join(map(_quoted, draft.paths))}]", "", f"[{prefix}app.contract]"]
            lines += _contract(draft.lane, pipeline_map)
    elif len(lanes) == 1:
        lines += ["", f"[{prefix}contract]", *_contract(lanes[0], pipeline_map)]
    else:
        names = ", ".join(lane.name for lane in lanes)
        lines += _comment(
            f"{count(len(lanes), 'pipeline')} share the files they run through ({names}), so no one name holds for all "
            "of them. Give each its own folder and declare them as apps, or name what they have in common here."
        )
        lines += ["", f"[{prefix}contract]"]
    return "\n".join(lines) + "\n"


def _core(lane: Lane) -> list[Site]:
    return [site for site in lane.sites if site.kind in ("audio_send", "response_create", "auto_response")]


def _contract(lane: Lane, pipeline_map: PipelineMap) -> Iterator[str]:
    lanes = pipeline_map.lanes
    symbols = [part.symbol for each in lanes for part in each.senders]
    symbols += [part.symbol for each in lanes for part in each.triggers]
    sender = next((sender for sender in lane.senders if sender.canonical), None)
    trigger = next((trigger for trigger in lane.triggers if trigger.canonical), None)
    yield from _queue_lines([queue for queue in lane.queues if queue.carries == "audio"])
    yield from _sender_lines(sender, lane.senders, symbols)
    yield from _trigger_lines(trigger, lane.triggers, symbols)
    yield from _marker_lines(lane, trigger, pipeline_map.root)
    yield from _turn_lines(lane)


def _queue_lines(queues: Sequence[Queue]) -> Iterator[str]:
    if not queues:
        yield from _comment("No queue of the caller's audio was found: it should be the only way to the sender.")
        yield '# queue = "realtime_audio_in_queue"'
        return
    first, *more = queues
    bound = "" if first.bounded is None else ", bounded" if first.bounded else ", without a bound"
    yield from _comment(
        f"The one queue of the caller's audio: {place(first.path, first.line)} ({clean(first.type)}{bound})."
        + _differs("Also a queue of audio", [(queue.name, queue.path, queue.line) for queue in more])
    )
    yield f"queue = {_quoted(first.name.rpartition('.')[2])}"


def _sender_lines(sender: Sender | None, senders: Sequence[Sender], symbols: Sequence[str]) -> Iterator[str]:
    if sender is None:
        yield from _comment("No function that sends the caller's audio was found to be running.")
        yield '# sender = "audio_sender_loop"'
        return
    how = (
        "the loop that reads the queue" if sender.loop and sender.queue else "not a loop over a queue, as it should be"
    )
    rivals = [(s.symbol, s.path, s.line) for s in senders if s is not sender and s.context not in QUIET_CONTEXTS]
    yield from _comment(
        f"The one function that sends it to Realtime: {clean(sender.symbol)} ({place(sender.path, sender.line)}), "
        f"{how}." + _differs("Also sending", rivals)
    )
    yield f"sender = {_quoted(_shortest(sender.symbol, symbols))}"


def _trigger_lines(trigger: Trigger | None, triggers: Sequence[Trigger], symbols: Sequence[str]) -> Iterator[str]:
    live = [t for t in triggers if t is not trigger and t.context not in QUIET_CONTEXTS]
    rivals = [(t.symbol, t.path, t.line) for t in live]
    if trigger is None:
        some = _differs("Sending response.create now", rivals) or " None was found."
        yield from _comment(f"No one function creates the responses yet: name it here once it does.{some}")
        yield '# trigger = "trigger_response"'
        return
    why = "the only one that does" if not rivals else "the one that is named or guarded as such"
    yield from _comment(
        f"The one function that sends response.create: {clean(trigger.symbol)} ({place(trigger.path, trigger.line)}), "
        f"{why}." + _differs("Also sending it", rivals)
    )
    yield f"trigger = {_quoted(_shortest(trigger.symbol, symbols))}"


def _marker_lines(lane: Lane, trigger: Trigger | None, root: str) -> Iterator[str]:
    """Word the active-response attribute: what the trigger asks before it sends and ``response.created`` sets."""
    checks = [s for s in lane.sites if s.kind == "guard_check" and trigger and s.symbol == trigger.symbol]
    asked = {name for site in checks for name in _IDENTIFIER.findall(source_line(root, site.path, site.line))}
    given: dict[str, Site] = {}
    for site in lane.sites:
        match = _ASSIGNED.match(source_line(root, site.path, site.line))
        if site.kind == "guard_set" and site.value == "response.created" and match is not None:
            given.setdefault(match[1], site)
    found = next((name for name in given if name in asked), None)
    # What holds the id of a response is meant as this mark, whether or not the trigger looks at it.
    found = found or next((name for name in given if "response" in name and name.endswith("id")), None)
    if found is None:
        yield from _comment(
            "Nothing was found that tells that a response is active: it is set on response.created and asked before "
            "each send."
        )
        yield '# active-response = "active_response_id"'
        return
    where = place(given[found].path, given[found].line)
    yield from _comment(
        f"What tells that a response is active: set on response.created ({where}), "
        + ("asked before the trigger sends." if found in asked else "but not asked in the trigger before it sends.")
    )
    yield f"active-response = {_quoted(found)}"


def _turn_lines(lane: Lane) -> Iterator[str]:
    on = [
        (session.symbol, session.path, session.line)
        for session in lane.sessions
        if session.context not in QUIET_CONTEXTS and session.value in SERVER_CREATES
    ]
    says = f"Now {words.POLICIES[lane.policy]}."
    if lane.policy in ("client", "both"):
        more = _differs("create_response is not false in", on)
        yield from _comment(f'Who creates the response of a normal turn; "client" is recommended. {says}{more}')
        yield 'normal-turn = "client"'
    elif lane.policy == "server":
        yield from _comment(
            f'Who creates the response of a normal turn. {says} "client" is recommended: with create_response false '
            "and every response through the trigger, one place decides." + _differs("It is on in", on)
        )
        yield 'normal-turn = "server"'
    else:
        yield from _comment(
            f'Who creates the response of a normal turn; "client" is recommended. {says} Take out the mark before the '
            "next line once create_response is false in every session and the trigger answers the caller's turns."
        )
        yield '# normal-turn = "client"'


def _differs(what: str, places: Iterable[tuple[str, str, int]]) -> str:
    some = [f"{clean(name)} ({place(path, line)})" for name, path, line in places]
    more = f" and {len(some) - 4} more" if len(some) > 4 else ""
    return f" {what}: {', '.join(some[:4])}{more}." if some else ""


def _shortest(symbol: str, symbols: Iterable[str]) -> str:
    """Return a function's own name, or with its class where another function of the map has the same name."""
    name = symbol.rpartition(".")[2]
    return symbol if any(other != symbol and other.rpartition(".")[2] == name for other in symbols) else name


def _common_folder(paths: Sequence[str]) -> str:
    folders = [path.split("/")[:-1] for path in paths]
    shared: list[str] = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared)


def _escaped(path: str) -> str:
    return re.sub(r"([*?\[\]!#\\])", r"\\\1", path)


def _unique(name: str, taken: set[str]) -> str:
    return next(each for each in (name, *(f"{name}-{number}" for number in range(2, 1000))) if each not in taken)


def _comment(text: str) -> Iterator[str]:
    import textwrap

    yield from (
        f"# {line}" for line in textwrap.wrap(clean(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
    )


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
