"""What can go wrong when a call or a body becomes nothing, a test each: handled right, or refused with a reason."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Any

import pytest

from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import CannotRewrite, NoOpBody, NoOpCall, Operation, Reroute, splice
from pipeline_guard.fixes.rewrite import Rewriter
from pipeline_guard.fixes.run import fix
from pipeline_guard.fixes.source import Source
from pipeline_guard.fixes.tree import Tree
from tests.fix_helpers import fixed, text_of

NOTE = "# DEPRECATED: gone"


def edited(before: str, *operations: Operation) -> str:
    source = Source("x.py", before.encode())
    rewriter = Rewriter(source)
    for operation in operations:
        rewriter.add(operation)
    return splice(source.text, rewriter.finish())


def body_gone(before: str, name: str = "f", **options: bool) -> str:
    tree = Tree(Source("x.py", before.encode()))
    function = next(each for each in tree.functions if each.name == name)
    return edited(before, NoOpBody("x.py", function.lineno, NOTE, **options))


def call_gone(before: str, name: str = "send") -> str:
    tree = Tree(Source("x.py", before.encode()))
    lines = before.split("\n")
    for number, line in enumerate(lines, 1):
        for call in tree.calls_on_line(number):
            if f"{name}(" in line and getattr(call.func, "attr", "") == name:
                return edited(before, NoOpCall("x.py", number, tree.column(call), NOTE))
    raise AssertionError("no such call")


def run(text: str) -> dict[str, Any]:
    module = types.ModuleType("x")
    exec(compile(text, "x.py", "exec"), module.__dict__)
    return module.__dict__


HEAD = """
import asyncio
import json
import logging

import websockets
from fastapi import FastAPI, WebSocket

logger = logging.getLogger(__name__)
app = FastAPI()
URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"

"""
SESSION = (
    HEAD
    + """
class Session:
    def __init__(self, ws):
        self.ws = ws
        self.active_response_id = None
        self.pending = None
        self.realtime_audio_in_queue = asyncio.Queue(maxsize=100)

    async def audio_sender_loop(self):
        while True:
            payload = await self.realtime_audio_in_queue.get()
            await self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))

    async def trigger_response(self, reason):
        if self.active_response_id is not None or self.pending is not None:
            logger.warning("[RESPONSE GUARD] %s", reason)
            return
        self.pending = reason
        try:
            await self.ws.send(json.dumps({"type": "response.create"}))
        except BaseException:
            self.pending = None
            raise

    async def read(self):
        async for raw in self.ws:
            event = json.loads(raw)
            if event["type"] == "response.created":
                self.active_response_id = event["response"]["id"]
                self.pending = None
            elif event["type"] == "response.done":
                if event["response"]["id"] == self.active_response_id:
                    self.active_response_id = None
            elif event["type"] == "response.function_call_arguments.done":
                await self.on_tool(event)
"""
)
ROUTE = """

@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect(URL) as ws:
        session = Session(ws)
        tasks = [asyncio.create_task(session.audio_sender_loop()), asyncio.create_task(session.read())]
        try:
            async for frame in phone.iter_json():
                if frame["event"] == "media":
                    await session.on_frame(frame["media"]["payload"])
        finally:
            for task in tasks:
                task.cancel()
"""
ON_FRAME = """
    async def on_frame(self, payload):
        self.realtime_audio_in_queue.put_nowait(payload)
"""
ON_TOOL = """
    async def on_tool(self, event):
        await self.trigger_response("TOOL_RESULT")
