"""Draws the pipeline map for the terminal: the contract's diagram, filled with the backend's own functions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipeline_guard.pipeline.model import Lane, PipelineMap, Queue, Sender, Session, Step, Trigger
from pipeline_guard.reports import coverage_text, gate_words, other_speech, words
from pipeline_guard.reports.lane_parts import AudioPath, audio_path, callers_with_causes
from pipeline_guard.reports.page import RichPage
from pipeline_guard.reports.terminal import (
    DORMANT_STYLE,
    DUPLICATE_STYLE,
    QUIET_STYLE,
    aligned,
    arrow,
    clean,
    count,
    place,
    styled,
)

# What the tree draws in front of a lane's details.
_INDENT = 8
# More would hide what is above; the rest is in the JSON.
_MOST_ROWS = 12
_MOST_LINES = 2
_STANDING = {"running": "", "aside": QUIET_STYLE, "idle": DORMANT_STYLE}


def render(pipeline_map: PipelineMap, console: Console) -> None:
    """Print the map: every lane, then what was looked at and what was not."""
    console.print(Text.assemble(("Pipeline map of ", "bold"), clean(pipeline_map.root)), soft_wrap=True)
    console.print()
    lanes = [lane for lane in pipeline_map.lanes if words.is_realtime(lane)]
    others = [lane for lane in pipeline_map.lanes if not words.is_realtime(lane)]
    if not lanes:
        console.print(styled(other_speech.no_session(pipeline_map), "bold"), soft_wrap=True)
        console.print()
    for lane in lanes:
        console.print(_lane_tree(lane, console))
        console.print()
    if others:
        console.print(_other_lanes(others))
        console.print()
    if pipeline_map.outside:
        console.print(_outside(pipeline_map, console))
        console.print()
    coverage_text.render(pipeline_map, RichPage(console))


def _lane_tree(lane: Lane, console: Console) -> Tree:
    tree = Tree(
        Text.assemble(("Lane ", "bold"), (clean(lane.name), "bold"), (f"  {words.provider(lane)}", QUIET_STYLE)),
        guide_style=QUIET_STYLE,
    )
    path = audio_path(lane)
    tree.add(Text("Audio in: from the caller to Realtime", style="bold")).add(_diagram(path, lane, console))
    triggers = tree.add(Text("Responses: what makes the agent speak", style="bold"))
    if not lane.triggers:
        triggers.add(Text("no function of this lane sends response.create", style=QUIET_STYLE))
    for trigger in lane.triggers:
        triggers.add(_trigger(trigger, lane, console))
    sessions = tree.add(Text("Session: who answers a turn", style="bold"))
    sessions.add(_sessions(lane.sessions, console))
    sessions.add(_policy(lane))
    if engines := _engines(lane, console):
        tree.add(Text("Other voices and recognisers", style="bold")).add(engines)
    return tree


def _row(stage: str, symbol: str, where: str, note: str = "", style: str = "") -> tuple[Text, ...]:
    return (
        styled(stage, style or QUIET_STYLE),
        styled(symbol, style or "bold"),
        Text(where, style=style),
        styled(note, style),
    )


def _diagram(path: AudioPath, lane: Lane, console: Console) -> Table:
    """The contract's diagram.  Each stage has its rows; a stage with a red row is not single."""
    stages: list[list[tuple[Text, ...]]] = [
        _steps("Twilio Media (μ-law base64)" if path.from_twilio else "the caller's audio", path.entries),
        _steps("media frame handler", path.handlers),
        [*_queue_rows(path.queues), *(_duplicate_queue(queue) for queue in path.extra_queues)],
        [*_sender_rows(path), *(row for sender in path.extra_senders for row in _extra_sender(sender))],
        [_row(words.provider(lane), step.symbol, place(step.path, step.line), step.note) for step in path.sends],
    ]
    missing = (
        "the caller's audio",
        "media frame handler",
        "audio queue",
        "audio sender",
        words.provider(lane),
    )
    rows: list[tuple[Text, ...]] = []
    for stage, name in zip(stages, missing, strict=True):
        if rows:
            rows.append((Text(f"  {arrow(console)}", style=QUIET_STYLE),))
        rows.extend(stage or [(Text(name, style=QUIET_STYLE), Text("none found", style=QUIET_STYLE))])
    return aligned(rows, console, _INDENT)


