"""The Realtime state machine: shapes, the rule of one active response, turns, cancelling, truncating, errors."""

from __future__ import annotations

import base64
import json
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.certify.mulaw import silence, voice
from pipeline_guard.certify.realtime import requests
from pipeline_guard.certify.realtime.hearing import Heard
from pipeline_guard.certify.realtime.schema import Either, ListOf, Nullable, Table, Tagged
from pipeline_guard.certify.realtime.script import Reply, Situation, ToolCall, sequence
from tests.realtime_driver import Driver

ACTIVE = "conversation_already_has_active_response"
LONG = Reply.say("A long answer.", 4000)


def error_of(driver: Driver) -> dict[str, Any]:
    (event,) = driver.new("error")
    return event["error"]


def test_the_first_event_is_session_created_and_the_settings_are_those_of_an_unconfigured_session() -> None:
    driver = Driver()
    (created,) = driver.new()
    assert created["type"] == "session.created"
    assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert created["session"]["audio"]["input"]["turn_detection"]["create_response"] is True


def test_an_update_merges_into_what_was_there() -> None:
    driver = Driver().configure(silence_duration_ms=700)
    driver.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
    (event,) = driver.new()
    session = event["session"]
    assert event["type"] == "session.updated"
    assert session["instructions"] == "Be brief."
    assert session["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.0}
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 700
    assert session["audio"]["input"]["turn_detection"]["prefix_padding_ms"] == 300


def test_turn_detection_null_is_off_and_nothing_is_heard() -> None:
    driver = Driver().configure()
    driver.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    driver.new()
    driver.speak()
    assert driver.new() == []


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime", "modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        ({"type": "realtime", "input_audio_format": "g711_ulaw"}, "unknown_parameter", "session.input_audio_format"),
        ({"type": "realtime", "voice": "alloy"}, "unknown_parameter", "session.voice"),
        ({"type": "realtime", "turn_detection": None}, "unknown_parameter", "session.turn_detection"),
        ({"type": "realtime", "temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"instructions": "x"}, "missing_required_parameter", "session.type"),
        ({"type": "realtime", "tools": "none"}, "invalid_type", "session.tools"),
        ({"type": "realtime", "output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "g711_ulaw"}}}},
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
    ],
)
def test_beta_and_unknown_settings_are_refused(session: dict[str, Any], code: str, param: str) -> None:
    driver = Driver()
    driver.new()
    driver.send("session.update", session=session, event_id="cfg")
    error = error_of(driver)
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "cfg")
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "null", '{"a":1}', '{"type":"response.creates"}', '{"type":7}', b"\xff\xfe"]
)
def test_what_is_no_client_event_is_answered_by_an_error(message: str | bytes) -> None:
    driver = Driver()
    driver.new()
    driver.raw(message)
    assert error_of(driver)["event_id"] is None


def test_a_turn_of_the_caller_comes_in_the_order_of_the_api() -> None:
    driver = Driver(transcriber=lambda audio, kind: Heard("yes")).configure()
    driver.speak(600)
    driver.wait(1)
    events = driver.new()
    assert [event["type"] for event in events] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    started, stopped, committed, added, _, _, transcript = events
    assert len({e["item_id"] for e in (started, stopped, committed, transcript)} | {added["item"]["id"]}) == 1
    assert transcript["transcript"] == "yes"
    assert started["audio_start_ms"] == 0
    assert stopped["audio_end_ms"] == 600 + 500


def test_the_second_item_names_the_first_as_the_one_before() -> None:
    driver = Driver().configure()
    driver.speak()
    driver.speak()
    first, second = driver.new("input_audio_buffer.committed")
    assert first["previous_item_id"] is None
    assert second["previous_item_id"] == first["item_id"]


def test_speech_includes_the_padding_before_it_and_the_turn_holds_that_audio() -> None:
    heard: list[bytes] = []
    driver = Driver(transcriber=lambda audio, kind: (heard.append(audio), Heard(None))[1]).configure()
    driver.send("input_audio_buffer.append", audio=base64.b64encode(silence(1000)).decode())
    driver.speak(400, seed=5)
    (started,) = driver.new("input_audio_buffer.speech_started")
    assert started["audio_start_ms"] == 1000 - 300
    assert heard == [silence(300) + voice(5, 400) + silence(500)]


