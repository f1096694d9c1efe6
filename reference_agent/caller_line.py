"""The way to the caller's ear: plays, marks and clears on the media stream, and knows what was heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reference_agent.playback import Playback
from reference_agent.twilio import clear_message, mark_message, media_message


class CallerLine:
    """The sending half of one media stream.  ``send`` takes text and may fail silently once the caller is gone."""

    def __init__(self, stream_sid: str, send: Callable[[str], Awaitable[None]], close: Callable[[], Awaitable[None]]):
        self.stream_sid = stream_sid
        self.close = close
        self._send = send
        self._playback = Playback()

    @property
    def is_playing(self) -> bool:
        """Whether the caller hears the agent, as far as is known."""
        return self._playback.is_playing

    async def play(self, item_id: str, payload: str) -> None:
        """Play base64 μ-law that belongs to an item."""
        await self._send(media_message(self.stream_sid, payload))
        await self._mark(self._playback.sent(item_id, payload))

    async def item_done(self, item_id: str) -> None:
        """Ask to be told when the last of an item has been played."""
        await self._mark(self._playback.item_done(item_id))

    def mark_returned(self, name: str) -> None:
        """Take in a mark that came back."""
        self._playback.mark_returned(name)

    async def clear(self) -> list[tuple[str, int]]:
        """Stop playing; return each item that was cut with the milliseconds of it that were heard."""
        if not self.is_playing:
            return []
        cut = self._playback.clear()
        await self._send(clear_message(self.stream_sid))
        return cut

    async def _mark(self, name: str | None) -> None:
        if name is not None:
            await self._send(mark_message(self.stream_sid, name))
