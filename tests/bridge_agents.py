"""A small agent between a media stream and Realtime: right by default, wrong in one way where a test asks for it."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import connect

from pipeline_guard.certify.mulaw import decode, encode
from tests.realtime_driver import PCMU
from tests.telephone_agents import Line

Frames = Callable[[list[bytes]], list[bytes]]


def each_once(frames: list[bytes]) -> list[bytes]:
    return frames


class Bridge:
    """One call.  ``sends`` says which frames go out for the last ten that came in."""

    def __init__(
        self,
        url: str,
        *,
        sends: Frames = each_once,
        transcode: bool = False,
        creates_per_turn: int = 1,
        leaves_turn: int = 0,
        nudges: bool = False,
        foreign_message: bool = False,
        silence_ms: int = 500,
        setting: tuple[str, object] | None = None,
        greets: bool = True,
    ) -> None:
        self.url = url
        self.sends, self.transcode, self.leaves_turn = sends, transcode, leaves_turn
        self.creates_per_turn, self.nudges, self.foreign_message = creates_per_turn, nudges, foreign_message
        self.silence_ms, self.setting, self.greets = silence_ms, setting, greets
        self.active = self.dirty = False
        self.turns = 0

    async def __call__(self, line: Line) -> None:
        headers = {"Authorization": "Bearer sk-test"}
        async with connect(self.url + "?model=gpt-realtime-2.1", additional_headers=headers) as self.ai:
            session = json.loads(json.dumps(PCMU))
            session["audio"]["input"]["turn_detection"]["silence_duration_ms"] = self.silence_ms
            if self.setting is not None:
                session[self.setting[0]] = self.setting[1]
            if self.transcode:
                for direction in session["audio"].values():
                    direction["format"] = {"type": "audio/pcm", "rate": 24000}
            await self.send("session.update", session=session)
            tasks = [asyncio.create_task(self.answer(line))]
            if self.nudges:
                tasks.append(asyncio.create_task(self.nudge()))
            waiting: list[bytes] = []
            async for event in line:
                if event["event"] == "start" and self.foreign_message:
                    await line.send("say")
                if event["event"] == "media":
                    waiting.append(base64.b64decode(event["media"]["payload"]))
                    if len(waiting) == 10:
                        for frame in self.sends(waiting):
                            await self.append(frame)
                        waiting = []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, event_type: str, **keys: Any) -> None:
        await self.ai.send(json.dumps({"type": event_type, **keys}))

    async def append(self, frame: bytes) -> None:
        audio = frame
        if self.transcode:
            audio = array("h", [value for value in decode(frame) for _ in range(3)]).tobytes()
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def trigger(self) -> None:
        if self.active:
            self.dirty = True
            return
        self.active, self.dirty = True, False
        for _ in range(self.creates_per_turn):
            await self.send("response.create")

    async def answer(self, line: Line) -> None:
        async for message in self.ai:
            event = json.loads(message)
            kind = event["type"]
            self.turns += kind == "input_audio_buffer.committed"
            if (kind == "session.updated" and self.greets) or (
                kind == "input_audio_buffer.committed" and self.turns != self.leaves_turn
            ):
                await self.trigger()
            elif kind == "input_audio_buffer.speech_started":
                await line.clear()
            elif kind == "response.output_audio.delta":
                audio = base64.b64decode(event["delta"])
                if self.transcode:
                    audio = encode([float(value) for value in array("h", audio)[::3]])
                await line.play(audio)
            elif kind == "response.done":
                self.active = False
                if self.dirty:
                    await self.trigger()

    async def nudge(self) -> None:
        while True:
            await asyncio.sleep(4)
            if not self.active:
                await self.send("response.create")


def handler(url: str, **options: Any) -> Callable[[Line], Awaitable[None]]:
    async def handle(line: Line) -> None:
        await Bridge(url, **options)(line)

    return handle
