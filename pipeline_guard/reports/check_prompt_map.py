"""A lane of the map in a few lines of Markdown: where audio comes in, who sends it, what triggers responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline_guard.pipeline.model import Lane, Queue, Sender, Session, Step, Trigger
from pipeline_guard.reports import words
from pipeline_guard.reports.formats import writable
from pipeline_guard.reports.lane_parts import audio_path
from pipeline_guard.reports.terminal import clean

# A few lines are meant to be read; the tasks name every place that matters.
_MOST = 6
_LONGEST = 2_000


def text(value: str) -> str:
    """Return text from the scanned code on one line."""
    plain = clean(writable(value))
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"


def code(value: str) -> str:
    """Return text from the scanned code in code marks, which are longer than any run of backticks in it."""
    plain = text(value)
    marks = "`"
    while marks in plain:
        marks += "`"
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{marks}{pad}{plain}{pad}{marks}"


def lane_lines(lane: Lane) -> Iterator[str]:
    """Yield a lane's heading and one line per stage; a stage that the backend does not have is said to be missing."""
    path = audio_path(lane)
    yield f"Lane {code(lane.name)}:"
    yield f"- entry points: {_several(map(_step, path.entries))}"
    yield f"- media frame handlers: {_several(map(_step, path.handlers))}"
    yield f"- audio queue: {_several(map(_queue, path.queues))}"
    if path.extra_queues:
        yield f"- further audio queues: {_several(map(_queue, path.extra_queues))}"
    yield f"- audio sender: {_several(map(_sender, path.senders))}"
    if path.extra_senders:
        yield f"- further senders: {_several(map(_sender, path.extra_senders))}"
    canonical = [trigger for trigger in lane.triggers if trigger.canonical]
    others = [trigger for trigger in lane.triggers if not trigger.canonical]
    yield f"- the one trigger: {_several(map(_trigger, canonical))}"
    if others:
        yield f"- also sends `response.create`: {_several(map(_trigger, others))}"
    if lane.sessions:
        yield f"- session: {_several(map(_session, lane.sessions))}"
    yield f"- turns ({lane.policy_source}): {words.POLICIES.get(lane.policy, lane.policy)}"


def _several(parts: Iterable[str]) -> str:
    listed = list(parts)
    if not listed:
        return "none found"
    more = f"; and {len(listed) - _MOST:,} more" if len(listed) > _MOST else ""
    return "; ".join(listed[:_MOST]) + more


def _at(name: str, path: str, line: int, *notes: str) -> str:
    said = [note for note in notes if note]
    return f"{code(name)} at {code(f'{path}:{line}')}" + (f" ({', '.join(said)})" if said else "")


def _step(step: Step) -> str:
    return _at(step.symbol or step.path, step.path, step.line, code(step.note) if step.note else "")


def _queue(queue: Queue) -> str:
    return _at(queue.name, queue.path, queue.line, words.CONTEXTS[queue.context])


def _sender(sender: Sender) -> str:
    reads = f"reads {code(sender.queue)}" if sender.queue else ""
    places = [code(f"{step.path}:{step.line}") for step in sender.starts]
    started = f"started at {_several(places)}" if places else ""
    return _at(sender.symbol, sender.path, sender.line, reads, started, words.CONTEXTS[sender.context])


def _trigger(trigger: Trigger) -> str:
    fires = f"fires on {words.causes(trigger.causes)}" if trigger.causes else ""
    guard = words.GUARDS.get(trigger.guard, trigger.guard)
    return _at(trigger.symbol, trigger.path, trigger.line, fires, text(guard), words.CONTEXTS[trigger.context])


def _session(session: Session) -> str:
    return _at(
        session.symbol, session.path, session.line, words.SESSION_VALUES[session.value], words.CONTEXTS[session.context]
    )
