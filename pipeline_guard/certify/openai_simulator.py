"""An OpenAI Realtime server on loopback: real WebSockets around the state machine in ``realtime/server.py``.

    async with OpenAISimulator(script=sequence(Reply.say("Hello"))) as openai:
        client = AsyncOpenAI(api_key="any", websocket_base_url=openai.websocket_base_url)
        …
        await openai.record.wait_for("response.done")

``openai.record`` holds every message in one order; ``openai.turns``, ``openai.responses`` and ``openai.errors`` say
what the sessions did.  ``speed`` runs the simulated time that many times faster than the event loop's; speech starts
and stops by the audio that arrives, whatever the speed.  Timers of the agent itself do not speed up: where they matter,
run both in a loop of ``virtual_time`` with speed 1.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from pipeline_guard.certify.faults import Fault, FaultPlan
from pipeline_guard.certify.realtime import beta
from pipeline_guard.certify.realtime.behaviour import Behaviour
from pipeline_guard.certify.realtime.events import Ids
from pipeline_guard.certify.realtime.facts import Refusal, ResponseFacts, TurnFacts
from pipeline_guard.certify.realtime.hearing import Transcriber, nothing_understood
from pipeline_guard.certify.realtime.rest import BETA_IS_OFF, REALTIME, HttpAsked, HttpRequest, answer, model_asked_for
from pipeline_guard.certify.realtime.schema import Problem
from pipeline_guard.certify.realtime.script import Reply, Script, Situation, repeat_after_caller
from pipeline_guard.certify.realtime.server import RealtimeServer
from pipeline_guard.certify.record import Record, decoded_size

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

PATH = REALTIME
# What is due within this many seconds is due: sums of floating point numbers do not meet exactly.
_INSTANT = 1e-6
# Close code of a connection that is refused after the handshake, as clients of the retired beta report it.
REFUSED_CODE = 4000


@dataclass(frozen=True)
class Latency:
    """One way through the network, in seconds of simulated time; order is kept, as TCP keeps it."""

    base: float = 0.0
    jitter: float = 0.0

    def sample(self, chance: random.Random) -> float:
        """Return one delay."""
        return self.base + (chance.random() * self.jitter if self.jitter else 0.0)


@dataclass
class OpenAISimulator:
    """The server.  Use it as an async context manager; all fields may be given by keyword.

    ``script`` decides what the model says, ``transcriber`` what it understands, ``behaviour`` everything else that the
    API leaves open (it carries both; the two are there for brevity).  ``faults`` are played as they are set off.
    ``api_key``: when given, other keys are refused with HTTP 401; a missing one always is.
    ``on_audio`` is called with connection number, bytes and format of all audio of the caller, as it arrives;
    ``on_voice`` with response id, bytes and format of the model's, as it is sent.
    ``refusals`` are the client's events that were answered with an error.
    ``tolerate_beta``: serve the retired beta protocol to those who ask for it, instead of refusing them as the service
    does; the record shows their events in today's shape.
    ``tls``: the server's side of TLS; ``http_requests`` are the plain HTTP requests that came to the same port.
    """

    script: Script = repeat_after_caller
    transcriber: Transcriber = nothing_understood
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: Sequence[Fault] = ()
    to_client: Latency = Latency()
    to_server: Latency = Latency()
    seed: int = 0
    speed: float = 1.0
    api_key: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    tolerate_beta: bool = False
    record: Record = field(default_factory=Record)
    on_audio: Callable[[int, bytes, str], None] | None = None
    on_voice: Callable[[str, bytes, str], None] | None = None
    refusals: list[Refusal] = field(default_factory=list)
    sessions: list[RealtimeServer] = field(default_factory=list)
    http_requests: list[HttpAsked] = field(default_factory=list)
    _server: Server | None = None
    _started_at: float = 0.0
    _connections: int = 0

    def __post_init__(self) -> None:
        if self.script is not repeat_after_caller:
            self.behaviour = replace(self.behaviour, script=self.script)
        if self.transcriber is not nothing_understood:
            self.behaviour = replace(self.behaviour, transcriber=self.transcriber)
        self.plan = FaultPlan(self.faults, "openai")
        self.behaviour = _with_lasting_faults(self.behaviour, self.plan)
        for name, side in (("jitter-to-client", "to_client"), ("jitter-to-server", "to_server")):
            if (jitter := self.plan.lasting(name)) is not None:
                setattr(self, side, replace(getattr(self, side), jitter=jitter.seconds))
        self._ids = Ids(self.seed * 31 + 7)

    async def __aenter__(self) -> OpenAISimulator:
        from websockets.asyncio.server import serve

        from pipeline_guard.certify.front_door import front_door

        self._door = front_door(self._answer_http)
        self._started_at = asyncio.get_running_loop().time()
        self._server = await serve(
            self._serve,
            self.host,
            self.port,
            process_request=self._admit,
            create_connection=self._door,
            ssl=self.tls,
            compression=None,
            max_size=16 * 1024 * 1024,
            ping_interval=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._door.undecided):
                connection.transport.abort()
            await self._server.wait_closed()

    @property
    def websocket_base_url(self) -> str:
        """What ``AsyncOpenAI(websocket_base_url=…)`` takes."""
        return f"{self._scheme}://{self.host}:{self.port}/v1"

    @property
    def url(self) -> str:
        """What a plain WebSocket client connects to; it adds ``?model=…``."""
        return f"{self._scheme}://{self.host}:{self.port}{PATH}"

    @property
    def _scheme(self) -> str:
        return "wss" if self.tls is not None else "ws"

    @property
    def turns(self) -> list[TurnFacts]:
        """The caller's turns, over all sessions."""
        return [turn for session in self.sessions for turn in session.turns]

    @property
    def responses(self) -> list[ResponseFacts]:
        """The responses, over all sessions."""
        return [response for session in self.sessions for response in session.responses]

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """The ``error`` objects that were sent, over all sessions."""
        return [event["error"] for session in self.sessions for event in session.errors]

    @property
    def now(self) -> float:
        """Seconds of simulated time since the simulator started."""
        return (asyncio.get_running_loop().time() - self._started_at) * self.speed

    def restart_clock(self) -> float:
        """Let simulated time begin again, and return what it was; only a server without sessions can do that."""
        if self.sessions:
            return 0.0
        past, self._started_at = self.now, asyncio.get_running_loop().time()
        return past

    # -- the connection ------------------------------------------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        for due in self.plan.due("connect"):
            self.record.add(self.now, "openai", self._connections, "note", "fault", {"fault": str(due)})
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The server is overloaded.\n")
        path = urlsplit(request.path).path
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if path != PATH:
            response = connection.respond(HTTPStatus.NOT_FOUND, f"There is only {PATH} here.\n")
        elif scheme != "Bearer" or not key or (self.api_key is not None and key != self.api_key):
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided.\n")
        else:
            return None
        shown = {"path": path, "status": response.status_code}
        self.record.add(self.now, "openai", self._connections, "note", "turned-away", shown)
        return response

    def _answer_http(self, request: HttpRequest) -> tuple[int, dict[str, Any]]:
        status, body = answer(request, self._ids, self.api_key, tolerate_beta=self.tolerate_beta)
        asked = HttpAsked(self.now, request.method, request.path, status, request.size, model_asked_for(request))
        self.http_requests.append(asked)
        event = {"method": asked.method, "path": asked.path, "status": status, "model": asked.model}
        self.record.add(asked.at, "openai", 0, "received", "http-request", event, asked.size)
        return status, body

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self._connections += 1
        number = self._connections
        query = parse_qs(urlsplit(socket.request.path).query)
        model = query.get("model", [""])[0]
        wants_beta = any("realtime=v1" in value for value in socket.request.headers.get_all("OpenAI-Beta"))
        shown = {"model": model, "protocol": "beta"} if wants_beta else {"model": model}
        self.record.add(self.now, "openai", number, "note", "connected", shown)
        refusal = BETA_IS_OFF if wants_beta and not self.tolerate_beta else None
        if not model and refusal is None:
            refusal = Problem("missing_model", "You must provide a model parameter.", "model")
        session = RealtimeServer(self.behaviour, model=model or "none", seed=self.seed * 100 + number)
        self.sessions.append(session)
        connection = Connection(self, socket, session, number, beta_shapes=wants_beta and refusal is None)
        if refusal is not None:
            await connection.refuse(refusal)
        else:
            await connection.run()
        self.record.add(self.now, "openai", number, "note", "disconnected", {"code": socket.close_code})