"""


def test_01_nothing_forbidden_stays_behind_the_return() -> None:
    after = body_gone("async def f(ws):\n    await ws.send(1)\n    await ws.send(2)\n")
    assert "send" not in after
    assert after == f"async def f(ws):\n    {NOTE}\n    return\n"


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ("def f():\n    for x in y:\n        yield x\n", inspect.isgeneratorfunction),
        ("async def f():\n    async for x in y:\n        yield x\n", inspect.isasyncgenfunction),
        ("async def f():\n    await g()\n", inspect.iscoroutinefunction),
    ],
)
def test_02_a_function_stays_the_kind_it_was(before: str, kind: Any) -> None:
    assert kind(run(body_gone(before))["f"])


def test_03_a_context_manager_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="contextmanager"):
        body_gone("@contextmanager\ndef f():\n    yield 1\n")


def test_04_a_function_that_returns_an_awaitable_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="returns a value"):
        body_gone("def f(ws):\n    return ws.send(1)\n")


def test_05_a_call_that_is_a_context_manager_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="with statement"):
        call_gone("async def f(ws):\n    async with ws.send(1):\n        pass\n")


def test_06_a_call_whose_result_decides_is_refused() -> None:
    with pytest.raises(CannotRewrite, match=r"expression|condition"):
        call_gone("async def f(ws):\n    if not await ws.send(1):\n        retry()\n")


@pytest.mark.parametrize(
    "place", ["lambda: ws.send(1)", "[ws.send(1) for x in y]", "f'{ws.send(1)}'", "a or ws.send(1)"]
)
def test_07_a_call_inside_an_expression_is_refused(place: str) -> None:
    with pytest.raises(CannotRewrite):
        call_gone(f"def f(ws):\n    g = {place}\n    h(g)\n")


def test_08_what_an_argument_does_is_still_done() -> None:
    after = call_gone("async def f(ws, q):\n    while True:\n        ws.send(await q.get())\n")
    assert after == f"async def f(ws, q):\n    while True:\n        {NOTE}\n        await q.get()\n"


def test_09_a_second_queue_goes_with_its_producers_never_its_consumer_alone(tmp_path: Path) -> None:
    """The frames of the second queue reach the first one; its loop has nothing to send."""
    second = """
    async def on_frame(self, payload):
        if self.urgent:
            self.fast.put_nowait(payload)
        else:
            await self.realtime_audio_in_queue.put(payload)

    async def fast_loop(self):
        while True:
            payload = await self.fast.get()
            await self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))
