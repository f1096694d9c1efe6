"""Speech engines as data: a user's own entries, every access path of ours, and one call wherever it may stand."""

from __future__ import annotations

import ast
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_guard.config import ConfigError, load_config
from pipeline_guard.discovery import discover
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import Site
from pipeline_guard.rulebook import rules_dir
from pipeline_guard.toml_files import read_toml


def engine_sites(folder: Path) -> list[Site]:
    """Return the calls of a backend that run an engine themselves."""
    config = load_config(folder)
    found = discover(folder, config.exclude, config.max_file_size)
    sites = analyse(folder, found.files, config).sites()
    return [site for site in sites if site.kind in ("stt", "tts") and site.role == "primitive"]


# -- the user's own vocabulary

APP = """
import httpx
import websockets
from acme_voice import Ears
from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/call")
async def call(phone: WebSocket):
    ears = Ears(language="he")
    async with websockets.connect("wss://rt.acme.example/v2/hear") as line, httpx.AsyncClient() as http:
        async for frame in phone.iter_bytes():
            ears.note(frame)
            await line.send(frame)
            await http.post("https://api.acme.example/v2/say", json={"text": "hello"})
"""
OWN = """
[[engine]]
kind = "stt"
name = "acme"
imports = ["acme_voice"]
calls = ["acme_voice.Ears().note"]
sockets = ["acme.example/v2/hear"]

[[engine]]
kind = "tts"
name = "acme_speech"
addresses = ["acme.example/v2/say"]
"""


def with_vocabulary(folder: Path, vocabulary: str) -> None:
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / "acme.toml").write_text(vocabulary, encoding="utf-8")
    (folder / "pyproject.toml").write_text('[tool.pipeline-guard]\nvocabulary = ["acme.toml"]\n', encoding="utf-8")


def test_an_engine_of_the_users_own_is_found_by_call_by_socket_and_by_address(tmp_path: Path) -> None:
    with_vocabulary(tmp_path, OWN)
    assert [(site.kind, site.engine, site.line, site.context) for site in engine_sites(tmp_path)] == [
        ("stt", "acme", 13, "live"),
        ("stt", "acme", 15, "live"),
        ("stt", "acme", 16, "live"),
        ("tts", "acme_speech", 17, "live"),
    ]


def test_nothing_is_known_of_an_engine_nobody_described(tmp_path: Path) -> None:
    with_vocabulary(tmp_path, "")
    assert engine_sites(tmp_path) == []


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ('kind = "stt"\nname = "acme"\ncals = ["acme_voice.Ears().note"]', "engine.cals is not a known key"),
        ('name = "acme"\ncalls = ["acme_voice.Ears().note"]', "'kind'"),
        ('kind = "stt"\ncalls = ["acme_voice.Ears().note"]', "'name'"),
        ('kind = "asr"\nname = "acme"\ncalls = ["acme_voice.Ears().note"]', "kind 'asr' is none of stt, tts"),
        ('kind = "stt"\nname = "acme"\nimports = ["acme_voice"]', "at least one of calls"),
        ('kind = "stt"\nname = "acme"\ncalls = "acme_voice.Ears().note"', "calls"),
        ('kind = "stt"\nname = "acme"\ncalls = [1]', "calls"),
        ('kind = "stt"\nname = 5\ncalls = ["acme_voice.Ears().note"]', "name"),
        ('kind = ["stt"]\nname = "acme"\ncalls = ["acme_voice.Ears().note"]', "kind"),
        ('kind = "stt"\nname = "acme"\nsockets = "acme.example"', "sockets"),
    ],
    ids=lambda text: text.replace("\n", "; "),
)
def test_a_wrong_engine_is_a_sentence_that_names_the_file_and_the_key(
    tmp_path: Path, entry: str, complaint: str
) -> None:
    with_vocabulary(tmp_path, f"[[engine]]\n{entry}\n")
    with pytest.raises(ConfigError) as caught:
        engine_sites(tmp_path)
    said = str(caught.value)
    assert said.startswith("acme.toml") or "/acme.toml" in said
    assert complaint in said
    assert said.endswith(".")


# -- every access path of the vocabulary


class Entry(NamedTuple):
    """An ``[[engine]]`` with ``calls``, by its place in the vocabulary."""

    number: int
    table: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.table['kind']}-{self.table['name']}-{self.number}"

    @property
    def file(self) -> str:
        return f"engine_{self.number}.py"


def _entries() -> list[Entry]:
    tables = read_toml(rules_dir() / "vocabulary" / "engines.toml")["engine"]
    return [Entry(number, table) for number, table in enumerate(tables) if table.get("calls")]


ENTRIES = _entries()


def concrete(glob: str, imports: list[str]) -> str:
    """Return one access path that a glob stands for: a client's attribute where a whole part is free, else nothing."""
    if glob.startswith("*."):
        glob = f"openai.OpenAI(){glob[1:]}"
    before, star, after = glob.partition("*")
    if star and before.endswith("."):
        package = next((name.removeprefix(before) for name in imports if name.startswith(before)), None)
        if package is not None and after.startswith("."):
            glob = f"{before}{package}{after}"
    return re.sub(r"(?<=\.)\*(?=\.)", "made()", glob).replace("*", "").replace("[]", "[0]")


