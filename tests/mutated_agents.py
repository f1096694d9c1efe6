"""The reference agent with one thing wrong: each as it is found in the field, and made of a few lines of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from reference_agent import gate_events as ev
from reference_agent.call import CallSession
from reference_agent.gate import Phase, ResponseGate
from reference_agent.realtime_client import ServerEvent
from reference_agent.twilio import Message

CREATE = {"type": "response.create"}


class SecondSender(CallSession):
    """A debug path from before the queue: the frame handler sends as well."""

    def on_media(self, payload: str) -> None:
        super().on_media(payload)
        if self.client is not None:
            self._tools.add(asyncio.ensure_future(self.client.send_audio_chunk(payload)))


class StrayCreate(CallSession):
    """The handler of transcripts asks for a response too."""

    def _on_transcription(self, event: ServerEvent) -> None:
        super()._on_transcription(event)
        if event.type.endswith(".completed"):
            self._tools.add(asyncio.ensure_future(self._send(CREATE)))


class Timer(CallSession):
    """Are you still there?  Through the one trigger, and still nobody asked."""

    async def run(self, messages: AsyncIterator[Message]) -> None:
        task = asyncio.ensure_future(self._nudge())
        try:
            await super().run(messages)
        finally:
            task.cancel()

    async def _nudge(self) -> None:
        while True:
            await asyncio.sleep(6.0)
            if self.active_response_id is None:
                await self.trigger_response("still there")


class SecondRecogniser(CallSession):
    """Another recogniser hears the caller, and its words are put into the conversation."""

    def _on_transcription(self, event: ServerEvent) -> None:
        super()._on_transcription(event)
        if event.type.endswith(".completed"):
            words = {"type": "input_text", "text": f"[whisper] {event.transcript}"}
            item = {"type": "message", "role": "user", "content": [words]}
            self._tools.add(asyncio.ensure_future(self._send({"type": "conversation.item.create", "item": item})))


class _Gated(CallSession):
    gate_type: type[ResponseGate] = ResponseGate

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.gate = self.gate_type()


class _DroppingGate(ResponseGate):
    __slots__ = ()

    def owe(self, reason: str) -> None:
        if self.phase in (Phase.CONNECTING, Phase.IDLE):
            ResponseGate.owe(self, reason)


class DropGuard(_Gated):
    """The guard skips a trigger while a response is active, and forgets it."""

    gate_type = _DroppingGate


class _QueueingGate(ResponseGate):
    __slots__ = ()

    def _pay(self, *, keep: bool) -> None:
        ResponseGate._pay(self, keep=True)


class QueueOneGuard(_Gated):
    """The guard remembers that a trigger came meanwhile, although the response that followed has answered it."""

    gate_type = _QueueingGate


class _UnmarkedGate(ResponseGate):
    __slots__ = ()

    def trigger(self, reason: str, now: float) -> ev.Request | None:
        if self.phase is Phase.REQUESTED:  # not active yet, so it goes out
            return ev.Request(self._event_id("trigger"))
        return ResponseGate.trigger(self, reason, now)


class NoPendingMark(_Gated):
    """The contract's guard as it is worded: a request counts from response.created on, one round trip too late."""

    gate_type = _UnmarkedGate

    async def trigger_response(self, reason: str) -> None:
        self.gate.pending_response, pending = None, self.gate.pending_response
        await super().trigger_response(reason)
        self.gate.pending_response = self.gate.pending_response or pending


class _ForgetfulGate(ResponseGate):
    __slots__ = ()

    def handle(self, event: ev.Event, now: float) -> ev.Actions:
        if isinstance(event, ev.Done) and self.phase is Phase.ACTIVE and self.active_response_id is not None:
            event = replace(event, response_id=self.active_response_id)
        return ResponseGate.handle(self, event, now)


class NoIdCompare(_Gated):
    """The end of any response opens the guard."""

    gate_type = _ForgetfulGate


class _FrightenedGate(ResponseGate):
    __slots__ = ()

    def handle(self, event: ev.Event, now: float) -> ev.Actions:
        if isinstance(event, ev.Error) and self.phase is Phase.ACTIVE and self.active_response_id is not None:
            event = ev.Done(self.active_response_id, "completed")
        return ResponseGate.handle(self, event, now)


class ClearOnAnyError(_Gated):
    """Any error opens the guard."""

    gate_type = _FrightenedGate
