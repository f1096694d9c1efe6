"""A change that cannot alter the map costs no analysis; every other change does, whatever it looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_guard.__main__ import main

MAIN = """
from fastapi import FastAPI, WebSocket

from backend.line import Line
from backend.flags import settings

app = FastAPI()


@app.websocket("/media")
async def media(twilio: WebSocket):
    line = Line()
    await line.connect_realtime()
    async for text in twilio.iter_text():
        await line.forward_audio(text)
"""
LINE = """
import json

import websockets


class Line:
    async def connect_realtime(self):
        self.realtime = await websockets.connect("wss://api.openai.com/v1/realtime")

    async def forward_audio(self, text):
        await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": text}))

    async def create_response_now(self):
        await self.realtime.send(json.dumps({"type": "response.create"}))


class Panic:
    async def speak_anyway(self, line):
        await line.create_response_now()
"""
BULK = "".join(
    f"def step_{n}(items):\n    return [item for item in items if item.size > {n}]\n\n\n" for n in range(9_000)
)
OTHER = "def total(items):\n    return sum(item.price for item in items)\n"
CHANGES = {
    "a comment": OTHER + "# nothing\n",
    "ordinary code": "import json\n\n" + OTHER + "\n\ndef write(rows):\n    return json.dumps(rows)\n",
    "a call of the trigger": (
        "from backend.line import Line\n\n\nasync def tick(line: Line):\n    await line.create_response_now()\n"
    ),
    "a call on any receiver": "import asyncio\n\n\nasync def tick(line):\n    await line.create_response_now()\n",
    "an event": 'import json\n\n\ndef event():\n    return json.dumps({"type": "response.create"})\n',
    "a recogniser": "import vosk\n\n\ndef hear(data):\n    return vosk.KaldiRecognizer(data)\n",
    "a class named": "import backend.line as parts\n\nHANDLERS = {'panic': parts.Panic}\n",
    "a module that finds others": "import importlib\n\n\ndef plug(name):\n    return importlib.import_module(name)\n",
    "a suppression": OTHER + "# pipeline-guard: ignore[PG201]\n",
    "no Python": "def broken(:\n",
    "a test": "import pytest\n\n\ndef test_line(line):\n    assert line.create_response_now()\n",
}
COSTS_NOTHING = {"a comment", "ordinary code", "no Python"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {"main.py": MAIN, "backend/line.py": LINE, "backend/flags.py": "settings = {}\n", "shop/bulk_a.py": BULK}
    for name, text in {**files, "shop/bulk_b.py": BULK, "shop/other.py": OTHER}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def ask(tree: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(command: str, *options: str) -> str:
        main([command, str(tree), "--format", "json", *options])
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_answer_is_that_of_a_fresh_run(
    tree: Path, ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    from pipeline_guard.pipeline import steps

    before = ask("map")
    (tree / "shop" / "other.py").write_text(CHANGES[change], encoding="utf-8")
    runs = []
    real = steps.run

    def count(*arguments: object) -> object:
        runs.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "run", count)
    answers = ask("map"), ask("check")
    assert (len(runs) == 0) == (change in COSTS_NOTHING)
    assert answers == (ask("map", "--no-cache"), ask("check", "--no-cache"))
    # Back again, and the answer is the old one.
    (tree / "shop" / "other.py").write_text(OTHER, encoding="utf-8")
    assert ask("map") == before


def test_a_change_of_what_the_map_was_made_from_is_read(tree: Path, ask: Callable[..., str]) -> None:
    ask("map")
    for name, text in {
        "backend/line.py": LINE.replace("response.create", "response.cancel"),
        "backend/flags.py": "settings = {'panic': True}\n",
        "main.py": MAIN + "\n\ndef later():\n    return Line\n",
    }.items():
        (tree / name).write_text(text, encoding="utf-8")
        assert ask("map") == ask("map", "--no-cache")


def test_a_damaged_note_is_no_note(tree: Path, own_cache: Path, ask: Callable[..., str]) -> None:
    ask("map")
    for path in (own_cache / "needs").rglob("*"):
        if path.is_file():
            path.write_bytes(b"rubbish")
    (tree / "shop" / "other.py").write_text(CHANGES["a comment"], encoding="utf-8")
    assert ask("map") == ask("map", "--no-cache")
