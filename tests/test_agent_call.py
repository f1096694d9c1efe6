"""Whole calls of the reference agent over real sockets, between the two simulators, in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_guard.__main__ import main as check_main
from pipeline_guard.certify import virtual_time
from pipeline_guard.certify.contract_call import Outcome
from pipeline_guard.certify.faults import ENDS_CONNECTION, KINDS, parse_fault, seeded
from pipeline_guard.certify.openai_simulator import OpenAISimulator
from pipeline_guard.certify.realtime.script import Reply, Script, Speech, ToolCall, sequence
from pipeline_guard.certify.record import Entry
from pipeline_guard.certify.twilio.phone import Phone
from pipeline_guard.certify.twilio_simulator import TwilioCall
from pipeline_guard.certify.utterances import load_utterances
from reference_agent import simulated_call
from reference_agent.call_log import CallIds
from reference_agent.locksmith import Lead
from reference_agent.settings import Settings
from reference_agent.simulated_call import TOKEN, make_test_call, running

LEAD = {"service": "התקנת מנעול חכם", "city": "תל אביב", "confirmed": True}
SERVICE, CITY, YES = load_utterances()


@dataclass
class Played:
    """A call that is over, from both peers and from the agent's own log."""

    openai: OpenAISimulator
    phone: TwilioCall
    log: list[dict[str, Any]]
    metrics: str
    heard_ms: int  # of the agent, by the caller

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    def received(self, event_type: str) -> list[Entry]:
        return [e for e in self.openai.record.of(event_type, direction="received") if e.peer == "openai"]


def play(
    tmp_path: Path,
    caller: Callable[[Phone], Awaitable[None]],
    script: Script,
    *faults: str,
    **settings: Any,
) -> Played:
    """Make a call with this caller and this model."""

    async def main() -> Played:
        plan = [parse_fault(text) for text in faults]
        async with OpenAISimulator(script=script, faults=plan) as openai:
            configured = replace(
                Settings("key", TOKEN, websocket_base_url=openai.websocket_base_url),
                call_log=tmp_path / "calls.jsonl",
                **settings,
            )
            async with running(configured) as (server, port):
                phone = TwilioCall(
                    f"http://127.0.0.1:{port}/twilio/voice",
                    caller,
                    auth_token=TOKEN,
                    faults=plan,
                    record=openai.record,
                    clock=lambda: openai.now,
                )
                await phone.run()
                heard = sum(len(piece.audio) for leg in phone.legs for piece in leg.stream.played(phone.now)) // 8
                while server.agent.calls:
                    await asyncio.sleep(0.1)
                metrics = server.agent.metrics.text().decode()
        log = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text(encoding="utf-8").splitlines()]
        return Played(openai, phone, log, metrics, heard)

    return virtual_time.run(main())


async def says_nothing(phone: Phone) -> None:
    await phone.listen(quiet=1.0)


def test_the_contracts_call_passes_and_its_log_shows_one_pipeline(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="reference_agent")
    outcome = virtual_time.run(make_test_call(seed=3))
    assert outcome.failed == []
    assert (outcome.turns, outcome.responses, outcome.errors) == (3, 4, [])
    lines = Counter(record.getMessage() for record in caplog.records)
    active = "[PIPELINE] LIVE AUDIO PIPELINE ACTIVE: Twilio → realtime_audio_in_queue → send_audio_chunk (single path)"
    assert lines[active] == 1
    assert lines["[GREETING] Using OpenAI Realtime for greeting (same session, same pipeline)"] == 1
    status = [line for line in lines if line.startswith("[PIPELINE STATUS] sent=")]
    assert len(status) >= 3
    assert status[-1].endswith("| user_has_spoken=True")


def test_the_log_of_a_call_passes_the_audit(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="reference_agent")
    caplog.handler.addFilter(CallIds())
    assert virtual_time.run(make_test_call(seed=2)).passed
    log = tmp_path / "agent.log"
    log.write_text("".join(f"[{r.call}] {r.getMessage()}\n" for r in caplog.records), encoding="utf-8")  # type: ignore[attr-defined]
    assert check_main(["audit-log", str(log), "--format", "json"]) == 0
    audit = json.loads(capsys.readouterr().out)
    assert "4 responses, 3 turns, 1 triggers (1 greeting)" in json.dumps(audit)


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"close-without-stop"}))
def test_a_fault_leaves_the_call_whole(name: str) -> None:
    outcome = virtual_time.run(make_test_call(seed=1, faults=[parse_fault(name)]))
    assert outcome.reasons == []
    assert outcome.failed == []
    assert outcome.turns == 3
    assert all(arrivals.is_exact for arrivals in outcome.arrivals)


