"""A function that becomes nothing goes with what starts it, and never at the cost of those that wait for its end."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import CannotRewrite, TakeElement, splice
from pipeline_guard.fixes.rewrite import Rewriter
from pipeline_guard.fixes.run import fix
from pipeline_guard.fixes.source import Source
from tests.fix_helpers import program_of, text_of

BACKEND = """
import asyncio
import json
import logging
import threading

import websockets
from fastapi import BackgroundTasks, FastAPI, WebSocket

logger = logging.getLogger(__name__)
app = FastAPI()
CREATE = {"type": "response.create"}


class Session:
    def __init__(self, ws):
        self.ws = ws
        self.loop = asyncio.get_running_loop()
        self.active_response_id = None
        self.pending = None
        self.nudging = None

    async def trigger_response(self, reason):
        if self.active_response_id is not None or self.pending is not None:
            logger.warning("[RESPONSE GUARD] %s", reason)
            return
        self.pending = reason
        try:
            await self.ws.send(json.dumps({"type": "response.create", "event_id": reason}))
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
            elif event["type"] == "input_audio_buffer.committed":
                await self.trigger_response("USER_TURN")
                await self.after_turn()

    async def other(self):
        await self.ws.ping()

    async def after_turn(self):
START

NUDGE


@app.websocket("/media")
async def media(phone: WebSocket):
    await phone.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as ws:
        await Session(ws).read()
"""
LOOP = """
async def nudge(self):
    while True:
        await asyncio.sleep(4)
        await self.ws.send(json.dumps(CREATE))
"""
THREAD = """
def nudge(self):
    while True:
        time.sleep(4)
        asyncio.run_coroutine_threadsafe(self.ws.send(json.dumps(CREATE)), self.loop)
