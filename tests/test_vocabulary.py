"""The user's own words: engines, sinks and entry points that are added without a line of Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.config import ConfigError, load_config
from pipeline_guard.discovery import discover
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import Site

APP = """
from acme import Voice, pump
from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/call")
async def call(phone: WebSocket):
    voice = Voice()
    await voice.speak_now()
    async for frame in phone.iter_json():
        voice.push_pcm(frame["media"]["payload"])
        pump(frame)
"""
CONNECTION = """
[[connection]]
name = "acme"
paths = ["acme.Voice()*"]
names = ["Voice"]

[[connection.calls]]
method = "push_pcm"
kind = "audio_send"

[[connection.calls]]
method = "speak_now"
kind = "response_create"
"""


def sites(folder: Path) -> list[Site]:
    config = load_config(folder)
    found = discover(folder, config.exclude, config.max_file_size)
    return [site for site in analyse(folder, found.files, config).sites() if site.role == "primitive"]


def test_a_pattern_that_is_none_is_named_with_its_table(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "voice.toml").write_text('[manual_turns]\nnames = ["push("]\n')
    (tmp_path / "pyproject.toml").write_text('[tool.pipeline-guard]\nvocabulary = ["voice.toml"]\n')
    with pytest.raises(ConfigError, match=r"voice\.toml: \[\[manual_turns\]\]"):
        sites(tmp_path)


def test_nothing_is_known_of_a_library_nobody_described(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    assert sites(tmp_path) == []


def test_a_vocabulary_file_describes_a_connection(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "voice.toml").write_text(CONNECTION)
    (tmp_path / "pyproject.toml").write_text('[tool.pipeline-guard]\nvocabulary = ["voice.toml"]\n')
    assert [(site.kind, site.line) for site in sites(tmp_path)] == [("response_create", 11), ("audio_send", 13)]


@pytest.mark.parametrize("call", ["pump", "acme.pump"])
def test_a_sink_of_the_users_own(tmp_path: Path, call: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text(f'[[tool.pipeline-guard.sink]]\ncall = "{call}"\nkind = "audio_send"\n')
    assert [(site.kind, site.line) for site in sites(tmp_path)] == [("audio_send", 14)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[conection]]\nname = "x"\n', "'conection' is not a vocabulary table"),
        ('[[connection]]\nnaem = "x"\n', "connection.naem is not a known key"),
        ('[[event]]\ntype = "x"\n', "incomplete"),
        ('[[event]]\ntype = "x"\nkind = "shout"\n', "kind 'shout' is none of"),
        ("[[event]\n", "not valid TOML"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_says_where_and_what(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "voice.toml").write_text(text)
    (tmp_path / "pyproject.toml").write_text('[tool.pipeline-guard]\nvocabulary = ["voice.toml"]\n')
    with pytest.raises(ConfigError, match=complaint) as caught:
        sites(tmp_path)
    assert "voice.toml" in str(caught.value)
