"""A baseline knows the code it was recorded from, wherever that goes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from tests.ratchet_helpers import HEAD, TAIL, baseline_of, change, compare_with, write

SESSION = """
class CallSession:
    def __init__(self, realtime) -> None:
        self.realtime = realtime
        self.active_response_id: str | None = None

    async def trigger_response(self, reason: str) -> None:
        if self.active_response_id is not None:
            return
        self.active_response_id = "pending"
        try:
            await self.realtime.send(json.dumps({"type": "response.create"}))
        except Exception:
            self.active_response_id = None
            raise

    async def configure(self) -> None:
        await self.realtime.send(
            json.dumps({
                "type": "session.update",
                "session": {"turn_detection": {"type": "server_vad", "create_response": False}},
            })
        )

    async def read_events(self) -> None:
        await self.configure()
        async for message in self.realtime:
            event = json.loads(message)
            if event["type"] == "response.created":
                self.active_response_id = event["response"]["id"]
            elif event["type"] == "response.done":
                if event["response"]["id"] == self.active_response_id:
                    self.active_response_id = None
            elif event["type"] == "input_audio_buffer.committed":
                await self.trigger_response("USER_TURN")
            elif event["type"] == "rate_limits.updated":
                await self.say_more(event)

    async def say_more(self, event) -> None:
        await self.realtime.send(json.dumps({"type": "conversation.item.create", "item": event["item"]}))
        await self.realtime.send(json.dumps({"type": "response.create"}))
"""
KNOWN = '        await self.realtime.send(json.dumps({"type": "response.create"}))\n'
ANOTHER_METHOD = "    def is_open(self) -> bool:\n        return self.realtime.open\n\n"
ONE_LINE = 'send(json.dumps({"type": "response.create"}))'
FORMATTED = """send(
            json.dumps(
                {'type': 'response.create',},
            ),
        )"""
APP = HEAD + SESSION + TAIL
TOOL_SEND = SESSION.rindex(KNOWN)


def rules(findings: list[Finding]) -> list[str]:
    return sorted(finding.rule for finding in findings)


def test_a_recorded_backend_passes(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": APP})
    baseline = baseline_of(tmp_path)
    assert baseline.counts.get("PG201") == 1
    found = compare_with(baseline, tmp_path)
    assert (found.new, found.stale) == ([], [])
    assert len(found.known) == len(baseline.findings)


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("100 lines above", HEAD + "# one more line\n" * 100 + SESSION + TAIL),
        ("formatted", APP.replace(ONE_LINE, FORMATTED)),
        ("a comment behind it", APP.replace(KNOWN, KNOWN[:-1] + "  # the answer\n")),
        ("one level deeper", HEAD + SESSION[:TOOL_SEND] + "        if True:\n    " + KNOWN + TAIL),
        ("class and function renamed", APP.replace("CallSession", "PhoneCall").replace("say_more", "go_on")),
        ("another method above", APP.replace("    async def configure", ANOTHER_METHOD + "    async def configure", 1)),
        ("written with carriage returns", APP.replace("\n", "\r\n")),
    ],
)  # fmt: skip
def test_code_that_moved_is_known(name: str, after: str, tmp_path: Path) -> None:
    found = change(tmp_path, {"app.py": APP}, {"app.py": after})
    assert rules(found.new) == [], name
    assert found.stale == []


def test_a_file_that_was_renamed_is_known(tmp_path: Path) -> None:
    found = change(tmp_path, {"app.py": APP}, {"server/calls/session.py": APP})
    assert (found.new, found.stale) == ([], [])


def test_code_that_went_to_another_file_is_known(tmp_path: Path) -> None:
    found = change(
        tmp_path,
        {"app.py": APP},
        {"session.py": HEAD + SESSION, "app.py": HEAD + "from session import CallSession\n" + TAIL},
    )
    assert (found.new, found.stale) == ([], [])


def test_a_copy_is_one_new_finding(tmp_path: Path) -> None:
    """A set of fingerprints would know the copy too."""
    found = change(tmp_path, {"app.py": APP}, {"app.py": HEAD + SESSION + KNOWN + TAIL})
    assert rules(found.new) == ["PG201"]


def test_a_copy_in_another_function_is_one_new_finding(tmp_path: Path) -> None:
    copy = "\n    async def answer_again(self, event) -> None:\n" + KNOWN
    called = SESSION.replace(
        "await self.say_more(event)", "await self.say_more(event)\n                await self.answer_again(event)"
    )
    found = change(tmp_path, {"app.py": APP}, {"app.py": HEAD + called + copy + TAIL})
    assert [f.rule for f in found.new if f.symbol.endswith("answer_again")] == ["PG201"]
    assert len([f for f in found.new if f.rule == "PG201"]) == 1


def test_a_statement_that_was_edited_is_no_second_one(tmp_path: Path) -> None:
    after = (
        HEAD
        + SESSION[:TOOL_SEND]
        + KNOWN.replace(
            '{"type": "response.create"}', '{"type": "response.create", "response": {"instructions": "Be brief"}}'
        )
        + TAIL
    )
    found = change(tmp_path, {"app.py": APP}, {"app.py": after})
    assert (found.new, found.stale) == ([], [])


def test_what_is_mended_is_stale_and_does_not_fail(tmp_path: Path) -> None:
    after = HEAD + SESSION[:TOOL_SEND] + '        await self.trigger_response("LIMITS")\n' + TAIL
    found = change(tmp_path, {"app.py": APP}, {"app.py": after})
    assert found.new == []
    assert [known.rule for known in found.stale] == ["PG201"]


def test_a_send_that_goes_through_the_trigger_now_is_no_new_retry(tmp_path: Path) -> None:
    """The reason that the trigger is given tells that it is a retry; it was one before, and past the guard."""
    retry = """            elif event["type"] == "error":
                await asyncio.sleep(1)
                {send}