"""
    session = SESSION.replace(
        "        self.pending = None\n",
        "        self.pending = None\n        self.fast = asyncio.Queue(maxsize=9)\n        self.urgent = False\n",
        1,
    )
    route = ROUTE.replace(
        "create_task(session.read())]", "create_task(session.read()), asyncio.create_task(session.fast_loop())]"
    )
    outcome = fixed(tmp_path, {"app.py": session + second + ON_TOOL + route})
    after = text_of(outcome)
    unit = next(done.unit for done in outcome.done if "PG101" in done.unit.rule)
    assert len(unit.operations) >= 2  # producers and consumer, in one
    assert "self.fast.put" not in after
    assert after.count("self.realtime_audio_in_queue.put(payload)") == 2
    loop = after.partition("async def fast_loop")[2].partition("@app")[0]
    assert "await self.fast.get()" in loop
    assert "ws.send" not in loop.partition("on_tool")[0]


def test_10_and_11_a_task_that_others_wait_for_keeps_running(tmp_path: Path) -> None:
    """The loop of a second queue is a task of gather: only its send goes, or the session would be torn down."""
    after = call_gone(
        "async def loop(ws, q):\n    while True:\n        frame = await q.get()\n        await ws.send(frame)\n"
        "async def main():\n    await asyncio.wait([loop(), other()], return_when=FIRST_COMPLETED)\n"
    )
    assert "while True" in after
    assert "await q.get()" in after
    assert "return_when=FIRST_COMPLETED" in after


def test_12_only_the_override_that_sends_becomes_nothing() -> None:
    before = (
        "class A:\n    @abstractmethod\n    async def f(self, x): ...\n\nclass B(A):\n"
        "    async def f(self, x):\n        await self.ws.send(x)\n"
    )
    tree = Tree(Source("x.py", before.encode()))
    after = edited(before, NoOpBody("x.py", tree.functions[1].lineno, NOTE))
    assert after == before.replace("await self.ws.send(x)\n", f"{NOTE}\n        return\n")
    with pytest.raises(CannotRewrite, match="abstractmethod"):
        edited(before, NoOpBody("x.py", tree.functions[0].lineno, NOTE))


@pytest.mark.parametrize("name", ["__init__", "__aenter__", "__iter__", "__call__", "__del__", "__aexit__"])
def test_13_special_methods_are_refused(name: str) -> None:
    with pytest.raises(CannotRewrite, match="must do its work"):
        body_gone(f"class A:\n    def {name}(self):\n        self.ws.send(1)\n", name)


@pytest.mark.parametrize(
    "decorator", ["app.post('/x')", "app.on_event('startup')", "shared_task", "property", "lru_cache"]
)
def test_14_decorators_that_register_or_change_the_result_are_refused(decorator: str) -> None:
    with pytest.raises(CannotRewrite, match="may need"):
        body_gone(f"@{decorator}\ndef f():\n    g()\n")


def test_15_a_docstring_stays_the_docstring() -> None:
    function = run(body_gone('def f(x):\n    """Says it."""\n    global y\n    y = x\n'))["f"]
    assert function.__doc__ == "Says it."
    assert function(1) is None


def test_16_a_body_with_super_may_go() -> None:
    after = body_gone("class A:\n    def f(self):\n        super().f()\n        __class__\n")
    assert run(after)["A"]().f() is None


def test_17_one_line_suites() -> None:
    assert call_gone("def f(ws):\n    if ws: ws.send(1)\n") == f"def f(ws):\n    if ws:\n        {NOTE}\n        pass\n"
    assert call_gone("def f(ws):\n    a(); ws.send(1); b()\n") == f"def f(ws):\n    {NOTE}\n    a(); b()\n"


def test_18_comments_stay() -> None:
    after = call_gone("def f(ws):\n    ws.send(  # keep me\n        1,  # and me\n    )  # and me too\n    g()\n")
    assert [line.strip() for line in after.split("\n")[1:5]] == ["# keep me", "# and me", "# and me too", NOTE]


def test_19_imports_that_are_still_used_stay_and_needed_ones_come(tmp_path: Path) -> None:
    direct = """
import json

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()

@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        async for frame in phone.iter_json():
            if frame["event"] == "media":
                await ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame["media"]["payload"]}))
"""
    after = text_of(fixed(tmp_path, {"app.py": direct}))
    assert "import asyncio\n" in after
    assert "import logging\n" in after
    assert "import json\n" in after
    assert "logger = logging.getLogger(__name__)\n" in after


def test_19_only_imports_that_the_fix_orphaned_go(tmp_path: Path) -> None:
    """``re`` was unused before and ``base64`` is used elsewhere; ``audioop`` served the dead sender alone."""
    dead = """
    async def old_sender(self, pcm):
        frame = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode()
        await self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame}))

    def heard(self, payload):
        return base64.b64decode(payload)
"""
    head = SESSION.replace("import asyncio\n", "import asyncio\nimport audioop\nimport base64\nimport re\n", 1)
    trigger = ON_TOOL + ON_FRAME
    after = text_of(fixed(tmp_path, {"app.py": head + trigger + dead + ROUTE}))
    assert comments.AUDIO in after
    assert "import audioop" not in after
    assert "import base64\n" in after
    assert "import re\n" in after


def test_20_handlers_and_finally_stay() -> None:
    before = "def f(ws):\n    try:\n        ws.send(1)\n    except OSError:\n        a()\n    finally:\n        b()\n"
    assert call_gone(before) == before.replace("ws.send(1)", f"{NOTE}\n        pass")


def test_21_a_function_that_promises_a_value_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="declared to return bytes"):
        body_gone("def f() -> bytes:\n    g()\n")


def test_22_re_routing_asks_for_a_coroutine_a_receiver_and_hands_the_payload_on(tmp_path: Path) -> None:
    sync = "def f(self):\n    self.ws.send(1)\n"
    with pytest.raises(CannotRewrite, match="cannot await"):
        edited(sync, Reroute("x.py", 2, 5, 'self.trigger_response("TOOL_RESULT")'))
    tool = """
    async def on_tool(self, event):
        await self.ws.send(json.dumps({"type": "conversation.item.create", "item": {"type": "function_call_output"}}))
        await self.ws.send(json.dumps({"type": "response.create", "response": {"instructions": "Be brief."}}))
