"""How values, calls, conditions and contexts are read, shown on small programs and by what the map says of them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.facts import ir
from pipeline_guard.facts.extract import extract
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import Site
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.flow import conditions
from pipeline_guard.program.link import Program as LinkedProgram
from pipeline_guard.program.values import Frame, Literal

HEAD = """\
import asyncio, functools, json, threading, websockets
from fastapi import FastAPI, WebSocket
app = FastAPI()
URL = "wss://api.openai.com/v1/realtime"
"""


class Program:
    """Writes modules and answers with the sites found in them, each as the text of its line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sites(self, kind: str = "response_create", **modules: str) -> dict[str, Site]:
        for name, code in modules.items():
            (self.folder / f"{name}.py").write_text(HEAD + textwrap.dedent(code), encoding="utf-8")
        config = Config()
        found = analyse(self.folder, discover(self.folder, (), config.max_file_size).files, config)
        assert found.gaps == ()
        lines = {name: (self.folder / f"{name}.py").read_text(encoding="utf-8").splitlines() for name in modules}
        return {
            lines[site.path.removesuffix(".py")][site.line - 1].strip(): site
            for site in found.sites()
            if site.kind == kind
        }


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def route(body: str) -> str:
    """Return a WebSocket route that opens a Realtime socket ``ws`` and runs ``body``."""
    head = '@app.websocket("/call")\nasync def call(phone: WebSocket, key: str = ""):\n'
    return head + "    async with websockets.connect(URL) as ws:\n" + textwrap.indent(textwrap.dedent(body), " " * 8)


SEND = "await ws.send(json.dumps(event))"


# -- values


@pytest.mark.parametrize(
    "event",
    [
        'event = {"type": "response.create"}',
        'event = dict(type="response.create")',
        'event = {}\nevent["type"] = "response.create"',
        'event = {}\nevent.update({"type": "response.create"})',
        'event = {}\nevent.update(type="response.create")',
        'event = {}\nevent.setdefault("type", "response.create")',
        'event = {"type": "response." + "create"}',
        'verb = "create"\nevent = {"type": f"response.{verb}"}',
        'verb = "create"\nevent = {"type": "response.%s" % verb}',
        'verb = "create"\nevent = {"type": "response.{}".format(verb)}',
        'event = {"type": ".".join(["response", "create"])}',
        'base = {"type": "response.create"}\nevent = {**base, "response": {}}',
        'base = {"type": "response.create"}\nevent = base | {"response": {}}',
        'base = {"type": "response.create"}\nevent = base.copy()',
        'event = {"type": "session.update"} if key else {"type": "response.create"}',
        'if key:\n    event = {"type": "session.update"}\nelse:\n    event = {"type": "response.create"}',
        'event = key and {"type": "response.create"}',
        'first, event = 1, {"type": "response.create"}',
        'events = [{"type": "session.update"}, {"type": "response.create"}]\nevent = events[1]',
        'events = {"a": {"type": "response.create"}}\nevent = events["a"]',
        'events = {"a": {"type": "response.create"}}\nevent = events.get("a")',
        '(event := {"type": "response.create"})',
        'def build():\n    return {"type": "response.create"}\nevent = build()',
        'def build(kind):\n    return {"type": kind}\nevent = build("response.create")',
        'def build(kind="response.create"):\n    return dict(type=kind)\nevent = build()',
        'def build(**fields):\n    return fields\nevent = build(type="response.create")',
        'build = lambda kind: {"type": kind}\nevent = build("response.create")',
        'for event in ({"type": "session.update"}, {"type": "response.create"}):\n    pass',
    ],
)
def test_an_event_however_it_is_put_together(program: Program, event: str) -> None:
    # A file is looked at because of some literal in it; this one stands for the rest of a real backend.
    other = 'OTHER = "input_audio_buffer.append"\n'
    assert SEND in program.sites(main=other + route(f"{event}\n{SEND}"))


@pytest.mark.parametrize(
    "event",
    [
        'event = {"type": "session.update"}',
        'event = {"note": "response.create"}',
        'event = {"type": "response.cancel", "event_id": "response.create"}',
        'event = {"type": "response.create"}\nevent = {"type": "session.update"}',
        'event = {"type": "response.create"}\nevent["type"] = "response.cancel"',
        'base = {"type": "response.create"}\nevent = {**base, "type": "response.cancel"}',
        'base = {"type": "response.create"}\nevent = base | {"type": "response.cancel"}',
        'if False:\n    event = {"type": "response.create"}\nelse:\n    event = {"type": "response.cancel"}',
        'def build(kind="response.create"):\n    return {"type": kind}\nevent = build("response.cancel")',
    ],
)
def test_an_event_that_is_another_one(program: Program, event: str) -> None:
    sites = program.sites(main=route(f"{event}\n{SEND}"))
    assert not sites


