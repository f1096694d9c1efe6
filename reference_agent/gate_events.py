"""What the response gate is told, and what it tells its owner to do."""

from __future__ import annotations

from dataclasses import dataclass

ALREADY_ACTIVE = "conversation_already_has_active_response"
NOT_ACTIVE = "response_cancel_not_active"
FATAL = frozenset({"insufficient_quota", "invalid_api_key", "account_deactivated", "billing_hard_limit_reached"})


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The session is configured and the conversation replayed into it."""


@dataclass(frozen=True, slots=True)
class Created:
    """``response.created``; ``trigger_id`` is the metadata that our requests carry."""

    response_id: str
    trigger_id: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Any event that belongs to a response: it is alive."""

    response_id: str


@dataclass(frozen=True, slots=True)
class CutShort:
    """``response.output_item.done`` with an item that is incomplete: the response is about to end, and not well."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Done:
    """``response.done`` with its status and ``status_details.reason``."""

    response_id: str
    status: str
    reason: str | None = None
    trigger_id: str | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """``error``: ``event_id`` names our event that caused it, ``response_id`` the response that its text names."""

    code: str
    event_id: str | None = None
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller speaks: with ``interrupt_response`` on, the server is cancelling the active response by itself."""


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The caller interrupts in a way the server cannot hear (a key pressed): the client has to cancel."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; only this event looks at the deadline."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, and the conversation on the server with it."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The call is over."""


Event = (
    SessionReady | Created | Progress | CutShort | Done | Error | SpeechStarted | BargeIn | Tick | Disconnected | Closed
)


@dataclass(frozen=True, slots=True)
class Request:
    """Send ``response.create`` with this ``event_id``, the same in ``response.metadata.trigger_id``."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Something is owed and nothing is active: call ``trigger_response(reason)`` at once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Send ``response.cancel``; without a response id where none is known."""

    event_id: str
    response_id: str | None


@dataclass(frozen=True, slots=True)
class Discard:
    """Play no more of this response and clear what is buffered of it."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """This response, whose ``response.created`` was lost, is taken for what the request with this event id became."""

    response_id: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The server does not answer: close this connection and open another."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The session cannot answer any more: end the call politely."""

    code: str


@dataclass(frozen=True, slots=True)
class Count:
    """Something happened that should not happen often; a counter's name."""

    name: str


Action = Answer | Cancel | Discard | Adopted | Reconnect | GiveUp | Count
Actions = tuple[Action, ...]
NOTHING: Actions = ()