@pytest.mark.parametrize("audio_format", ["audio/pcm", "audio/pcmu", "audio/pcma"])
@pytest.mark.parametrize(
    "detection", [{"type": "server_vad", "silence_duration_ms": 300}, {"type": "semantic_vad", "eagerness": "high"}]
)
def test_speech_is_heard_in_every_format_and_by_either_detection(audio_format: str, detection: dict[str, Any]) -> None:
    rate, quiet = {"audio/pcm": (48, b"\0"), "audio/pcmu": (8, b"\xff"), "audio/pcma": (8, b"\xd5")}[audio_format]
    driver = Driver(sequence(Reply.say("Yes", 400)))
    kind = {"type": audio_format, **({"rate": 24000} if audio_format == "audio/pcm" else {})}
    audio = {"input": {"format": kind, "turn_detection": detection}, "output": {"format": kind}}
    driver.send("session.update", session={"type": "realtime", "audio": audio})
    driver.new()
    said = voice(1, 600, audio_format) + quiet * (rate * 400)
    driver.send("input_audio_buffer.append", audio=base64.b64encode(said).decode())
    driver.wait(3)
    events = driver.new()
    (stopped,) = [e for e in events if e["type"] == "input_audio_buffer.speech_stopped"]
    assert stopped["audio_end_ms"] == 900
    # Nobody switched it off: the server answers by itself.
    audio_out = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(audio_out) == 400 * rate
    assert driver.server.responses[0].cause == "turn"


def test_a_click_is_not_speech_and_quiet_audio_is_none_either() -> None:
    driver = Driver().configure()
    driver.speak(20, 1000)
    driver.speak(0, 1000)
    assert driver.new() == []


def test_one_long_append_with_two_utterances_in_it_is_two_turns() -> None:
    driver = Driver().configure()
    audio = voice(1, 600) + silence(800) + voice(2, 600) + silence(800)
    driver.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())
    assert len(driver.new("input_audio_buffer.committed")) == 2


def test_a_second_create_is_refused_with_the_text_and_the_client_s_id_and_nothing_else() -> None:
    driver = Driver(sequence(LONG)).configure()
    driver.send("response.create", event_id="one")
    driver.send("response.create", event_id="two")
    error = error_of(driver)
    active = driver.server.active_response_id
    assert error["code"] == ACTIVE
    assert error["event_id"] == "two"
    assert error["message"] == (
        f"Conversation already has an active response in progress: {active}. "
        "Wait until the response is finished before creating a new one."
    )
    driver.wait(10)
    assert len(driver.new("response.created", "response.done")) == 2


def test_an_error_about_an_event_without_an_id_has_none() -> None:
    driver = Driver(sequence(LONG)).configure()
    driver.send("response.create")
    driver.send("response.create")
    assert error_of(driver)["event_id"] is None


def test_the_server_s_own_response_collides_with_the_client_s() -> None:
    driver = Driver(sequence(LONG)).configure(create_response=True, interrupt_response=False)
    driver.send("response.create", event_id="mine")
    driver.speak()
    error = error_of(driver)
    assert (error["code"], error["event_id"]) == (ACTIVE, None)


def test_a_response_in_full() -> None:
    driver = Driver(sequence(Reply.say("Hello there", 400))).configure()
    driver.send("response.create", event_id="e1", response={"metadata": {"trigger_id": "e1"}})
    driver.wait(5)
    events = driver.new()
    types = [event["type"] for event in events]
    assert types[0] == "response.created"
    assert types[1] == "rate_limits.updated"
    assert [t for t in types if "delta" not in t][2:] == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = events[-1]["response"]
    assert done["status"] == "completed"
    assert done["metadata"] == {"trigger_id": "e1"}
    assert done["conversation_id"] == driver.server.conversation_id
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hello there"}]
    audio = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(audio) == 400 * 8


