"""What a fix must leave alone or take along so that no call is worse for it; each case is one that backends had."""

from __future__ import annotations

from pathlib import Path

from pipeline_guard.fixes.run import Outcome
from pipeline_guard.fixes.source import Source
from pipeline_guard.fixes.verify import complaint_about, unknown_names
from tests.fix_helpers import fixed, text_of

IMPORTS = """
import asyncio
import base64
import json
import logging

import websockets
from fastapi import FastAPI, WebSocket

logger = logging.getLogger(__name__)
app = FastAPI()
"""
CLIENT = """
import json

import websockets


class Event:
    def __init__(self, data):
        self.type = data["type"]
        self.data = data


class Realtime:
    def __init__(self):
        self.socket = None

    async def connect(self):
        self.socket = await websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime")

    async def send(self, event):
        await self.socket.send(json.dumps(event))

    async def events(self):
        async for message in self.socket:
            yield Event(json.loads(message))

    async def send_tool_output(self, call_id, output):
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        await self.send({"type": "conversation.item.create", "item": item})
        await self.send({"type": "response.create"})
"""
ROUTE = """
from fastapi import APIRouter, WebSocket

from client import Realtime

router = APIRouter()


@router.websocket("/NAME")
async def media(websocket: WebSocket):
    await websocket.accept()
    realtime = Realtime()
    await realtime.connect()
    async for event in realtime.events():
        if event.type == "response.output_audio.delta":
            await websocket.send_json({"event": "media", "media": {"payload": event.data["delta"]}})
        elif event.type == "response.function_call_arguments.done":
            await realtime.send_tool_output(event.data["call_id"], "done")
"""


def refused(outcome: Outcome, rule: str) -> list[str]:
    return [each.why for each in outcome.refused if each.rule == rule]


def test_every_route_that_reads_a_session_s_events_follows_its_trigger(tmp_path: Path) -> None:
    """Where one did not, the first request there stayed pending for ever, and no tool was answered again."""
    files = {
        "client.py": CLIENT,
        "phone.py": ROUTE.replace("NAME", "phone"),
        "browser.py": ROUTE.replace("NAME", "browser"),
        "app.py": "from fastapi import FastAPI\n\nimport browser\nimport phone\n\napp = FastAPI()\n"
        "app.include_router(phone.router)\napp.include_router(browser.router)\n",
    }
    outcome = fixed(tmp_path, files)
    assert "async def trigger_response" in text_of(outcome, "client.py")
    for name in ("phone.py", "browser.py"):
        text = text_of(outcome, name)
        assert 'realtime.active_response_id = event.data["response"]["id"]' in text
        assert "await realtime.trigger_response(*waiting)" in text


def test_a_silence_timer_that_commits_the_audio_is_what_ends_the_turn(tmp_path: Path) -> None:
    code = (
        IMPORTS
        + """
@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as realtime:
        quiet_since = {"at": None}

        async def watch_silence():
            while True:
                await asyncio.sleep(0.1)
                if quiet_since["at"] is not None:
                    quiet_since["at"] = None
                    await realtime.send(json.dumps({"type": "input_audio_buffer.commit"}))
                    await realtime.send(json.dumps({"type": "response.create"}))

        asyncio.create_task(watch_silence())
        async for message in websocket.iter_text():
            data = json.loads(message)
            if data["event"] == "media":
                payload = data["media"]["payload"]
                await realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))
"""
    )
    outcome = fixed(tmp_path, {"app.py": code}, unsafe=False)
    assert '{"type": "response.create"}' in text_of(outcome)
    assert any("ends the caller's turn" in why for why in refused(outcome, "PG207")), outcome.refused


def test_a_failure_that_the_model_is_told_of_is_still_told(tmp_path: Path) -> None:
    """The call of a function that says something to the model is no mere recovery."""
    code = (
        IMPORTS
        + """
class Call:
    def __init__(self, realtime):
        self.realtime = realtime
        self.active_response_id = None
        self.pending = False

    async def trigger_response(self, reason):
        if self.active_response_id is not None or self.pending:
            return
        self.pending = True
        await self.realtime.send(json.dumps({"type": "response.create"}))

    async def tell(self, text):
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.realtime.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await self.trigger_response("TELL")

    async def look_up(self, day):
        try:
            hours = await opening_hours(day)
        except Exception:
            await self.tell("The opening hours could not be read.")
            return
        await self.tell(hours)

    async def run(self, websocket):
        async for message in self.realtime:
            event = json.loads(message)
            if event["type"] == "response.created":
                self.active_response_id, self.pending = event["response"]["id"], False
            elif event["type"] == "response.done":
                if event["response"]["id"] == self.active_response_id:
                    self.active_response_id = None
            elif event["type"] == "input_audio_buffer.committed":
                await self.trigger_response("USER_TURN")
            elif event["type"] == "conversation.item.input_audio_transcription.completed":
                await self.look_up(event["transcript"])


async def opening_hours(day):
    return f"We are open on {day}."


@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as realtime:
        await Call(realtime).run(websocket)
"""
    )
    for unsafe in (False, True):
        outcome = fixed(tmp_path, {"app.py": code}, unsafe=unsafe)
        assert 'await self.tell("The opening hours could not be read.")' in text_of(outcome)
        assert any("tells the model something" in why for why in refused(outcome, "PG208"))