"""
    direct, through = KNOWN.strip(), 'await self.trigger_response("SERVER_ERROR_RETRY")'
    head, tail = SESSION.split("\n    async def say_more", 1)
    before, after = (f"{head}\n{retry.format(send=send)}\n    async def say_more{tail}" for send in (direct, through))
    found = change(tmp_path, {"app.py": HEAD + before + TAIL}, {"app.py": HEAD + after + TAIL})
    assert rules(found.new) == []


def test_a_suppression_accepts_a_new_finding(tmp_path: Path) -> None:
    allowed = KNOWN[:-1] + "  # pipeline-guard: ignore[PG201] the bank's own tool answers twice\n"
    found = change(tmp_path, {"app.py": APP}, {"app.py": HEAD + SESSION + allowed + TAIL})
    assert [f.rule for f in found.new if f.rule == "PG201"] == []


def test_the_guard_may_not_vanish(tmp_path: Path) -> None:
    after = APP.replace("        if self.active_response_id is not None:\n            return\n", "")
    found = change(tmp_path, {"app.py": APP}, {"app.py": after})
    assert {"PG203", "PG904"} & set(rules(found.new))


def test_a_guard_that_is_not_perfect_is_better_than_none(tmp_path: Path) -> None:
    """What is still wrong with it is a finding, and was none as long as there was no guard at all."""
    weak = APP.replace('        self.active_response_id = "pending"\n', "")
    bare = weak.replace("        if self.active_response_id is not None:\n            return\n", "")
    assert "PG203" in baseline_rules(tmp_path, bare)
    assert baseline_rules(tmp_path, weak) & {"PG204", "PG205", "PG206"}
    assert change(tmp_path, {"app.py": bare}, {"app.py": weak}).new == []


def baseline_rules(folder: Path, code: str) -> set[str]:
    write(folder, {"app.py": code})
    return set(baseline_of(folder).counts)


GREETER = APP.replace('"input_audio_buffer.committed"', '"session.updated"').replace("USER_TURN", "GREETING")


@pytest.mark.parametrize("setting", [', "create_response": True', ""])
def test_the_session_may_not_begin_to_answer_turns(setting: str, tmp_path: Path) -> None:
    """No rule objects where the client triggers no turns, and yet another party answers them than before."""
    after = GREETER.replace(', "create_response": False', setting)
    found = change(tmp_path, {"app.py": GREETER}, {"app.py": after})
    flipped = next(f for f in found.new if f.rule == "PG904")
    assert "create_response was false here" in flipped.message
    assert flipped.symbol == "CallSession.configure"


def test_what_a_rule_says_of_the_session_is_said_once(tmp_path: Path) -> None:
    after = APP.replace('"create_response": False', '"create_response": True')
    assert rules(change(tmp_path, {"app.py": APP}, {"app.py": after}).new) == ["PG211"]


def test_a_session_that_stops_answering_is_none(tmp_path: Path) -> None:
    on = APP.replace('"create_response": False', '"create_response": True')
    found = change(tmp_path, {"app.py": on}, {"app.py": APP})
    assert found.new == []


def test_a_lost_trigger_is_one_finding_and_not_one_for_each_call(tmp_path: Path) -> None:
    """Every send of a lane without one trigger is a finding; a change that loses it is one."""
    second = """
    async def trigger_response_now(self) -> None:
        if self.active_response_id is not None:
            return
        self.active_response_id = "pending"
        try:
            await self.realtime.send(json.dumps({"type": "response.create"}))
        except Exception:
            self.active_response_id = None
            raise
