"""What a session did, as only the simulator can know it: which turns each response answered, and why it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline_guard.certify.realtime.hearing import Heard

# Who asked for a response: the client, the server at the end of a turn, the idle timeout, or a fault.
Cause = Literal["client", "turn", "idle", "fault"]

# The code of the error that answers a request while a response is active.
ALREADY_ACTIVE = "conversation_already_has_active_response"


@dataclass(frozen=True)
class TurnFacts:
    """Audio of the caller that became an item.  ``by``: "speech" (its end was heard), "client" or "idle"."""

    item_id: str
    by: str
    start_ms: int
    end_ms: int
    heard: Heard
    at: float


@dataclass
class ResponseFacts:
    """A response.

    ``covers`` are the items that were new when it was created: the caller's turns and the function results that it
    answers.  A response that covers nothing says again what was said.  ``created_at`` is None when it was cancelled
    before ``response.created``; ``number`` counts those of the default conversation.  ``asked_at`` is when the client
    sent its request and ``asked_by`` the number of that message in the record; None where the client did not ask.
    """

    id: str
    cause: Cause
    in_default: bool
    event_id: str | None
    metadata: Mapping[str, str] | None
    requested_at: float
    created_at: float | None = None
    done_at: float | None = None
    number: int = 0
    covers: tuple[str, ...] = ()
    status: str = "in_progress"
    reason: str | None = None
    audio_ms: int = 0
    outputs: int = 0
    asked_at: float | None = None
    asked_by: int | None = None

    @property
    def said_something(self) -> bool:
        """Whether what it covers was answered: not when it failed, or ended before it said or called anything."""
        if self.status in ("completed", "incomplete"):
            return True
        return self.status != "failed" and (self.audio_ms > 0 or self.outputs > 0)


@dataclass(frozen=True)
class Refusal:
    """A client event that was answered with an error.

    ``asked_by`` is the event's number in the record, ``asked_at`` when the client sent it; ``active`` is the response
    that was active then.
    """

    asked_by: int
    asked_at: float
    at: float
    connection: int
    error: Mapping[str, object]
    active: str | None
