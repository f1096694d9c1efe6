"""Sorts a lane's parts into the stages of the contract's diagram, and tells the one path from what is beside it."""

from __future__ import annotations

from typing import NamedTuple

from pipeline_guard.pipeline.model import Lane, Queue, Sender, Step, Trigger
from pipeline_guard.reports import words


class AudioPath(NamedTuple):
    """The stages from the caller to the session; ``extra_…`` are those the contract has no place for."""

    entries: tuple[Step, ...]
    handlers: tuple[Step, ...]
    queues: tuple[Queue, ...]
    extra_queues: tuple[Queue, ...]
    senders: tuple[Sender, ...]
    extra_senders: tuple[Sender, ...]
    sends: tuple[Step, ...]
    from_twilio: bool


def audio_path(lane: Lane) -> AudioPath:
    """Return a lane's audio path.

    The path is the canonical sender's, with the queue it reads.  Where no sender is canonical, the only one there is
    counts; where several are left, nobody can say which of them is the path, and all are extra.
    """
    canonical = [sender for sender in lane.senders if sender.canonical] or (
        list(lane.senders) if len(lane.senders) == 1 else []
    )
    names = {sender.queue for sender in canonical if sender.queue}
    audio = [queue for queue in lane.queues if queue.carries in {"audio", "unknown"}]
    main = [queue for queue in audio if queue.name in names] or (audio if len(audio) == 1 else [])
    sends = [step for sender in canonical for step in sender.sites]
    hints = " ".join(f"{step.symbol} {step.path} {step.note}" for step in (*lane.entry_points, *lane.frame_handlers))
    return AudioPath(
        entries=lane.entry_points,
        handlers=lane.frame_handlers,
        queues=tuple(main),
        extra_queues=tuple(queue for queue in audio if queue not in main),
        senders=tuple(canonical),
        extra_senders=tuple(sender for sender in lane.senders if sender not in canonical),
        sends=tuple(sends),
        from_twilio="twilio" in hints.lower(),
    )


def callers_with_causes(trigger: Trigger, lane: Lane) -> list[tuple[Step, str]]:
    """Return who calls a trigger and why, where the sites of the lane say so."""
    causes = {(site.path, site.line): site.trigger for site in lane.sites if site.kind == "response_create"}
    found = []
    for step in trigger.callers:
        cause = causes.get((step.path, step.line))
        found.append((step, words.CAUSES.get(cause, cause) if cause else step.note))
    return found