"""
    before = (
        SESSION[:TOOL_SEND].replace("trigger_response(", "ask_for_answer(")
        + "        await self.ask_for_answer('TOOL')\n"
    )
    after = before.replace("await self.ask_for_answer('TOOL')", "await self.trigger_response_now()") + second
    found = change(tmp_path, {"app.py": HEAD + before + TAIL}, {"app.py": HEAD + after + TAIL})
    assert rules(found.new).count("PG904") == 1
    lost = next(f for f in found.new if f.rule == "PG904")
    assert "ask_for_answer() was the one trigger" in lost.message


QUEUE = """
class CallSession:
    def __init__(self, realtime) -> None:
        self.realtime = realtime
        self.realtime_audio_in_queue = asyncio.Queue(maxsize=200)

    async def audio_sender_loop(self) -> None:
        while True:
            chunk = await self.realtime_audio_in_queue.get()
            await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))
"""
SECOND_SEND = """            if self.held_back:
                old = self.held_back.pop(0)
                await self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": old}))
"""
QUEUE_TAIL = """
    async def read_frames(self, twilio) -> None:
        async for message in twilio.iter_text():
            frame = json.loads(message)
            if frame["event"] == "media":
                self.realtime_audio_in_queue.put_nowait(frame["media"]["payload"])


@app.websocket("/media-stream")
async def media_stream(twilio: WebSocket) -> None:
    await twilio.accept()
    async with websockets.connect(REALTIME_URL) as realtime:
        call = CallSession(realtime)
        asyncio.create_task(call.audio_sender_loop())
        await call.read_frames(twilio)
"""


def test_the_sender_may_not_send_from_a_second_place(tmp_path: Path) -> None:
    """No rule says so, because it is still one function; it was how a private buffer got past the queue."""
    held = QUEUE.replace("maxsize=200)\n", "maxsize=200)\n        self.held_back = []\n")
    found = change(tmp_path, {"app.py": HEAD + held + QUEUE_TAIL}, {"app.py": HEAD + held + SECOND_SEND + QUEUE_TAIL})
    assert rules(found.new) == ["PG904"]
    assert "at one more place" in found.new[0].message


STT = """
import os

from openai import OpenAI

from app import transcripts

USE_WHISPER = {switch}


def hear(audio) -> None:
    if USE_WHISPER:
        text = OpenAI().audio.transcriptions.create(model="whisper-1", file=audio).text
        transcripts.append(text)
"""
STT_APP = HEAD + "transcripts = []\n" + SESSION.replace(
    'await self.trigger_response("USER_TURN")',
    'await self.trigger_response("USER_TURN")\n                import hearing\n                hearing.hear(event)',
) + TAIL  # fmt: skip


@pytest.mark.parametrize("switch", ["True", 'os.getenv("USE_WHISPER", "0") == "1"'])
def test_a_flag_may_not_open_dead_code_again(switch: str, tmp_path: Path) -> None:
    before = {"app.py": STT_APP, "hearing.py": STT.format(switch="False")}
    found = change(tmp_path, before, {"app.py": STT_APP, "hearing.py": STT.format(switch=switch)})
    assert [f.path for f in found.new] == ["hearing.py"]
    assert "when the baseline was recorded" in found.new[0].message.lower()


def test_code_that_is_switched_off_is_no_new_finding(tmp_path: Path) -> None:
    """It is dead now, and dead code is a finding; but it was live, and that was worse."""
    before = {"app.py": STT_APP, "hearing.py": STT.format(switch="True")}
    found = change(tmp_path, before, {"app.py": STT_APP, "hearing.py": STT.format(switch="False")})
    assert found.new == []


def test_a_file_that_cannot_be_read_is_never_known_and_says_nothing_of_the_rest(tmp_path: Path) -> None:
    before = {"app.py": STT_APP, "hearing.py": STT.format(switch="False")}
    found = change(tmp_path, before, {"app.py": STT_APP + "\ndef broken(:\n", "hearing.py": STT.format(switch="False")})
    assert rules(found.new) == ["PG901"]
    baseline = baseline_of(tmp_path)
    assert rules(compare_with(baseline, tmp_path).new) == ["PG901"]


def test_a_file_that_cannot_be_read_hides_nothing_in_others(tmp_path: Path) -> None:
    found = change(tmp_path, {"app.py": APP}, {"app.py": HEAD + SESSION + KNOWN + TAIL, "tools.py": "def broken(:\n"})
    assert rules(found.new) == ["PG201", "PG901"]


def test_rules_that_are_not_asked_for_are_neither_new_nor_stale(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": APP})
    baseline = baseline_of(tmp_path)
    found = compare_with(baseline, tmp_path, Config(select=("PG4",)))
    assert (found.new, found.known, found.stale) == ([], [], [])