class Connection:
    """Moves messages between a socket and a session, late where the network is slow, wrong where a fault says so."""

    def __init__(
        self,
        simulator: OpenAISimulator,
        socket: ServerConnection,
        session: RealtimeServer,
        number: int,
        *,
        beta_shapes: bool = False,
    ) -> None:
        self._beta_shapes = beta_shapes
        self.simulator, self.socket, self.session, self.number = simulator, socket, session, number
        self._chance = random.Random(simulator.seed * 7919 + number)
        self._inbox: deque[tuple[float, float, str | bytes]] = deque()  # when it is read, when it was sent
        self._outbox: deque[tuple[float, dict[str, Any]]] = deque()
        self._wake = asyncio.Event()
        self._unsent = asyncio.Event()
        self._frozen = False
        self._close_code: int | None = None
        self._pause = 0.0

    async def refuse(self, problem: Problem) -> None:
        """Say why, and close."""
        self.session.fail(problem)
        for event in self.session.take():
            await self._send(event)
        await self.socket.close(REFUSED_CODE, f"invalid_request_error.{problem.code}")

    async def run(self) -> None:
        """Serve until either side closes."""
        from websockets.exceptions import ConnectionClosed

        self.session.open(self.simulator.now)
        tasks = [asyncio.create_task(work()) for work in (self._read, self._work, self._write)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                    raise result

    async def _read(self) -> None:
        async for message in self.socket:
            now = self.simulator.now
            earliest = self._inbox[-1][0] if self._inbox else now
            self._inbox.append((max(earliest, now + self.simulator.to_server.sample(self._chance)), now, message))
            self._wake.set()
            if self._pause:
                pause, self._pause = self._pause, 0.0
                await asyncio.sleep(pause / self.simulator.speed)

    async def _work(self) -> None:
        """Hand over messages and let time pass; the only place that touches the session."""
        while True:
            now = self.simulator.now + _INSTANT
            while self._inbox and self._inbox[0][0] <= now and not self._frozen:
                _, sent_at, message = self._inbox.popleft()
                self._take_in(message, now, sent_at)
            if not self._frozen:
                self.session.tick(now)
                self._collect()
            self._wake.clear()
            due = [self._inbox[0][0]] if self._inbox else []
            due += [at for at in [self.session.next_due()] if at is not None]
            wait = (min(due) - now + _INSTANT) / self.simulator.speed if due and not self._frozen else None
            if wait is None or wait > _INSTANT:
                try:
                    await asyncio.wait_for(self._wake.wait(), wait)
                except asyncio.TimeoutError:
                    continue
            else:
                # Nothing to wait for, and others want their turn.
                await asyncio.sleep(0)

    def _take_in(self, message: str | bytes, now: float, sent_at: float) -> None:
        if self._beta_shapes:
            message = beta.message_today(message)
        faults = self._due(_type_of(message)) if self.simulator.plan.faults else []
        names = {fault.name: fault for fault in faults}
        if "ignore-create" in names:
            self.session.creates_to_ignore += 1
        if "slow-create" in names:
            self.session.extra_create_latency = names["slow-create"].seconds
        # The server may answer at once; what it answers comes after what it was asked.
        self.session.listening.last_audio = b""
        active, responses, errors = (
            self.session.active_response_id,
            len(self.session.responses),
            len(self.session.errors),
        )
        event = self.session.receive(message, now)
        event_type = event.get("type", "unreadable")
        size = decoded_size(str(event.get("audio", ""))) if event_type == "input_audio_buffer.append" else 0
        shown = {key: value for key, value in event.items() if key != "audio"} if size else event
        if size and self.simulator.on_audio is not None and self.session.listening.last_audio:
            self.simulator.on_audio(self.number, self.session.listening.last_audio, self.session.listening.audio_format)
        at = self.simulator.now
        entry = self.simulator.record.add(at, "openai", self.number, "received", str(event_type), shown, size)
        for response in self.session.responses[responses:]:
            if response.cause == "client":
                response.asked_at, response.asked_by = sent_at, entry.order
        for refused in self.session.errors[errors:]:
            refusal = Refusal(entry.order, sent_at, at, self.number, refused["error"], active)
            self.simulator.refusals.append(refusal)
        self._collect()

    def _collect(self) -> None:
        """Move what the session wants to send into the outbox, through the faults."""
        now = self.simulator.now
        waiting = deque(self.session.take())
        while waiting and not self._frozen and self._close_code is None:
            event = waiting.popleft()
            sent = [event]
            for fault in self._due(event["type"]) if self.simulator.plan.faults else ():
                sent = self._suffer(fault, event, sent)
            for each in sent:
                earliest = self._outbox[-1][0] if self._outbox else now
                self._outbox.append((max(earliest, now + self.simulator.to_client.sample(self._chance)), each))
            # A fault may have given the session something to say.
            waiting.extend(self.session.take())
        if self.session.closing is not None:
            self._close_code = self.session.closing.code
        self._unsent.set()

    def _due(self, event_type: str) -> list[Fault]:
        faults = self.simulator.plan.due(event_type)
        for fault in faults:
            self.simulator.record.add(
                self.simulator.now, "openai", self.number, "note", "fault", {"fault": str(fault), "on": event_type}
            )
        return faults

    def _suffer(self, fault: Fault, event: dict[str, Any], sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Do what a fault does to an event about to be sent, and return what is sent instead."""
        session = self.session
        if fault.name.startswith("drop-"):
            return []
        if fault.name.startswith("duplicate-"):
            return [*sent, event]
        if fault.name.startswith("close-"):
            self._close_code = int(fault.name.removeprefix("close-"))
        elif fault.name == "half-open":
            self._frozen = True
        elif fault.name == "slow-reader":
            self._pause = fault.seconds
        elif fault.name == "stale-done":
            old = self.simulator.record.of("response.done", direction="sent", connection=self.number)
            return [*sent, dict(old[-1].event)] if old else sent
        elif fault.name == "foreign-created":
            session.respond("fault")
        elif fault.name == "unrelated-error":
            session.fail(Problem("server_error", "The server had an error. Please retry."), error_type="server_error")
        elif fault.name in ("failed-response", "incomplete-response"):
            session.spoil_last_response("failed" if fault.name == "failed-response" else "incomplete")
        elif fault.name == "session-expired":
            session.expire()
        return sent

    async def _write(self) -> None:
        while True:
            while self._outbox:
                wait = (self._outbox[0][0] - self.simulator.now) / self.simulator.speed
                if wait > _INSTANT:
                    await asyncio.sleep(wait)
                await self._send(self._outbox.popleft()[1])
            if self._close_code is not None:
                await self._close(self._close_code)
                return
            if self._frozen:
                self.socket.transport.pause_reading()
                await asyncio.Event().wait()
            self._unsent.clear()
            await self._unsent.wait()

    async def _send(self, event: dict[str, Any]) -> None:
        size = decoded_size(event["delta"]) if event["type"] == "response.output_audio.delta" else 0
        shown = {key: value for key, value in event.items() if key != "delta"} if size else event
        if size and self.simulator.on_voice is not None:
            audio_format = self.session.session["audio"]["output"]["format"]["type"]
            self.simulator.on_voice(event["response_id"], base64.b64decode(event["delta"]), audio_format)
        self.simulator.record.add(self.simulator.now, "openai", self.number, "sent", event["type"], shown, size)
        said = beta.to_beta(event) if self._beta_shapes else event
        if said is not None:
            await self.socket.send(json.dumps(said, ensure_ascii=False))

    async def _close(self, code: int) -> None:
        if code == 1006:
            self.socket.transport.abort()
        else:
            await self.socket.close(code)


def _type_of(message: str | bytes) -> str:
    try:
        event = json.loads(message)
    except ValueError:
        return ""
    return str(event.get("type", "")) if isinstance(event, dict) else ""


def _with_lasting_faults(behaviour: Behaviour, plan: FaultPlan) -> Behaviour:
    if (late := plan.lasting("late-transcript")) is not None:
        behaviour = replace(behaviour, transcription_delay=late.seconds)
    if plan.lasting("early-transcript") is not None:
        behaviour = replace(behaviour, transcription_delay=0.0)
    if plan.lasting("failed-transcript") is not None:
        behaviour = replace(behaviour, transcription="failed")
    return replace(behaviour, hide_error_ids=plan.lasting("hide-error-ids") is not None or behaviour.hide_error_ids)


__all__ = ["Latency", "OpenAISimulator", "Reply", "Situation"]
