"""Thin client for the OpenAI Realtime API over a WebSocket."""

import json
from typing import Any, AsyncIterator

import websockets

REALTIME_URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


class RealtimeClient:
    def __init__(self, api_key: str) -> None:
        self.api_key = api_key
        self.ws: Any = None

    async def connect(self) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        self.ws = await websockets.connect(REALTIME_URL, additional_headers=headers)

    async def configure(self, instructions: str) -> None:
        await self.send_event(
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "instructions": instructions,
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcmu"},
                            "transcription": {"model": "gpt-4o-transcribe", "language": "he"},
                            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                        },
                        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
                    },
                },
            }
        )

    async def send_audio_chunk(self, payload: str) -> None:
        await self.send_event({"type": "input_audio_buffer.append", "audio": payload})

    async def send_user_message(self, text: str) -> None:
        """Put words into the caller's mouth and let the agent react to them."""
        await self.send_event(
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": text}],
                },
            }
        )
        await self.send_event({"type": "response.create"})

    async def send_event(self, event: dict[str, Any]) -> None:
        await self.ws.send(json.dumps(event))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        async for raw in self.ws:
            yield json.loads(raw)

    async def close(self) -> None:
        await self.ws.close()
