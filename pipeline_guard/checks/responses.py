"""PG201–PG215: exactly one function creates responses, and exactly one party answers a normal turn."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_guard.checks.audio import QUIET, dormant
from pipeline_guard.checks.report import Draft, at_site, at_step
from pipeline_guard.pipeline.model import Lane, Site, Trigger
from pipeline_guard.pipeline.policy import SERVER_CREATES, SERVER_SILENT, TURN_CAUSES

_TIMED = frozenset({"timer", "silence"})
_RECOVERING = frozenset({"recovery", "error_retry"})


def outside_trigger(lane: Lane) -> Iterator[Draft]:
    """PG201: a send of response.create, or a call that leads to one, past the one trigger.

    A greeting that goes past a trigger which exists is PG303's.
    """
    trigger = canonical_trigger(lane)
    greetings = set(map(id, greeting_sites(lane)))
    for site in _outside(lane, trigger):
        if id(site) in greetings:
            continue
        where = (
            f"only {trigger.symbol}() ({trigger.path}:{trigger.line}) may"
            if trigger is not None
            else "every response must go through one trigger"
        )
        if site.role == "primitive":
            yield at_site(
                site, f"{site.symbol}() sends response.create itself; {where}. Two of them answer one turn twice."
            )
        else:
            name = (site.callee or "").rpartition(":")[2]
            yield at_site(site, f"{name}() is a wrapper that sends response.create for its caller; {where}.")


def greeting_sites(lane: Lane) -> list[Site]:
    """Return the places where a greeting is created past the lane's trigger; none where there is no trigger."""
    trigger = canonical_trigger(lane)
    if trigger is None:
        return []
    return [site for site in _outside(lane, trigger) if site.trigger == "greeting"]


def _outside(lane: Lane, trigger: Trigger | None) -> Iterator[Site]:
    for site in _live_responses(lane):
        if trigger is not None and _is_through(site, trigger):
            continue
        if site.role == "primitive" or (site.callee in site.leads_to and not _same_home(site)):
            yield site


def no_single_trigger(lane: Lane) -> Iterator[Draft]:
    """PG202: responses are created, but by several functions and none of them is the trigger."""
    live = [trigger for trigger in lane.triggers if trigger.context not in QUIET]
    if len(live) < 2 or canonical_trigger(lane) is not None:
        return
    places = tuple(step for trigger in live for step in trigger.sites)
    names = ", ".join(f"{trigger.symbol}()" for trigger in live)
    first = min(places, key=lambda step: (step.path, step.line))
    yield at_step(first, f"{len(live)} functions send response.create and none is the one trigger: {names}.", places)


def timer_trigger(lane: Lane) -> Iterator[Draft]:
    """PG207: a timer, a sleeping loop or a silence monitor makes the agent speak."""
    for site in _roots(lane, _TIMED):
        yield at_site(
            site,
            f"a {site.trigger} trigger ({_why(site)}) creates a response that no turn of the caller asked for; it can "
            "collide with the answer to a real turn.",
        )


def recovery_trigger(lane: Lane) -> Iterator[Draft]:
    """PG208: recovery, retry or an except branch creates a second response."""
    for site in _roots(lane, _RECOVERING):
        yield at_site(
            site,
            f"recovery code ({_why(site)}) creates one more response; when the first one was only slow, the caller "
            "hears both.",
        )


def both_create(lane: Lane) -> Iterator[Draft]:
    """PG211: server and client both answer a normal turn, or nobody does."""
    sessions = [session for session in lane.sessions if session.context not in QUIET]
    if not sessions:
        return
    turns = [site for site in _live_responses(lane) if site.trigger in TURN_CAUSES]
    if lane.policy == "both":
        for site in _config_sites(lane, SERVER_CREATES):
            stated = "is on" if site.value == "on" else "is not given, so it is on"
            example = f" ({turns[0].path}:{turns[0].line})" if turns else ""
            yield at_site(
                site,
                f"create_response {stated}: the server answers every turn, and the client triggers turns as "
                f"well{example}. Set create_response to false.",
            )
    elif lane.policy == "nobody":
        for site in _config_sites(lane, SERVER_SILENT):
            yield at_site(site, "the server does not create responses and nothing in the client answers a user turn.")
    elif lane.policy_source == "declared":
        yield from _against_declaration(lane, turns)
    elif turns:
        for site in _config_sites(lane, frozenset({"dynamic"})):
            yield at_site(
                site,
                "create_response is computed while the client triggers turns: when it comes out true, both answer. "
                "State it as false.",
                downgrade=True,
            )


