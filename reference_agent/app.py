"""The HTTP and WebSocket side: Twilio's webhooks and media streams, health, readiness, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl

from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from reference_agent import post_call
from reference_agent.call import CallSession
from reference_agent.call_log import CallLog
from reference_agent.caller_line import CallerLine
from reference_agent.metrics import Metrics
from reference_agent.settings import Settings
from reference_agent.twilio import (
    BUSY_TWIML,
    Message,
    Start,
    after_stream_twiml,
    connect_twiml,
    is_signed,
    read_message,
)

logger = logging.getLogger("reference_agent")

START_WITHIN = 10.0
MOST_BODY = 64 * 1024
MOST_UNREADABLE = 20  # messages of one stream, before it is closed
REFUSED, UNREADABLE = 1008, 1007
REMEMBERED_OUTCOMES = 1000


class Agent:
    """All calls of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # One for all calls: making one reads the certificates, which would stop every other call for a moment.
        self.openai = AsyncOpenAI(api_key=settings.openai_api_key, websocket_base_url=settings.websocket_base_url)
        self.metrics = Metrics()
        self.log = CallLog(settings.call_log)
        self.calls: dict[str, CallSession] = {}
        self.outcomes: dict[str, str] = {}  # of finished calls, until Twilio has asked what comes next
        self.draining = False
        self.jobs = post_call.Jobs(settings)

    # -- webhooks

    async def voice(self, request: Request) -> Response:
        """Answer a call: join it to the media stream, or say that the line is busy."""
        await self._signed_form(request)
        if self.draining or len(self.calls) >= self.settings.max_calls:
            self.metrics.refused.labels("draining" if self.draining else "busy").inc()
            return _twiml(BUSY_TWIML)
        return _twiml(connect_twiml(self._host(request), record=self.settings.record_calls))

    async def after_stream(self, request: Request) -> Response:
        """Say what comes after the media stream: a person, or the end."""
        form = await self._signed_form(request)
        outcome = self.outcomes.pop(form.get("CallSid", ""), "hang-up")
        return _twiml(after_stream_twiml(self.settings.transfer_to if outcome == "transfer" else None))

    async def stream_status(self, request: Request) -> Response:
        """Note what Twilio says about a stream."""
        form = await self._signed_form(request)
        fields = {"call": form.get("CallSid"), "status": form.get("StreamEvent"), "error": form.get("StreamError")}
        self.log.write("stream_status", **fields)
        return Response(status_code=204)

    async def recording(self, request: Request) -> Response:
        """Have a finished recording transcribed, by a process of its own."""
        form = await self._signed_form(request)
        if form.get("RecordingStatus") == "completed":
            started = await self.jobs.start(form.get("CallSid", ""), form.get("RecordingUrl", ""))
            self.log.write("recording", call=form.get("CallSid"), transcribing=started)
        return Response(status_code=204)

    # -- the media stream

    async def media(self, websocket: WebSocket) -> None:
        """Serve one media stream: signed, started in time, and the only one of its call."""
        if not self._is_signed(websocket, f"wss://{self._host(websocket)}{websocket.url.path}"):
            self.metrics.refused.labels("signature").inc()
            await websocket.close(REFUSED)
            return
        await websocket.accept()
        messages = _messages(websocket)
        start = None
        with suppress(asyncio.TimeoutError):
            start = await asyncio.wait_for(_first_start(messages), START_WITHIN)
        if start is None or start.call_sid in self.calls or self.draining:
            self.metrics.refused.labels("no start" if start is None else "second stream").inc()
            logger.warning("Refused a media stream: %s", "no start" if start is None else "its call has one already")
            await _close(websocket, REFUSED)
            return
        line = CallerLine(start.stream_sid, _sender(websocket), lambda: _close(websocket, 1000))
        await self._serve(
            CallSession(self.settings, self.openai, start.call_sid, line, self.log, self.metrics), messages
        )

    async def _serve(self, call: CallSession, messages: AsyncIterator[Message]) -> None:
        self.calls[call.call_sid] = call
        self.metrics.active.set(len(self.calls))
        try:
            await call.run(messages)
        except Exception:
            logger.exception("Call %s failed", call.call_sid)
            call.outcome = "transfer"
        finally:
            del self.calls[call.call_sid]
            self.outcomes[call.call_sid] = call.outcome or "hang-up"
            while len(self.outcomes) > REMEMBERED_OUTCOMES:
                self.outcomes.pop(next(iter(self.outcomes)))
            self.metrics.active.set(len(self.calls))
            self.metrics.calls.labels(call.outcome).inc()
            self.metrics.count_frames(call.frames)

    # -- for those who run it

    async def healthz(self, _: Request) -> Response:
        """The process is alive."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """New calls are taken."""
        ready = not self.draining and len(self.calls) < self.settings.max_calls
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics_text(self, _: Request) -> Response:
        """The metrics."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    # -- signatures

    async def _signed_form(self, request: Request) -> dict[str, str]:
        """Return the form of a request that Twilio signed.  Raises HTTPException 403 or 413."""
        from starlette.exceptions import HTTPException

        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BODY:
                raise HTTPException(413)
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        query = f"?{request.url.query}" if request.url.query else ""
        if not self._is_signed(request, f"https://{self._host(request)}{request.url.path}{query}", form):
            self.metrics.refused.labels("signature").inc()
            raise HTTPException(403)
        return form

    def _is_signed(self, connection: HTTPConnection, url: str, form: dict[str, str] | None = None) -> bool:
        signature = connection.headers.get("x-twilio-signature")
        return is_signed(self.settings.twilio_auth_token, signature, url, form)

    def _host(self, connection: HTTPConnection) -> str:
        return self.settings.public_host or connection.headers.get("host", "")


def create_app(settings: Settings) -> Starlette:
    """Return the application; ``app.state.agent`` is the Agent."""
    agent = Agent(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await agent.jobs.close()
        await agent.openai.close()
        agent.log.close()

    posts = {"voice": agent.voice, "after-stream": agent.after_stream, "stream-status": agent.stream_status}
    routes = [Route(f"/twilio/{name}", handler, methods=["POST"]) for name, handler in posts.items()]
    app = Starlette(
        routes=[
            *routes,
            Route("/twilio/recording", agent.recording, methods=["POST"]),
            WebSocketRoute("/twilio/media", agent.media),
            Route("/healthz", agent.healthz),
            Route("/readyz", agent.readyz),
            Route("/metrics", agent.metrics_text),
        ],
        lifespan=lifespan,
    )
    app.state.agent = agent
    return app


async def _messages(websocket: WebSocket) -> AsyncIterator[Message]:
    """Yield the messages of a media stream until it stops; too many that cannot be read end it."""
    unreadable = 0
    while True:
        received = await websocket.receive()
        if received["type"] == "websocket.disconnect":
            return
        try:
            message = read_message(received.get("text") or "")
        except ValueError as error:
            unreadable += 1
            if unreadable > MOST_UNREADABLE:
                logger.warning("A media stream sends what cannot be read: %s", error)
                await _close(websocket, UNREADABLE)
                return
            continue
        if message.event == "stop":
            return
        yield message


async def _first_start(messages: AsyncIterator[Message]) -> Start | None:
    async for message in messages:
        if message.start is not None:
            return message.start
    return None


def _sender(websocket: WebSocket) -> Callable[[str], Awaitable[None]]:
    async def send(text: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the caller is gone; the reader will say so
            await websocket.send_text(text)

    return send


async def _close(websocket: WebSocket, code: int) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        await websocket.close(code)


def _twiml(text: str) -> Response:
    return Response(text, media_type="application/xml")
