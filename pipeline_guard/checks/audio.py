"""PG101–PG105: exactly one function, fed by exactly one queue, puts the caller's audio into the session."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.report import Draft, at_site, at_step
from pipeline_guard.pipeline.model import NOT_HERE, Lane, Site, Step

QUIET = frozenset({"dormant", "example"})


def second_audio_sender(lane: Lane) -> Iterator[Draft]:
    """PG101: a sender that can run in the same call as the lane's own."""
    first = next((sender for sender in lane.senders if sender.canonical), None)
    for sender in lane.senders:
        if first is None or not sender.rival or sender.context in QUIET:
            continue
        for site in _sites_of(lane, sender.sends):
            yield at_site(
                site,
                f"{site.symbol}() also puts caller audio into the session; {first.symbol}() "
                f"({first.path}:{first.line}) is the one sender. The model hears frames twice or out of order.",
            )


def audio_bypasses_queue(lane: Lane) -> Iterator[Draft]:
    """PG102: the code that takes the caller's frames sends them itself."""
    for sender in lane.senders:
        if sender.takes_frames and sender.queue is None and sender.context not in QUIET:
            for site in _sites_of(lane, sender.sites):
                yield at_site(
                    site,
                    f"{sender.symbol}() takes the caller's frames and sends them to Realtime itself; put them on "
                    "realtime_audio_in_queue and let one sender loop send, so that a slow socket never blocks the "
                    "call.",
                )


def second_audio_queue(lane: Lane) -> Iterator[Draft]:
    """PG103: another queue on the way of the same audio."""
    queues = [queue for queue in lane.queues if queue.carries == "audio"]
    apart = {sender.queue for sender in lane.senders if not (sender.canonical or sender.rival)}
    for queue in queues:
        if queue.extra and queue.name not in apart and queue.context not in QUIET:
            place = Step(queue.path, queue.line, queue.symbol)
            first = queues[0]
            yield at_step(
                place,
                f"{queue.name} is a second way for caller audio; {first.name} ({first.path}:{first.line}) is the one "
                "queue.",
                (*queue.producers[:3], place, *queue.consumers[:3]),
            )


def sender_started_twice(lane: Lane) -> Iterator[Draft]:
    """PG104: the sender loop can run twice in one call."""
    for sender in lane.senders:
        if sender.context in QUIET:
            continue
        for step in sender.restarts:
            yield at_step(
                step,
                f"{sender.symbol}() can already run when it is started here: two loops would share one queue.",
                (*sender.starts, step),
            )


def dormant_audio_path(lane: Lane) -> Iterator[Draft]:
    """PG105: code that could still send audio if something called it or a flag were flipped."""
    yield from dormant(lane, "audio_send", "send caller audio")


def dormant(lane: Lane, kind: str, what: str, *, calls: bool = True) -> Iterator[Draft]:
    """Yield one draft per piece of dead code with sites of a kind: at a send in it, else at its first call of one.

    A piece is a function with all that only it calls, or a class that nothing makes.  Without ``calls`` only pieces
    that hold a primitive count: a dead call of something that runs elsewhere is no path of its own.
    """
    best: dict[tuple[str, str], Site] = {}
    for site in lane.sites:
        if site.kind != kind or site.context != "dormant" or NOT_HERE in site.note:
            continue
        if not calls and site.role != "primitive":
            continue
        reason = _reason(site)
        key = (site.path, reason if reason.startswith("nothing") else site.symbol)
        if key not in best or (site.role == "primitive" and best[key].role != "primitive"):
            best[key] = site
    for site in best.values():
        why = _reason(site)
        yield at_site(
            site, f"{site.symbol}() could still {what} ({why}); one edit makes it a second live path. Remove it."
        )


def _reason(site: Site) -> str:
    signs = (
        "switched off",
        "nothing calls",
        "nothing makes",
        "nothing loads",
        "nothing is ever put",
        "never assigned",
        "only ever None",
    )
    parts = [part for part in site.note.split("; ") if any(sign in part for sign in signs)]
    return parts[0] if parts else "nothing reaches it today"


def _sites_of(lane: Lane, steps: tuple[Step, ...]) -> list[Site]:
    places = {(step.path, step.line) for step in steps}
    return [site for site in lane.sites if site.kind == "audio_send" and (site.path, site.line) in places]


CHECKS = {
    "PG101": second_audio_sender,
    "PG102": audio_bypasses_queue,
    "PG103": second_audio_queue,
    "PG104": sender_started_twice,
    "PG105": dormant_audio_path,
}
