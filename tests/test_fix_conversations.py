"""The codemod on backends that run: the conversation after it is the same or better, and it was doubled before.

Each backend of ``fixtures/runnable`` is called between the two simulators as it is, after the safe fixes, and after all
of them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline_guard.certify.callers import patient as caller
from pipeline_guard.certify.contract_call import ContractCall, Outcome
from pipeline_guard.fixes.run import fix
from tests.conversations import RUNNABLE, Caller, Conversation, caller_with_keys, converse, slow_caller
from tests.fix_helpers import program_of

AUDIO = "every frame of the caller once and in order"
ACTIVE = "no active-response error"
DUPLICATE = "no duplicate reply"
UNDERSTOOD = "service, city and confirmation understood"


class Leak(NamedTuple):
    """A backend, who calls it, what shows its leak, and how many answers beside those to turns the caller wants."""

    backend: str
    caller: Caller
    shows: Callable[[Conversation], bool]
    safely: bool
    others: int = 0


LEAKS = {
    "each loud frame is sent twice, and a key collides": Leak(
        "fast_path", caller_with_keys, lambda c: c.failed == {AUDIO, UNDERSTOOD, ACTIVE}, True, others=1
    ),
    "everybody sends response.create": Leak("no_trigger", caller, lambda c: c.active_errors == 3, False),
    "SDK and server both answer": Leak("sdk_double", caller, lambda c: c.active_errors == 3, False),
    "a watchdog speaks into a silence": Leak(
        "recovering_session", slow_caller, lambda c: DUPLICATE in c.failed and c.answers == 4, True
    ),
    "a key and a recovery collide": Leak(
        "recovering_session", caller_with_keys, lambda c: c.active_errors == 2, True, others=1
    ),
    "Whisper's words are answered too": Leak("second_recogniser", caller, lambda c: c.answers > c.turns, False),
    "two voices greet": Leak("twiml_greeting", caller, lambda c: c.twiml != [], False),
}


def mended(folder: Path, to: Path, *, unsafe: bool) -> Path:
    """Copy a backend and mend the copy."""
    shutil.copytree(folder, to)
    outcome = fix(program_of(to), lambda finding: True, unsafe=unsafe)
    for path, data in outcome.program.sources.data.items():
        (to / path).write_bytes(data)
    return to


def assert_no_worse(before: Conversation, after: Conversation, others: int) -> None:
    assert after.greeting == before.greeting
    assert after.failed <= before.failed
    assert after.active_errors <= before.active_errors
    assert after.lost <= before.lost
    assert after.answers <= max(before.answers, before.turns + others)
    assert len(after.given) <= len(before.given)
    assert after.troubles == before.troubles == []
    assert len(after.outcome.errors) <= len(before.outcome.errors)


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_a_mended_backend_holds_the_same_conversation_without_the_double(leak: Leak, tmp_path: Path) -> None:
    folder = RUNNABLE / leak.backend
    before = converse(folder, leak.caller)
    assert leak.shows(before), before

    safe = converse(mended(folder, tmp_path / "safe", unsafe=False), leak.caller)
    assert_no_worse(before, safe, leak.others)
    assert leak.shows(safe) != leak.safely, safe

    after = converse(mended(folder, tmp_path / "all", unsafe=True), leak.caller)
    assert_no_worse(safe, after, leak.others)
    assert after.failed == set()
    assert after.turns == 3
    assert after.answers == after.turns + leak.others
    assert after.active_errors == after.lost == 0
    assert after.twiml == []
    assert "heard by somebody else" not in after.given
    left = [each.rule for each in program_of(tmp_path / "all").findings if each.severity != "note"]
    assert left == []


def test_the_only_greeting_is_not_taken_out(tmp_path: Path) -> None:
    """Twilio's voice is one too many only where the session greets: without it the caller would be met by silence."""
    folder = tmp_path / "greets"
    shutil.copytree(RUNNABLE / "twiml_greeting", folder)
    app = folder / "app.py"
    app.write_text(
        app.read_text("utf-8").replace('                await self.trigger_response("GREETING")\n', ""), "utf-8"
    )
    after = mended(folder, tmp_path / "all", unsafe=True)
    assert converse(after, caller).twiml == converse(folder, caller).twiml == ["Please wait while we connect you."]


@pytest.mark.parametrize(("name", "fault"), [("no_trigger", "close-1001@2"), ("sdk_double", "close-1011@2")])
def test_a_call_whose_session_breaks_ends_as_soon_as_before(name: str, fault: str, tmp_path: Path) -> None:
    """A frame that could not be sent ended the handler; a task that dies alone would leave the caller in silence."""
    before = converse(RUNNABLE / name, caller, fault)
    after = converse(mended(RUNNABLE / name, tmp_path / "all", unsafe=True), caller, fault)
    assert after.seconds <= before.seconds + 0.5


@contextmanager
def running(folder: Path, realtime_url: str) -> Iterator[str]:
    """Run a backend with uvicorn in a process of its own; yields its webhook."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"],
        cwd=folder,
        env={**os.environ, "REALTIME_URL": realtime_url, "OPENAI_API_KEY": "sk-test"},
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/incoming-call"
    finally:
        process.terminate()
        process.wait()


def call_process(folder: Path) -> Outcome:
    async def main() -> Outcome:
        test_call = ContractCall(seed=1, speed=4.0)
        async with test_call.openai:
            with running(folder, test_call.openai.url) as webhook:
                return await test_call.run(webhook)

    return asyncio.run(main())


def test_the_command_line_mends_a_backend_that_runs_in_its_own_process(tmp_path: Path) -> None:
    folder = tmp_path / "backend"
    shutil.copytree(RUNNABLE / "no_trigger", folder)
    assert ACTIVE in call_process(folder).failed
    command = [sys.executable, "-m", "pipeline_guard", "fix", str(folder), "--unsafe-fixes"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = call_process(folder)
    assert (outcome.failed, outcome.turns, outcome.responses, outcome.errors) == ([], 3, 4, [])
