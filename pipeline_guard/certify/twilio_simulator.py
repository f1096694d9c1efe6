"""A phone call as Twilio makes it: the webhook, its TwiML, then a media stream over a real WebSocket to the agent.

    async def caller(phone: Phone) -> None:
        await phone.listen()                      # until the agent has greeted
        phone.say(load_utterance("service"))
        await phone.listen()

    call = TwilioCall("http://127.0.0.1:8000/incoming-call", caller, auth_token="secret")
    await call.run()
    call.violations, call.heard, call.requests, call.record

Without a webhook, ``stream_url=`` connects straight to an agent's WebSocket.  ``speed`` runs the simulated time that
many times faster than the event loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline_guard.certify.faults import Fault, FaultPlan
from pipeline_guard.certify.frame_ledger import FrameLedger
from pipeline_guard.certify.mulaw import FRAME_MS
from pipeline_guard.certify.realtime.events import Ids
from pipeline_guard.certify.record import Record, decoded_size
from pipeline_guard.certify.twilio.errors import CallFailed
from pipeline_guard.certify.twilio.media_stream import OVERFLOW, Identity, MediaStream, Played, Violation
from pipeline_guard.certify.twilio.phone import Phone
from pipeline_guard.certify.twilio.signature import HEADER, sign
from pipeline_guard.certify.twilio.track import CallerTrack
from pipeline_guard.certify.twilio.twiml import TwimlError, Verb, read_twiml, stream_url
from pipeline_guard.certify.twilio.webhooks import Answer, Webhooks

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

FRAME_SECONDS = FRAME_MS / 1000
# An agent that leaves a ping unanswered this long (in real seconds) has stopped reading: Twilio then drops the caller's
# audio instead of keeping it (warning 31930).  The kernel would take minutes of audio before a send blocks.
_STALLED_AFTER = 2.0
_FRAMES_PER_PING = 25


Caller = Callable[[Phone], Awaitable[None]]


@dataclass
class Leg:
    """One media stream of the call on its socket."""

    call: TwilioCall
    stream: MediaStream
    socket: ClientConnection
    number: int
    verb: Verb
    opened_at: float
    ended: bool = False
    dropped: int = 0
    _pong: Awaitable[float] | None = None
    _pinged_at: float = 0.0
    _until_ping: int = 0

    async def send(self, message: str, size: int = 0) -> None:
        """Send a message, unless the agent has stopped reading or is gone."""
        from websockets.exceptions import ConnectionClosed

        if self.ended:
            return
        if size and await self._is_stalled():
            self.dropped += 1
            if self.dropped == 1:
                text = "the agent reads too slowly; the caller's audio is dropped"
                self.stream.violations.append(Violation(OVERFLOW, text, self.call.now))
            return
        self.call.note_sent(self, message, size)
        try:
            await self.socket.send(message)
        except ConnectionClosed:
            self.ended = True

    async def _is_stalled(self) -> bool:
        from websockets.exceptions import ConnectionClosed

        if isinstance(self._pong, asyncio.Future) and not self._pong.done():
            return self.call.now - self._pinged_at > _STALLED_AFTER * self.call.speed
        self._until_ping -= 1
        if self._until_ping <= 0:
            self._until_ping, self._pinged_at = _FRAMES_PER_PING, self.call.now
            with contextlib.suppress(ConnectionClosed):
                self._pong = await self.socket.ping()
        return False


@dataclass
class TwilioCall:
    """One call.  ``run`` makes it; the fields without a default value above ``record`` describe it, the rest report it.

    ``was_cut`` says that a fault ended the call in the middle.
    ``public_host`` is the host that the world knows the agent by: it stands in the Host header and in what is signed.
    The connections themselves go to the host and port of ``webhook`` (or ``stream_url``), in plain text on loopback.
    ``any_host`` takes every public host of a media stream for the agent's: where the agent alone is under test.
    """

    webhook: str | None
    caller: Caller
    stream_url: str | None = None
    auth_token: str | None = None
    public_host: str | None = None
    any_host: bool = False
    account_sid: str = ""
    call_from: str = "+972501234567"
    call_to: str = "+97231234567"
    status_callback: str | None = None
    faults: Sequence[Fault] = ()
    seed: int = 0
    speed: float = 1.0
    longest: float = 300.0
    parameters: Mapping[str, str] = field(default_factory=dict)
    ledger: FrameLedger = field(default_factory=FrameLedger)
    record: Record = field(default_factory=Record)
    clock: Callable[[], float] | None = None
    turn_silence: Callable[[], float] = lambda: 0.5
    legs: list[Leg] = field(default_factory=list)
    verbs: list[Verb] = field(default_factory=list)
    frames_sent: int = 0
    was_cut: bool = False

    def __post_init__(self) -> None:
        ids = Ids(self.seed)
        made, self.call_sid = (ids.new(prefix).replace("_", "") for prefix in ("AC", "CA"))
        self.account_sid = self.account_sid or made
        self._ids = ids
        self._chance = random.Random(self.seed)
        self.track = CallerTrack(self.seed)
        self.plan = FaultPlan(self.faults, "twilio")
        self._labels: deque[tuple[int, str | None]] = deque()
        self._frame = asyncio.Event()
        self._started_at: float | None = None
        self._slow_until = 0.0
        self._streams_gone = False
        local = self.webhook or self.stream_url or ""
        self._local = urlsplit(local)
        self.public_host = self.public_host or self._local.netloc
        self.webhooks = Webhooks(self)

    # -- what a caller and a report ask ---------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds of simulated time since the call began."""
        if self.clock is not None:
            return self.clock()
        return (asyncio.get_running_loop().time() - self._begin()) * self.speed

    def _begin(self) -> float:
        if self._started_at is None:
            self._started_at = asyncio.get_running_loop().time()
        return self._started_at

    @property
    def violations(self) -> list[Violation]:
        """What Twilio would report about the agent."""
        return [violation for leg in self.legs for violation in leg.stream.violations]

    @property
    def heard(self) -> list[Played]:
        """The agent's audio that the caller heard."""
        return [piece for leg in self.legs for piece in leg.stream.played(self.now)]

    @property
    def requests(self) -> list[Answer]:
        """The HTTP requests that were made, with their answers."""
        return self.webhooks.answers

    @property
    def is_speaking(self) -> bool:
        """Whether something said has not gone out yet."""
        return self.track.is_speaking

    def say(self, audio: bytes, label: str | None) -> None:
        """Put audio on the caller's track."""
        frames = -(-len(audio) // 160)
        self._labels.append((frames, label))
        self.track.say(audio)

    async def next_frame(self) -> None:
        """Wait until the next frame has gone out.  Raises CancelledError when the call is over."""
        self._frame.clear()
        await self._frame.wait()

    # -- the call -------------------------------------------------------------------------------------------------

    async def run(self) -> TwilioCall:
        """Make the call, to its end.  Raises CallFailed where Twilio would give up before a stream is open."""
        self._begin()
        if self.webhook is None:
            await self._stream(Verb("Connect/Stream", {"url": self.stream_url or ""}, "", self.parameters))
        else:
            await self._follow(self.webhook)
        await self.webhooks.call_ended()
        return self

    async def _follow(self, url: str) -> None:
        """Run the TwiML that a webhook answers with."""
        answer = await self.webhooks.fetch_twiml(url)
        try:
            verbs = read_twiml(answer.body)
            self.verbs += verbs
            for verb in verbs:
                self.record.add(self.now, "twilio", 0, "note", f"<{verb.name}>", {**verb.attributes, "text": verb.text})
                if verb.name in ("Connect/Stream", "Start/Stream"):
                    stream_url(verb)
                    later = verbs[verbs.index(verb) + 1 :]
                    if verb.name == "Start/Stream" and any(other.name == "Connect/Stream" for other in later):
                        # <Start> goes on to the next verb at once: its stream listens beside the one to come.
                        await self._open(verb, second=False)
                    elif not self._streams_gone:
                        await self._stream(verb)
                elif verb.name == "Redirect":
                    await self._follow(verb.text)
                    return
                elif verb.name in ("Hangup", "Reject"):
                    return
                elif verb.name == "Start/Recording":
                    self.webhooks.recording = verb
                elif verb.name == "Pause":
                    await self._sleep(float(verb.attributes.get("length", "1")))
                elif verb.speaks:
                    await self._sleep(len(verb.text) * 0.06)
        except TwimlError as error:
            raise CallFailed(str(error)) from None

    async def _stream(self, verb: Verb) -> None:
        """Open a stream and hold the call on it until one of the two sides ends it."""
        forks = [leg for leg in self.legs if not leg.ended]
        first = await self._open(verb, second=False)
        caller = asyncio.create_task(self._caller())
        readers = [asyncio.create_task(self._read(leg)) for leg in (first, *forks)]
        frames = asyncio.create_task(self._frames(readers))
        try:
            await asyncio.wait([caller, readers[0], frames], return_when=asyncio.FIRST_COMPLETED)
            if caller.done():
                caller.result()
            for leg in self.legs:
                await self._hang_up(leg)
        finally:
            tasks = [caller, frames, *readers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for leg in self.legs:
                leg.ended = True
                await leg.socket.close()
        # A caller who hung up is gone; one whose stream the agent closed goes on with the TwiML.
        self._streams_gone = caller.done() and not caller.cancelled()
        if frames.done() and not frames.cancelled() and (error := frames.exception()) is not None:
            raise error

    async def _caller(self) -> None:
        await self.caller(Phone(self))

    async def _open(self, verb: Verb, *, second: bool) -> Leg:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        public = verb.attributes["url"]
        headers = {HEADER: sign(self.auth_token, public)} if self.auth_token else {}
        local, host, port = self._way_to(public)
        identity = Identity(self.account_sid, self.call_sid, self._ids.new("MZ").replace("_", ""))
        try:
            socket = await connect(
                local,
                additional_headers=headers,
                compression=None,
                ping_interval=None,
                proxy=None,
                max_size=None,
                host=host,
                port=port,
            )
        except (OSError, WebSocketException, asyncio.TimeoutError) as error:
            await self.webhooks.stream_event(verb, identity, "stream-error", f"31920: {error}")
            raise CallFailed(f"31920: the media stream {public} could not be opened: {error}") from None
        stream = MediaStream(identity, bidirectional=verb.name == "Connect/Stream")
        leg = Leg(self, stream, socket, len(self.legs) + 1, verb, self.now)
        self.legs.append(leg)
        self.record.add(self.now, "twilio", leg.number, "note", "connected", {"url": public, "second": second})
        await leg.send(MediaStream.connected())
        await leg.send(stream.start(verb.parameters))
        await self.webhooks.stream_event(verb, identity, "stream-started")
        return leg

    def _way_to(self, public: str) -> tuple[str, str | None, int | None]:
        """Return the address, host and port to connect to; the webhook's where the stream is on the public host."""
        parts = urlsplit(public)
        if self.webhook is None:
            return public, parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
        local = f"ws://{parts.netloc}{parts.path or '/'}"
        if parts.netloc == self.public_host or (self.any_host and "." in (parts.hostname or "").strip("0123456789.")):
            return local, self._local.hostname, self._local.port or 80
        if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise CallFailed(
                f"31920: the media stream {public} is on another machine; "
                "give its host as the public host if that is the agent under test"
            )
        return local, parts.hostname, parts.port or 80

    async def _hang_up(self, leg: Leg) -> None:
        if not leg.ended:
            await leg.send(leg.stream.stop())
            self.record.add(self.now, "twilio", leg.number, "note", "hang-up", {})
        await self.webhooks.stream_event(leg.verb, leg.stream.identity, "stream-stopped")

    async def _read(self, leg: Leg) -> None:
        from websockets.exceptions import ConnectionClosed

        # An agent that crashes closes as well, only not politely.
        with contextlib.suppress(ConnectionClosed):
            async for message in leg.socket:
                await self._take_in(leg, message)
        leg.ended = True
        self.record.add(self.now, "twilio", leg.number, "note", "disconnected", {"code": leg.socket.close_code})

    async def _take_in(self, leg: Leg, message: str | bytes) -> None:
        now = self.now
        event = leg.stream.receive(message, now)
        kind = str(event.get("event", "unreadable"))
        self.record.add(now, "twilio", leg.number, "received", kind, _shown(event), _size(event))
        await self._send_marks(leg)
        if self._slow_until > now:
            await asyncio.sleep((self._slow_until - now) / self.speed)

    async def _send_marks(self, leg: Leg) -> None:
        leg.stream.tick(self.now)
        for message in leg.stream.take():
            await leg.send(message)

    async def _frames(self, readers: list[asyncio.Task[None]]) -> None:
        """Send the caller's audio, a frame every 20 ms, and let the marks come back when their audio has played."""
        began = self.now
        drift, uneven, bursts = (self.plan.lasting(name) for name in ("drift", "uneven-frames", "bursts"))
        step = FRAME_SECONDS / (1 + (drift.seconds if drift else 0.0))
        number = 0
        while self.now - began < self.longest:
            due = number * step
            if bursts:
                due = (int(due / bursts.seconds) + 1) * bursts.seconds
            if uneven:
                due += self._chance.random() * uneven.seconds
            wait = began + due - self.now
            if wait > 0:
                await asyncio.sleep(wait / self.speed)
            for fault in self.plan.due("frame"):
                await self._suffer(fault, readers)
            await self._send_frame(number)
            number += 1
            for leg in self.legs:
                await self._send_marks(leg)
            self._frame.set()

    async def _send_frame(self, number: int) -> None:
        frame = self.track.next_frame()
        label = None
        if self._labels:
            left, label = self._labels.popleft()
            if left > 1:
                self._labels.appendleft((left - 1, label))
        self.ledger.sent(frame, label)
        self.frames_sent += 1
        for leg in self.legs:
            # Time stamps count from the start of the stream: of a second one, from its own.
            stamp = number * FRAME_MS - round((leg.opened_at - self.legs[0].opened_at) * 1000)
            await leg.send(leg.stream.media(frame, max(0, stamp)), len(frame))

    async def _suffer(self, fault: Fault, readers: list[asyncio.Task[None]]) -> None:
        self.record.add(self.now, "twilio", 0, "note", "fault", {"fault": str(fault)})
        if fault.name == "slow-phone":
            self._slow_until = self.now + fault.seconds
        elif fault.name == "second-socket":
            try:
                leg = await self._open(self.legs[0].verb, second=True)
            except CallFailed:
                # An agent may well refuse it.
                return
            readers.append(asyncio.create_task(self._read(leg)))
        elif fault.name == "close-without-stop":
            self.was_cut = True
            for leg in self.legs:
                leg.ended = True
                leg.socket.transport.abort()

    # -- helpers --------------------------------------------------------------------------------------------------

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def note_sent(self, leg: Leg, message: str, size: int) -> None:
        """Record a message that goes to the agent."""
        event = json.loads(message)
        self.record.add(self.now, "twilio", leg.number, "sent", event["event"], _shown(event), size)


def _shown(event: Mapping[str, object]) -> Mapping[str, object]:
    """Return a message without its audio."""
    media = event.get("media")
    if not isinstance(media, dict):
        return event
    return {**event, "media": {key: value for key, value in media.items() if key != "payload"}}


def _size(event: Mapping[str, object]) -> int:
    media = event.get("media")
    return decoded_size(str(media.get("payload", ""))) if isinstance(media, dict) else 0