def test_deltas_come_faster_than_they_play_and_not_all_at_once() -> None:
    driver = Driver(sequence(Reply.say("x", 2000, pace=4.0, first_delta_after=0.21))).configure()
    driver.send("response.create")
    # 0.05 s until created, 0.21 s until the first 200 ms of audio, then 200 ms every 50 ms: ten deltas by 0.71 s.
    counts = []
    for _ in range(8):
        driver.wait(0.1)
        counts.append(len(driver.new("response.output_audio.delta")))
    assert counts == [0, 0, 1, 2, 2, 2, 2, 1]
    assert driver.seen[-1]["type"] == "response.done"


def test_barge_in_cancels_as_turn_detected_and_keeps_what_was_open_in_order() -> None:
    driver = Driver(sequence(LONG)).configure()
    driver.send("response.create")
    driver.wait(0.5)
    driver.new()
    driver.speak(600)
    events = driver.new()
    done = next(e for e in events if e["type"] == "response.done")
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["response"]["output"][0]["status"] == "incomplete"
    types = [event["type"] for event in events]
    assert types.index("input_audio_buffer.speech_started") < types.index("response.output_audio.done")
    assert types.index("response.output_item.done") < types.index("response.done")
    assert driver.server.active_response_id is None


def test_with_interrupt_off_the_response_goes_on() -> None:
    driver = Driver(sequence(LONG)).configure(interrupt_response=False)
    driver.send("response.create")
    driver.wait(0.5)
    driver.speak(400)
    driver.wait(5)
    (done,) = driver.new("response.done")
    assert done["response"]["status"] == "completed"


@pytest.mark.parametrize("named", [True, False])
def test_cancel_ends_the_response_with_and_without_its_id(named: bool) -> None:
    driver = Driver(sequence(LONG)).configure()
    driver.send("response.create")
    driver.wait(0.5)
    driver.send("response.cancel", **({"response_id": driver.server.active_response_id} if named else {}))
    (done,) = driver.new("response.done")
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


@pytest.mark.parametrize("keys", [{}, {"response_id": "resp_of_yesterday"}])
def test_cancel_with_nothing_active_is_an_error(keys: dict[str, str]) -> None:
    driver = Driver().configure()
    driver.send("response.cancel", event_id="c1", **keys)
    error = error_of(driver)
    assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "c1")
    assert error["message"] == "Cancellation failed: no active response found"


def test_cancelled_before_it_was_created_a_response_has_only_its_done() -> None:
    driver = Driver(sequence(LONG), create_latency=0.2).configure()
    driver.send("response.create")
    driver.send("response.cancel")
    driver.wait(5)
    assert driver.types() == ["response.done"]


def test_out_of_band_responses_run_beside_and_belong_to_no_conversation() -> None:
    driver = Driver(sequence(LONG)).configure()
    driver.send("response.create")
    driver.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    driver.wait(0.1)
    assert driver.new("error") == []
    # Two in flight: a cancel that names neither does nothing.
    driver.send("response.cancel")
    assert driver.new() == []
    driver.wait(10)
    events = driver.new()
    dones = [e["response"] for e in events if e["type"] == "response.done"]
    assert sorted(d["conversation_id"] is None for d in dones) == [False, True]
    assert len([e for e in events if e["type"] == "conversation.item.added"]) == 1
    assert any(e["type"] == "response.output_text.delta" for e in events)


def test_commit_of_less_than_100_ms_is_an_error_and_makes_no_turn() -> None:
    driver = Driver().configure()
    driver.send("input_audio_buffer.append", audio=base64.b64encode(silence(60)).decode())
    driver.send("input_audio_buffer.commit", event_id="x")
    error = error_of(driver)
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert "buffer only has 60.00ms of audio" in error["message"]
    assert driver.server.turns == []


def test_a_commit_during_speech_makes_two_turns_of_one_utterance() -> None:
    driver = Driver().configure()
    driver.speak(400, 0)
    driver.send("input_audio_buffer.commit")
    driver.speak(400)
    assert len(driver.new("input_audio_buffer.committed")) == 2


