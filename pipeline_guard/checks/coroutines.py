"""PG213, PG216–PG218: what is asked for is really sent, on the session's own loop, once, and can be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET
from pipeline_guard.checks.report import Draft, at_site, at_step
from pipeline_guard.checks.turns import live_responses
from pipeline_guard.pipeline.model import Lane


def trigger_from_foreign_loop(lane: Lane) -> Iterator[Draft]:
    """PG213: a response is asked for on another event loop, or a guard is read and set by several threads."""
    for site in live_responses(lane):
        if site.own_loop is not None:
            yield at_site(
                site,
                f"{site.own_loop} runs this on an event loop of its own, while socket and guard belong to the "
                "session's: the send can fail or cut into another. Post it to the session's loop "
                "(run_coroutine_threadsafe).",
            )
    for trigger in lane.triggers:
        if trigger.threads and trigger.context not in QUIET:
            first = trigger.sites[0]
            draft = at_step(
                first,
                f"{trigger.symbol}() runs on several threads and checks its guard without a lock: two of them can both "
                "find it free. Hold a threading.Lock from the check to the send.",
                (*trigger.threads, first),
            )
            yield draft._replace(downgrade=True)


def uncorrelated_create(lane: Lane) -> Iterator[Draft]:
    """PG216: no event_id, so that an error cannot be told to answer this create.  Said once per lane."""
    live = [trigger for trigger in lane.triggers if trigger.context not in QUIET]
    canonical = [trigger for trigger in live if trigger.canonical] or live
    for trigger in canonical:
        if trigger.uncorrelated:
            step = trigger.uncorrelated[0]
            yield at_step(
                step,
                "response.create carries no event_id: the server's error event then names none either, and nobody can "
                "tell whether this request failed or another one. Give each create an id of its own.",
            )
            return


def trigger_recursion(lane: Lane) -> Iterator[Draft]:
    """PG217: the trigger, or what sends for it, only calls itself."""
    for steps in lane.endless:
        first, name = steps[0], steps[0].symbol
        way = "itself" if len(steps) == 1 else "itself by way of " + ", ".join(f"{s.symbol}()" for s in steps[1:])
        yield at_step(
            first,
            f"{name}() calls {way} on every way through and never gets to the send: the first call ends in a "
            "RecursionError. Send response.create here.",
            steps,
        )


def trigger_not_awaited(lane: Lane) -> Iterator[Draft]:
    """PG218: the coroutine of a response is made and dropped."""
    how = {
        "statement": "is called without await: the coroutine is made and dropped",
        "name": "is kept in a name that nothing reads: the coroutine is made and dropped",
        "callee": "is handed to something that only calls it: nobody runs the coroutine that comes back",
    }
    for site in live_responses(lane):
        if site.dropped is not None:
            name = f"{site.callee.rpartition(':')[2]}()" if site.callee is not None else "this send"
            yield at_site(site, f"{name} {how[site.dropped]}, and the caller waits for a response that is never sent.")


CHECKS = {
    "PG213": trigger_from_foreign_loop,
    "PG216": uncorrelated_create,
    "PG217": trigger_recursion,
    "PG218": trigger_not_awaited,
}