"""
    outcome = fixed(tmp_path, {"app.py": SESSION + ON_FRAME + tool + ROUTE})
    after = text_of(outcome)
    assert 'await self.trigger_response("TOOL_RESULT", response={"instructions": "Be brief."})' in after
    trigger = after.partition("async def trigger_response")[2].partition("async def read")[0]
    assert trigger.count("response.create") == 1  # the trigger's own send is never a call of itself
    assert "self.trigger_response(" not in trigger


def test_22_a_send_in_a_thread_is_left_alone_with_what_to_do(tmp_path: Path) -> None:
    tool = """
    async def on_tool(self, event):
        await self.trigger_response("TOOL_RESULT")

    def on_key(self, digit):
        asyncio.run_coroutine_threadsafe(self.ws.send(json.dumps({"type": "response.create"})), self.loop)
"""
    route = ROUTE.replace(
        "                    await session.on_frame",
        "                    session.on_key(1)\n                    await session.on_frame",
    )
    outcome = fixed(tmp_path, {"app.py": SESSION + ON_FRAME + tool + route})
    after = text_of(outcome)
    if "run_coroutine_threadsafe(self.trigger_response(" not in after:
        refusal = next(each for each in outcome.refused if each.rule == "PG201")
        assert refusal.by_hand


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", ["    ", "\t", "  "])
def test_23_line_ends_indentation_marks_and_a_missing_last_line_end_stay(newline: str, indent: str) -> None:
    before = f"\ufeffdef f(ws):\n{indent}\x0c\n{indent}if ws:\n{indent * 2}ws.send(1)".replace("\n", newline)
    source = Source("x.py", before.encode())
    line = 4
    rewriter = Rewriter(source)
    rewriter.add(NoOpCall("x.py", line, len(indent) * 2 + 1, NOTE))
    after = source.encode(splice(source.text, rewriter.finish())).decode()
    tail = f"{indent * 2}{NOTE}{newline}{indent * 2}pass"
    assert after == before.removesuffix(f"{indent * 2}ws.send(1)") + tail


def test_24_a_second_run_changes_nothing(tmp_path: Path) -> None:
    timer = """
    async def on_tool(self, event):
        await self.trigger_response("TOOL_RESULT")
        asyncio.get_running_loop().call_later(4, self.recover)

    def recover(self):
        asyncio.ensure_future(self.ws.send(json.dumps({"type": "response.create"})))
"""
    outcome = fixed(tmp_path, {"app.py": SESSION + ON_FRAME + timer + ROUTE})
    assert comments.RESPONSE in text_of(outcome)
    again = fix(outcome.program, lambda finding: True, unsafe=True)
    assert again.done == []
    assert again.program.sources.data == outcome.program.sources.data
    assert text_of(again).count(comments.RESPONSE) == text_of(outcome).count(comments.RESPONSE)


def test_a_frame_is_neither_lost_nor_put_twice(tmp_path: Path) -> None:
    """The handler enqueues and sends as well: the send goes, and no second put takes its place."""
    both = """
    async def on_frame(self, payload):
        self.realtime_audio_in_queue.put_nowait(payload)
        await self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))
