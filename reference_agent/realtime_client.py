"""One connection to OpenAI Realtime: the SDK's socket and authentication, its raw messages, no automatic reconnect.

The SDK's typed methods cost about 180 µs for each frame of a call, its raw ones 5; and its own reconnect would send
queued audio and ``response.create`` into a session that is not configured yet.  Here one object is one session: when
it is lost, the call opens another.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from openai import AsyncOpenAI, OpenAIError
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from reference_agent.gate_events import ALREADY_ACTIVE, FATAL, NOT_ACTIVE

CONFIGURED_WITHIN = 10.0  # seconds


class ConnectionLost(Exception):
    """The connection is gone; the text says how."""


class SessionRefused(Exception):
    """The service does not want this session at all; the text is its code."""


class Details(msgspec.Struct):
    """Why a response ended as it did."""

    reason: str | None = None
    error: dict[str, Any] | None = None


class Output(msgspec.Struct):
    """An item that a response wrote."""

    id: str = ""
    status: str = ""
    type: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = "{}"
    content: list[dict[str, Any]] | None = None


class Response(msgspec.Struct):
    """A response, in ``response.created`` and ``response.done``."""

    id: str = ""
    status: str = ""
    status_details: Details | None = None
    conversation_id: str | msgspec.UnsetType | None = msgspec.UNSET  # null: not in the conversation
    metadata: dict[str, str] | None = None
    output: list[Output] = []


class Problem(msgspec.Struct):
    """The ``error`` of an error event."""

    type: str = ""
    code: str | None = None
    message: str = ""
    event_id: str | None = None

    @property
    def known_code(self) -> str:
        """The code; from the text where older services gave none."""
        if self.code is None and "already has an active response" in self.message:
            return ALREADY_ACTIVE
        if self.code is None and "no active response" in self.message:
            return NOT_ACTIVE
        return self.code or self.type

    @property
    def response_id(self) -> str | None:
        """The response that the text names."""
        found = re.search(r"\bresp_\w+", self.message)
        return found[0] if found else None


class ServerEvent(msgspec.Struct):
    """Any event of the server, as far as a call needs it."""

    type: str
    response_id: str = ""
    item_id: str = ""
    delta: str = ""
    transcript: str = ""
    audio_start_ms: int = 0
    audio_end_ms: int = 0
    response: Response | None = None
    item: Output | None = None
    error: Problem | None = None


_decode = msgspec.json.Decoder(ServerEvent).decode


class RealtimeClient:
    """A session.  Sending or receiving raises ConnectionLost when the connection is gone."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self._connection = connection
        self.unreadable = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, openai: AsyncOpenAI, model: str) -> AsyncIterator[RealtimeClient]:
        """Connect.  Raises ConnectionLost when that fails, SessionRefused when trying again is of no use."""
        # Not in the SDK's type, but passed on; they find a connection that died without saying so.
        options: Any = {"ping_interval": 5, "ping_timeout": 10, "open_timeout": 5, "max_size": 16 * 1024 * 1024}
        try:
            connection = await openai.realtime.connect(model=model, websocket_connection_options=options).enter()
        except InvalidStatus as error:
            if error.response.status_code in (401, 403, 404):
                raise SessionRefused(f"HTTP {error.response.status_code}") from None
            raise ConnectionLost(f"HTTP {error.response.status_code}") from None
        except (OSError, WebSocketException, asyncio.TimeoutError) as error:
            raise ConnectionLost(str(error) or type(error).__name__) from None
        client = cls(connection)
        try:
            yield client
        finally:
            await client.close()

    async def configured(self) -> None:
        """Wait until the session is configured.  Raises ConnectionLost, SessionRefused."""
        try:
            await asyncio.wait_for(self._configured(), CONFIGURED_WITHIN)
        except asyncio.TimeoutError:
            raise ConnectionLost("the session was not configured in time") from None

    async def _configured(self) -> None:
        while True:
            event = await self.receive()
            if event.type == "session.updated":
                return
            if event.type == "error" and event.error is not None:
                code = event.error.known_code
                raise (
                    SessionRefused(code)
                    if code in FATAL or event.error.type == "invalid_request_error"
                    else ConnectionLost(code)
                )

    async def send_audio_chunk(self, payload: str) -> None:
        """Send base64 μ-law of the caller, as Twilio delivered it."""
        await self._send(msgspec.json.encode({"type": "input_audio_buffer.append", "audio": payload}).decode())

    async def send_event(self, event: Mapping[str, Any]) -> None:
        """Send anything that is not audio."""
        await self._send(msgspec.json.encode(event).decode())

    async def receive(self) -> ServerEvent:
        """Return the next event that can be read."""
        while True:
            try:
                return _decode(await self._connection.recv_bytes())
            except msgspec.MsgspecError:
                self.unreadable += 1
            except ConnectionClosed as error:
                raise ConnectionLost(str(error)) from None

    async def close(self) -> None:
        """Close; a server that does not answer is left behind after a second."""
        try:
            await asyncio.wait_for(self._connection.close(), 1.0)
        except (asyncio.TimeoutError, OSError):
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        transport = cast(Any, self._connection)._connection.transport
        transport.abort()

    async def _send(self, text: str) -> None:
        try:
            await self._connection.send_raw(text)
        except (ConnectionClosed, OpenAIError) as error:
            raise ConnectionLost(str(error)) from None
