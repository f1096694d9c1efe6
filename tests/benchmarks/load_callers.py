"""The two ends of the load benchmark: callers who send a frame every 20 ms, and a model that says back what it hears.

Both live in one process, so that one clock times a frame's way.  A frame that leaves late is not the bridge's doing:
each caller notes how late its frames left.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from dataclasses import dataclass, field

from pipeline_guard.certify.twilio.signature import sign
from tests.benchmarks.light_websocket import LightWebSocket
from tests.benchmarks.load_bridges import TOKEN

FRAME = 0.02
_BETWEEN = re.compile(rb'"(?:audio|payload)":\s*"([^"]*)"')


def greet(websocket: LightWebSocket) -> None:
    """Open a session of the model."""
    websocket.send(b'{"type":"session.created","session":{}}')


def echo(websocket: LightWebSocket, message: bytes) -> None:
    """A model that says back what it hears, in one response that never ends; and for ``direct``, a plain echo."""
    if b'"input_audio_buffer.append"' in message:
        audio = _BETWEEN.search(message)
        assert audio is not None
        websocket.send(
            b'{"type":"response.output_audio.delta","response_id":"resp_1","item_id":"item_1","output_index":0,'
            b'"content_index":0,"delta":"' + audio[1] + b'"}'
        )
        return
    if message.startswith(b'{"event":"media"'):
        websocket.send(message)
        return
    event = json.loads(message)
    if event.get("type") == "session.update":
        websocket.send(b'{"type":"session.updated","session":{}}')
    elif event.get("type") == "response.create":
        metadata = event.get("response", {}).get("metadata")
        shape = {"id": "resp_1", "status": "in_progress", "conversation_id": "conv_1", "output": []}
        websocket.send(json.dumps({"type": "response.created", "response": {**shape, "metadata": metadata}}).encode())


@dataclass
class Line:
    """One caller; seconds: what each frame took there and back, and how late each left."""

    number: int
    sent: dict[bytes, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    _back: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, port: int) -> LightWebSocket:
        """Open the media stream."""
        signature = sign(TOKEN, f"wss://127.0.0.1:{port}/twilio/media")
        asks = (f"127.0.0.1:{port}", "/twilio/media", {"X-Twilio-Signature": signature})
        loop = asyncio.get_running_loop()
        _, websocket = await loop.create_connection(lambda: LightWebSocket(self.read, asks=asks), "127.0.0.1", port)
        await asyncio.wait_for(websocket.opened.wait(), 10.0)
        ids = {"streamSid": f"MZ{self.number}", "callSid": f"CA{self.number}"}
        websocket.send(json.dumps({"event": "start", "start": ids}).encode())
        return websocket

    async def call(self, port: int, start: float, seconds: float) -> None:
        """Call the bridge, and count the frames of ``seconds`` from ``start`` on."""
        websocket = await self.open(port)
        # Callers are spread over the 20 ms of a frame, as calls are.
        await asyncio.sleep(max(0.0, start - 1.0 - time.monotonic()) + self.number * 7 % 20 / 1000)
        began = time.monotonic()
        for number in range(int((seconds + 1.5) / FRAME)):
            due = began + number * FRAME
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            payload = base64.b64encode(number.to_bytes(4, "big") * 40)
            now = time.monotonic()
            if start <= now < start + seconds:
                self.sent[payload] = now
                self.lateness.append(now - due)
            websocket.send(_media(payload))
        await asyncio.sleep(0.5)
        websocket.send(b'{"event":"stop"}')
        websocket.close()

    async def exchange(self, websocket: LightWebSocket, number: int) -> None:
        """Send a frame and wait until it is back."""
        payload = base64.b64encode(number.to_bytes(4, "big") * 40)
        self._back.clear()
        self.sent[payload] = time.monotonic()
        websocket.send(_media(payload))
        await asyncio.wait_for(self._back.wait(), 5.0)

    def read(self, websocket: LightWebSocket, message: bytes) -> None:
        """Take in what comes back."""
        if b'"media"' in message:
            found = _BETWEEN.search(message)
            began = self.sent.pop(found[1], None) if found is not None else None
            if began is not None:
                self.latencies.append(time.monotonic() - began)
                self._back.set()
        elif b'"mark"' in message:
            websocket.send(json.dumps({"event": "mark", "mark": json.loads(message)["mark"]}).encode())


def _media(payload: bytes) -> bytes:
    return b'{"event":"media","media":{"payload":"' + payload + b'"}}'
