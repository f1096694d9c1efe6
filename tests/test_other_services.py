"""A lane of another speech service is never judged; a baseline holds it to answering once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_guard.__main__ import main
from pipeline_guard.config import Config
from pipeline_guard.pipeline.model import Answer
from pipeline_guard.ratchet.state import Baseline
from pipeline_guard.ratchet.store import read_baseline, to_text
from tests.ratchet_helpers import HEAD, baseline_of, change, checked, compare_with, write
from tests.test_ratchet import SESSION

GEMINI = '''
import asyncio

from google import genai
from google.genai import types

client = genai.Client()
MODEL = "gemini-2.5-flash-native-audio-preview"


class GeminiLine:
    """The backend's own client."""

    def __init__(self) -> None:
        self.session = None
        self.turn_over = asyncio.Event()

    async def push_audio(self, pcm: bytes) -> None:
        await self.session.send_realtime_input(audio=types.Blob(data=pcm, mime_type="audio/pcm;rate=16000"))

    async def ask(self, text: str) -> None:
        await self.session.send_realtime_input(text=text)

    async def give_results(self, results: list) -> None:
        await self.session.send_tool_response(function_responses=results)

    async def remember(self, turns: list) -> None:
        await self.session.send_client_content(turns=turns, turn_complete=False)

    async def stop_talking(self) -> None:
        await self.session.send_realtime_input(text="")


class GeminiCall:
    def __init__(self, phone) -> None:
        self.phone = phone
        self.line = GeminiLine()

    async def on_tool_call(self, call) -> None:
        results = [await self.look_up(each) for each in call.function_calls]
        await self.line.give_results(results)

    async def look_up(self, call):
        return types.FunctionResponse(id=call.id, name=call.name, response={"free": True})

    async def run(self) -> None:
        async with client.aio.live.connect(model=MODEL, config={"response_modalities": ["AUDIO"]}) as session:
            self.line.session = session
            await self.line.ask("Greet the caller.")
            async for message in session.receive():
                if message.tool_call:
                    await self.on_tool_call(message.tool_call)