@pytest.mark.parametrize(
    "definition",
    [
        'CREATE = "response.create"',
        'import enum\nclass Kind(str, enum.Enum):\n    CREATE = "response.create"\nCREATE = Kind.CREATE.value',
        'class Kind:\n    CREATE = "response.create"\nCREATE = Kind.CREATE',
        'PREFIX = "response"\nCREATE = f"{PREFIX}.create"\nAPPEND = "input_audio_buffer.append"',
        'KINDS = {"create": "response.create"}\nCREATE = KINDS["create"]',
        'from typing import Final\nCREATE: Final[str] = "response.create"',
    ],
)
def test_a_constant_of_another_module(program: Program, definition: str) -> None:
    main = "from kinds import CREATE\n" + route(f'event = {{"type": CREATE}}\n{SEND}')
    assert SEND in program.sites(kinds=definition, main=main)


def test_a_value_through_attribute_property_and_inheritance(program: Program) -> None:
    main = """
    class Base:
        kind = "session.update"
        def __init__(self, ws):
            self.ws = ws
        @property
        def event(self):
            return {"type": self.kind}

    class Speaking(Base):
        kind = "response.create"

    class Configuring(Base):
        pass
    """
    body = """
    speaking, configuring = Speaking(ws), Configuring(ws)
    await ws.send(json.dumps(speaking.event))
    await ws.send(json.dumps(configuring.event))
    """
    assert set(program.sites(main=textwrap.dedent(main) + route(body))) == {"await ws.send(json.dumps(speaking.event))"}


# -- the call graph

SPEAK = 'async def speak(ws):\n    await ws.send(json.dumps({"type": "response.create"}))\n'


@pytest.mark.parametrize(
    "call",
    [
        "await speak(ws)",
        "asyncio.create_task(speak(ws))",
        "await asyncio.gather(speak(ws), phone.accept())",
        "await asyncio.wait_for(speak(ws), 5)",
        "asyncio.run_coroutine_threadsafe(speak(ws), key)",
        "asyncio.get_running_loop().create_task(speak(ws))",
        "threading.Thread(target=speak, args=(ws,)).start()",
        "threading.Timer(5, speak, [ws]).start()",
        "asyncio.get_running_loop().call_later(5, lambda: asyncio.create_task(speak(ws)))",
        "await functools.partial(speak, ws)()",
        "await (speak if key else phone.close)(ws)",
        "await {'1': speak}[key](ws)",
    ],
)
def test_a_call_however_it_is_made(program: Program, call: str) -> None:
    site = program.sites(main=SPEAK + route(call)).get(call)
    assert site is not None
    assert (site.role, site.context) == ("call", "live")


def test_a_call_through_an_attribute_set_elsewhere(program: Program) -> None:
    session = """
    class Session:
        def __init__(self, ws):
            self.ws = ws
        async def speak(self):
            await self.ws.send(json.dumps({"type": "response.create"}))
    """
    handler = """
    from session import Session
    class Handler:
        session: Session | None = None
        async def on_start(self, ws):
            self.session = Session(ws)
        async def on_digit(self):
            await self.session.speak()
    """
    main = "from handler import Handler\n" + route(
        "handler = Handler()\nawait handler.on_start(ws)\nawait handler.on_digit()"
    )
    found = program.sites(session=session, handler=handler, main=main)
    assert set(found) >= {"await self.session.speak()", "await handler.on_digit()"}
    assert found["await self.session.speak()"].reached_from[0].symbol == "call"


def test_two_classes_with_the_same_method_are_told_apart(program: Program) -> None:
    main = """
    class Realtime:
        def __init__(self, ws):
            self.ws = ws
        async def push(self):
            await self.ws.send(json.dumps({"type": "response.create"}))

    class Log:
        async def push(self):
            print("response.create")
    """
    body = "realtime, log = Realtime(ws), Log()\nawait realtime.push()\nawait log.push()"
    found = program.sites(main=textwrap.dedent(main) + route(body))
    assert "await realtime.push()" in found
    assert "await log.push()" not in found


# -- contexts