def _steps(stage: str, steps: Sequence[Step]) -> list[tuple[Text, ...]]:
    return [_row(stage, step.symbol, place(step.path, step.line), step.note) for step in steps]


def _queue_note(queue: Queue) -> str:
    bound = {True: "bounded", False: "no bound", None: "bound unknown"}[queue.bounded]
    ends = f"{count(len(queue.producers), 'writer')}, {count(len(queue.consumers), 'reader')}"
    return ", ".join(part for part in (queue.type, bound, ends, words.CONTEXTS[queue.context]) if part)


def _queue_rows(queues: Sequence[Queue]) -> list[tuple[Text, ...]]:
    return [_row("audio queue", queue.name, place(queue.path, queue.line), _queue_note(queue)) for queue in queues]


def _duplicate_queue(queue: Queue) -> tuple[Text, ...]:
    style = DORMANT_STYLE if queue.context == "dormant" else DUPLICATE_STYLE
    return _row("SECOND QUEUE", queue.name, place(queue.path, queue.line), _queue_note(queue), style)


def _sender_note(sender: Sender) -> str:
    parts = [f"loop over {sender.queue}" if sender.loop and sender.queue else "loop" if sender.loop else "no loop"]
    parts.append(words.CONTEXTS[sender.context])
    if sender.starts:
        parts.append("started at " + ", ".join(place(step.path, step.line) for step in sender.starts))
    return ", ".join(part for part in parts if part)


def _sender_rows(path: AudioPath) -> list[tuple[Text, ...]]:
    rows = []
    for sender in path.senders:
        rows.append(_row("audio sender", sender.symbol, place(sender.path, sender.line), _sender_note(sender)))
        for start in sender.starts[1:]:
            rows.append(_row("STARTED AGAIN", start.symbol, place(start.path, start.line), start.note, DUPLICATE_STYLE))
    return rows


def _extra_sender(sender: Sender) -> list[tuple[Text, ...]]:
    dormant = sender.context == "dormant"
    style = DORMANT_STYLE if dormant else DUPLICATE_STYLE
    stage = "DORMANT SENDER" if dormant else "SECOND SENDER"
    rows = [_row(stage, sender.symbol, place(sender.path, sender.line), _sender_note(sender), style)]
    rows.extend(_row("  sends at", step.symbol, place(step.path, step.line), step.note, style) for step in sender.sites)
    return rows


def _trigger(trigger: Trigger, lane: Lane, console: Console) -> RenderableType:
    extra = not trigger.canonical
    dormant = trigger.context == "dormant"
    style = (DORMANT_STYLE if dormant else DUPLICATE_STYLE) if extra else "bold"
    role = "" if not extra else "DORMANT TRIGGER  " if dormant else "SECOND TRIGGER  "
    context = words.CONTEXTS[trigger.context]
    head = Text.assemble(
        (role, style),
        (clean(trigger.symbol), style),
        f"  {place(trigger.path, trigger.line)}",
        (f"  ({context})" if context else "", QUIET_STYLE),
    )
    guard = words.GUARDS.get(trigger.guard, clean(trigger.guard))
    rows = [(Text("  fires on", style=QUIET_STYLE), styled(words.causes(trigger.causes) or "cause unknown"))]
    rows.append((Text("  guard", style=QUIET_STYLE), Text(guard, style="" if trigger.guard != "none" else "yellow")))
    for said, look in ((gate_words.holds(trigger.gate), ""), (gate_words.lacks(trigger.gate), "yellow")):
        if said:
            rows.append((Text("  gate", style=QUIET_STYLE), Text(clean(said), style=look)))
    for step, cause in callers_with_causes(trigger, lane):
        rows.append(
            (
                Text("  called by", style=QUIET_STYLE),
                Text.assemble(
                    clean(step.symbol), f"  {place(step.path, step.line)}", (f"  {cause}" if cause else "", QUIET_STYLE)
                ),
            )
        )
    return Group(head, aligned(rows, console, _INDENT))


