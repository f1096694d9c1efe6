"""Columns count characters from 1, whatever alphabet, encoding and line ends a file has."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_guard.__main__ import main
from pipeline_guard.facts import ir
from pipeline_guard.facts.columns import Columns
from pipeline_guard.facts.extract import extract

HEBREW = "שלום, במה אפשר לעזור"


def calls(data: bytes) -> dict[str, ir.Call]:
    """Return the calls of the top level by the name that is called."""
    found = [op.value for op in extract(data).functions[0].ops if type(op.value) is ir.Call]
    return {call.func.id: call for call in found if type(call.func) is ir.Name}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-8"])
def test_a_call_behind_hebrew_has_the_column_that_an_editor_shows(codec: str, newline: str) -> None:
    line = f'greeting = "{HEBREW}"; speak(greeting)'
    cookie = "# coding: iso-8859-8" if codec == "iso-8859-8" else "# 🎙"
    found = calls(newline.join([cookie, line, "late()", ""]).encode(codec))
    assert (found["speak"].line, found["speak"].column) == (2, line.index("speak") + 1)
    assert (found["late"].line, found["late"].column) == (3, 1)


def test_a_form_feed_ends_no_line() -> None:
    found = calls(f'x = "{HEBREW}"\n\x0cy = "{HEBREW}"; speak(y)\n'.encode())
    assert (found["speak"].line, found["speak"].column) == (2, len(f'\x0cy = "{HEBREW}"; ') + 1)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12), st.text(max_size=3))
def test_every_character_has_its_own_column(before: str, after: str) -> None:
    columns = Columns(f"x\n{before}{after}")
    assert columns.at(2, len(before.encode())) == len(before) + 1
    # Offsets of rewritten syntax may lie behind the end; two places must never share a column.
    end = len(f"{before}{after}".encode())
    assert columns.at(2, end + 2) - columns.at(2, end + 1) in (0, 1)
    assert columns.at(99, 4) == Columns().at(1, 4) == 5


def test_sarif_and_lines_for_editors_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = f'''from fastapi import FastAPI, WebSocket
import json, websockets

app = FastAPI()


@app.websocket("/media-stream")
async def media_stream(ws: WebSocket):
    async with websockets.connect("wss://api.openai.com/v1/realtime") as openai:
        await greet(openai)
        await ask(openai)


async def greet(openai):
    text = "{HEBREW}"; await openai.send(json.dumps({{"type": "response.create"}}))


async def ask(openai):
    text = "{HEBREW}"; await openai.send(json.dumps({{"type": "response.create"}}))
'''
    (tmp_path / "app.py").write_text(code, encoding="utf-8")
    lines = code.split("\n")
    assert main(["check", str(tmp_path), "--select", "PG201", "--format", "concise"]) == 1
    places = {tuple(line.split(": ")[0].split(":")[1:]) for line in capsys.readouterr().out.splitlines()}
    assert main(["check", str(tmp_path), "--select", "PG201", "--format", "sarif"]) == 1
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert run["columnKind"] == "unicodeCodePoints"
    regions = [result["locations"][0]["physicalLocation"]["region"] for result in run["results"]]
    assert {(str(region["startLine"]), str(region["startColumn"])) for region in regions} == places
    behind = [(int(line), int(column)) for line, column in places if HEBREW in lines[int(line) - 1]]
    assert len(behind) == 2
    for line, column in behind:
        assert lines[line - 1][column - 1 :].startswith("openai.send"), (line, column)


def test_bytes_are_counted_only_where_a_file_is_not_ascii() -> None:
    assert calls(codecs.BOM_UTF8 + b"a = 1; speak(a)")["speak"].column == 8
