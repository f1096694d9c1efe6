"""A response between its request and ``response.done``: what was asked, what is being sent, and how events show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_guard.certify.realtime import events
from pipeline_guard.certify.realtime.events import Event
from pipeline_guard.certify.realtime.facts import ResponseFacts
from pipeline_guard.certify.realtime.generation import Generation


@dataclass
class Timer:
    """Something to do later; cancelled by taking ``run`` away."""

    run: Callable[[], None] | None


@dataclass
class Running:
    """``generation`` and ``steps`` are there from ``response.created`` on; the next step waits for ``timer``."""

    facts: ResponseFacts
    request: Mapping[str, Any]
    timer: Timer | None = None
    generation: Generation | None = None
    steps: Iterator[float | list[Event]] = field(default_factory=lambda: iter(()))
    first_delta_at: float | None = None

    def shape(
        self, session: Mapping[str, Any], conversation_id: str, heard_ms: int, status: str, reason: str | None
    ) -> Event:
        """Return the response object of ``response.created`` ("in_progress") or ``response.done``."""
        done = self.generation if status != "in_progress" else None
        return events.response(
            self.facts.id,
            status,
            conversation_id=conversation_id if self.facts.in_default else None,
            metadata=self.facts.metadata,
            output=done.output if done is not None else [],
            session=session,
            modalities=self.request.get("output_modalities", session["output_modalities"]),
            max_output_tokens=self.request.get("max_output_tokens", session["max_output_tokens"]),
            status_details=_details(status, reason),
            usage=None if done is None else events.usage(heard_ms, done.audio_ms, done.text_length),
        )


def _details(status: str, reason: str | None) -> Event | None:
    if status in ("in_progress", "completed"):
        return None
    details: Event = {"type": status}
    if reason is not None:
        details["reason"] = reason
    if status == "failed":
        message = "The server had an error while processing your request. Sorry about that!"
        details["error"] = {"type": "server_error", "code": "server_error", "message": message}
    return details