def test_clear_drops_the_buffer() -> None:
    driver = Driver().configure()
    driver.speak(400, 0)
    driver.new()
    driver.send("input_audio_buffer.clear")
    driver.speak(0, 1000)
    assert driver.types() == ["input_audio_buffer.cleared"]


def test_truncate_within_and_beyond_the_audio() -> None:
    driver = Driver(sequence(Reply.say("Hello", 1000))).configure()
    driver.send("response.create")
    driver.wait(5)
    (item,) = [e["item"] for e in driver.new("response.output_item.done")]
    cut = {"item_id": item["id"], "content_index": 0}
    driver.send("conversation.item.truncate", **cut, audio_end_ms=1001, event_id="t1")
    assert error_of(driver)["message"] == "Audio content of 1000ms is already shorter than 1001ms"
    driver.send("conversation.item.truncate", **cut, audio_end_ms=400)
    assert driver.types() == ["conversation.item.truncated"]
    driver.send("conversation.item.truncate", **cut, audio_end_ms=401)
    assert "400ms is already shorter than 401ms" in error_of(driver)["message"]
    driver.send("conversation.item.truncate", item_id="item_none", content_index=0, audio_end_ms=1)
    assert error_of(driver)["code"] == "item_truncate_invalid_item_id"


def test_tool_calls_all_in_one_response_and_their_results_as_items() -> None:
    script = sequence(Reply.call(ToolCall("find", '{"q":1}'), ToolCall("book")), Reply.say("Booked."))
    driver = Driver(script).configure()
    driver.send("response.create")
    driver.wait(2)
    done = driver.new("response.done")[0]["response"]
    calls = [item["call_id"] for item in done["output"]]
    assert [item["name"] for item in done["output"]] == ["find", "book"]
    for call_id in calls:
        driver.send(
            "conversation.item.create", item={"type": "function_call_output", "call_id": call_id, "output": "{}"}
        )
    assert driver.types() == ["conversation.item.added", "conversation.item.done"] * 2
    driver.send("response.create")
    driver.wait(2)
    assert len(driver.server.responses[1].covers) == 2


def test_a_result_for_a_call_that_was_never_made_is_an_error() -> None:
    driver = Driver().configure()
    item = {"type": "function_call_output", "call_id": "call_x", "output": "{}"}
    driver.send("conversation.item.create", item=item, event_id="r1")
    assert error_of(driver)["event_id"] == "r1"


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}, "invalid_value"),
        ({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]}, "invalid_value"),
        ({"type": "message", "role": "user"}, "missing_required_parameter"),
        ({"type": "message", "role": "robot", "content": []}, "invalid_value"),
    ],
)
def test_items_of_the_beta_are_refused(item: dict[str, Any], code: str) -> None:
    driver = Driver().configure()
    driver.send("conversation.item.create", item=item)
    assert error_of(driver)["code"] == code


def test_items_go_where_the_client_puts_them() -> None:
    driver = Driver().configure()
    for text, after in (("b", None), ("c", None), ("a", "root"), ("between", "item_b")):
        item = {
            "id": f"item_{text}",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        }
        driver.send("conversation.item.create", item=item, **({"previous_item_id": after} if after else {}))
    assert [i.id for i in driver.server.conversation.items] == ["item_a", "item_b", "item_between", "item_c"]
    driver.send("conversation.item.delete", item_id="item_between")
    driver.send("conversation.item.retrieve", item_id="item_between")
    assert error_of(driver)["code"] == "item_retrieve_invalid_item_id"


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_response_can_end_badly(status: Any) -> None:
    driver = Driver(sequence(Reply.say("Hello there", 1000, status=status, ends_at_ms=400))).configure()
    driver.send("response.create")
    driver.wait(5)
    (done,) = driver.new("response.done")
    assert done["response"]["status"] == status
    assert done["response"]["status_details"]["type"] == status
    assert driver.server.responses[0].audio_ms == 400


