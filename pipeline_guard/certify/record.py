"""What happened on the wire, in one order: every message either simulator saw or sent, numbered as it happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

Peer = Literal["openai", "twilio"]
Direction = Literal["received", "sent", "note"]


@dataclass(frozen=True)
class Entry:
    """One message.

    ``order`` counts from 1 over all peers and connections that share a record; ``at`` is seconds of simulated time;
    ``received`` and ``sent`` are from the simulator's side, ``note`` is something that is not a message (a connection
    opened, a fault set in).  ``event`` is the message without its audio; ``size`` is the audio's length in bytes.
    """

    order: int
    at: float
    peer: Peer
    connection: int
    direction: Direction
    type: str
    event: Mapping[str, Any]
    size: int = 0


def decoded_size(text: str) -> int:
    """Return how many bytes base64 text stands for."""
    return len(text) * 3 // 4 - text.count("=", -2)


@dataclass
class Record:
    """The entries in order, and a way to wait for one."""

    entries: list[Entry] = field(default_factory=list)
    _watchers: list[Callable[[Entry], None]] = field(default_factory=list)

    def add(
        self,
        at: float,
        peer: Peer,
        connection: int,
        direction: Direction,
        event_type: str,
        event: Mapping[str, Any] | None = None,
        size: int = 0,
    ) -> Entry:
        """Append an entry and return it."""
        entry = Entry(len(self.entries) + 1, at, peer, connection, direction, event_type, event or {}, size)
        self.entries.append(entry)
        for watcher in tuple(self._watchers):
            watcher(entry)
        return entry

    def watch(self, watcher: Callable[[Entry], None]) -> None:
        """Call ``watcher`` with every entry from now on."""
        self._watchers.append(watcher)

    def of(
        self, *types: str, peer: Peer | None = None, direction: Direction | None = None, connection: int | None = None
    ) -> list[Entry]:
        """Return the entries of these types (of all types when none is named), in order."""
        return [
            entry
            for entry in self.entries
            if (not types or entry.type in types)
            and (peer is None or entry.peer == peer)
            and (direction is None or entry.direction == direction)
            and (connection is None or entry.connection == connection)
        ]

    async def wait_for(
        self,
        event_type: str,
        *,
        count: int = 1,
        timeout: float = 10.0,
        where: Callable[[Entry], bool] = lambda _: True,
    ) -> Entry:
        """Return the ``count``-th entry of a type, waiting up to ``timeout`` seconds of the event loop's time.

        Raises TimeoutError whose message says what was recorded instead.
        """

        def found() -> Entry | None:
            matching = [entry for entry in self.of(event_type) if where(entry)]
            return matching[count - 1] if len(matching) >= count else None

        arrived = asyncio.Event()

        def watch(entry: Entry) -> None:
            if entry.type == event_type:
                arrived.set()

        self._watchers.append(watch)
        try:
            while (entry := found()) is None:
                arrived.clear()
                await asyncio.wait_for(arrived.wait(), timeout)
            return entry
        except asyncio.TimeoutError:
            seen = ", ".join(f"{e.direction} {e.type}" for e in self.entries[-12:])
            raise TimeoutError(f"no {event_type} number {count} within {timeout} s; the last were: {seen}") from None
        finally:
            self._watchers.remove(watch)

    def lines(self) -> Iterator[str]:
        """Yield the record as JSON lines."""
        for entry in self.entries:
            yield json.dumps(
                {
                    "order": entry.order,
                    "at": round(entry.at, 4),
                    "peer": entry.peer,
                    "connection": entry.connection,
                    "direction": entry.direction,
                    "type": entry.type,
                    "size": entry.size,
                    "event": entry.event,
                },
                ensure_ascii=False,
            )

    def write(self, stream: TextIO) -> None:
        """Write the record as JSON lines."""
        for line in self.lines():
            stream.write(line + "\n")
