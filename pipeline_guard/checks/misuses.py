"""PG106–PG108: the live queue lets go of old audio, and audio reaches the model through its buffer alone."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET
from pipeline_guard.checks.report import Draft, at_step
from pipeline_guard.pipeline.model import Lane, Misuse, Step


def unbounded_audio_queue(lane: Lane) -> Iterator[Draft]:
    """PG106: the one queue of live audio grows without end, or the frame handler waits for room in it."""
    sender = next((sender for sender in lane.senders if sender.canonical and sender.queue is not None), None)
    queue = next((queue for queue in lane.queues if not queue.extra and queue.carries == "audio"), None)
    if sender is None or queue is None or sender.queue != queue.name or queue.context in QUIET:
        return
    place = Step(queue.path, queue.line, queue.symbol, f"makes {queue.name}")
    if queue.overflow == "grows":
        yield at_step(
            place,
            f"{queue.name} has no bound: when Realtime stalls, the caller's audio piles up and from then on the agent "
            "answers late. Give it a size, and drop the oldest frame when it is full.",
            (place, *queue.producers[:3], *queue.consumers[:3]),
        )
    elif queue.overflow == "waits":
        first = queue.waits[0]
        yield at_step(
            place,
            f"{queue.name} has a bound but drops nothing: when it is full, {first.symbol}() "
            f"({first.path}:{first.line}) waits, reads no further message, and Twilio throws the caller's audio away "
            "(warning 31930). Drop the oldest frame instead (get_nowait, then put_nowait).",
            (place, *queue.waits, *queue.consumers[:3]),
        )


def manual_commit_under_vad(lane: Lane) -> Iterator[Draft]:
    """PG107: the code commits the audio buffer although the server does."""
    for misuse in misuses_of(lane, "manual_commit"):
        yield at_misuse(
            misuse,
            f"{misuse.symbol}() commits the audio buffer while turn detection is on: the server commits as well, so "
            "that one utterance becomes two turns. Leave the commit to the server, or turn detection off.",
        )


def audio_through_item(lane: Lane) -> Iterator[Draft]:
    """PG108: audio enters the conversation past the audio buffer."""
    for misuse in misuses_of(lane, "audio_item"):
        yield at_misuse(
            misuse,
            f"{misuse.symbol}() puts audio into the conversation with conversation.item.create: it passes by the "
            "queue, turn detection and the transcription. Caller audio goes through input_audio_buffer.append.",
            downgrade=misuse.alone,
        )


def misuses_of(lane: Lane, kind: str) -> list[Misuse]:
    """Return the misuses of a kind, ordered by place."""
    return [misuse for misuse in lane.misuses if misuse.kind == kind]


def at_misuse(misuse: Misuse, message: str, *, downgrade: bool = False) -> Draft:
    """Return a draft at the place of a misuse, with its own evidence."""
    return Draft(
        misuse.path,
        misuse.line,
        misuse.end_line,
        misuse.column,
        misuse.symbol,
        message,
        misuse.reached_from,
        misuse.confidence,
        downgrade,
    )


CHECKS = {
    "PG106": unbounded_audio_queue,
    "PG107": manual_commit_under_vad,
    "PG108": audio_through_item,
}