def test_silence_after_a_response_makes_the_server_speak_by_itself() -> None:
    driver = Driver(sequence(Reply.say("Hello", 1000))).configure(idle_timeout_ms=3000)
    driver.send("response.create")
    driver.wait(4.1)
    assert driver.new("input_audio_buffer.timeout_triggered") == []
    driver.wait(1)
    types = driver.types()
    assert types[:4] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert "response.created" in types


def test_who_speaks_in_time_is_not_nudged() -> None:
    driver = Driver(sequence(Reply.say("Hello", 400))).configure(idle_timeout_ms=2000)
    driver.send("response.create")
    driver.wait(1.5)
    driver.speak(600)
    driver.wait(10)
    assert driver.new("input_audio_buffer.timeout_triggered") == []


def test_a_session_ends_when_its_time_is_up() -> None:
    driver = Driver(session_seconds=1800)
    driver.new()
    driver.wait(1801)
    error = error_of(driver)
    assert (error["code"], error["message"]) == (
        "session_expired",
        "Your session hit the maximum duration of 30 minutes.",
    )
    assert driver.server.closing is not None
    assert driver.server.closing.code == 1001


def test_the_voice_cannot_change_once_it_was_heard() -> None:
    driver = Driver(sequence(Reply.say("Hello", 400))).configure()
    change = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    driver.send("session.update", session=change)
    assert driver.types() == ["session.updated"]
    driver.send("response.create")
    driver.wait(3)
    driver.new()
    driver.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "marin"}}})
    assert error_of(driver)["code"] == "cannot_update_voice"


def test_failed_transcription_is_said_and_answers_nothing() -> None:
    driver = Driver(transcription="failed").configure()
    driver.speak()
    driver.wait(1)
    assert len(driver.new("conversation.item.input_audio_transcription.failed")) == 1


def test_every_response_knows_which_turns_it_answers() -> None:
    driver = Driver(sequence(Reply.say("Yes", 400))).configure()
    driver.speak(seed=1)
    driver.speak(seed=2)
    driver.send("response.create")
    driver.wait(3)
    driver.send("response.create")
    driver.wait(3)
    both, none = (response.covers for response in driver.server.responses)
    assert both == tuple(turn.item_id for turn in driver.server.turns)
    assert none == ()


@pytest.mark.parametrize("status", ["failed", "completed"])
def test_a_turn_whose_response_failed_is_still_to_be_answered(status: Any) -> None:
    driver = Driver(sequence(Reply.say("Yes", 400, status=status), Reply.say("Yes", 400))).configure()
    driver.speak()
    for _ in range(2):
        driver.send("response.create")
        driver.wait(3)
    first, second = driver.server.responses
    assert first.said_something is (status == "completed")
    assert second.covers == (first.covers if status == "failed" else ())


def test_a_response_cancelled_before_it_said_anything_answers_nothing() -> None:
    driver = Driver(sequence(Reply.say("Yes", 2000))).configure()
    driver.speak()
    driver.send("response.create")
    driver.wait(0.1)
    driver.send("response.cancel")
    driver.send("response.create")
    driver.wait(0.5)
    driver.send("response.cancel")
    silent, heard = driver.server.responses
    assert silent.covers == heard.covers != ()
    assert (silent.said_something, heard.said_something) == (False, True)