def _against_declaration(lane: Lane, turns: list[Site]) -> Iterator[Draft]:
    if lane.policy == "client":
        for site in _config_sites(lane, SERVER_CREATES | {"dynamic"}):
            yield at_site(
                site, 'normal-turn is declared as "client", but these settings let the server create responses as well.'
            )
    else:
        for site in turns:
            yield at_site(
                site, 'normal-turn is declared as "server", but this triggers a response on the caller\'s turn.'
            )


def idle_timeout(lane: Lane) -> Iterator[Draft]:
    """PG212: the session's settings make the server speak into a silence."""
    timed = {(s.path, s.line): s.idle_timeout for s in lane.sessions if s.idle_timeout and s.context not in QUIET}
    for site in lane.sites:
        if site.kind == "auto_response" and site.role is None and (site.path, site.line) in timed:
            seconds = (timed[site.path, site.line] or 0) / 1000
            yield at_site(
                site,
                f"idle_timeout_ms is set: after {seconds:g} s of silence the server commits it and creates a response "
                "by itself, which no trigger asked for and no guard holds back. Leave it out.",
            )


def dormant_response_path(lane: Lane) -> Iterator[Draft]:
    """PG215: code that could still create a response if something called it or a flag were flipped."""
    yield from dormant(lane, "response_create", "create a response")


def _same_home(site: Site) -> bool:
    """Say whether a call stays in its own class or file: then the send itself is the finding, not each call of it."""
    path, _, symbol = (site.callee or "").rpartition(":")
    if path != site.path:
        return False
    theirs, ours = symbol.split("."), site.symbol.split(".")
    return theirs[0] == ours[0] or len(theirs) == 1 or len(ours) == 1  # a plain function of the file has no class


def canonical_trigger(lane: Lane) -> Trigger | None:
    """Return the lane's one trigger, or None."""
    return next((trigger for trigger in lane.triggers if trigger.canonical), None)


def _live_responses(lane: Lane) -> list[Site]:
    return [site for site in lane.sites if site.kind == "response_create" and site.context not in QUIET]


def _is_through(site: Site, trigger: Trigger) -> bool:
    """Say whether a site is inside the trigger or leads to nothing but the trigger."""
    place = f"{trigger.path}:{trigger.symbol}"
    if site.role == "primitive":
        return site.path == trigger.path and site.symbol == trigger.symbol
    return bool(site.leads_to) and all(target == place for target in site.leads_to)


def _roots(lane: Lane, causes: frozenset[str]) -> Iterator[Site]:
    """Yield the sites at which such a cause arises: once per chain, where the clock, the handler or the retry stands.

    A sleeping loop, a timer or an ``except`` is where it arises; a name alone counts where nothing of that kind is
    connected, and then innermost.
    """
    shown = [site for site in _live_responses(lane) if site.trigger in causes and site.cause_here]
    certain = [site for site in shown if _why(site).startswith(("in a loop", "started by", "in an except", "on "))]
    linked = {site.callee for site in certain} | {f"{site.path}:{site.symbol}" for site in certain}
    while True:  # everything that calls, or is called from, a place where the cause certainly arises
        more = {f"{s.path}:{s.symbol}" for s in shown if s.callee in linked} | {
            s.callee for s in shown if f"{s.path}:{s.symbol}" in linked
        }
        if more <= linked:
            break
        linked |= more
    named = [site for site in shown if site not in certain and f"{site.path}:{site.symbol}" not in linked]
    homes = {f"{site.path}:{site.symbol}" for site in named}
    yield from certain
    yield from (site for site in named if site.callee not in homes)


def _why(site: Site) -> str:
    return site.note.rpartition("; ")[2] or site.symbol


def _config_sites(lane: Lane, values: frozenset[str]) -> Iterator[Site]:
    for site in lane.sites:
        sent = site.role is None and not site.note.startswith(("settings of", "written down", "session minted"))
        if sent and site.kind == "auto_response" and site.context not in QUIET and site.value in values:
            yield site


CHECKS = {
    "PG201": outside_trigger,
    "PG202": no_single_trigger,
    "PG207": timer_trigger,
    "PG208": recovery_trigger,
    "PG211": both_create,
    "PG212": idle_timeout,
    "PG215": dormant_response_path,
}