@pytest.mark.parametrize("seed", [4, 12, 26, 33, 39])
def test_faults_together_leave_the_call_whole(seed: int) -> None:
    faults = seeded(seed, names=set(KINDS) - ENDS_CONNECTION)
    outcome = virtual_time.run(make_test_call(seed, faults=faults))
    assert outcome.failed == [], [str(fault) for fault in faults]


@pytest.mark.parametrize("name", ["close-1006@2", "close-1011@3", "half-open@2", "session-expired@4"])
def test_a_connection_lost_in_a_turn_loses_and_doubles_no_audio(name: str) -> None:
    outcome = virtual_time.run(make_test_call(seed=1, faults=[parse_fault(name), parse_fault("refuse-connect@2")]))
    assert outcome.reasons == []
    assert len(outcome.arrivals) == 2
    assert all(arrivals.is_exact for arrivals in outcome.arrivals)
    assert outcome.turns == 4  # one was heard in both sessions, for its words were lost with the first


@pytest.mark.parametrize(
    "names",
    [
        ["drop-created@3"],
        ["failed-response@2", "drop-done@2"],
        ["drop-created@2", "failed-response@2", "drop-done@2"],
        ["drop-created@4", "incomplete-response@4"],
    ],
)
def test_a_response_whose_start_or_end_was_lost_answers_its_turn_and_no_other(names: list[str]) -> None:
    outcome = virtual_time.run(make_test_call(seed=1, faults=[parse_fault(name) for name in names]))
    assert outcome.failed == []
    assert outcome.reasons == []


def test_a_response_whose_start_was_lost_is_in_the_log_as_late(tmp_path: Path) -> None:
    played = play(tmp_path, says_nothing, sequence(Reply.say("שלום", 1000)), "drop-created@1")
    assert [line.get("late") for line in played.logged("response.created")] == [True]
    assert [line["trigger_id"] for line in played.logged("response.created")] == ["trigger_1"]
    assert 'agent_gate_events_total{event="probe"}' not in played.metrics
    assert played.heard_ms == 1000


def test_a_caller_who_interrupts_stops_the_agent_at_what_was_heard(tmp_path: Path) -> None:
    async def caller(phone: Phone) -> None:
        await phone.hear()
        await phone.pause(1.0)
        phone.say(SERVICE.audio)
        await phone.listen()

    played = play(tmp_path, caller, sequence(Reply.say("שלום", 8000), Reply.say("כן?", 600)))
    (cut,) = played.received("conversation.item.truncate")
    heard = cut.event["audio_end_ms"]
    assert 800 <= heard <= 2000
    assert played.logged("cut")[0]["heard_ms"] == heard
    assert played.openai.record.of("clear", direction="received")
    assert played.openai.errors == []
    assert [r.status for r in played.openai.responses] == ["cancelled", "completed"] or len(
        played.openai.responses
    ) == 2


def test_keys_interrupt_and_are_answered_once(tmp_path: Path) -> None:
    async def caller(phone: Phone) -> None:
        await phone.hear()
        await phone.pause(0.5)
        await phone.press("1")
        await phone.press("2")
        await phone.listen()

    played = play(tmp_path, caller, sequence(Reply.say("שלום", 8000), Reply.say("בסדר", 600)))
    texts = [e.event["item"]["content"][0]["text"] for e in played.received("conversation.item.create")]
    assert texts == ["(המתקשר הקיש 1)", "(המתקשר הקיש 2)"]
    (cancel,) = played.received("response.cancel")
    assert cancel.event["response_id"]
    assert len(played.received("response.create")) == 2
    assert played.openai.errors == []


def test_several_function_calls_get_one_answer(tmp_path: Path) -> None:
    async def caller(phone: Phone) -> None:
        await phone.listen(quiet=1.5)

    calls = Reply.call(
        ToolCall("save_lead", json.dumps({"service": "פריצת דלת"})),
        ToolCall("save_lead", json.dumps({"city": "חיפה"})),
        ToolCall("no_such", "nonsense"),
    )
    played = play(tmp_path, caller, sequence(calls, Reply.say("רשמתי", 600)))
    outputs = [e.event["item"] for e in played.received("conversation.item.create")]
    assert [item["type"] for item in outputs] == ["function_call_output"] * 3
    assert len(played.received("response.create")) == 2
    assert played.logged("call_ended")[0]["lead"] == {"service": "פריצת דלת", "city": "חיפה", "confirmed": False}
    assert played.openai.errors == []


