"""PG210–PG219 on the shapes in which real backends do, or only seem to do, what the rules are about.

Every snippet goes into one session class; the comment ``# PGnnn`` marks the lines on which that rule must be found, and
no other line may be.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pipeline_guard.checks import run_checks
from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.pipeline.build import analyse

HEAD = """\
import asyncio
import json
import threading

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


class Session:
    def __init__(self, ws):
        self.ws = ws
        self.active_response_id = None
        self.response_pending = False
        self.closing = False
        self.manual = False
        self.done = asyncio.Event()

    async def send(self, event):
        await self.ws.send(json.dumps(event))

    async def trigger(self, reason):
        await self.send({"type": "response.create", "event_id": reason})

    async def cancel(self):
        await self.send({"type": "response.cancel"})

"""
TAIL = """

@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        await Session(ws).read()
"""


# What the case shows → the rule, and the methods of the session.
CASES: dict[str, tuple[str, str]] = {
    # -- PG214
    "a guard that still finds the old response active holds the create back": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    if self.active_response_id is None:
                        await self.trigger("x")
        """,
    ),
    "a guard whose flag was put back by hand holds nothing back": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    self.active_response_id = None
                    if self.active_response_id is None:
                        await self.trigger("x")  # PG214
        """,
    ),
    "a flag for requests says nothing of the response that is cancelled": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    if not self.response_pending:
                        await self.trigger("x")  # PG214
        """,
    ),
    "what only a later branch cancels was not cancelled before": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    if self.manual:
                        await self.cancel()
                    else:
                        await self.trigger("x")
        """,
    ),
    "a cancel that returns at once does not go on to the create": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    if self.manual:
                        await self.cancel()
                        continue
                    await self.trigger("x")
        """,
    ),
    "a flag that is tested both ways keeps the two apart": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    if self.manual:
                        await self.cancel()
                    print("barge-in")
                    if not self.manual:
                        await self.trigger("x")
        """,
    ),
    "two events of one loop are two rounds of it": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                if event["type"] == "input_audio_buffer.committed":
                    await self.trigger("x")
        """,
    ),
    "a task that sleeps first asks at its own time": (
        "PG214",
        """
        async def later(self):
            await asyncio.sleep(5)
            await self.trigger("x")

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    asyncio.create_task(self.later())
        """,
    ),
    "a task that asks at once is as good as a call": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    asyncio.create_task(self.trigger("x"))  # PG214
        """,
    ),
    "a future is waited for": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    over = self.over
                    await self.cancel()
                    await over
                    await self.trigger("x")
        """,
    ),
    "a wait for the cancel's own send is no wait for its end": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await asyncio.wait_for(self.cancel(), 1)
                    await self.trigger("x")  # PG214
        """,
    ),
    "polling the flag with a limit is waiting": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    for _ in range(40):
                        if self.active_response_id is None:
                            break
                        await asyncio.sleep(0.05)
                    await self.trigger("x")
        """,
    ),
    "a response outside the conversation collides with nothing": (
        "PG214",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_started":
                    await self.cancel()
                    await self.send({"type": "response.create", "response": {"conversation": "none"}})
        """,
    ),
    # -- PG210
    "a latch per turn lets one of the two by": (
        "PG210",
        """
        async def answer(self):
            if self.answered:
                return
            self.answered = True
            await self.trigger("x")

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_stopped":
                    await self.answer()
                if event["type"] == "conversation.item.input_audio_transcription.completed":
                    await self.answer()
        """,
    ),
    "the mode is looked up where the two meet": (
        "PG210",
        """
        async def answer(self, source):
            if source != self.source:
                return
            await self.trigger("x")

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.speech_stopped":
                    await self.answer("stopped")
                if event["type"] == "conversation.item.input_audio_transcription.completed":
                    await self.answer("text")
        """,
    ),
    "two readers of which a session runs one": (
        "PG210",
        """
        async def by_audio(self, event):
            if event["type"] == "input_audio_buffer.committed":
                await self.trigger("x")

        async def by_text(self, event):
            if event["type"] == "conversation.item.input_audio_transcription.completed":
                await self.trigger("x")

        async def read(self):
            async for raw in self.ws:
                if self.manual:
                    await self.by_text(json.loads(raw))
                else:
                    await self.by_audio(json.loads(raw))
        """,
    ),
    "two readers that both get every event": (
        "PG210",
        """
        async def by_audio(self, event):
            if event["type"] == "input_audio_buffer.committed":
                await self.trigger("x")

        async def by_text(self, event):
            if event["type"] == "conversation.item.input_audio_transcription.completed":
                await self.trigger("x")  # PG210

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                await self.by_text(event)
                await self.by_audio(event)
        """,
    ),
    "a goodbye told from the transcript is no second answer of the usual kind": (
        "PG210",
        """
        async def say_goodbye(self):
            await self.trigger("goodbye")

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.committed":
                    await self.trigger("x")
                if event["type"] == "conversation.item.input_audio_transcription.completed":
                    if "bye" in event["transcript"]:
                        await self.say_goodbye()
        """,
    ),
    "what one call has handled the next one is not asked for": (
        "PG210",
        """
        async def book(self, words):
            if "book" in words:
                await self.trigger("booking")
                return True
            return False

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "conversation.item.input_audio_transcription.completed":
                    handled = await self.book(event["transcript"])
                    if not handled:
                        await self.trigger("x")
        """,
    ),
    "a part of the event's name will do": (
        "PG210",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if "buffer.committed" in event["type"]:
                    await self.trigger("x")
                elif event["type"].endswith("transcription.completed"):
                    await self.trigger("x")  # PG210
        """,
    ),
    # -- PG213
    "a loop of its own that opens the session there": (
        "PG213",
        """
        def preview(self):
            loop = asyncio.new_event_loop()
            self.ws = loop.run_until_complete(websockets.connect("wss://api.openai.com/v1/realtime"))
            loop.run_until_complete(self.trigger("x"))

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.committed":
                    threading.Thread(target=self.preview).start()
        """,
    ),
    "a helper runs the trigger on a loop of its own": (
        "PG213",
        """
        async def tell(self):
            await self.trigger("x")

        def work(self):
            asyncio.run(self.tell())  # PG213

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "response.function_call_arguments.done":
                    threading.Thread(target=self.work).start()
        """,
    ),
    # -- PG216
    "an id given one step earlier": (
        "PG216",
        """
        async def ask(self, reason):
            create = {"type": "response.create"}
            create["event_id"] = reason
            await self.ws.send(json.dumps(create))

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.committed":
                    await self.ask("x")
        """,
    ),
    # -- PG218
    "a name that a nested function reads": (
        "PG218",
        """
        async def ask(self):
            coming = self.trigger("x")

            async def later():
                await coming

            await later()

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.committed":
                    await self.ask()
        """,
    ),
    "a wrapper that is async itself": (
        "PG218",
        """
        async def ask(self):
            await self.trigger("x")

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.committed":
                    self.ask()  # PG218
        """,
    ),
    "a send of the library that nobody awaits": (
        "PG218",
        """
        async def ask(self, ws):
            async with websockets.connect("wss://api.openai.com/v1/realtime") as ws:
                ws.send(json.dumps({"type": "response.create"}))  # PG218

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "input_audio_buffer.committed":
                    await self.ask(None)
        """,
    ),
    # -- PG219
    "a loop that ends with the first tool": (
        "PG219",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "response.done":
                    for item in event["response"]["output"]:
                        if item["type"] == "function_call":
                            await self.trigger("tool")
                            break
        """,
    ),
    "a loop over tool calls by their name": (
        "PG219",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "response.done":
                    for tool_call in event["tool_calls"]:
                        await self.trigger("tool_result")  # PG219
        """,
    ),
    "a branch for both kinds of tool events is not read as either": (
        "PG219",
        """
        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] in ("response.function_call_arguments.done", "response.done"):
                    if event["type"] == "response.done":
                        await self.trigger("tool_result")
        """,
    ),
    "each tool in a thread of its own": (
        "PG219",
        """
        def work(self, loop):
            asyncio.run_coroutine_threadsafe(self.trigger("tool_result"), loop)

        async def read(self):
            async for raw in self.ws:
                event = json.loads(raw)
                if event["type"] == "response.function_call_arguments.done":
                    threading.Thread(target=self.work, args=(asyncio.get_running_loop(),)).start()  # PG219
        """,
    ),
}


@pytest.mark.parametrize("case", CASES, ids=[case.replace(" ", "_") for case in CASES])
def test_shapes(case: str, tmp_path: Path) -> None:
    rule, body = CASES[case]
    code = HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + TAIL
    (tmp_path / "main.py").write_text(code, encoding="utf-8")
    config = Config(select=(rule,))
    files = discover(tmp_path, config.exclude, config.max_file_size).files
    found = {finding.line: finding.message for finding in run_checks(analyse(tmp_path, files, config), config)}
    lines = code.split("\n")
    wanted = {number for number, line in enumerate(lines, 1) if f"# {rule}" in line}
    said = "\n".join(f"{number}: {lines[number - 1].strip()}  {message}" for number, message in found.items())
    assert set(found) == wanted, f"{said}\n{code}"
