"""One phone call: the caller's media stream on one side, one Realtime session after another on the other.

The ONLY allowed pipeline:

    Twilio Media (μ-law base64)
         ↓
    media frame handler (single place)         on_media
         ↓
    enqueue to realtime_audio_in_queue         # exactly one queue
         ↓
    audio sender task (single loop)            audio_sender_loop
         ↓
    client.send_audio_chunk(...)               # OpenAI Realtime

Every response is created by trigger_response(reason), and by nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from openai import AsyncOpenAI

from reference_agent import gate_events as ev
from reference_agent.call_log import CALL, CallLog
from reference_agent.caller_line import CallerLine
from reference_agent.dialogue import Dialogue, session_settings
from reference_agent.gate import Phase, ResponseGate
from reference_agent.heard_audio import HeardAudio
from reference_agent.metrics import Metrics
from reference_agent.realtime_client import ConnectionLost, Output, RealtimeClient, ServerEvent, SessionRefused
from reference_agent.settings import Settings
from reference_agent.twilio import Message

logger = logging.getLogger("reference_agent")

QUEUE_FRAMES = 500  # 10 s; the oldest goes first, for live speech is worth more than old
STATUS_EVERY = 2.5
LOOK_EVERY = 0.25
RECONNECT_AFTER = (0.0, 0.25, 0.5, 1.0, 2.0, 2.0)


class CallSession:
    """The agent's side of one call."""

    def __init__(
        self,
        settings: Settings,
        openai: AsyncOpenAI,
        call_sid: str,
        line: CallerLine,
        log: CallLog,
        metrics: Metrics,
    ) -> None:
        self.settings, self.openai, self.call_sid, self.line = settings, openai, call_sid, line
        self.log, self.metrics = log, metrics
        self.realtime_audio_in_queue: asyncio.Queue[str] = asyncio.Queue(maxsize=QUEUE_FRAMES)
        self.gate = ResponseGate()
        self.heard = HeardAudio()
        self.dialogue = Dialogue()
        self.client: RealtimeClient | None = None
        self.epoch = 0  # of sessions
        self.frames: Counter[str] = Counter()
        self.stats_audio_sent = 0
        self.stats_audio_blocked = 0
        self.user_has_spoken = False
        self.outcome: str | None = None
        self._owed: str | None = None
        self._connected = asyncio.Event()
        self._replayed = asyncio.Event()
        self._session_began = self._requested_at = 0.0
        self._tools: set[asyncio.Task[None]] = set()

    @property
    def active_response_id(self) -> str | None:
        """The response that the server is creating, from response.created to response.done."""
        return self.gate.active_response_id

    @property
    def is_ai_speaking(self) -> bool:
        """Whether the caller hears the agent."""
        return self.line.is_playing

    async def run(self, messages: AsyncIterator[Message]) -> None:
        """Serve the call until either side ends it."""
        CALL.set(self.call_sid)
        self.log.write("call_started", stream=self.line.stream_sid)
        tasks = [
            asyncio.create_task(self._caller(messages)),
            asyncio.create_task(self.audio_sender_loop()),
            asyncio.create_task(self._sessions()),
            asyncio.create_task(self._clock()),
            asyncio.create_task(self._status()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.gate.handle(ev.Closed(), self._now())
            for task in (*tasks, *self._tools):
                task.cancel()
            await asyncio.gather(*tasks, *self._tools, return_exceptions=True)
            self.outcome = self.outcome or "caller hung up"
            self.frames["sent"], self.frames["dropped"] = self.stats_audio_sent, self.stats_audio_blocked
            self.log.write("call_ended", outcome=self.outcome, lead=self.dialogue.lead.as_dict())
            await self.line.close()

    # -- from the caller to the model: one path

    async def _caller(self, messages: AsyncIterator[Message]) -> None:
        async for message in messages:
            if message.media is not None:
                self.on_media(message.media.payload)
            elif message.mark is not None:
                self.line.mark_returned(message.mark.name)
                await self._end_when_heard()
            elif message.dtmf is not None:
                await self._on_key(message.dtmf.digit)

    def on_media(self, payload: str) -> None:
        """Take in 20 ms of the caller; never waits, so that Twilio never has to."""
        if self.realtime_audio_in_queue.full():
            self.realtime_audio_in_queue.get_nowait()
            self.stats_audio_blocked += 1
        self.realtime_audio_in_queue.put_nowait(payload)

    async def audio_sender_loop(self) -> None:
        """Send what is queued; to a new session first what the lost one had heard and not understood."""
        logger.info(
            "[PIPELINE] LIVE AUDIO PIPELINE ACTIVE: Twilio → realtime_audio_in_queue → send_audio_chunk (single path)"
        )
        epoch = 1
        while True:
            frame = await self.realtime_audio_in_queue.get()
            self.heard.add(frame)
            await self._connected.wait()
            client = self.client
            assert client is not None
            frames = (frame,) if epoch == self.epoch else self.heard.replay()
            epoch = self.epoch
            with suppress(ConnectionLost):  # it is kept, and sent to the next session
                for payload in frames:
                    await client.send_audio_chunk(payload)
                    self.stats_audio_sent += 1
            self._replayed.set()

    # -- responses: one trigger

    async def trigger_response(self, reason: str) -> None:
        """Create a response; the only place that does.

        A trigger that is skipped stays owed: the gate answers it once, after response.done, unless the response that
        was in progress already had it in its context.
        """
        self.gate.owe(reason)
        if self.active_response_id is not None:
            logger.warning(
                "[RESPONSE GUARD] Active response in progress (%s) – skipping new response (%s)",
                self.active_response_id,
                reason,
            )
            return
        if self.gate.pending_response is not None:
            return
        request = self.gate.trigger(reason, self._now())
        if request is None:  # requested and not created yet, or no session
            self.log.write("trigger_skipped", reason=reason, phase=self.gate.phase.name)
            return
        self._requested_at = self._now()
        logger.info("[TRIGGER] %s", reason)
        self.log.write("trigger", reason=reason, event_id=request.event_id, epoch=self.epoch)
        metadata = {"trigger_id": request.event_id}
        await self._send({"type": "response.create", "event_id": request.event_id, "response": {"metadata": metadata}})

    async def _tell_gate(self, event: ev.Event) -> None:
        for action in self.gate.handle(event, self._now()):
            await self._carry_out(action)

    async def _carry_out(self, action: ev.Action) -> None:
        if isinstance(action, ev.Answer):
            self._owed = action.reason  # answered as soon as this event has been dealt with
        elif isinstance(action, ev.Cancel):
            named = {"response_id": action.response_id} if action.response_id else {}
            await self._send({"type": "response.cancel", "event_id": action.event_id, **named})
        elif isinstance(action, ev.Discard):
            await self._stop_playing()
        elif isinstance(action, ev.Adopted):
            self.log.write("response.created", response=action.response_id, trigger_id=action.event_id, late=True)
        elif isinstance(action, ev.Reconnect) and self.client is not None:
            self.client.abort()
        elif isinstance(action, ev.GiveUp):
            await self._give_up(action.code)
        elif isinstance(action, ev.Count):
            self.metrics.gate.labels(action.name).inc()

    # -- from the model

    async def _sessions(self) -> None:
        """Keep a Realtime session open; a lost one is followed by another that is told what was said so far."""
        attempt = 0
        while attempt < len(RECONNECT_AFTER):
            await asyncio.sleep(RECONNECT_AFTER[attempt])
            attempt += 1
            try:
                async with RealtimeClient.connect(self.openai, self.settings.model) as client:
                    await self._begin(client)
                    attempt = 0
                    while True:
                        await self._on_event(await client.receive())
                        await self._answer_what_is_owed()
            except ConnectionLost as lost:
                logger.warning("[REALTIME] Connection lost in session %d: %s", self.epoch, lost)
                self.log.write("connection_lost", epoch=self.epoch, why=str(lost))
            except SessionRefused as refused:
                return await self._give_up(str(refused))
            self._connected.clear()
            self._owed = None  # the gate remembers
            if self.active_response_id is not None:
                await self.line.clear()  # it will be said again
            self.gate.handle(ev.Disconnected(), self._now())
        return await self._give_up("no connection to the model")

    async def _answer_what_is_owed(self) -> None:
        """Answer what the gate said is owed, now that nothing is active."""
        if self._owed is not None:
            reason, self._owed = self._owed, None
            await self.trigger_response(reason)

    async def _begin(self, client: RealtimeClient) -> None:
        """Configure a session and tell it the conversation; audio follows only then, and responses after that."""
        await client.send_event({"type": "session.update", "session": session_settings(self.settings)})
        await client.configured()
        for item in self.dialogue.conversation.replay():
            await client.send_event({"type": "conversation.item.create", "item": item})
        self.client, self._session_began = client, self._now()
        self.epoch += 1
        self._replayed.clear()
        self._connected.set()
        self.log.write("session_ready", epoch=self.epoch)
        if self.epoch == 1:
            await self._tell_gate(ev.SessionReady())
            logger.info("[GREETING] Using OpenAI Realtime for greeting (same session, same pipeline)")
            await self.trigger_response("greeting")
        else:  # its answer comes behind the turns in the audio that is sent again
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._replayed.wait(), 1.0)
            await client.send_event({"type": "session.update", "session": session_settings(self.settings)})

    async def _on_event(self, event: ServerEvent) -> None:
        if event.response_id:
            for action in self.gate.handle(_sign_of_life(event), self._now()):
                await self._carry_out(action)
        if event.type == "response.output_audio.delta":
            if self.gate.may_play(event.response_id):
                await self._play(event)
        elif event.type == "response.output_audio.done":
            await self.line.item_done(event.item_id)
        elif event.type == "response.output_audio_transcript.done":
            self.dialogue.conversation.agent_said(event.item_id, event.transcript)
        elif event.type.startswith("response."):
            await self._on_response(event)
        elif event.type == "session.updated":
            await self._tell_gate(ev.SessionReady())
        elif event.type == "error" and event.error is not None:
            await self._on_error(event)
        else:
            await self._on_caller_event(event)

    async def _on_response(self, event: ServerEvent) -> None:
        response = event.response
        if response is None or response.conversation_id is None:
            return
        trigger_id = (response.metadata or {}).get("trigger_id")
        fields = {"response": response.id, "trigger_id": trigger_id}
        if event.type == "response.created":
            self.log.write("response.created", **fields)
            await self._tell_gate(ev.Created(response.id, trigger_id))
        elif event.type == "response.done":
            details = response.status_details
            self.log.write("response.done", **fields, status=response.status)
            for call in self.dialogue.tool_calls(response):
                task = asyncio.create_task(self._run_tool(call))
                self._tools.add(task)
                task.add_done_callback(self._tools.discard)
            reason = details.reason if details is not None else None
            await self._tell_gate(ev.Done(response.id, response.status, reason, trigger_id))
            await self._end_when_heard()

    async def _on_caller_event(self, event: ServerEvent) -> None:
        if event.type == "input_audio_buffer.speech_started":
            self.user_has_spoken = True
            self.heard.speech_started(event.item_id, event.audio_start_ms)
            await self._tell_gate(ev.SpeechStarted())
            await self._stop_playing()
        elif event.type == "input_audio_buffer.speech_stopped":
            self.heard.speech_stopped(event.item_id, event.audio_end_ms)
        elif event.type == "input_audio_buffer.committed":
            self.log.write("input_audio_buffer.committed", item=event.item_id)
            self.heard.committed(event.item_id)
            self.dialogue.conversation.caller_turn(event.item_id)
            await self.trigger_response("user_turn")
        elif event.type == "conversation.item.added" and event.item is not None:
            reason = self.dialogue.item_added(event.item.id)
            if reason is not None:
                await self.trigger_response(reason)
        elif event.type.startswith("conversation.item.input_audio_transcription."):
            self._on_transcription(event)

    def _on_transcription(self, event: ServerEvent) -> None:
        """Take the caller's words into the conversation and the lead; no response ever waits for them."""
        if event.type.endswith((".completed", ".failed")):
            self.log.write(event.type, item=event.item_id, transcript=event.transcript)
            self.dialogue.conversation.transcript(event.item_id, event.transcript)
            self.dialogue.lead.hear(event.transcript)
            self.heard.understood(event.item_id)

    async def _on_error(self, event: ServerEvent) -> None:
        error = event.error
        assert error is not None
        logger.error("[REALTIME] Error %s: %s", error.known_code, error.message)
        self.log.write("error", code=error.known_code, event_id=error.event_id)
        if error.known_code == "session_expired":
            raise ConnectionLost("the session has expired")
        await self._tell_gate(ev.Error(error.known_code, error.event_id, error.response_id))

    # -- to the caller, and the end

    async def _play(self, event: ServerEvent) -> None:
        if self._requested_at:
            self.metrics.first_audio.observe(self._now() - self._requested_at)
            self._requested_at = 0.0
        await self.line.play(event.item_id, event.delta)

    async def _stop_playing(self) -> None:
        """Clear what the caller has not heard, and tell the model how much that was."""
        for item_id, heard_ms in await self.line.clear():
            self.log.write("cut", item=item_id, heard_ms=heard_ms)
            truncation = {"item_id": item_id, "content_index": 0, "audio_end_ms": heard_ms}
            await self._send({"type": "conversation.item.truncate", **truncation})

    async def _on_key(self, digit: str) -> None:
        self.log.write("key", digit=digit)
        await self._tell_gate(ev.BargeIn())
        await self._stop_playing()
        await self._send({"type": "conversation.item.create", "item": self.dialogue.key_pressed(digit)})

    async def _run_tool(self, call: Output) -> None:
        try:
            result = json.dumps(self.dialogue.lead.call_tool(call.name, call.arguments), ensure_ascii=False)
        except Exception:
            logger.exception("The function %s failed", call.name)
            result = '{"error": "this does not work right now"}'  # the model has to get a result, or it never answers
        self.log.write("tool", name=call.name, arguments=call.arguments, result=result)
        await self._send({"type": "conversation.item.create", "item": self.dialogue.tool_result(call, result)})
        await self._end_when_heard()

    async def _end_when_heard(self) -> None:
        """End the call once that was asked for and what was said has been heard."""
        if self.dialogue.ending is not None and self.gate.phase is Phase.IDLE and not self.line.is_playing:
            await self._end(self.dialogue.ending)

    async def _give_up(self, code: str) -> None:
        logger.error("[REALTIME] The call cannot go on: %s", code)
        self.log.write("given_up", code=code)
        await self._end("transfer")

    async def _end(self, outcome: str) -> None:
        """End the media stream; Twilio then asks what comes after it."""
        self.outcome = self.outcome or outcome
        self.gate.handle(ev.Closed(), self._now())
        await self.line.close()

    async def _clock(self) -> None:
        """Let the gate look at its deadline.  Time never makes it answer: it asks the server, or gives it up."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for action in self.gate.handle(ev.Tick(), self._now()):
                await self._carry_out(action)

    async def _status(self) -> None:
        while True:
            await asyncio.sleep(STATUS_EVERY)
            logger.info(
                "[PIPELINE STATUS] sent=%d blocked=%d | active_response=%s | ai_speaking=%s | user_has_spoken=%s",
                self.stats_audio_sent,
                self.stats_audio_blocked,
                self.active_response_id,
                self.is_ai_speaking,
                self.user_has_spoken,
            )
            await self._rotate_when_quiet()

    async def _rotate_when_quiet(self) -> None:
        """Change to a new session before the server ends this one; in a pause, if there is one in five minutes."""
        due = self._session_began + self.settings.rotate_after
        quiet = self.gate.phase is Phase.IDLE and not self.line.is_playing
        if self.client is not None and self._now() > due + (0 if quiet else 300):
            await self.client.close()

    async def _send(self, event: dict[str, Any]) -> None:
        """Send to the open session; what a lost one should have got is in the conversation that the next one gets."""
        if self.client is not None:
            with suppress(ConnectionLost):
                await self.client.send_event(event)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _sign_of_life(event: ServerEvent) -> ev.Progress | ev.CutShort:
    """Return what an event that belongs to a response tells the gate."""
    if event.type == "response.output_item.done" and event.item is not None and event.item.status == "incomplete":
        return ev.CutShort(event.response_id)
    return ev.Progress(event.response_id)
