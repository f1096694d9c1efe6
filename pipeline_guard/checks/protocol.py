"""PG601–PG604: the protocol of today, one owner of the connection, and calls that work."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.misuses import at_misuse, misuses_of
from pipeline_guard.checks.report import Draft
from pipeline_guard.pipeline.model import Lane, Step


def beta_realtime_api(lane: Lane) -> Iterator[Draft]:
    """PG601: names of the beta protocol; one finding for the lane, with all of them as evidence."""
    for misuse in misuses_of(lane, "beta_name"):
        more = len(misuse.reached_from) - 1
        others = f" (and {more} more place{'' if more == 1 else 's'})" if more else ""
        yield at_misuse(
            misuse,
            f"{misuse.what}{others} belongs to the beta of the Realtime API, which is retired: where it is refused, or "
            "events come under their new names, the caller hears nothing. Use the names of the GA protocol.",
        )


def sdk_replays_on_reconnect(lane: Lane) -> Iterator[Draft]:
    """PG602: the SDK connects again by itself and sends what it had queued into a session nobody has configured."""
    for misuse in misuses_of(lane, "sdk_reconnect"):
        yield at_misuse(
            misuse,
            f"with {misuse.what} the SDK connects again by itself: the first thing the new session gets is the queued "
            "audio and response.create, before any session.update, and the old response's response.done never comes. "
            f"Leave {misuse.what} out and connect again yourself: configure, restore, then send.",
        )


def wrapper_signature_mismatch(lane: Lane) -> Iterator[Draft]:
    """PG603: a call on the way to Realtime that the called function cannot take."""
    for misuse in misuses_of(lane, "bad_call"):
        yield at_misuse(misuse, f"{misuse.what}: the call raises TypeError, and what it is for never happens.")


def cancel_without_id(lane: Lane) -> Iterator[Draft]:
    """PG604: a cancel that names no response, once per lane.

    Where the client creates the responses of turns, the one that is active when the cancel arrives may be the answer to
    the next turn, just asked for; where the server does, it knows which one the caller has interrupted.
    """
    found = misuses_of(lane, "cancel_without_id")
    if not found:
        return
    first, rest = found[0], found[1:]
    others = f" (and {len(rest)} more place{'' if len(rest) == 1 else 's'})" if rest else ""
    draft = at_misuse(
        first,
        f"{first.symbol}() cancels without response_id{others}: whatever is active when it arrives is cancelled, be it "
        "the answer to the next turn. Send the id that response.created gave.",
    )
    steps = tuple(Step(m.path, m.line, m.symbol, "cancels without response_id") for m in rest)
    client = lane.policy in ("client", "both")
    yield draft._replace(evidence=(*draft.evidence, *steps), severity="warning" if client else "note")


CHECKS = {
    "PG601": beta_realtime_api,
    "PG602": sdk_replays_on_reconnect,
    "PG603": wrapper_signature_mismatch,
    "PG604": cancel_without_id,
}