"""
    after = text_of(fixed(tmp_path, {"app.py": SESSION + both + ON_TOOL + ROUTE}))
    handler = after.partition("async def on_frame")[2].partition("async def on_tool")[0]
    assert handler.count("put") == 1
    assert comments.AUDIO in handler


def test_a_fast_path_that_returns_becomes_the_put(tmp_path: Path) -> None:
    early = """
    async def on_frame(self, payload):
        if self.realtime_audio_in_queue.empty():
            await self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))
            return
        self.realtime_audio_in_queue.put_nowait(payload)
"""
    after = text_of(fixed(tmp_path, {"app.py": SESSION + early + ON_TOOL + ROUTE}))
    handler = after.partition("async def on_frame")[2].partition("async def on_tool")[0]
    assert handler.count("self.realtime_audio_in_queue.put") == 2
    assert "ws.send" not in handler


def test_frames_of_another_form_are_refused(tmp_path: Path) -> None:
    """The loop sends base64 as it comes; raw bytes on its queue would be noise on the line."""
    raw = """
    async def on_frame(self, payload):
        if self.realtime_audio_in_queue.empty():
            pcm = base64.b64decode(payload)
            event = {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}
            await self.ws.send(json.dumps(event))
        else:
            self.realtime_audio_in_queue.put_nowait(payload)
"""
    outcome = fixed(
        tmp_path, {"app.py": SESSION.replace("import json", "import base64\nimport json", 1) + raw + ON_TOOL + ROUTE}
    )
    refusal = next(each for each in outcome.refused if each.rule in ("PG101", "PG102"))
    assert "another form" in refusal.why
    assert "b64encode(pcm)" in text_of(outcome)


MANUAL = """
import json

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        async for frame in phone.iter_json():
            if frame["event"] == "media":
                await ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame["media"]["payload"]}))
            elif frame["event"] == "dtmf":
                await COMMIT
"""
COMMIT = 'ws.send(json.dumps({"type": "input_audio_buffer.commit"}))'


def test_a_commit_waits_for_the_frames_before_it(tmp_path: Path) -> None:
    """Frames that wait in the queue would reach the server behind the commit, as part of the next turn."""
    after = text_of(fixed(tmp_path, {"app.py": MANUAL.replace("COMMIT", COMMIT)}))
    wait = "await asyncio.wait_for(realtime_audio_in_queue.join(), 2)"
    assert after.index(wait) < after.index(f"await {COMMIT}")
    assert after.count("task_done()") == 2  # of a frame that was sent, and of one that a full queue costs


def test_a_commit_where_the_queue_is_not_at_hand_refuses_it(tmp_path: Path) -> None:
    other = f"\n\nasync def commit(ws):\n    await {COMMIT}\n"
    outcome = fixed(tmp_path, {"app.py": MANUAL.replace("COMMIT", "commit(ws)") + other})
    refusal = next(each for each in outcome.refused if each.rule == "PG102")
    assert "commits the audio itself (app.py:21)" in refusal.why
    assert "realtime_audio_in_queue" not in text_of(outcome)


def test_a_commit_that_nothing_calls_is_no_reason_to_refuse(tmp_path: Path) -> None:
    other = f"\n\nasync def commit(ws):\n    await {COMMIT}\n"
    after = text_of(fixed(tmp_path, {"app.py": MANUAL.replace("await COMMIT", "pass") + other}))
    assert "realtime_audio_in_queue.put_nowait(" in after


AGENTS_SDK = """
import base64

from agents.realtime import RealtimeAgent, RealtimeRunner
from fastapi import FastAPI, WebSocket

app = FastAPI()
agent = RealtimeAgent(name="desk", instructions="Be brief.")


class Calls:
    def __init__(self):
        self.sessions = {}

    async def open(self, call_id):
        self.sessions[call_id] = await RealtimeRunner(agent).run()
        await self.sessions[call_id].__aenter__()

    async def send_audio(self, call_id, audio):
        await self.sessions[call_id].send_audio(audio)


calls = Calls()


