"""The least of a WebSocket that a load generator needs: it must cost less than the bridge that it loads.

No fragments, no extensions, a mask of zeros (RFC 6455 §5.3 asks for an unpredictable one, against caches on the way;
there is nothing between two processes on loopback).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from typing import cast

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class LightWebSocket(asyncio.Protocol):
    """One connection; ``on_text`` takes every text message, ``opened`` is set after the handshake.

    A client gives the host and path it asks for and its extra headers; a server gives nothing.
    """

    def __init__(
        self,
        on_text: Callable[[LightWebSocket, bytes], None],
        *,
        asks: tuple[str, str, dict[str, str]] | None = None,
        on_open: Callable[[LightWebSocket], None] | None = None,
    ) -> None:
        self._on_text, self._asks, self._on_open = on_text, asks, on_open
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.opened = asyncio.Event()
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of its subclasses
        if self._asks is not None:
            host, path, headers = self._asks
            key = base64.b64encode(os.urandom(16)).decode()
            lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
            lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self._transport.write("\r\n".join([*lines, "", ""]).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.is_set() and not self._shake_hands():
            return
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2:
            opcode, length, start = buffer[at] & 15, buffer[at + 1] & 127, at + 2
            masked = buffer[at + 1] & 128
            if length == 126:
                length, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif length == 127:
                length, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            mask, start = (buffer[start : start + 4], start + 4) if masked else (b"", start)
            if start + length > end:
                break
            payload = buffer[start : start + length]
            if masked and length:
                key = (mask * (length // 4 + 1))[:length]
                payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
            at = start + length
            self._take(opcode, payload)
        self._buffer = buffer[at:]

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send one message; nothing happens on a connection that is over."""
        assert self._transport is not None
        if self.closed or self._transport.is_closing():
            return
        masked = 128 if self._asks is not None else 0
        size = len(payload)
        if size < 126:
            head = bytes((128 | opcode, masked | size))
        elif size < 65536:
            head = bytes((128 | opcode, masked | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((128 | opcode, masked | 127)) + size.to_bytes(8, "big")
        self._transport.write(head + (b"\0\0\0\0" if masked else b"") + payload)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None and not self.closed:
            self.send(b"", CLOSE)
            self._transport.close()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_text(self, payload)
        elif opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            self.close()

    def _shake_hands(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        if self._asks is not None and b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.split(b"\r\n")[0].decode("latin-1"))
        if self._asks is None:
            headers = dict(
                line.lower().split(b":", 1)[:1] + line.split(b":", 1)[1:] for line in head.split(b"\r\n")[1:]
            )
            key = headers[b"sec-websocket-key"].strip()
            accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
            assert self._transport is not None
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        self._buffer = rest
        self.opened.set()
        if self._on_open is not None:
            self._on_open(self)
        return True