def test_a_function_that_fails_is_told_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Lead, name: str, arguments: str) -> dict[str, Any]:
        raise OSError("the calendar is down")

    monkeypatch.setattr(Lead, "call_tool", broken)
    played = play(tmp_path, says_nothing, sequence(Reply.call(ToolCall("save_lead")), Reply.say("סליחה", 600)))
    (output,) = played.received("conversation.item.create")
    assert "error" in output.event["item"]["output"]
    assert len(played.received("response.create")) == 2


@pytest.mark.parametrize(
    ("tool", "transfer_to", "twiml"),
    [
        ("end_call", None, "<Hangup/>"),
        ("transfer_call", "+97231112222", "<Dial>+97231112222</Dial>"),
        ("transfer_call", None, "<Hangup/>"),
    ],
)
def test_the_model_ends_the_call_after_what_it_said_was_heard(
    tmp_path: Path, tool: str, transfer_to: str | None, twiml: str
) -> None:
    goodbye = Reply((Speech("להתראות", 1500), ToolCall(tool)))
    played = play(tmp_path, says_nothing, sequence(goodbye), transfer_to=transfer_to)
    assert played.logged("call_ended")[0]["outcome"] == ("hang-up" if tool == "end_call" else "transfer")
    assert played.heard_ms == 1500
    assert len(played.received("response.create")) == 1
    answers = [a for a in played.phone.webhooks.answers if a.url.endswith("/twilio/after-stream")]
    assert all(twiml in answer.body for answer in answers)


def test_a_session_is_changed_for_another_before_the_server_ends_it(tmp_path: Path) -> None:
    async def caller(phone: Phone) -> None:
        await phone.listen()
        phone.say(SERVICE.audio)
        await phone.listen()
        await phone.pause(70)
        phone.say(CITY.audio)
        await phone.listen()

    played = play(tmp_path, caller, sequence(Reply.say("שלום", 600)), rotate_after=60.0)
    assert len(played.openai.sessions) == 2
    assert len(played.logged("input_audio_buffer.committed")) == 2
    second = [e for e in played.received("conversation.item.create") if e.connection == 2]
    assert [e.event["item"]["content"][0]["text"] for e in second] == ["שלום", "(לא ברור)", "שלום"]
    assert len(played.received("response.create")) == 3
    assert played.openai.errors == []


def test_a_service_that_refuses_the_key_ends_the_call_politely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[str]:
        async with OpenAISimulator(api_key="another") as openai:
            settings = Settings("wrong", TOKEN, websocket_base_url=openai.websocket_base_url)
            async with running(replace(settings, transfer_to="+97231112222")) as (server, port):
                phone = TwilioCall(f"http://127.0.0.1:{port}/twilio/voice", says_nothing, auth_token=TOKEN)
                await phone.run()
                return list(server.agent.outcomes.values())

    assert virtual_time.run(main()) == ["transfer"]


def test_a_second_stream_of_the_same_call_is_refused() -> None:
    outcome: Outcome = virtual_time.run(make_test_call(seed=1, faults=[parse_fault("second-socket@100")]))
    assert outcome.failed == []


def test_a_stream_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    async def caller(phone: Phone) -> None:
        await phone.listen()
        await phone.pause(10)

    played = play(tmp_path, caller, sequence(Reply.say("שלום", 600)), "close-without-stop@200")
    assert played.logged("call_ended")[0]["outcome"] == "caller hung up"
    assert "agent_active_calls 0.0" in played.metrics


def test_the_structured_log_joins_every_response_to_its_trigger(tmp_path: Path) -> None:
    async def caller(phone: Phone) -> None:
        await phone.listen()
        phone.say(SERVICE.audio)
        await phone.listen()

    played = play(tmp_path, caller, sequence(Reply.say("שלום", 600)))
    triggers = [(line["reason"], line["event_id"]) for line in played.logged("trigger")]
    assert [reason for reason, _ in triggers] == ["greeting", "user_turn"]
    assert [line["trigger_id"] for line in played.logged("response.created")] == [event for _, event in triggers]
    assert [line["trigger_id"] for line in played.logged("response.done")] == [event for _, event in triggers]
    assert {line.get("call") for line in played.log} == {played.phone.call_sid}
    assert simulated_call.TOKEN not in json.dumps(played.log)
