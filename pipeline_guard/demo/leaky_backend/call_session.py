"""One phone call between the caller at Twilio and the agent at OpenAI."""

import asyncio
import logging
import time
from typing import Optional

from fastapi import WebSocket

from realtime_client import RealtimeClient

logger = logging.getLogger(__name__)

INSTRUCTIONS = "You are the phone agent of a locksmith. Ask for the service first and for the city second."
SILENCE_SECONDS = 6.0
RECOVERY_SECONDS = 4.0


class CallSession:
    def __init__(self, twilio: WebSocket, client: RealtimeClient) -> None:
        self.twilio = twilio
        self.client = client
        self.stream_sid = ""
        self.realtime_audio_in_queue: asyncio.Queue[str] = asyncio.Queue()
        self.active_response_id: Optional[str] = None
        self.is_ai_speaking = False
        self.last_activity = time.monotonic()
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, stream_sid: str) -> None:
        self.stream_sid = stream_sid
        await self.client.configure(INSTRUCTIONS)
        self.tasks = [
            asyncio.create_task(self.audio_sender_loop()),
            asyncio.create_task(self.read_events()),
            asyncio.create_task(self.silence_monitor()),
        ]
        await self.greet()

    async def greet(self) -> None:
        await self.client.send_event(
            {"type": "response.create", "response": {"instructions": "Greet the caller in Hebrew."}}
        )

    async def handle_media(self, payload: str) -> None:
        self.last_activity = time.monotonic()
        if not self.is_ai_speaking and self.realtime_audio_in_queue.empty():
            # Fast path: why wait for the loop when there is nothing in front of us?
            await self.send_audio_to_openai(payload)
        else:
            self.realtime_audio_in_queue.put_nowait(payload)

    async def send_audio_to_openai(self, payload: str) -> None:
        await self.client.send_event({"type": "input_audio_buffer.append", "audio": payload})

    async def audio_sender_loop(self) -> None:
        while True:
            payload = await self.realtime_audio_in_queue.get()
            await self.client.send_audio_chunk(payload)

    async def trigger_response(self, reason: str) -> None:
        if self.active_response_id is not None:
            logger.warning("[RESPONSE GUARD] Active response in progress (%s), skipping (%s)", self.active_response_id, reason)
            return
        await self.client.send_event({"type": "response.create"})

    async def read_events(self) -> None:
        async for event in self.client.events():
            kind = event["type"]
            if kind == "response.created":
                self.active_response_id = event["response"]["id"]
                self.is_ai_speaking = True
            elif kind == "response.done":
                self.active_response_id = None
                self.is_ai_speaking = False
            elif kind == "response.output_audio.delta":
                await self.play(event["delta"])
            elif kind == "input_audio_buffer.committed":
                await self.trigger_response("user_turn")
                asyncio.get_running_loop().call_later(RECOVERY_SECONDS, self.recover)

    async def play(self, payload: str) -> None:
        await self.twilio.send_json({"event": "media", "streamSid": self.stream_sid, "media": {"payload": payload}})

    def recover(self) -> None:
        """The agent has not begun to speak: ask once more."""
        if not self.is_ai_speaking:
            logger.warning("no response after %.0f s, recovering", RECOVERY_SECONDS)
            asyncio.ensure_future(self.client.send_event({"type": "response.create"}))

    async def silence_monitor(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if time.monotonic() - self.last_activity > SILENCE_SECONDS:
                self.last_activity = time.monotonic()
                await self.client.send_user_message("(the caller says nothing)")

    async def handle_dtmf(self, digit: str) -> None:
        await self.client.send_user_message(f"The caller pressed {digit}.")

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.client.close()
