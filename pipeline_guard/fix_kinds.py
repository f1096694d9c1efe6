"""What ``fix`` does about a rule's findings, in a word; read by reports, which load nothing of the codemod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_guard.pipeline.model import QUIET_CONTEXTS

if TYPE_CHECKING:
    from pipeline_guard.pipeline.model import Lane

FIX_KINDS = {
    "PG101": "enqueue",
    "PG102": "enqueue",
    "PG103": "enqueue",
    "PG104": "no-op",
    "PG105": "no-op",
    "PG106": "bound",
    "PG107": "no-op",
    "PG201": "re-route",
    "PG202": "insert-trigger",
    "PG203": "insert-trigger",
    "PG204": "insert-mark",
    "PG205": "follow",
    "PG206": "compare-id",
    "PG207": "no-op",
    "PG208": "no-op",
    "PG209": "close",
    "PG210": "no-op",
    "PG211": "setting",
    "PG213": "post",
    "PG214": "defer",
    "PG215": "no-op",
    "PG217": "re-route",
    "PG218": "await",
    "PG219": "defer",
    "PG302": "no-op",
    "PG303": "re-route",
    "PG304": "no-op",
    "PG401": "no-op",
    "PG404": "comment",
    "PG405": "no-op",
    "PG501": "comment",
    "PG502": "log",
    "PG503": "log",
    "PG504": "log",
    "PG505": "log",
}

_NEED_ONE_PATH = frozenset({"PG501", "PG502"})


def first_to_do(rule_id: str, lane: Lane) -> str:
    """Return what has to come true of a lane before ``fix`` does anything about a rule's finding; empty if nothing."""
    if rule_id in _NEED_ONE_PATH and not has_one_path(lane):
        return "the audio has a single path with a queue"
    if rule_id == "PG503" and not any(sender.canonical and sender.queue is not None for sender in lane.senders):
        return "one loop sends the audio from a queue"
    if rule_id == "PG302" and not greets(lane):
        return "the session greets"
    return ""


def has_one_path(lane: Lane) -> bool:
    """Say whether the caller's audio goes through one queue and one sender: else a map that says so would be a lie."""
    first = next((each for each in lane.senders if each.canonical), None)
    rivals = [each for each in lane.senders if not each.canonical and (each.rival or each.takes_frames)]
    return first is not None and first.queue is not None and not rivals


def greets(lane: Lane) -> bool:
    """Say whether the session itself greets the caller."""
    return any(
        site.kind == "response_create" and site.trigger == "greeting" and site.context not in QUIET_CONTEXTS
        for site in lane.sites
    )
