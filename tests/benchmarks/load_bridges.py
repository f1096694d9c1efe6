"""The bridges of the load benchmark: the reference agent, a plain one as the samples have it, and none at all.

The plain bridge is what the samples do: JSON both ways, audio decoded and encoded again, a mark behind every delta.
``direct`` hands the bytes of a caller to an echo and back; what a frame takes through it is not the bridges' doing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable
from typing import cast

TOKEN = "token"


def run_agent(port: int, model: str) -> None:
    """Serve calls with the reference agent."""
    from reference_agent.serve import build_server
    from reference_agent.settings import Settings

    build_server(Settings("key", TOKEN, websocket_base_url=model, port=port, max_calls=1000)).run()


def run_plain(port: int, model: str) -> None:
    """Serve calls as the samples do."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect
    from websockets.asyncio.client import connect

    async def media(caller: WebSocket) -> None:
        await caller.accept()
        stream = ""
        async with connect(f"{model}/realtime?model=m", proxy=None) as openai:
            await openai.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
            await openai.send(json.dumps({"type": "response.create"}))

            async def to_model() -> None:
                nonlocal stream
                async for text in caller.iter_text():
                    data = json.loads(text)
                    if data["event"] == "media":
                        audio = {"type": "input_audio_buffer.append", "audio": data["media"]["payload"]}
                        await openai.send(json.dumps(audio))
                    elif data["event"] == "start":
                        stream = data["start"]["streamSid"]
                await openai.close()

            async def to_caller() -> None:
                async for message in openai:
                    event = json.loads(message)
                    if event["type"] == "response.output_audio.delta":
                        payload = base64.b64encode(base64.b64decode(event["delta"])).decode()
                        await caller.send_json({"event": "media", "streamSid": stream, "media": {"payload": payload}})
                        await caller.send_json({"event": "mark", "streamSid": stream, "mark": {"name": "part"}})

            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await asyncio.gather(to_model(), to_caller())

    app = Starlette(routes=[WebSocketRoute("/twilio/media", media)])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def run_direct(port: int, model: str) -> None:
    """Join each caller to the echo at the model's address, byte by byte."""
    import uvloop

    echo = int(model.rpartition(":")[2].partition("/")[0])

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Relay(echo), "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


class _Relay(asyncio.Protocol):
    """One end of a joined pair of connections."""

    def __init__(self, echo: int | None, other: asyncio.Transport | None = None) -> None:
        self._echo, self._other = echo, other
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._echo is not None:
            self._joining = asyncio.ensure_future(self._join(cast(asyncio.Transport, transport), self._echo))

    async def _join(self, transport: asyncio.Transport, echo: int) -> None:
        loop = asyncio.get_running_loop()
        self._other, _ = await loop.create_connection(lambda: _Relay(None, transport), "127.0.0.1", echo)
        self._other.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.close()


BRIDGES: dict[str, Callable[[int, str], None]] = {"direct": run_direct, "plain": run_plain, "agent": run_agent}