'''
ROUTES = """
from gemini_call import GeminiCall


@app.websocket("/media-stream")
async def media_stream(twilio: WebSocket) -> None:
    await twilio.accept()
    async with websockets.connect(REALTIME_URL) as realtime:
        await CallSession(realtime).read_events()


@app.websocket("/gemini")
async def gemini(twilio: WebSocket) -> None:
    await twilio.accept()
    await GeminiCall(twilio).run()
"""
RESULTS = "        await self.line.give_results(results)\n"
ASK_ON = '        await self.line.ask("Go on.")\n'


def backend(gemini: str) -> dict[str, str]:
    return {"app.py": HEAD + SESSION + ROUTES, "gemini_call.py": gemini}


def answers_of(folder: Path) -> tuple[Answer, ...]:
    return checked(folder, Config())[0].answers


def with_results(code: str) -> str:
    return GEMINI.replace(RESULTS, code)


def test_what_makes_another_service_answer_is_known_and_is_no_site(tmp_path: Path) -> None:
    write(tmp_path, backend(GEMINI))
    pipeline_map, findings, _ = checked(tmp_path, Config())
    assert [(each.symbol, each.what.rpartition(":")[2], each.context) for each in pipeline_map.answers] == [
        ("GeminiLine.ask", "send_realtime_input", "live"),
        ("GeminiLine.give_results", "send_tool_response", "live"),
        ("GeminiCall.on_tool_call", "GeminiLine.give_results", "live"),
        ("GeminiCall.run", "GeminiLine.ask", "live"),
        ("GeminiCall.run", "GeminiCall.on_tool_call", "live"),
    ]
    assert {each.service for each in pipeline_map.answers} == {"gemini"}
    assert [site for site in pipeline_map.sites() if site.path == "gemini_call.py"] == []
    assert [finding for finding in findings if finding.path == "gemini_call.py"] == []


def test_the_contracts_own_sites_are_what_they_are_without_the_other_service(tmp_path: Path) -> None:
    write(tmp_path, backend(with_results(RESULTS + ASK_ON)))
    beside = checked(tmp_path, Config())
    write(tmp_path, {"app.py": HEAD + SESSION + ROUTES, "gemini_call.py": "class GeminiCall:\n    pass\n"})
    alone = checked(tmp_path, Config())
    assert beside[0].lanes == alone[0].lanes
    assert beside[1] == alone[1]


def test_a_second_answer_on_one_way_is_stopped(tmp_path: Path) -> None:
    (found,) = change(tmp_path, backend(GEMINI), backend(with_results(RESULTS + ASK_ON))).new
    assert (found.rule, found.path, found.symbol, found.severity) == (
        "PG904", "gemini_call.py", "GeminiCall.on_tool_call", "error"
    )  # fmt: skip
    assert found.code == 'await self.line.ask("Go on.")'
    assert "The gemini lane is made to answer from one more place: GeminiCall.on_tool_call()" in found.message
    assert [step.symbol for step in found.evidence][-2:] == ["GeminiCall.on_tool_call"] * 2


def test_a_second_answer_that_was_there_is_told_when_its_words_change(tmp_path: Path) -> None:
    """Nobody was ever told of it: such a lane has no findings."""
    before = backend(with_results(RESULTS + ASK_ON))
    assert change(tmp_path, before, before).new == []
    (found,) = change(tmp_path, before, backend(with_results(RESULTS + ASK_ON.replace("Go on.", "Now answer.")))).new
    assert found.rule == "PG904"
    assert "still made to answer twice" in found.message


def test_what_comes_before_an_answer_that_was_there_is_told_at_the_new_place(tmp_path: Path) -> None:
    first = '        await self.line.ask("One moment.")\n'
    (found,) = change(tmp_path, backend(GEMINI), backend(with_results(first + RESULTS))).new
    assert found.rule == "PG904"
    assert found.code == 'await self.line.ask("One moment.")'


LATER = """        await self.line.give_results(results)
        self.turn_over.clear()
        await self.turn_over.wait()
        await self.line.ask("Is there anything else?")
"""
EITHER = """        if results:
            await self.line.give_results(results)
        else:
            await self.line.ask("Say that it did not work.")
"""
LEFT = """        if not results:
            await self.line.ask("Say that it did not work.")
            return
        await self.line.give_results(results)
"""
FAILED = """        try:
            await self.line.give_results(results)
        except ConnectionError:
            await self.line.ask("Say that it did not work.")
"""
NEW_EVENT = """                elif message.go_away:
                    await self.line.ask("Say goodbye.")
"""
NEVER_RUN = """
    async def nobody_calls_this(self, results) -> None:
        await self.line.give_results(results)
        await self.line.ask("Go on.")
"""
LAST = "                    await self.on_tool_call(message.tool_call)\n"
CONTEXT = '        await self.line.remember(["The caller is called Dana."])\n'


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("something is waited for in between", with_results(LATER)),
        ("one or the other", with_results(EITHER)),
        ("one and then out", with_results(LEFT)),
        ("only where the first failed", with_results(FAILED)),
        ("another event is answered", GEMINI.replace(LAST, LAST + NEW_EVENT)),
        ("what is not answered", with_results(CONTEXT + RESULTS)),
        ("what cuts the answer short", with_results("        await self.line.stop_talking()\n" + RESULTS)),
        ("code that nothing calls", GEMINI + NEVER_RUN),
    ],
)
def test_more_places_that_answer_once_are_not_stopped(name: str, after: str, tmp_path: Path) -> None:
    assert [f.message for f in change(tmp_path, backend(GEMINI), backend(after)).new] == [], name


TWICE = with_results(RESULTS + ASK_ON)
HELPER = """        await self.go_on()

    async def go_on(self) -> None:
        await self.line.ask("Go on.")
"""
BOTH = """        await self.hand_over(results)

    async def hand_over(self, results) -> None:
        await self.line.give_results(results)
        await self.line.ask("Go on.")
"""


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("moved down", "# one more line\n" * 30 + TWICE),
        ("function and class renamed", TWICE.replace("on_tool_call", "on_tools").replace("GeminiCall", "OtherCall")),
        ("formatted", TWICE.replace('ask("Go on.")', "ask(\n            'Go on.',\n        )")),
        ("one taken out into a helper", with_results(RESULTS + HELPER)),
        ("both taken out into a helper", with_results(BOTH)),
        ("one taken away", GEMINI),
    ],
)
def test_a_second_answer_that_was_there_is_known(name: str, after: str, tmp_path: Path) -> None:
    files = backend(after)
    if "OtherCall" in after:
        files["app.py"] = files["app.py"].replace("GeminiCall", "OtherCall")
    assert [f.message for f in change(tmp_path, backend(TWICE), files).new] == [], name


def test_a_lane_that_was_not_there_is_not_held_to_anything(tmp_path: Path) -> None:
    nothing = {"app.py": HEAD + SESSION + ROUTES, "gemini_call.py": "class GeminiCall:\n    pass\n"}
    assert change(tmp_path, nothing, backend(TWICE)).new == []


def test_a_baseline_of_an_older_version_loads_and_knows_of_no_other_service(tmp_path: Path) -> None:
    write(tmp_path, backend(GEMINI))
    table = json.loads(to_text(baseline_of(tmp_path)))
    assert table["version"] == 2
    assert {(row["lane"], row["path"], row["symbol"]) for row in table["answers"]} == {
        ("gemini", "gemini_call.py", symbol)
        for symbol in ("GeminiLine.ask", "GeminiLine.give_results", "GeminiCall.on_tool_call", "GeminiCall.run")
    }
    del table["answers"]
    file = tmp_path / "known.json"
    file.write_text(json.dumps({**table, "version": 1}), encoding="utf-8")
    write(tmp_path, backend(TWICE))
    assert compare_with(read_baseline(file), tmp_path).new == []


def test_a_backend_without_other_services_is_recorded_as_before() -> None:
    table = json.loads(to_text(Baseline()))
    assert table["version"] == 1
    assert "answers" not in table


def test_a_baseline_says_how_often_another_lane_is_made_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, backend(TWICE))
    monkeypatch.chdir(tmp_path)
    assert main(["baseline", "."]) == 0
    assert "from 6 places in 4 functions, 1 of them a second time on one way" in capsys.readouterr().out


RAW = """
import asyncio
import json

import websockets

URL = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


class GeminiCall:
    def __init__(self, phone) -> None:
        self.phone = phone

    async def run(self) -> None:
        async with websockets.connect(URL) as ws:
            await ws.send(json.dumps({"realtimeInput": {"mediaChunks": [{"data": "AAAA"}]}}))
            await ws.send(json.dumps({"clientContent": {"turns": ["A note."], "turnComplete": False}}))
            async for message in ws:
                event = json.loads(message)
                if "toolCall" in event:
                    await ws.send(json.dumps({"toolResponse": {"functionResponses": [event]}}))
                    await ws.send(json.dumps({"realtimeInput": {"text": "Go on."}}))
                    await ws.send(json.dumps({"clientContent": {"turns": ["Go on."], "turnComplete": True}}))
"""
LIVEKIT = """
from livekit.agents import AgentSession


class GeminiCall:
    def __init__(self, phone) -> None:
        self.session = AgentSession()

    async def run(self) -> None:
        await self.session.generate_reply(instructions="Greet the caller.")
        await self.session.generate_reply(instructions="Ask for the name.")
"""
HUME = """
from hume import AsyncHumeClient


class GeminiCall:
    def __init__(self, phone) -> None:
        self.client = AsyncHumeClient()

    async def run(self) -> None:
        async with self.client.empathic_voice.chat.connect() as socket:
            await socket.send_tool_response("result")
            await socket.send_user_input("Go on.")
"""
SAME_PROTOCOL = """
import json

import websockets


class GeminiCall:
    def __init__(self, phone) -> None:
        self.phone = phone

    async def run(self) -> None:
        async with websockets.connect("wss://api.x.ai/v1/realtime") as ws:
            await ws.send(json.dumps({"type": "response.create"}))
            await ws.send(json.dumps({"type": "response.create", "response": {"instructions": "Go on."}}))
"""


@pytest.mark.parametrize(
    ("code", "service", "found"),
    [
        (RAW, "gemini", [("toolResponse", False), ("realtimeInput", True), ("clientContent", True)]),
        (LIVEKIT, "livekit", [("generate_reply", False), ("generate_reply", True)]),
        (HUME, "hume", [("send_tool_response", False), ("send_user_input", True)]),
        (SAME_PROTOCOL, "xai", [("response.create", False), ("response.create", True)]),
    ],
)
def test_other_ways_to_be_answered(code: str, service: str, found: list[tuple[str, bool]], tmp_path: Path) -> None:
    write(tmp_path, backend(code))
    answers = [each for each in answers_of(tmp_path) if each.path == "gemini_call.py"]
    assert {each.service for each in answers} == {service}
    assert [(each.what, each.after is not None) for each in answers] == found


SHARED = """
import json

from google import genai

client = genai.Client()


class GeminiCall:
    def __init__(self, phone) -> None:
        self.ws = phone

    async def run(self) -> None:
        async with client.aio.live.connect(model="gemini-live") as session:
            await self.speak(session)
            await self.speak(session)

    async def speak(self, session) -> None:
        if session is None:
            await self.ws.send(json.dumps({"type": "response.create"}))
        else:
            await session.send_client_content(turns=[])
"""


def test_what_leads_to_openai_as_well_is_left_to_the_contract(tmp_path: Path) -> None:
    write(tmp_path, {"call.py": SHARED + "\n\nasync def main(ws) -> None:\n    await GeminiCall(ws).run()\n"})
    assert [(each.symbol, each.what) for each in answers_of(tmp_path)] == [("GeminiCall.speak", "send_client_content")]
