"""Pipeline maps made by hand, for tests that need one and are not about how it comes about."""

from __future__ import annotations

import msgspec

from pipeline_guard.cli.demo import BACKEND
from pipeline_guard.findings import Finding, Fix
from pipeline_guard.pipeline.model import Coverage, Gap, Lane, PipelineMap, Queue, Sender, Session, Site, Step, Trigger

SESSION_FILE, CLIENT_FILE = "call_session.py", "realtime_client.py"


def line_of(name: str, text: str) -> int:
    """Return the number of the one line of the demo backend that holds a text."""
    lines = (BACKEND / name).read_text(encoding="utf-8").split("\n")
    (number,) = [number for number, line in enumerate(lines, start=1) if text in line]
    return number


def step(name: str, text: str, symbol: str, note: str = "") -> Step:
    return Step(name, line_of(name, text), symbol, note)


ROUTE = step("main.py", "async def media_stream", "media_stream", "WebSocket /media-stream (Twilio)")
HANDLER = step(SESSION_FILE, "async def handle_media", "CallSession.handle_media")
QUEUE_LINE = line_of(SESSION_FILE, "asyncio.Queue()")
FAST_PATH = step(SESSION_FILE, '"input_audio_buffer.append"', "CallSession.send_audio_to_openai")
WRAPPER_SEND = step(CLIENT_FILE, '{"type": "response.create"}', "RealtimeClient.send_user_message")
SILENCE_CALL = step(SESSION_FILE, "(the caller says nothing)", "CallSession.silence_monitor", "while True, sleeps")


def demo_lane() -> Lane:
    """The lane of the demo backend, as a reader of its code would draw it."""
    loop = step(SESSION_FILE, "async def audio_sender_loop", "CallSession.audio_sender_loop")
    start = step(SESSION_FILE, "create_task(self.audio_sender_loop())", "CallSession.start")
    chunk = step(SESSION_FILE, "send_audio_chunk(payload)", "CallSession.audio_sender_loop", "client.send_audio_chunk")
    trigger = step(SESSION_FILE, "async def trigger_response", "CallSession.trigger_response")
    turn = step(SESSION_FILE, 'trigger_response("user_turn")', "CallSession.read_events")
    configure = step(CLIENT_FILE, "async def configure", "RealtimeClient.configure")
    fast = step(SESSION_FILE, "async def send_audio_to_openai", "CallSession.send_audio_to_openai")
    wrapper = step(CLIENT_FILE, "async def send_user_message", "RealtimeClient.send_user_message")
    return Lane(
        name="main.py: CallSession",
        provider="openai",
        entry_points=(ROUTE,),
        frame_handlers=(HANDLER,),
        queues=(
            Queue(
                name="realtime_audio_in_queue",
                path=SESSION_FILE,
                line=QUEUE_LINE,
                symbol="CallSession.__init__",
                type="asyncio.Queue",
                bounded=False,
                carries="audio",
                context="live",
                producers=(HANDLER,),
                consumers=(loop,),
            ),
        ),
        senders=(
            Sender(
                symbol=loop.symbol,
                path=loop.path,
                line=loop.line,
                end_line=loop.line + 3,
                context="live",
                loop=True,
                canonical=True,
                queue="realtime_audio_in_queue",
                sites=(chunk,),
                starts=(start,),
            ),
            Sender(
                symbol=fast.symbol,
                path=fast.path,
                line=fast.line,
                end_line=fast.line + 1,
                context="live",
                loop=False,
                canonical=False,
                sites=(FAST_PATH,),
            ),
        ),
        triggers=(
            Trigger(
                symbol=trigger.symbol,
                path=trigger.path,
                line=trigger.line,
                end_line=trigger.line + 4,
                context="live",
                guard="active_checked",
                canonical=True,
                causes=("user_turn",),
                callers=(turn,),
            ),
            Trigger(
                symbol=wrapper.symbol,
                path=wrapper.path,
                line=wrapper.line,
                end_line=wrapper.line + 13,
                context="live",
                guard="none",
                canonical=False,
                causes=("silence", "dtmf"),
                sites=(WRAPPER_SEND,),
                callers=(SILENCE_CALL,),
            ),
        ),
        sessions=(
            Session(
                symbol=configure.symbol,
                path=configure.path,
                line=configure.line + 1,
                end_line=configure.line + 16,
                context="live",
                value="default_on",
            ),
        ),
        sites=(
            Site(
                kind="audio_send",
                role="primitive",
                path=FAST_PATH.path,
                line=FAST_PATH.line,
                end_line=FAST_PATH.line,
                column=9,
                symbol=FAST_PATH.symbol,
                context="live",
                reached_from=(ROUTE, HANDLER, FAST_PATH),
            ),
            Site(
                kind="response_create",
                role="call",
                path=SILENCE_CALL.path,
                line=SILENCE_CALL.line,
                end_line=SILENCE_CALL.line,
                column=17,
                symbol=SILENCE_CALL.symbol,
                context="live",
                trigger="silence",
                guard="none",
                reached_from=(ROUTE, SILENCE_CALL),
            ),
        ),
        policy="both",
        policy_source="inferred",
    )


def engine_site(kind: str, engine: str, line: int = 1, context: str = "live", **changes: object) -> Site:
    """A place that runs an engine, or a TwiML verb, which has no role."""
    values: dict[str, object] = {
        "kind": kind,
        "role": None if kind.startswith("twiml") else "primitive",
        "engine": engine,
        "path": "speech.py",
        "line": line,
        "end_line": line,
        "column": 5,
        "symbol": f"run_{engine}",
        "context": context,
        "provider": "",
    }
    return Site(**{**values, **changes})  # type: ignore[arg-type]


def speaking_lane(*sites: Site) -> Lane:
    """The demo's lane with other engines in its calls."""
    lane = demo_lane()
    return msgspec.structs.replace(lane, sites=(*lane.sites, *sites))


def demo_map(*lanes: Lane, gaps: tuple[Gap, ...] = (), outside: tuple[Site, ...] = ()) -> PipelineMap:
    return PipelineMap(
        root=str(BACKEND),
        lanes=lanes or (demo_lane(),),
        gaps=gaps,
        coverage=Coverage(discovered=3 + len(gaps), analysed=3, set_aside=0),
        outside=outside,
    )


def empty_map(*outside: Site) -> PipelineMap:
    coverage = Coverage(discovered=7, analysed=2, set_aside=5)
    return PipelineMap(root=str(BACKEND), lanes=(), gaps=(), coverage=coverage, outside=outside)


def finding(rule: str = "PG101", at: Step = FAST_PATH, **changes: object) -> Finding:
    values: dict[str, object] = {
        "rule": rule,
        "severity": "error",
        "path": at.path,
        "line": at.line,
        "end_line": at.line,
        "column": 9,
        "symbol": at.symbol,
        "message": "sends the caller's audio beside audio_sender_loop",
        "evidence": (ROUTE, HANDLER, at),
        "confidence": "high",
        "fingerprint": "0123456789abcdef",
        "lane": "main.py: CallSession",
        "fix": Fix("no-op", "safe"),
    }
    return Finding(**{**values, **changes})  # type: ignore[arg-type]
