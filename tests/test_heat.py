"""Which files are read in depth because their functions lead to a sink, and which only look as if they did."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import PipelineMap

CALL = """
import json
import websockets

class Call:
    def __init__(self, phone):
        self.phone = phone

    async def speak(self, frame):
        await self.openai.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame}))

    async def run(self):
        self.openai = await websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime")
        async for frame in self.phone:
            await self.speak(frame)
"""
FACTORY = """
from fastapi import FastAPI, WebSocket
{imports}

def create_app({parameters}):
    app = FastAPI()
    {first}

    @app.websocket("/call")
    async def call(socket: WebSocket):
        await socket.accept()
        await {answer}

    return app
"""
SERVER = "from application import create_app\n\napp = create_app({arguments})\n"
TTS = """
from openai import OpenAI

def warm_up():
    OpenAI().audio.speech.create(model="tts-1", voice="alloy", input="Hello")
"""


def read(root: Path, **files: str) -> PipelineMap:
    for name, code in files.items():
        (root / f"{name}.py").write_text(code, encoding="utf-8")
    config = Config()
    return analyse(root, discover(root, config.exclude, config.max_file_size).files, config)


def factory(
    parameters: str = "", first: str = "", imports: str = "from call import Call", answer: str = "Call(socket).run()"
) -> str:
    return FACTORY.format(parameters=parameters, first=first, imports=imports, answer=answer)


def contexts(found: PipelineMap, kind: str) -> list[str]:
    sites = [*found.outside, *(site for lane in found.lanes for site in lane.sites)]
    return [site.context for site in sites if site.kind == kind and site.role == "primitive"]


def test_whoever_asks_for_the_application_does_not_lead_to_its_handlers(tmp_path: Path) -> None:
    jobs = (
        "from application import create_app\n\ndef clean():\n    with create_app().app_context():\n        print(1)\n"
    )
    more = "from jobs import clean\n\ndef every_night():\n    clean()\n"
    found = read(tmp_path, call=CALL, application=factory(), server=SERVER.format(arguments=""), jobs=jobs, more=more)
    assert found.coverage.analysed == 2  # the call and the application
    assert contexts(found, "audio_send") == ["live"]


def test_what_a_factory_does_itself_is_part_of_the_start(tmp_path: Path) -> None:
    application = factory(first="warm_up()", imports="from call import Call\nfrom voice import warm_up")
    found = read(tmp_path, call=CALL, voice=TTS, application=application, server=SERVER.format(arguments=""))
    assert contexts(found, "tts") == ["startup"]


def test_what_a_factory_is_given_is_looked_up(tmp_path: Path) -> None:
    session = """
import json
import websockets

class Session:
    def __init__(self, phone):
        self.phone = phone

    async def answer(self):
        openai = await websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime")
        await openai.send(json.dumps({"type": "response.create"}))
"""
    application = factory("make", imports="", answer="make(socket).answer()")
    server = "from application import create_app\nfrom session import Session\n\napp = create_app(Session)\n"
    found = read(tmp_path, session=session, application=application, server=server)
    assert contexts(found, "response_create") == ["live"]


@pytest.mark.parametrize(
    "code",
    [
        "def table_rows(runs):\n    for run in runs:\n        print(run)\n",
        "def run(n):\n    return n\n\ndef table_rows(n):\n    return run(n)\n",
    ],
    ids=["a variable", "a function beside it"],
)
def test_a_name_that_means_something_else_leads_nowhere(tmp_path: Path, code: str) -> None:
    tables = "from call import Call\n\n" + code
    caller = "import tables\n\ndef show():\n    tables.table_rows([])\n"
    found = read(tmp_path, call=CALL, tables=tables, caller=caller, main=factory())
    assert found.coverage.analysed == 3  # not who calls the table's functions


@pytest.mark.parametrize(
    "start",
    [
        "Thread(target=session.run).start()",
        "run = session.run\n    Thread(target=run).start()",
        "def go():\n        session.run()\n    Thread(target=go).start()",
    ],
)
def test_what_is_handed_on_is_followed_to_its_file(tmp_path: Path, start: str) -> None:
    call = CALL.replace("async ", "").replace("await ", "")
    manager = f"from threading import Thread\n\ndef begin(session):\n    {start}\n"
    main = """
from flask import Flask
from flask_sock import Sock
from call import Call
from manager import begin

app = Flask(__name__)
sock = Sock(app)

@sock.route("/call")
def answer(socket):
    begin(Call(socket))
"""
    found = read(tmp_path, call=call, manager=manager, main=main)
    assert contexts(found, "audio_send") == ["live"]


def test_columns_and_answers_are_told_from_the_types_of_events(tmp_path: Path) -> None:
    """``session.updated_at`` holds the type of an event and is none."""
    table = "def touch(session, now):\n    session.updated_at = now\n    response.created_by = now\n"
    found = read(tmp_path, call=CALL, main=factory(), table=table)
    assert found.coverage.analysed == 2
    answers = 'def on(event):\n    return event["type"] == "session.updated"\n'
    assert read(tmp_path, table=answers).coverage.analysed == 3


REGISTRY = """
KEPT = {}

def register(name, cls=None):
    def keep(cls):
        KEPT[name] = cls
        return cls
    return keep(cls) if cls is not None else keep
"""


@pytest.mark.parametrize(
    ("decorator", "below", "context"),
    [
        ('@register("call")', "", "unknown"),
        ("", 'register("call", Call)', "unknown"),
        ("", "", "dormant"),
        ("@dataclass", "", "dormant"),
        ("", "print(isinstance(KEPT, Call))", "dormant"),
    ],
)
def test_who_makes_a_class_that_is_kept_cannot_be_told(
    tmp_path: Path, decorator: str, below: str, context: str
) -> None:
    head = "from dataclasses import dataclass\nfrom registry import KEPT, register\n"
    call = CALL.replace("\nclass Call", f"\n{decorator}\nclass Call") + f"\n{below}\n"
    found = read(tmp_path, call=head + call, registry=REGISTRY)
    assert contexts(found, "audio_send") == [context]
