"""Bad input ends in one clear sentence, the right exit code, no traceback, and before anybody loses patience."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROJECT = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds until a run counts as hanging; how fast it is, the benchmarks measure
CLEAN, FINDINGS, USAGE = 0, 1, 2
Write = Callable[[str, "str | bytes"], Path]

# A backend with one thing of each kind, so that there is something to find beside the bad input.
BACKEND = """
import json
import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


class Call:
    def __init__(self, realtime):
        self.realtime = realtime

    async def hear(self, payload):
        await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))

    async def greet(self):
        await self.realtime.send(json.dumps({"type": "response.create"}))


@app.websocket("/media")
async def media(twilio: WebSocket):
    async with websockets.connect("wss://api.openai.com/v1/realtime") as realtime:
        call = Call(realtime)
        await call.greet()
        async for text in twilio.iter_text():
            message = json.loads(text)
            if message["event"] == "media":
                await call.hear(message["media"]["payload"])
"""


class Run(NamedTuple):
    code: int
    out: str
    err: str

    def map(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    def kinds(self) -> list[str]:
        return [site["kind"] for lane in self.map()["lanes"] for site in lane["sites"]]

    def reasons(self) -> dict[str, str]:
        return {gap["path"]: gap["reason"] for gap in self.map()["errors"]}


def run(*arguments: object) -> Run:
    """Run the command line in a process of its own; it has to end in time and without a traceback."""
    command = [sys.executable, "-m", "pipeline_guard", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1", "COLUMNS": "160"}
    start = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, timeout=PATIENCE, check=False
    )
    assert time.monotonic() - start < PATIENCE
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode in (CLEAN, FINDINGS, USAGE), done.stderr
    return Run(done.returncode, done.stdout, done.stderr)


def map_of(folder: Path) -> Run:
    result = run("map", folder, "--format", "json")
    assert (result.code, result.err) == (CLEAN, "")
    return result


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


# -- files and folders


@pytest.mark.parametrize("command", ["map", "check"])
def test_a_folder_that_does_not_exist(tmp_path: Path, command: str) -> None:
    result = run(command, tmp_path / "nowhere")
    assert (result.code, result.out) == (USAGE, "")
    assert result.err.count("\n") == 1
    assert "there is no such file or folder" in result.err


@pytest.mark.parametrize("command", ["map", "check"])
def test_no_python_files(write: Write, tmp_path: Path, command: str) -> None:
    write("README.md", "nothing here")
    result = run(command, tmp_path)
    assert (result.code, result.out) == (USAGE, "")
    assert result.err.count("\n") == 1
    assert "holds no Python files" in result.err


def test_a_file_that_does_not_parse_is_a_finding(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    write("broken.py", 'event = {"type": "response.create"\n\ndef f(:\n    pass\n')
    result = run("check", tmp_path, "--select", "PG901", "--format", "json")
    findings = result.map()["findings"]
    assert (result.code, result.err) == (FINDINGS, "")
    assert [(finding["rule"], finding["path"]) for finding in findings] == [("PG901", "broken.py")]
    text = run("check", tmp_path, "--select", "PG901")
    assert text.code == FINDINGS
    assert "broken.py" in text.out


def test_a_file_that_does_not_parse_leaves_the_others_readable(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    write("broken.py", 'event = {"type": "response.create"\n\ndef f(:\n    pass\n')
    result = map_of(tmp_path)
    assert result.reasons() == {"broken.py": "syntax"}
    assert {"audio_send", "response_create"} <= set(result.kinds())


def test_a_file_without_a_telltale_word_that_does_not_parse_is_a_finding_too(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    write("merge.py", "<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> other\n")
    result = run("check", tmp_path, "--select", "PG901", "--format", "json")
    assert (result.code, [finding["path"] for finding in result.map()["findings"]]) == (FINDINGS, ["merge.py"])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(BACKEND.encode("utf-16"), True, id="UTF-16"),
        pytest.param(BACKEND.encode("utf-8-sig"), True, id="UTF-8 with a mark"),
        pytest.param(("# coding: latin-1\n# Größe\n" + BACKEND).encode("latin-1"), True, id="latin-1 with its cookie"),
        pytest.param(("# Größe\n" + BACKEND).encode("latin-1"), False, id="latin-1 without a cookie"),
        pytest.param(BACKEND.replace("\n", "\r\n").encode(), True, id="CRLF"),
        pytest.param(BACKEND.replace("\n", "\r").encode(), True, id="old Mac line ends"),
    ],
)
def test_encodings(write: Write, tmp_path: Path, data: bytes, found: bool) -> None:
    write("main.py", data)
    result = map_of(tmp_path)
    assert ({"audio_send", "response_create"} <= set(result.kinds())) is found
    assert result.reasons() == ({} if found else {"main.py": "encoding"})
    assert run("check", tmp_path, "--select", "PG901").code == (CLEAN if found else FINDINGS)


def test_a_symlink_loop_and_one_that_leaves_the_project(write: Write, tmp_path: Path) -> None:
    write("project/app/main.py", BACKEND)
    write("elsewhere/other.py", BACKEND)
    os.symlink(tmp_path / "project", tmp_path / "project" / "app" / "again", target_is_directory=True)
    os.symlink(tmp_path / "elsewhere", tmp_path / "project" / "outside", target_is_directory=True)
    os.symlink("self.py", tmp_path / "project" / "self.py")
    result = map_of(tmp_path / "project")
    assert {site["path"] for lane in result.map()["lanes"] for site in lane["sites"]} == {"app/main.py"}
    assert set(result.reasons().values()) <= {"symlink", "unreadable"}


def test_a_file_that_may_not_be_read(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    secret = write("secret.py", BACKEND)
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        pytest.skip("whoever runs this may read everything")
    assert map_of(tmp_path).reasons() == {"secret.py": "unreadable"}


def test_a_name_that_is_not_unicode(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6\xdfe.py")).write_text(BACKEND, encoding="utf-8")
    except OSError:
        pytest.skip("this file system only takes Unicode names")
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())


# -- size


def test_a_generated_module_of_five_megabytes(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    write("table.py", "TABLE = {\n" + '    "key": {"type": "response.create", "audio": [1, 2, 3]},\n' * 95_000 + "}\n")
    assert (tmp_path / "table.py").stat().st_size > 5_000_000
    result = map_of(tmp_path)
    assert {"audio_send", "response_create"} <= set(result.kinds())
    assert result.reasons() in ({}, {"table.py": "size"})


def test_a_single_line_of_a_megabyte(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    write("line.py", f'EVENT = {{"type": "response.create", "audio": "{"A" * 1_000_000}"}}\n')
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())


def nested_functions(count: int) -> str:
    lines = [" " * depth + f"async def level_{depth}(ws):\n" for depth in range(count)]
    return "".join(lines) + " " * count + 'await ws.send({"type": "response.create"})\n'


def test_two_hundred_nested_functions(write: Write, tmp_path: Path) -> None:
    """Python itself takes no more than a hundred levels of indentation."""
    write("main.py", BACKEND)
    write("deep.py", nested_functions(200))
    assert map_of(tmp_path).reasons() == {"deep.py": "syntax"}
    assert run("check", tmp_path, "--select", "PG901").code == FINDINGS


def test_ninety_nested_functions(write: Write, tmp_path: Path) -> None:
    write("main.py", BACKEND)
    write("deep.py", nested_functions(90))
    assert map_of(tmp_path).reasons() == {}


@pytest.mark.parametrize("count", [500, 2000])
def test_a_chain_of_many_elifs(write: Write, tmp_path: Path, count: int) -> None:
    """It is analysed, or there is one gap that says why not."""
    arms = "".join(f'        elif kind == "{n}":\n            await self.greet()\n' for n in range(count))
    chain = f'\n    async def on_event(self, kind):\n        if kind == "":\n            pass\n{arms}'
    head, tail = BACKEND.split("\n\n\n@app")
    write("main.py", f"{head}\n{chain}\n\n@app{tail}".replace("await call.greet()", "await call.on_event(message)"))
    result = map_of(tmp_path)
    if result.reasons():
        assert result.reasons() == {"main.py": "recursion"}
    else:
        assert result.kinds().count("response_create") > count


def test_a_function_of_three_thousand_calls_that_pass_dicts_around(write: Write, tmp_path: Path) -> None:
    steps = "".join(f'    event = extend(event, {{"k{n}": event["k{n - 1}"], **event}})\n' for n in range(1, 3000))
    write(
        "main.py",
        BACKEND + "\n\ndef extend(event, more):\n    return {**event, **more}\n\n\n"
        f'async def build(ws):\n    event = {{"type": "response.create", "k0": 0}}\n{steps}    await ws.send(event)\n',
    )
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())


def test_a_wrapper_around_a_wrapper_two_hundred_times(write: Write, tmp_path: Path) -> None:
    layers = "".join(f"    async def layer_{n}(self):\n        await self.layer_{n + 1}()\n\n" for n in range(200))
    last = '    async def layer_200(self):\n        await self.realtime.send(json.dumps({"type": "response.create"}))\n'
    head, tail = BACKEND.split("\n\n\n@app")
    write("main.py", f"{head}\n\n{layers}{last}\n\n@app{tail}".replace("call.greet()", "call.layer_0()"))
    assert map_of(tmp_path).kinds().count("response_create") >= 200


# -- programs that chase their own tail

TAILS = {
    "modules that import each other": {
        "a.py": 'from b import *\nfrom b import send as push\nKIND = "response.create"\n',
        "b.py": "from a import *\nfrom a import push as send\n",
        "main.py": BACKEND + "\n\nfrom a import push\n\n\nasync def again(ws):\n    await push(ws)\n",
    },
    "a module that imports itself": {
        "main.py": BACKEND + "\nimport main\nfrom main import *\nfrom main import app as main\n"
    },
    "a package that re-exports itself": {
        "voice/__init__.py": "from . import core\nfrom .core import *\nfrom voice import Call\n",
        "voice/core.py": "from voice import *\nfrom . import Call as Base\n" + BACKEND,
    },
    "a class that inherits from itself": {
        "main.py": BACKEND + "\n\nclass Call(Call):\n    async def greet(self):\n        await super().greet()\n"
        "\n\nclass A(B):\n    pass\n\n\nclass B(A):\n    async def speak(self):\n        await self.greet()\n",
    },
    "names that stand for themselves": {
        "main.py": BACKEND + "\nx = x\ny = z\nz = y\ndef f(a=f, *b, **c): f = f; return f(f, *b, **c)\nf.f = f.f\n"
        '\n\nasync def tail(ws):\n    event = event\n    event = {"type": event, **event}\n'
        "    event[event] = event\n    await ws.send(event)\n    await x.y.z(event)\n",
    },
    "builders that call each other": {
        "main.py": BACKEND + '\n\ndef one(n):\n    return two(n) | {"type": "response.create"}\n'
        "\n\ndef two(n):\n    return one({**three(n), **one(n)})\n"
        "\n\ndef three(n):\n    return [one(two(three(n)))][0]\n"
        "\n\nasync def tail(ws):\n    await ws.send(json.dumps(one(two(3))))\n",
    },
    "attributes that hold each other": {
        "main.py": BACKEND
        + "\n\nclass Left:\n    def __init__(self, right):\n        self.right = right or Right(self)\n"
        "        self.left = self.right.left\n        self.send = self.left.send\n"
        "\n\nclass Right:\n    def __init__(self, left):\n        self.left = left or Left(self)\n"
        "        self.send = self.left.right.send\n"
        '\n\nasync def tail():\n    await Left(None).right.left.right.send({"type": "response.create"})\n',
    },
    "a function that is its own callback, decorator and default": {
        "main.py": BACKEND + "\n\n@wrap\ndef wrap(f=wrap):\n    wrap.callback = wrap(wrap)\n    return wrap(f)(f)\n"
        "\n\n@wrap(wrap)\nasync def tail(ws, on=wrap):\n    on(on)(tail)\n    await tail(ws, tail)\n"
        '    await ws.send({"type": "response.create"})\n',
    },
    "a container that holds itself": {
        "main.py": BACKEND + '\n\nEVENTS = {"a": {"type": "response.create"}}\nEVENTS["self"] = EVENTS\n'
        'EVENTS.update(EVENTS)\nEVENTS["b"] = {**EVENTS, "c": EVENTS["self"]["self"]["b"]}\n'
        '\n\nasync def tail(ws, name):\n    await ws.send(json.dumps(EVENTS[name]["self"]["b"]["c"]))\n',
    },
}


@pytest.mark.parametrize("files", TAILS.values(), ids=TAILS.keys())
def test_a_program_that_chases_its_own_tail(write: Write, tmp_path: Path, files: dict[str, str]) -> None:
    for name, code in files.items():
        write(name, code)
    result = map_of(tmp_path)
    assert result.reasons() == {}
    assert {"audio_send", "response_create"} <= set(result.kinds())


def test_two_to_the_thirtieth_ways_through_a_value(write: Write, tmp_path: Path) -> None:
    """Each name has two values made of the one before: reading them all would take forever."""
    step = "    e{1} = {{**e{0}, 'x': e{0}}} if flag else {{'y': [e{0}, e{0}]}}\n"
    doubling = "".join(step.format(n, n + 1) for n in range(30))
    head = '\n\nasync def tail(ws, flag):\n    e0 = {"type": "response.create"}\n'
    write("main.py", f"{BACKEND}{head}{doubling}    await ws.send(json.dumps(e30))\n")
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())


def test_a_thousand_functions_that_hand_one_value_on(write: Write, tmp_path: Path) -> None:
    """Asking for the callers of the callers must not exhaust the stack, wherever it begins."""
    levels = "".join(f"async def f{n}(ws):\n    await f{n + 1}(ws)\n\n\n" for n in range(1000))
    last = 'async def f1000(ws):\n    await ws.send(json.dumps({"type": "response.create"}))\n'
    write("main.py", f"{BACKEND}\n\n{levels}{last}")
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())


def test_a_thousand_classes_each_derived_from_the_one_before(write: Write, tmp_path: Path) -> None:
    classes = "".join(f"class C{n + 1}(C{n}):\n    pass\n\n\n" for n in range(1000))
    write(
        "main.py",
        f"{BACKEND}\n\nclass C0(Call):\n    pass\n\n\n{classes}async def say(ws):\n    await C1000(ws).greet()\n",
    )
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())


def test_five_hundred_modules_that_pass_a_name_on(write: Write, tmp_path: Path) -> None:
    write("main.py", f"from m0 import greeting\n{BACKEND}\n\nasync def say(ws):\n    await ws.send(greeting)\n")
    for number in range(500):
        write(f"m{number}.py", f"from m{number + 1} import greeting\n")
    write("m500.py", 'greeting = \'{"type": "response.create"}\'\n')
    result = map_of(tmp_path)
    assert {"audio_send", "response_create"} <= set(result.kinds())
    assert result.reasons() == {}


def test_thirty_calls_of_the_next_function_ten_levels_deep(write: Write, tmp_path: Path) -> None:
    levels = "".join(
        f"async def level_{n}(ws, event):\n" + f"    await level_{n + 1}(ws, {{**event, 'n': {n}}})\n" * 30 + "\n\n"
        for n in range(10)
    )
    write("main.py", BACKEND + f"\n\n{levels}async def level_10(ws, event):\n    await ws.send(json.dumps(event))\n")
    assert {"audio_send", "response_create"} <= set(map_of(tmp_path).kinds())
