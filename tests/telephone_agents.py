"""Small agents at the other end of the telephone, for the tests of the simulators."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection, serve

Handler = Callable[["Line"], Awaitable[None]]


class Line:
    """The agent's end of a media stream."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.stream_sid = ""
        self.seen: list[dict[str, Any]] = []

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        async for message in self.socket:
            event = json.loads(message)
            self.seen.append(event)
            if event["event"] == "start":
                self.stream_sid = event["streamSid"]
            yield event

    async def play(self, audio: bytes) -> None:
        await self.send("media", media={"payload": base64.b64encode(audio).decode()})

    async def mark(self, name: str) -> None:
        await self.send("mark", mark={"name": name})

    async def clear(self) -> None:
        await self.send("clear")

    async def send(self, event: str, **body: Any) -> None:
        await self.socket.send(json.dumps({"event": event, "streamSid": self.stream_sid, **body}))


@asynccontextmanager
async def agent(handler: Handler) -> AsyncIterator[str]:
    """Yield the address of an agent that handles each media stream with ``handler``."""

    async def handle(socket: ServerConnection) -> None:
        await handler(Line(socket))

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/media"


class Web:
    """A web application: ``pages`` by path, and the requests it got as (path, headers, form)."""

    def __init__(self, pages: dict[str, str]) -> None:
        self.pages = pages
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.url = ""

    def form(self, path: str) -> dict[str, str]:
        (found,) = [form for asked, _, form in self.requests if asked == path]
        return found

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split()[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        form = dict(parse_qsl((await reader.readexactly(int(headers["content-length"]))).decode(), True))
        self.requests.append((path, headers, form))
        page = self.pages.get(path)
        status = "404 Not Found" if page is None else "200 OK"
        body = (page or "").encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def web(pages: dict[str, str]) -> AsyncIterator[Web]:
    application = Web(pages)
    server = await asyncio.start_server(application._answer, "127.0.0.1", 0)
    application.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield application