def test_the_script_sees_the_conversation() -> None:
    seen: list[Situation] = []

    def script(situation: Situation) -> Reply:
        seen.append(situation)
        return Reply.say("ok", 200)

    driver = Driver(script, transcriber=lambda audio, kind: Heard("yes")).configure()
    driver.speak()
    driver.send("response.create", response={"instructions": "Say ok."})
    driver.wait(2)
    assert seen[0].heard == ["yes"]
    assert seen[0].request == {"instructions": "Say ok."}
    assert seen[0].number == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["response.create", "response.cancel", "input_audio_buffer.commit", "input_audio_buffer.clear"]
            ),
            st.floats(0.01, 2.0),
            st.sampled_from(["speak", "quiet", "oob"]),
        ),
        max_size=25,
    )
)
def test_whatever_the_client_does_one_response_is_active_and_each_ends_once(steps: list[Any]) -> None:
    driver = Driver(sequence(Reply.say("Hello there", 1500))).configure()
    for step in steps:
        if isinstance(step, float):
            driver.wait(step)
        elif step == "speak":
            driver.speak(200, 540)
        elif step == "quiet":
            driver.speak(0, 200)
        elif step == "oob":
            driver.send("response.create", response={"conversation": "none"})
        else:
            driver.send(step)
    driver.wait(30)
    open_now: set[str] = set()
    finished: list[str] = []
    for event in driver.seen:
        if event["type"] == "response.created" and event["response"]["conversation_id"]:
            open_now.add(event["response"]["id"])
            assert len(open_now) == 1
        if event["type"] == "response.done":
            open_now.discard(event["response"]["id"])
            finished.append(event["response"]["id"])
    assert sorted(finished) == sorted(response.id for response in driver.server.responses)
    assert driver.server.active_response_id is None


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "session", "audio", "item", "response", "role", "input", "x"]), inner
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(sorted(requests.CLIENT_EVENTS)),
)
def test_any_client_event_is_taken_or_refused_in_so_many_words(body: Any, event_type: str) -> None:
    driver = Driver()
    message = {**body, "type": event_type} if isinstance(body, dict) else body
    driver.raw(json.dumps(message))
    for event in driver.new("error"):
        assert event["error"]["message"]


# -- the tables of the client events against the types of the installed SDK ------------------------------------------


def sdk(module: str, name: str) -> Any:
    return getattr(__import__(f"openai.types.realtime.{module}", fromlist=[name]), name)


def keys_of(typed_dict: Any) -> set[str]:
    return set(typing.get_type_hints(typed_dict))


@pytest.mark.parametrize(
    ("table", "module", "name"),
    [
        (requests.SESSION, "realtime_session_create_request_param", "RealtimeSessionCreateRequestParam"),
        (requests.AUDIO_INPUT, "realtime_audio_config_input_param", "RealtimeAudioConfigInputParam"),
        (requests.AUDIO_OUTPUT, "realtime_audio_config_output_param", "RealtimeAudioConfigOutputParam"),
        (requests.TRANSCRIPTION, "audio_transcription_param", "AudioTranscriptionParam"),
        (requests.TURN_DETECTION.tables["server_vad"], "realtime_audio_input_turn_detection_param", "ServerVad"),
        (requests.TURN_DETECTION.tables["semantic_vad"], "realtime_audio_input_turn_detection_param", "SemanticVad"),
        (requests.RESPONSE, "realtime_response_create_params_param", "RealtimeResponseCreateParamsParam"),
        (requests.FUNCTION_TOOL, "realtime_function_tool_param", "RealtimeFunctionToolParam"),
        *(
            (
                table,
                "".join(f"{part}_" for part in words) + "event_param",
                "".join(w.title() for w in words) + "EventParam",
            )
            for event_type, table in requests.CLIENT_EVENTS.items()
            for words in [event_type.replace(".", "_").split("_")]
        ),
    ],
)
def test_the_tables_have_the_keys_of_the_sdk_s_types(table: Table, module: str, name: str) -> None:
    assert set(table.keys) == keys_of(sdk(module, name))


def test_every_table_is_reachable_and_names_its_required_keys() -> None:
    def walk(schema: Any) -> None:
        if isinstance(schema, Table):
            assert set(schema.required) <= set(schema.keys)
            for inner in schema.keys.values():
                walk(inner)
        elif isinstance(schema, Tagged):
            for inner in schema.tables.values():
                assert schema.tag in inner.keys
                walk(inner)
        elif isinstance(schema, (ListOf,)):
            walk(schema.item)
        elif isinstance(schema, Nullable):
            walk(schema.inner)
        elif isinstance(schema, Either):
            for inner in schema.options:
                walk(inner)

    for table in requests.CLIENT_EVENTS.values():
        walk(table)