"""
GONE = f"async def nudge(self):\n    {comments.RESPONSE}\n    return"


def fixed(folder: Path, start: str, nudge: str) -> tuple[str, str]:
    """Return the start and the function as they are after the fix."""
    text = BACKEND.replace("START", textwrap.indent(textwrap.dedent(start).strip(), " " * 8))
    text = text.replace("NUDGE", textwrap.indent(textwrap.dedent(nudge).strip(), " " * 4))
    (folder / "app.py").write_text(text.lstrip("\n"), encoding="utf-8")
    outcome = fix(program_of(folder), lambda finding: not finding.rule.startswith("PG5"), unsafe=True)
    assert not fix(outcome.program, lambda finding: True, unsafe=True).program.mentions(
        "self.nudge())\n        self.nudge"
    )
    after = text_of(outcome)
    middle = after.partition("async def after_turn(self):\n")[2].partition("\n\n\n@app")[0]
    first, head, rest = middle.partition("    async def nudge" if "    async def nudge" in middle else "    def nudge")
    return textwrap.dedent(first).strip(), textwrap.dedent(head + rest).strip()


STARTS = {
    "a task": ("asyncio.create_task(self.nudge())", LOOP),
    "a task in a name that nobody reads": ("task = asyncio.create_task(self.nudge())", LOOP),
    "a task in a lambda": ("self.loop.call_later(1, lambda: asyncio.ensure_future(self.nudge()))", LOOP),
    "a thread": ("threading.Thread(target=self.nudge, daemon=True).start()", THREAD),
    "a timer": ("self.loop.call_later(4, self.nudge)", THREAD),
    "an executor": ("self.loop.run_in_executor(None, self.nudge)", THREAD),
    "a scheduler's job": ('scheduler.add_job(self.nudge, "interval", seconds=4)', THREAD),
    "a background task": ("background.add_task(self.nudge)", THREAD),
}


@pytest.mark.parametrize("case", STARTS, ids=str)
def test_what_only_starts_it_goes(tmp_path: Path, case: str) -> None:
    start, nudge = STARTS[case]
    first, function = fixed(tmp_path, start, nudge)
    assert first == f"{comments.RESPONSE}\npass"
    assert function.endswith(f"    {comments.RESPONSE}\n    return")
    assert "send" not in function


def test_a_thread_that_is_made_and_started_goes_with_its_start(tmp_path: Path) -> None:
    start = "thread = threading.Thread(target=self.nudge)\nthread.daemon = True\nthread.start()\nlogger.info('turn')"
    first, _ = fixed(tmp_path, start, THREAD)
    assert first == f"{comments.RESPONSE}\nlogger.info('turn')"


HANDLES = {
    "cancelled": ("self.nudging = asyncio.create_task(self.nudge())\nself.nudging.cancel()", LOOP),
    "joined": ("thread = threading.Thread(target=self.nudge)\nthread.start()\nthread.join()", THREAD),
    "asked": ("task = asyncio.create_task(self.nudge())\nlogger.info('%s', task.done())", LOOP),
    "kept for others": ("self.nudging = asyncio.create_task(self.nudge())", LOOP),
}


@pytest.mark.parametrize("case", HANDLES, ids=str)
def test_a_handle_that_is_used_keeps_working(tmp_path: Path, case: str) -> None:
    start, nudge = HANDLES[case]
    first, function = fixed(tmp_path, start, nudge)
    assert first == start
    assert function.endswith(f"    {comments.RESPONSE}\n    return")


def test_a_function_that_the_first_of_several_tasks_may_be_keeps_its_loop(tmp_path: Path) -> None:
    """One task at once over is the end of a call where the others are cancelled behind the wait."""
    start = """
        nudging = asyncio.create_task(self.nudge())
        other = asyncio.create_task(self.other())
        await asyncio.wait([nudging, other], return_when=asyncio.FIRST_COMPLETED)
    """
    first, function = fixed(tmp_path, start, LOOP)
    assert first == textwrap.dedent(start).strip()
    assert "await asyncio.sleep(4)" in function
    assert "send" not in function


@pytest.mark.parametrize(
    "start",
    [
        "if self.nudging is None or self.nudging.done():\n    self.nudging = asyncio.create_task(self.nudge())",
        "while self.ws:\n    thread = threading.Thread(target=self.nudge)\n    thread.start()\n    thread.join()",
        "while self.ws:\n    await self.nudge()",
    ],
)
def test_what_is_started_again_whenever_it_is_over_keeps_its_pause(tmp_path: Path, start: str) -> None:
    """Without the pause the loop around it would take all of the processor."""
    nudge = THREAD if "threading" in start else LOOP
    first, function = fixed(tmp_path, start, nudge)
    assert first == start
    assert "sleep(4)" in function
    assert "send" not in function


COLLECTED = {
    "gather": ("await asyncio.gather(self.other(), self.nudge())", "await asyncio.gather(self.other())"),
    "the first of gather": ("await asyncio.gather(self.nudge(), self.other())", "await asyncio.gather(self.other())"),
    "a list of tasks": (
        "tasks = [asyncio.create_task(self.other()), asyncio.create_task(self.nudge())]\n"
        "await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)\nfor task in tasks:\n    task.cancel()",
        "tasks = [asyncio.create_task(self.other())]\n"
        "await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)\nfor task in tasks:\n    task.cancel()",
    ),
}


@pytest.mark.parametrize("case", COLLECTED, ids=str)
def test_one_of_several_tasks_goes_out_of_the_list(tmp_path: Path, case: str) -> None:
    start, after = COLLECTED[case]
    first, function = fixed(tmp_path, start, LOOP)
    assert first == f"{comments.RESPONSE}\n{after}"
    assert function == GONE


def test_a_task_that_is_put_among_others_is_not_put_there(tmp_path: Path) -> None:
    start = """
        tasks = []
        tasks.append(asyncio.create_task(self.other()))
        tasks.append(asyncio.create_task(self.nudge()))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    """
    first, function = fixed(tmp_path, start, LOOP)
    kept = textwrap.dedent(start).strip()
    assert first == kept.replace("tasks.append(asyncio.create_task(self.nudge()))", comments.RESPONSE)
    assert function == GONE


def test_a_result_with_a_place_of_its_own_stays(tmp_path: Path) -> None:
    start = "first, second = await asyncio.gather(self.nudge(), self.other())"
    first, _ = fixed(tmp_path, start, LOOP)
    assert first == start


def test_a_function_that_does_more_is_still_started(tmp_path: Path) -> None:
    start = "self.loop.call_later(4, self.nudge)"
    more = "def nudge(self):\n    self.nudged = True\n    asyncio.ensure_future(self.ws.send(json.dumps(CREATE)))"
    first, function = fixed(tmp_path, start, more)
    assert first == start
    assert function == f"def nudge(self):\n    self.nudged = True\n    {comments.RESPONSE}"


@pytest.mark.parametrize(
    ("before", "column", "after"),
    [
        ("x = [a(), b(), c()]\n", 11, "# gone\nx = [a(), c()]\n"),
        ("x = [\n    a(),\n    b(),\n]\n", 5, "# gone\nx = [\n    a(),\n]\n"),
        ("x = {a(), b()}\n", 6, "# gone\nx = {b()}\n"),
    ],
)
def test_an_element_is_taken_out(before: str, column: int, after: str) -> None:
    source = Source("x.py", before.encode())
    rewriter = Rewriter(source)
    rewriter.add(TakeElement("x.py", 3 if "\n    b" in before else 1, column, "# gone"))
    assert splice(source.text, rewriter.finish()) == after


@pytest.mark.parametrize(
    ("before", "column"), [("x = (a(), b())\n", 6), ("x = [a()]\n", 6), ("y(); x = [a(), b()]\n", 11)]
)
def test_an_element_that_cannot_go_by_itself_is_refused(before: str, column: int) -> None:
    with pytest.raises(CannotRewrite):
        Rewriter(Source("x.py", before.encode())).add(TakeElement("x.py", 1, column, "# gone"))


def test_the_mark_of_a_request_goes_with_it(tmp_path: Path) -> None:
    """A timer set ``pending`` and sent; with the send alone gone, no turn would ever be answered again."""
    start = "self.loop.call_later(4, self.nudge)"
    marked = """
        def nudge(self):
            self.nudged = True
            self.pending = True
            try:
                asyncio.ensure_future(self.ws.send(json.dumps(CREATE)))
            except OSError:
                logger.warning("gone")
    """
    _, function = fixed(tmp_path, start, marked)
    assert "self.pending" not in function
    assert "self.nudged = True" in function


def test_a_request_that_is_led_through_the_trigger_does_not_find_its_own_mark(tmp_path: Path) -> None:
    start = """
        self.pending = True
        await self.ws.send(json.dumps(CREATE))
        logger.info("asked")
    """
    first, _ = fixed(tmp_path, start, "def nudge(self):\n    logger.info('quiet')")
    assert first == 'await self.trigger_response("USER_TURN")\nlogger.info("asked")'