@app.websocket("/media")
async def media(phone: WebSocket, call_id: str):
    await phone.accept()
    await calls.open(call_id)
    async for frame in phone.iter_json():
        if frame["event"] == "media":
            await calls.send_audio(call_id, base64.b64decode(frame["media"]["payload"]))
"""


def test_the_frame_is_told_from_what_else_a_wrapper_takes(tmp_path: Path) -> None:
    """The Agents SDK takes bytes, and the loop goes on naming the call that they belong to."""
    after = text_of(fixed(tmp_path, {"app.py": AGENTS_SDK}))
    assert 'realtime_audio_in_queue.put_nowait(base64.b64decode(frame["media"]["payload"]))' in after
    assert "await calls.send_audio(call_id, payload)" in after


def test_a_method_that_is_given_the_socket_keeps_queue_and_loop_to_itself(tmp_path: Path) -> None:
    given = """
import json

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


class Bridge:
    def __init__(self):
        self.frames = 0

    async def listen(self, phone, ws):
        async for frame in phone.iter_json():
            if frame["event"] == "media":
                self.frames += 1
                await ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame["media"]["payload"]}))


@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        await Bridge().listen(phone, ws)
"""
    after = text_of(fixed(tmp_path, {"app.py": given}))
    assert "self.realtime_audio_in_queue" not in after
    assert '        realtime_audio_in_queue.put_nowait(frame["media"]["payload"])' in after
    assert "        async def audio_sender_loop():" in after


def test_an_error_that_is_logged_and_passed_over_still_ends_the_wait_for_its_response(tmp_path: Path) -> None:
    """The bookkeeping stood behind ``if kind == "error": …; continue``: one refusal silenced the agent for good."""
    logged = """
import json
import logging

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()
logger = logging.getLogger(__name__)


class Bridge:
    def __init__(self, ws):
        self.ws = ws

    async def greet(self):
        await self.ws.send(json.dumps({"type": "response.create"}))

    async def answer(self):
        await self.ws.send(json.dumps({"type": "response.create"}))

    async def read(self):
        async for raw in self.ws:
            event = json.loads(raw)
            kind = event.get("type")
            if kind == "error":
                logger.error("error: %s", event)
                continue
            if kind == "session.updated":
                await self.greet()
            elif kind == "input_audio_buffer.committed":
                await self.answer()


@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        await Bridge(ws).read()
"""
    text = text_of(fixed(tmp_path, {"app.py": logged}))
    assert "async def trigger_response" in text
    assert text.index("== self.pending_response") < text.index("continue")


TWO_ROUTES = """
import json

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


class Session:
    def __init__(self, ws):
        self.ws = ws

    async def greet(self):
        await self.ws.send(json.dumps({"type": "response.create"}))

    async def answer(self):
        await self.ws.send(json.dumps({"type": "response.create"}))


async def serve(phone, ws):
    session = Session(ws)
    async for raw in ws:
        event = json.loads(raw)
        if event["type"] == "session.updated":
            await session.greet()
        elif event["type"] == "input_audio_buffer.committed":
            await session.answer()
        elif event["type"] == "response.output_audio.delta":
            await phone.send_json({"event": "media", "media": {"payload": event["delta"]}})


@app.websocket("/phone")
async def phone(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        await serve(phone, ws)


@app.websocket("/browser")
async def browser(page: WebSocket):
    await page.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        session = Session(ws)
        async for raw in ws:
            event = json.loads(raw)
            if event["type"] == "input_audio_buffer.committed":
                await session.answer()
"""


def test_every_route_that_a_session_class_serves_follows_its_responses(tmp_path: Path) -> None:
    """The trigger is the class's: in a call whose events nobody follows, its guard would never open again."""
    after = text_of(fixed(tmp_path, {"app.py": TWO_ROUTES}))
    assert after.count("session.active_response_id = None") == 2
    assert after.count("session.pending_response = None  # refused") == 2
