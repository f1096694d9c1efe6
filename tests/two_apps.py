"""A repository with two apps that share their client of the Realtime API, and a way to run commands on it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline_guard.__main__ import main

REALTIME = """
import json

import websockets


class RealtimeClient:
    async def connect(self):
        self.ws = await websockets.connect("wss://api.openai.com/v1/realtime")
        session = {"turn_detection": {"type": "server_vad", "create_response": False}}
        await self.ws.send(json.dumps({"type": "session.update", "session": session}))

    async def send_audio_chunk(self, payload):
        await self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))
"""
APP = """
import asyncio
import json

from common.realtime import RealtimeClient
from fastapi import FastAPI, WebSocket

app = FastAPI()


class NAMECall:
    def __init__(self, ws):
        self.ws = ws
        self.client = RealtimeClient()
        self.NAME_queue = asyncio.Queue(maxsize=100)
        self.NAME_response_id = None

    async def run(self):
        await self.client.connect()
        asyncio.create_task(self.NAME_loop())
        asyncio.create_task(self.events())
        async for message in self.ws.iter_text():
            data = json.loads(message)
            if data["event"] == "media":
                self.NAME_queue.put_nowait(data["media"]["payload"])

    async def NAME_loop(self):
        while True:
            await self.client.send_audio_chunk(await self.NAME_queue.get())

    async def events(self):
        async for raw in self.client.ws:
            event = json.loads(raw)
            if event["type"] == "response.created":
                self.NAME_response_id = event["response"]["id"]
            if event["type"] == "input_audio_buffer.committed":
                await self.speak_NAME()

    async def speak_NAME(self):
        if self.NAME_response_id is not None:
            return
        await self.client.ws.send(json.dumps({"type": "response.create"}))


@app.websocket("/NAME")
async def media_stream(ws: WebSocket):
    await NAMECall(ws).run()
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Runner:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Result:
        code = main([str(argument) for argument in arguments])
        return Result(code, *self.capsys.readouterr())


def make_project(root: Path) -> Path:
    """Write the repository with two apps that share their client of the Realtime API."""
    write(root, "common/realtime.py", REALTIME)
    for name in ("inbound", "outbound"):
        write(root, f"{name}/app.py", APP.replace("NAME", name))
    return root


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