def test_a_call_that_leads_to_a_dispatcher_is_not_taken_for_a_sender(tmp_path: Path) -> None:
    """Nothing calls the old route, and its dispatcher does more than send audio."""
    code = (
        IMPORTS
        + """
class Handler:
    def __init__(self, realtime):
        self.realtime = realtime
        self.stream_sid = None

    async def process(self, data):
        if data["event"] == "start":
            self.stream_sid = data["start"]["streamSid"]
        elif data["event"] == "media":
            payload = data["media"]["payload"]
            await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))


async def old_route(websocket, realtime):
    handler = Handler(realtime)
    async for message in websocket.iter_text():
        await handler.process(json.loads(message))


@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as realtime:
        handler = Handler(realtime)
        async for message in websocket.iter_text():
            await handler.process(json.loads(message))
"""
    )
    outcome = fixed(tmp_path, {"app.py": code}, unsafe=False)
    assert text_of(outcome).count("await handler.process(json.loads(message))") == 2
    assert any("does other work" in why for why in refused(outcome, "PG105"))


def test_a_trigger_is_no_method_where_the_send_is_a_local_name(tmp_path: Path) -> None:
    """A name that ``async with … as (send, receive)`` gives would mean nothing in a method beside it."""
    code = (
        IMPORTS
        + """
from contextlib import asynccontextmanager
from pydantic import BaseModel


@asynccontextmanager
async def connected():
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as socket:

        async def send(event):
            await socket.send(json.dumps(event))

        yield send, socket


class Agent(BaseModel):
    name: str = "agent"

    async def run(self, websocket: WebSocket):
        async with connected() as (send, socket):
            async for message in socket:
                event = json.loads(message)
                if event["type"] == "response.output_audio.delta":
                    await websocket.send_json({"event": "media", "media": {"payload": event["delta"]}})
                elif event["type"] == "response.function_call_arguments.done":
                    await send({"type": "conversation.item.create", "item": {"type": "function_call_output"}})
                    await send({"type": "response.create"})


@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    await Agent().run(websocket)
"""
    )
    text = text_of(fixed(tmp_path, {"app.py": code}))
    compile(text, "app.py", "exec")
    assert unknown_names(Source("app.py", text.encode())) == set()
    assert "    active_response_id = None" not in text.partition("async def run")[0].partition("class Agent")[2]


def test_a_name_that_means_nothing_is_a_complaint() -> None:
    before = Source("x.py", b"async def f(send):\n    await send(1)\n")
    after = Source("x.py", b"async def f(send):\n    await g(1)\n\n\nasync def g(event):\n    await send(event)\n")
    assert complaint_about(before, after, []) == "send would mean nothing where it is used"
    assert unknown_names(Source("x.py", b"from y import *\n\ndef f():\n    return z\n")) == set()


def test_a_buffer_goes_with_the_recogniser_that_emptied_it(tmp_path: Path) -> None:
    code = (
        IMPORTS
        + """
from openai import AsyncOpenAI

client = AsyncOpenAI()


class Call:
    def __init__(self, realtime):
        self.realtime = realtime
        self.heard = bytearray()

    async def transcribe(self):
        audio, self.heard = bytes(self.heard), bytearray()
        result = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", audio))
        logger.info("heard %s", result.text)

    async def run(self, websocket):
        async for message in websocket.iter_text():
            data = json.loads(message)
            if data["event"] == "media":
                payload = data["media"]["payload"]
                self.heard += base64.b64decode(payload)USED
                await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))
            elif data["event"] == "mark":
                await self.transcribe()


@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as realtime:
        await Call(realtime).run(websocket)
"""
    )
    text = text_of(fixed(tmp_path, {"app.py": code.replace("USED", "")}))
    assert "transcriptions.create" not in text
    assert "self.heard +=" not in text
    used = code.replace("USED", '\n                logger.info("%d bytes", len(self.heard))')
    outcome = fixed(tmp_path, {"app.py": used})
    assert "self.heard +=" in text_of(outcome)
    assert "transcriptions.create" in text_of(outcome)
    assert any("would grow" in why for why in refused(outcome, "PG401"))


def test_a_dormant_recogniser_returns_nothing_of_the_type_it_declares(tmp_path: Path) -> None:
    code = (
        IMPORTS
        + '''
from openai import OpenAI


class Call:
    def __init__(self, realtime):
        self.realtime = realtime

    def transcribe(self, audio: bytes) -> str:
        """Words of a recording."""
        return OpenAI().audio.transcriptions.create(model="whisper-1", file=("a.wav", audio)).text

    async def run(self, websocket):
        async for message in websocket.iter_text():
            data = json.loads(message)
            if data["event"] == "media":
                payload = data["media"]["payload"]
                await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))


@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as realtime:
        await Call(realtime).run(websocket)
'''
    )
    text = text_of(fixed(tmp_path, {"app.py": code}))
    comment = "# DEPRECATED: Live transcription comes ONLY from OpenAI Realtime"
    assert f'        """Words of a recording."""\n        {comment}\n        return ""\n' in text
