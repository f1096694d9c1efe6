"""A relay between an agent and a Realtime service that writes down what passes, so that a live call can be judged.

    async with Relay("wss://api.openai.com/v1") as relay:
        … the agent connects to relay.websocket_base_url …

It changes nothing: messages, close codes and the agent's own key go through as they are.  What a simulator knows of
itself is here read from the messages.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline_guard.certify.realtime.facts import Refusal
from pipeline_guard.certify.record import Record, decoded_size
from pipeline_guard.certify.relayed_session import RelayedSession

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.server import Server, ServerConnection

_SOUND = {"input_audio_buffer.append": "audio", "response.output_audio.delta": "delta"}
_OPEN_WITHIN = 15.0
# Codes that an endpoint may not send itself (RFC 6455, 7.4.1).
_NOT_SENT = (1005, 1006, 1015)


@dataclass
class Relay:
    """``upstream`` is what an agent's ``websocket_base_url`` would be; ``sessions`` are in the order of connections."""

    upstream: str
    record: Record = field(default_factory=Record)
    on_audio: Callable[[int, bytes, str], None] | None = None
    sessions: list[RelayedSession] = field(default_factory=list)
    port: int = 0
    problem: str = ""  # why the service could not be reached
    _server: Server | None = None
    _started_at: float = 0.0

    async def __aenter__(self) -> Relay:
        from websockets.asyncio.server import serve

        self._started_at = asyncio.get_running_loop().time()
        self._server = await serve(self._serve, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def websocket_base_url(self) -> str:
        """What the agent is given as the service's address."""
        return f"ws://127.0.0.1:{self.port}/v1"

    @property
    def refusals(self) -> list[Refusal]:
        """The client's events that were answered with an error, over all sessions."""
        return [refusal for session in self.sessions for refusal in session.refusals]

    @property
    def now(self) -> float:
        """Seconds since the relay started."""
        return asyncio.get_running_loop().time() - self._started_at

    async def _serve(self, agent: ServerConnection) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        assert agent.request is not None
        session = RelayedSession(len(self.sessions) + 1)
        self.sessions.append(session)
        number = session.connection
        asked = urlsplit(agent.request.path)
        address = f"{self.upstream}{asked.path.removeprefix('/v1')}" + (f"?{asked.query}" if asked.query else "")
        headers = {
            name: value
            for name, value in agent.request.headers.raw_items()
            if name.lower() in ("authorization", "openai-beta", "openai-organization", "openai-project", "user-agent")
        }
        self.record.add(self.now, "openai", number, "note", "connected", {"address": address})
        try:
            service = await connect(
                address,
                additional_headers=headers,
                user_agent_header=None,
                compression=None,
                max_size=None,
                ping_interval=None,
                open_timeout=_OPEN_WITHIN,
            )
        except (OSError, WebSocketException, asyncio.TimeoutError) as error:
            self.problem = f"{address} cannot be reached: {error}"
            await agent.close(1011, "no service")
            return
        await self._join(agent, service, session)

    async def _join(self, agent: ServerConnection, service: ClientConnection, session: RelayedSession) -> None:
        ways = [
            asyncio.create_task(self._carry(agent, service, session, received=True)),
            asyncio.create_task(self._carry(service, agent, session, received=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for one, other in ((agent, service), (service, agent)):
            code = other.close_code
            await one.close(1000 if code is None or code in _NOT_SENT else code, other.close_reason or "")
        self.record.add(self.now, "openai", session.connection, "note", "disconnected", {"code": service.close_code})

    async def _carry(
        self,
        source: ServerConnection | ClientConnection,
        target: ServerConnection | ClientConnection,
        session: RelayedSession,
        *,
        received: bool,
    ) -> None:
        """Pass messages on one way; ``received`` are those of the agent."""
        async for message in source:
            self._note(message, session, received=received)
            await target.send(message)

    def _note(self, message: str | bytes, session: RelayedSession, *, received: bool) -> None:
        try:
            event: Any = json.loads(message)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            event = {"type": "unreadable"}
        kind = str(event.get("type", "unreadable"))
        sound = event.pop(_SOUND[kind], "") if kind in _SOUND else ""
        size = decoded_size(str(sound))
        direction = "received" if received else "sent"
        entry = self.record.add(self.now, "openai", session.connection, direction, kind, event, size)  # type: ignore[arg-type]
        if not received:
            session.told(entry)
            return
        session.asked(entry)
        if sound and self.on_audio is not None:
            self.on_audio(session.connection, base64.b64decode(str(sound)), session.input_format)
