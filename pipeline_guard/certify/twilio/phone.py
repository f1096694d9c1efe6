"""What a caller can do with a telephone: speak, stay silent, listen, press keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_guard.certify.twilio_simulator import TwilioCall


class Phone:
    """What a caller can do.  Times are seconds of simulated time."""

    def __init__(self, call: TwilioCall) -> None:
        self._call = call

    @property
    def now(self) -> float:
        """Seconds of simulated time since the call began."""
        return self._call.now

    @property
    def hears_agent(self) -> bool:
        """Whether the agent's voice plays right now."""
        return any(leg.stream.is_playing(self._call.now) for leg in self._call.legs)

    @property
    def turn_silence(self) -> float:
        """How much silence ends a turn of the caller, as far as it is known; 0.5 is the service's default."""
        return self._call.turn_silence()

    def say(self, audio: bytes, label: str | None = None) -> None:
        """Start to say something; it goes out frame by frame.  ``label`` is what the ledger calls it."""
        self._call.say(audio, label)

    async def finish_speaking(self) -> None:
        """Wait until everything said has gone out."""
        while self._call.is_speaking:
            await self._call.next_frame()

    async def pause(self, seconds: float) -> None:
        """Stay silent for a while."""
        end = self._call.now + seconds
        while self._call.now < end:
            await self._call.next_frame()

    async def listen(self, *, quiet: float = 0.6, timeout: float = 20.0) -> bool:
        """Wait until the agent has said something after now and then been quiet; False when it never spoke."""
        await self.finish_speaking()
        began = self._call.now
        if not await self.hear(timeout=timeout):
            return False
        last_heard = self._call.now
        while self._call.now - last_heard < quiet and self._call.now - began < 2 * timeout:
            last_heard = self._call.now if self.hears_agent else last_heard
            await self._call.next_frame()
        return True

    async def hear(self, *, timeout: float = 20.0) -> bool:
        """Wait until the agent's voice plays; False when it does not within ``timeout``."""
        end = self._call.now + timeout
        while not self.hears_agent:
            if self._call.now >= end:
                return False
            await self._call.next_frame()
        return True

    async def press(self, digit: str) -> None:
        """Press a key."""
        for leg in self._call.legs:
            if leg.stream.bidirectional:
                await leg.send(leg.stream.dtmf(digit))