def lines_of(entry: Entry) -> list[str]:
    """Return a file that makes every call of an entry, by an import of the module and by one of the name."""
    imports: list[str] = entry.table.get("imports", [])
    client = f'("{entry.table["first"]}")' if "first" in entry.table else "()"
    lines: list[str] = []
    for glob in entry.table["calls"]:
        path = concrete(glob, imports)
        packages = [name for name in imports if path.startswith(f"{name}.")]
        module = max(packages, key=len, default=path.partition(".")[0])
        rest = path[len(module) + 1 :]
        name = re.split(r"\W", rest, maxsplit=1)[0]
        for head, text in ((f"import {module}", path), (f"from {module} import {name}", rest)):
            lines += [f"def call_{len(lines)}(text):", f"    {head}", f"    {text.replace('()', client)}(text)"]
    return lines


@lru_cache(maxsize=1)
def found_lines() -> dict[str, set[tuple[str, int]]]:
    """Return, for one program made of every entry's file, the kinds and lines of the sites of each file."""
    found: dict[str, set[tuple[str, int]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for entry in ENTRIES:
            (folder / entry.file).write_text("\n".join([*lines_of(entry), ""]), encoding="utf-8")
        for site in engine_sites(folder):
            found.setdefault(site.path, set()).add((site.kind, site.line))
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_every_call_of_the_vocabulary_is_found(entry: Entry) -> None:
    lines = lines_of(entry)
    found = found_lines().get(entry.file, set())
    missing = [
        lines[number - 1].strip()
        for number, text in enumerate(lines, 1)
        if text.endswith("(text)") and (entry.table["kind"], number) not in found
    ]
    assert not missing, "\n".join(missing)


def test_nothing_else_is_found_in_these_files() -> None:
    for entry in ENTRIES:
        lines = lines_of(entry)
        elsewhere = {line for _, line in found_lines().get(entry.file, set()) if not lines[line - 1].endswith("(text)")}
        assert not elsewhere, entry


@pytest.mark.parametrize("name", ["Communicate", "Communicate as Voice"])
def test_a_name_that_is_imported_under_another_one_is_the_same_engine(tmp_path: Path, name: str) -> None:
    bound = name.rpartition(" ")[2]
    (tmp_path / "app.py").write_text(f"from edge_tts import {name}\n\nvoice = {bound}('hello')\n", encoding="utf-8")
    assert [(site.engine, site.line) for site in engine_sites(tmp_path)] == [("edge_tts", 3)]


# -- one call, wherever it stands

CALL = "client.audio.transcriptions.create(model='whisper-1', file=clip)"
EXPRESSIONS = [
    "(await {})",
    "({}).text",
    "({})['text']",
    "(lambda: {})()",
    "(lambda clip: {})(clip)",
    "[{} for clip in clips]",
    "{{part: {} for part in clips}}",
    "list({} for clip in clips if clip)",
    "[part for part in {}]",
    "({} if clip else None)",
    "(clip if {} else None)",
    "(clip and {})",
    "(not {})",
    "({} or '')",
    "print({})",
    "print(*{})",
    "dict(text={})",
    "dict(**{})",
    "f'''heard {{({})}}'''",
    "[clip, {}]",
    "{{'words': {}}}",
    "({} + clip)",
    "(clip < {})",
    "(heard := {})",
    "clips[{}]",
    "clips[{}:]",
    "(yield {})",
    "str({}).strip().lower()",
    "functools.partial(print, {})",
    "asyncio.create_task({})",
    "asyncio.wait_for({}, 3)",
    "asyncio.gather(other(), {})",
    "(\n        {}\n    )",
]
STATEMENTS = [
    "{}",
    "heard = {}",
    "heard: str = {}",
    "first, *heard = {}",
    "self.heard = {}",
    "clips[0] += {}",
    "return {}",
    "assert {}",
    "raise ValueError({})",
    "del clips[{}]",
    "with {} as heard:\n        pass",
    "async with {}:\n        pass",
    "for part in {}:\n        pass",
    "async for part in {}:\n        pass",
    "if {}:\n        pass",
    "while {}:\n        break",
    "try:\n        {}\n    except OSError:\n        pass",
    "try:\n        pass\n    finally:\n        {}",
    "def later(heard={}):\n        return heard",
    "def later(*, heard={}):\n        return heard",
    "@other({})\n    def later():\n        pass",
    "@other({})\n    class Later:\n        pass",
    "class Later(other({})):\n        pass",
    "class Later:\n        heard = {}",
    "match {}:\n        case _:\n            pass",
    "match clip:\n        case part if {}:\n            pass",
]
PROGRAM = """
import asyncio
import functools

from fastapi import FastAPI, WebSocket
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI()


@app.websocket("/call")
async def call(self: WebSocket, clip, clips, other):
    {}
"""


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Draw a program with the one call inside up to three expressions of one statement."""
    text = CALL
    for shape in draw(st.lists(st.sampled_from(EXPRESSIONS), max_size=3)):
        if shape.startswith("f'") and "'''" in text:
            continue  # before Python 3.12 no string inside a replacement field has the quotes of its f-string
        text = shape.format(text)
    statement = draw(st.sampled_from(STATEMENTS))
    program = PROGRAM.format(statement.format(text))
    ast.parse(program)
    return program


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_one_call_is_one_site_at_its_line_wherever_it_stands(program: str) -> None:
    line = next(number for number, text in enumerate(program.split("\n"), 1) if "client.audio" in text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(program, encoding="utf-8")
        assert [(site.kind, site.line) for site in engine_sites(folder)] == [("stt", line)], program