def _sessions(sessions: Sequence[Session], console: Console) -> RenderableType:
    if not sessions:
        return Text("no session configuration found: Realtime's defaults hold, the server answers by itself")
    return aligned(
        [
            (
                styled(session.symbol),
                Text(place(session.path, session.line)),
                Text(words.SESSION_VALUES[session.value], style="yellow" if session.value == "dynamic" else ""),
                Text(words.CONTEXTS[session.context], style=QUIET_STYLE),
            )
            for session in sessions
        ],
        console,
        _INDENT,
    )


def _policy(lane: Lane) -> Text:
    style = DUPLICATE_STYLE if lane.policy in words.BAD_POLICIES else ""
    source = "as declared in the settings" if lane.policy_source == "declared" else "inferred from the code"
    return Text.assemble((words.POLICIES[lane.policy], style), (f"  ({source})", QUIET_STYLE))


def _engines(lane: Lane, console: Console) -> RenderableType | None:
    places, calls = other_speech.own_places(lane.sites)
    rows = other_speech.by_function(places)
    if not rows:
        return None
    table = aligned(
        [
            (
                Text(words.ENGINE_KINDS[row.first.kind], style=QUIET_STYLE),
                _engine(row),
                styled(row.first.symbol),
                Text(_places(row)),
                Text(other_speech.when(row.first), style=_STANDING[other_speech.standing(row.first)]),
                styled(other_speech.remark(row.first), QUIET_STYLE),
            )
            for row in rows[:_MOST_ROWS]
        ],
        console,
        _INDENT,
        filled=True,
    )
    more = [f"… and {len(rows) - _MOST_ROWS} more (see --format json)"] if len(rows) > _MOST_ROWS else []
    if calls:
        more.append(f"{count(calls, 'call leads', 'calls lead')} there")
    return Group(table, *(Text(line, style=QUIET_STYLE) for line in more))


def _engine(row: other_speech.Row) -> Text:
    """Return the engine's name; TwiML says in its own name whose it is."""
    return styled("" if row.first.kind.startswith("twiml") else row.first.engine or "", "bold")


def _places(row: other_speech.Row) -> str:
    """Return ``path:line`` and the lines that follow in the same function."""
    lines = [site.line for site in row.sites[1:]]
    shown = "".join(f", {line}" for line in lines[:_MOST_LINES])
    return place(row.first.path, row.first.line) + shown + (f" +{len(lines) - 2}" if len(lines) > _MOST_LINES else "")


def _outside(pipeline_map: PipelineMap, console: Console) -> Tree:
    """The engines of another pipeline, one row for each and the context it runs in."""
    title = "Other pipelines, without a Realtime session" if words.has_session(pipeline_map) else "What it runs instead"
    rows = other_speech.by_engine(other_speech.own_places(pipeline_map.outside)[0])
    tree = Tree(Text(title, style="bold"), guide_style=QUIET_STYLE)
    tree.add(
        aligned(
            [
                (
                    Text(words.ENGINE_KINDS[row.first.kind], style=QUIET_STYLE),
                    _engine(row),
                    Text(
                        place(row.first.path, row.first.line)
                        + (f" +{count(len(row.sites) - 1, 'place')}" if len(row.sites) > 1 else "")
                    ),
                    Text(other_speech.when(row.first), style=_STANDING[other_speech.standing(row.first)]),
                    styled(words.one_setting_away(row.first.flag) if row.first.flag else "", QUIET_STYLE),
                )
                for row in rows
            ],
            console,
            _INDENT // 2,
            filled=True,
        )
    )
    return tree


def _other_lanes(lanes: Sequence[Lane]) -> Tree:
    tree = Tree(Text("Other speech services, each a lane of its own", style="bold"), guide_style=QUIET_STYLE)
    for lane in lanes:
        first = min(((part.path, part.line) for part in lane.sites or lane.senders), default=None)
        tree.add(
            Text.assemble(
                (clean(lane.name), "bold"),
                f"  {clean(words.provider(lane))}",
                f"  {place(*first)}" if first else "",
                (f"  {count(len(lane.sites), 'place')}" if lane.sites else "", QUIET_STYLE),
            )
        )
    return tree
