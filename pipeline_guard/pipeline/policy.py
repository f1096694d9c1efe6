"""Who creates the response of a normal turn: declared by the user, else inferred from settings and triggers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pipeline_guard.pipeline.model import Policy, Session, Site, Trigger

# Triggers that answer what the caller said: with server-created responses on, each of them is a second answer.
TURN_CAUSES = frozenset({"user_turn"})
SERVER_CREATES = frozenset({"on", "default_on"})
SERVER_SILENT = frozenset({"off", "no_vad"})


def decide_policy(
    sessions: Iterable[Session], sites: Iterable[Site], declared: Policy | None, trigger: Trigger | None
) -> tuple[Policy | Literal["both", "nobody", "unknown"], Literal["declared", "inferred"]]:
    """Return "client", "server", "both", "nobody" or "unknown", and where that comes from."""
    if declared is not None:
        return declared, "declared"
    live = [session.value for session in sessions if session.context != "dormant"]
    client = any(
        site.kind == "response_create" and site.context not in ("dormant", "example") and site.trigger in TURN_CAUSES
        for site in sites
    )
    server = any(value in SERVER_CREATES for value in live)
    if not live or (not server and any(value == "dynamic" for value in live)):
        return ("client" if client and not live else "unknown"), "inferred"
    if server:
        return ("both" if client else "server"), "inferred"
    return ("client" if client or trigger is not None else "nobody"), "inferred"