SCRIPT = """
async def main():
    await speak(websockets.connect(URL))

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("code", "context"),
    [
        (route("await speak(ws)"), "live"),
        # Whoever opens a session and makes it speak has a call, also when it is the start of the server that does it.
        ('@app.on_event("startup")\nasync def begin():\n    await speak(websockets.connect(URL))\n', "live"),
        (SCRIPT, "live"),
        ("async def never():\n    await speak(websockets.connect(URL))\n", "dormant"),
        (route("if False:\n    pass\nelse:\n    await speak(ws)"), "live"),
        ("SPEAKS = False\n" + route("if SPEAKS:\n    await speak(ws)"), "dormant"),
        ("SPEAKS = True\n" + route("if not SPEAKS:\n    return\nawait speak(ws)"), "live"),
        ("SPEAKS = False\n" + route("if not SPEAKS:\n    return\nawait speak(ws)"), "dormant"),
        ("SPEAKS = bool(app)\n" + route("if SPEAKS:\n    await speak(ws)"), "live"),
    ],
)
def test_contexts(program: Program, code: str, context: str) -> None:
    found = [site for text, site in program.sites(main=SPEAK + code).items() if "speak(" in text]
    assert [site.context for site in found] == [context]


def test_the_folder_gives_the_context_of_examples(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    found = Program(tmp_path / "examples").sites(main=SPEAK + route("await speak(ws)"))
    assert {site.context for site in found.values()} == {"live"}, "the root's own name is not part of the project"
    found = {site.context: site for site in analyse(tmp_path, discover(tmp_path, (), 10**6).files, Config()).sites()}
    assert set(found) == {"example"}


# -- one function from inside


def function(code: str) -> Func:
    """Return the first function of a module."""
    return Module("m.py", extract(textwrap.dedent(code).encode())).functions[1]


def op_of(func: Func, line: int) -> int:
    """Return the first operation on a line that is no test."""
    return next(index for index, op in enumerate(func.ir.ops) if op.line == line and op.kind != "test")


def reaching_lines(code: str, line: int) -> tuple[list[int], bool]:
    func = function(code)
    found, certain = func.reaching("x", op_of(func, line))
    return sorted(func.ir.ops[index].line for index in found), certain


@pytest.mark.parametrize(
    ("code", "line", "expected"),
    [
        ("def f():\n x = 1\n x = 2\n use(x)", 4, ([3], True)),
        ("def f(x):\n use(x)", 2, ([], False)),
        ("def f(a):\n x = 1\n if a:\n  x = 2\n use(x)", 5, ([2, 4], True)),
        ("def f(a):\n if a:\n  x = 1\n else:\n  x = 2\n use(x)", 6, ([3, 5], False)),
        ("def f(a):\n if a:\n  x = 1\n else:\n  x = 2\n  use(x)", 6, ([5], True)),
        ("def f(a):\n if a:\n  x = 1\n elif b:\n  x = 2\n else:\n  use(x)", 7, ([], False)),
        ("def f(a):\n x = 1\n while a:\n  use(x)\n  x = 2", 4, ([2, 5], True)),
        ("def f(a):\n for x in a:\n  use(x)", 3, ([2], True)),
        ("def f(a):\n for y in a:\n  x = 1\n  use(x)\n  x = 2", 4, ([3], True)),
        ("def f(a):\n with a as x:\n  pass\n use(x)", 4, ([2], True)),
        ("def f(a):\n try:\n  x = 1\n except E:\n  x = 2\n use(x)", 6, ([3, 5], False)),
        ("def f(a):\n x = 1\n if False:\n  x = 2\n use(x)", 5, ([2], True)),
        ("def f(a):\n match a:\n  case 1:\n   x = 1\n  case _:\n   x = 2\n   use(x)", 7, ([6], True)),
        ("def f(a):\n if (x := a):\n  use(x)", 3, ([2], True)),
        ("def f(a):\n x, (y, z) = a\n use(x)", 3, ([2], True)),
        ("def f(a):\n y, (x, z) = a\n use(x)", 3, ([2], True)),
        ("def f(a):\n y, *x = a\n use(x)", 3, ([2], True)),
    ],
)
def test_definitions_that_reach_a_use(code: str, line: int, expected: tuple[list[int], bool]) -> None:
    assert reaching_lines(code, line) == expected


@pytest.mark.parametrize(
    ("code", "lines", "expected"),
    [
        ("def f(a):\n if a:\n  one()\n else:\n  two()", (3, 5), True),
        ("def f(a):\n if a:\n  one()\n two()", (3, 4), False),
        ("def f(a):\n if a:\n  one()\n elif b:\n  two()\n else:\n  three()", (3, 7), True),
        ("def f(a):\n if a:\n  one()\n if b:\n  two()", (3, 5), False),
        ("def f(a):\n try:\n  one()\n except E:\n  two()", (3, 5), False),
        ("def f(a):\n try:\n  zero()\n except E:\n  one()\n except F:\n  two()", (5, 7), True),
        ("def f(a):\n match a:\n  case 1:\n   one()\n  case 2:\n   two()", (4, 6), True),
        ("def f(a):\n for b in a:\n  one()\n else:\n  two()", (3, 5), False),
        ("def f(a):\n if a:\n  if b:\n   one()\n else:\n  if b:\n   two()", (4, 7), True),
    ],
)
def test_arms_that_exclude_each_other(code: str, lines: tuple[int, int], expected: bool) -> None:
    func = function(code)
    one, two = (func.ir.ops[op_of(func, line)].block for line in lines)
    assert func.exclusive(one, two) is expected
    assert func.exclusive(two, one) is expected


@pytest.mark.parametrize(
    ("code", "lines", "expected"),
    [
        ("def f(a):\n one()\n two()", (2, 3), True),
        ("def f(a):\n if a:\n  one()\n two()", (3, 4), False),
        ("def f(a):\n if a:\n  one()\n  two()", (3, 4), True),
        ("def f(a):\n with a:\n  one()\n two()", (3, 4), True),
        ("def f(a):\n if a:\n  with a:\n   one()\n two()", (4, 5), False),
        ("def f(a):\n try:\n  pass\n finally:\n  one()\n two()", (5, 6), True),
        ("def f(a):\n try:\n  one()\n except E:\n  pass\n two()", (3, 6), False),
        ("def f(a):\n while a:\n  one()\n two()", (3, 4), False),
    ],
)
def test_what_comes_before_on_every_way(code: str, lines: tuple[int, int], expected: bool) -> None:
    func = function(code)
    assert func.dominates(op_of(func, lines[0]), op_of(func, lines[1])) is expected


@pytest.mark.parametrize(
    ("code", "line", "expected"),
    [
        ("def f():\n use()", 2, []),
        ("def f():\n if busy:\n  use()", 3, ["busy"]),
        ("def f():\n if busy:\n  pass\n else:\n  use()", 5, ["not busy"]),
        ("def f():\n if busy:\n  return\n use()", 4, ["not busy, early"]),
        ("def f():\n if busy:\n  log()\n use()", 4, []),
        ("def f():\n if busy:\n  log()\n else:\n  return\n use()", 6, ["busy, early"]),
        ("def f():\n while busy:\n  use()", 3, ["busy"]),
        ("def f():\n for x in xs:\n  if busy:\n   continue\n  use()", 5, ["not busy, early"]),
        ("def f():\n for x in xs:\n  if busy:\n   break\n use()", 5, []),
        ("def f():\n if busy:\n  raise E\n with a:\n  use()", 5, ["not busy, early"]),
        ("def f():\n try:\n  if busy:\n   return\n finally:\n  pass\n use()", 7, ["not busy, early"]),
        ("def f():\n if busy:\n  if idle:\n   use()", 4, ["idle", "busy"]),
        ("def f():\n if busy:\n  pass\n elif idle:\n  use()", 5, ["idle", "not busy"]),
        ("def f():\n if busy:\n  return\n elif idle:\n  return\n use()", 6, ["not idle, early", "not busy, early"]),
        ("def f():\n def g():\n  if busy:\n   return\n use()", 5, []),
    ],
)
def test_conditions_in_force(code: str, line: int, expected: list[str]) -> None:
    func = function(code)
    found = [
        f"{'' if condition.wanted else 'not '}{ir.source(condition.test)}{', early' if condition.early else ''}"
        for condition in conditions(func, op_of(func, line))
    ]
    assert sorted(found) == sorted(expected)


def test_an_expression_made_for_one_question_does_not_answer_for_the_next_at_its_address() -> None:
    code = "class State:\n" + "".join(f"    field_{number} = {number}\n" for number in range(40))
    module = Module("m.py", extract((code + "    def read(self):\n        return self\n").encode()))
    evaluator = Evaluator(LinkedProgram(["m.py"], lambda rel: module))
    evaluator.program.module("m.py")
    frame = Frame(next(func for func in module.functions if func.name == "read"), 0)
    found = [evaluator.eval(ir.Attr(ir.Name("self"), f"field_{number}"), frame) for number in range(40)]
    assert found == [[Literal(number)] for number in range(40)]
