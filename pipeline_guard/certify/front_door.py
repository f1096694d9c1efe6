"""One port for both: WebSocket handshakes go on to the ``websockets`` library, other HTTP requests are answered here.

``websockets`` reads GET requests only; agents also POST to the service's other addresses on the same host and port.
Import this module where ``websockets`` is known to be installed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.server import ServerProtocol

from pipeline_guard.certify.realtime.rest import HttpRequest

AnswerHttp = Callable[[HttpRequest], "tuple[int, dict[str, Any]]"]
# Nobody sends longer headers; of a body no more than this is kept (its length is counted to the end).
_LONGEST_HEAD = 64 * 1024
_KEPT = 256 * 1024


class BadRequest(Exception):
    """What came is no HTTP request."""


class RequestReader:
    """Reads one HTTP/1.1 request from pieces of bytes."""

    def __init__(self) -> None:
        self.raw = b""
        self.head: HttpRequest | None = None
        self._body = bytearray()
        self._size = 0
        self._rest = b""
        self._left: int | None = 0
        self._done = False

    @property
    def is_websocket(self) -> bool:
        """Whether the request asks for a WebSocket; only after its head was read."""
        return self.head is not None and "websocket" in self.head.headers.get("upgrade", "").lower()

    def feed(self, data: bytes) -> HttpRequest | None:
        """Take in bytes; return the request once it is whole.  Raises BadRequest."""
        if self.head is None:
            self.raw += data
            head, found, data = self.raw.partition(b"\r\n\r\n")
            if not found:
                if len(self.raw) > _LONGEST_HEAD:
                    raise BadRequest
                return None
            self.head = _read_head(head)
            if self.is_websocket:
                return None
            chunked = "chunked" in self.head.headers.get("transfer-encoding", "").lower()
            self._left = None if chunked else _number(self.head.headers.get("content-length", "0"), 10)
        if self._left is None:
            self._chunks(data)
        else:
            self._keep(data[: self._left])
            self._left -= min(len(data), self._left)
            self._done = not self._left
        if not self._done:
            return None
        return HttpRequest(self.head.method, self.head.path, self.head.headers, bytes(self._body), self._size)

    def _chunks(self, data: bytes) -> None:
        self._rest += data
        while True:
            line, found, after = self._rest.partition(b"\r\n")
            if not found and len(line) > _LONGEST_HEAD:
                raise BadRequest
            if not found:
                return
            length = _number(line.partition(b";")[0].decode("ascii", "replace").strip(), 16)
            if len(after) < length + 2:
                return
            self._keep(after[:length])
            self._rest = after[length + 2 :]
            if length == 0:
                self._done = True
                return

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        self._body += data[: max(0, _KEPT - len(self._body))]


def _read_head(head: bytes) -> HttpRequest:
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise BadRequest from None
    if not version.startswith("HTTP/1."):
        raise BadRequest
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return HttpRequest(method, urlsplit(target).path, headers)


def _number(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        raise BadRequest from None
    if number < 0:
        raise BadRequest
    return number


class FrontDoor(ServerConnection):
    """A connection that turns out to be a WebSocket or a plain request once its head is there."""

    answer_http: AnswerHttp
    undecided: set[FrontDoor]

    def __init__(self, protocol: ServerProtocol, server: Server, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self._reader: RequestReader | None = RequestReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the head of the request before the library begins a handshake."""
        Connection.connection_made(self, transport)
        self.undecided.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.undecided.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read the head, then hand over to whoever it is for."""
        reader = self._reader
        if reader is None:
            super().data_received(data)
            return
        try:
            request = reader.feed(data)
        except BadRequest:
            self._reply(400, {"error": {"message": "not a request", "type": "invalid_request_error"}})
            return
        if reader.is_websocket:
            self._reader = None
            self.undecided.discard(self)
            self.server.start_connection_handler(self)
            super().data_received(reader.raw)
        elif request is not None:
            self._reply(*self.answer_http(request))

    def eof_received(self) -> None:
        """End a connection on which no request will come any more."""
        if self._reader is None:
            super().eof_received()

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()


def front_door(answer_http: AnswerHttp) -> type[FrontDoor]:
    """Return the connection class for ``serve(create_connection=…)``.

    Its ``undecided`` are the connections that have not said yet what they want; ``websockets`` does not know of them,
    so whoever closes the server ends them.
    """
    return type("FrontDoor", (FrontDoor,), {"answer_http": staticmethod(answer_http), "undecided": set()})
