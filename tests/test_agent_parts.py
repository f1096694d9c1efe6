"""The reference agent's pure parts: settings, Twilio's messages and signatures, what was heard, what was said."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_guard.certify.twilio.signature import sign
from reference_agent.conversation import Conversation
from reference_agent.dialogue import Dialogue
from reference_agent.gate_events import ALREADY_ACTIVE, NOT_ACTIVE
from reference_agent.heard_audio import FRAME_MS, KEEP_MS, HeardAudio
from reference_agent.locksmith import Lead
from reference_agent.playback import Playback
from reference_agent.post_call import Jobs
from reference_agent.realtime_client import Output, Problem, Response
from reference_agent.settings import Settings, SettingsError, load_settings
from reference_agent.twilio import after_stream_twiml, connect_twiml, is_signed, media_message, read_message

NEEDED = {"OPENAI_API_KEY": "sk-1", "TWILIO_AUTH_TOKEN": "t"}


# -- settings


def test_settings_come_from_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# keys\nexport OPENAI_API_KEY='sk-file' # mine\nTWILIO_AUTH_TOKEN=t # yours\n\nPORT=9000\n")
    settings = load_settings({"PORT": "9001", "TRANSFER_TO": "+97231234567", "RECORD_CALLS": "yes"}, file)
    assert (settings.openai_api_key, settings.twilio_auth_token, settings.port) == ("sk-file", "t", 9001)
    assert (settings.transfer_to, settings.record_calls) == ("+97231234567", True)


def test_every_problem_is_told_at_once() -> None:
    wrong = {
        "PORT": "http",
        "MAX_CALLS": "0",
        "PUBLIC_HOST": "https://a/b",
        "TRANSFER_TO": "03-123",
        "RECORD_CALLS": "?",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings({**wrong, "OPENAI_WEBSOCKET_BASE_URL": "http://x"}, None)
    lines = str(caught.value).splitlines()
    names = ["OPENAI_API_KEY", "TWILIO_AUTH_TOKEN", "OPENAI_WEBSOCKET_BASE_URL", "PUBLIC_HOST", "PORT", "TRANSFER_TO"]
    assert [line.split("=")[0].split()[0] for line in lines] == [*names, "RECORD_CALLS", "MAX_CALLS"]
    assert "PORT='http': expected a whole number from 0 to 65535." in lines


def test_a_file_that_is_no_env_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("OPENAI_API_KEY=a\nwhat is this\n")
    with pytest.raises(SettingsError, match=r"\.env:2: expected NAME=value"):
        load_settings(NEEDED, file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(NEEDED, file)


# -- Twilio


def test_a_frame_is_read() -> None:
    message = read_message(
        '{"event":"media","sequenceNumber":"3","media":{"payload":"fw==","chunk":"1"},"streamSid":"MZ"}'
    )
    assert message.media is not None
    assert message.media.payload == "fw=="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        '{"event": 5}',
        '{"event": "media"}',
        '{"event": "media", "media": {}}',
        '{"event": "media", "media": {"payload": ""}}',
        '{"event": "media", "media": {"payload": "AA\\"},{\\"type\\":\\"response.create"}}',
        '{"event": "media", "media": {"payload": "no base64!"}}',
        '{"event": "start", "start": {"streamSid": "MZ"}}',
        '{"event": "mark"}',
        "[" * 100_000,
        "\ud800",
    ],
)
def test_what_is_no_message_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_message(text)


@given(st.text())
def test_no_text_does_anything_else(text: str) -> None:
    with contextlib.suppress(ValueError):
        read_message(text)


def test_what_is_sent_is_json() -> None:
    assert json.loads(media_message("MZ1", "fw==")) == {
        "event": "media",
        "streamSid": "MZ1",
        "media": {"payload": "fw=="},
    }


def test_the_twiml_has_no_voice_of_its_own() -> None:
    response = ElementTree.fromstring(connect_twiml("agent.example", record=True))
    assert [child.tag for child in response] == ["Start", "Connect"]
    (stream,) = response.iter("Stream")
    assert stream.attrib["url"] == "wss://agent.example/twilio/media"
    assert not {"Say", "Play", "Gather"} & {element.tag for element in response.iter()}
    assert "<Dial>+972" in after_stream_twiml("+97231234567")


@pytest.mark.parametrize("url", ["https://a.example/x", "https://a.example:443/x?y=1", "wss://a.example/twilio/media"])
def test_only_twilios_signature_is_accepted(url: str) -> None:
    form = {"CallSid": "CA1", "From": "+9725"}
    signature = sign("token", url, form)
    assert is_signed("token", signature, url, form)
    assert not is_signed("another", signature, url, form)
    assert not is_signed("token", signature, url, {**form, "From": "+1"})
    assert not is_signed("token", signature, url + "x", form)
    assert not is_signed("token", None, url, form)
    assert not is_signed("token", "é\ud800", url, form)


def test_a_signature_with_or_without_the_port_is_the_same() -> None:
    assert is_signed("token", sign("token", "https://a.example/x"), "https://a.example:443/x")
    assert is_signed("token", sign("token", "https://a.example:443/x"), "https://a.example/x")


# -- what the caller has heard


def audio(milliseconds: int) -> str:
    return base64.b64encode(bytes(milliseconds * 8)).decode()


def test_only_marks_of_played_audio_count_as_heard() -> None:
    playback = Playback()
    names = [playback.sent("item1", audio(200)) for _ in range(5)]
    assert names == ["m1", "m2", "m3", "m4", "m5"]
    playback.mark_returned("m1")
    playback.mark_returned("m2")
    assert playback.clear() == [("item1", 400)]
    for name in ("m3", "m4", "m5"):  # Twilio returns them because of the clear
        playback.mark_returned(name)
    assert not playback.is_playing
    assert playback.clear() == []


def test_an_item_that_nobody_heard_is_cut_at_nothing_and_one_heard_in_full_is_not_cut() -> None:
    playback = Playback()
    playback.sent("item1", audio(300))
    playback.sent("item2", audio(100))
    assert playback.item_done("item2") == "m2"
    playback.mark_returned("m1")
    assert playback.clear() == [("item2", 0)]


def test_a_mark_that_was_never_sent_changes_nothing() -> None:
    playback = Playback()
    playback.sent("item1", audio(200))
    playback.mark_returned("m77")
    assert playback.clear() == [("item1", 0)]


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 500)), max_size=20), st.integers(0, 20))
def test_never_more_is_heard_than_was_sent(chunks: list[tuple[str, int]], returned: int) -> None:
    playback = Playback()
    sent: dict[str, int] = {}
    names = []
    for item, milliseconds in chunks:
        names.append(playback.sent(item, audio(milliseconds)))
        sent[item] = sent.get(item, 0) + milliseconds
    for name in [name for name in names if name is not None][:returned]:
        playback.mark_returned(name)
    assert all(heard <= sent[item] for item, heard in playback.clear())


# -- what the model has heard


def heard_audio(frames: int) -> HeardAudio:
    heard = HeardAudio()
    for number in range(frames):
        heard.add(str(number))
    return heard


def test_a_turn_that_is_not_words_yet_is_heard_again_from_its_start() -> None:
    heard = heard_audio(100)
    heard.speech_started("i1", 50 * FRAME_MS)
    for number in range(100, 3000):
        heard.add(str(number))
    heard.committed("i1")
    replay = heard.replay()
    assert replay[0] == "50"
    assert replay[-1] == "2999"
    assert [int(frame) for frame in replay] == list(range(50, 3000))


def test_a_turn_that_is_words_is_not_heard_again() -> None:
    heard = heard_audio(100)
    heard.speech_started("i1", 20 * FRAME_MS)
    heard.speech_stopped("i1", 60 * FRAME_MS)
    heard.committed("i1")
    heard.understood("i1")
    assert heard.replay() == tuple(str(number) for number in range(60, 100))


def test_silence_does_not_pile_up() -> None:
    assert len(heard_audio(10_000).replay()) == KEEP_MS // FRAME_MS


def test_frames_are_counted_from_the_start_of_each_session() -> None:
    heard = heard_audio(100)
    heard.speech_started("i1", 90 * FRAME_MS)
    assert heard.replay()[0] == "0"
    heard.speech_started("i2", 90 * FRAME_MS)
    heard.speech_stopped("i2", 95 * FRAME_MS)
    heard.understood("i2")
    assert heard.replay() == tuple(str(number) for number in range(95, 100))


@given(st.data())
def test_every_frame_that_is_not_words_is_replayed_once_and_in_order(data: st.DataObject) -> None:
    heard, expected, number, sent, open_turn = HeardAudio(), 0, 0, 0, None
    for step in data.draw(st.lists(st.sampled_from(["add", "start", "understood", "replay"]), max_size=40)):
        if step == "add":
            for _ in range(10):
                heard.add(str(number))
                number += 1
                sent += 1
        elif step == "start" and open_turn is None:
            open_turn = f"i{number}"
            heard.speech_started(open_turn, sent * FRAME_MS)
        elif step == "understood" and open_turn is not None:
            heard.speech_stopped(open_turn, sent * FRAME_MS)
            heard.understood(open_turn)
            open_turn, expected = None, number
        elif step == "replay":
            frames = heard.replay()
            assert [int(frame) for frame in frames] == list(range(expected, number))
            sent, open_turn = len(frames), None


# -- what was said and done


def test_a_new_session_is_told_the_conversation_and_turns_without_words_are_left_out() -> None:
    conversation = Conversation()
    conversation.agent_said("a", "שלום")
    conversation.caller_turn("b")
    conversation.transcript("b", "התקנת מנעול חכם")
    conversation.caller_turn("c")
    items = conversation.replay()
    assert [(item["id"], item["role"]) for item in items] == [("a", "assistant"), ("b", "user")]
    assert [item["content"][0]["type"] for item in items] == ["output_text", "input_text"]


def test_several_results_are_answered_when_the_last_one_is_there() -> None:
    dialogue = Dialogue()
    calls = [Output(id=f"o{n}", type="function_call", call_id=f"c{n}", name="save_lead") for n in range(2)]
    assert list(dialogue.tool_calls(Response(id="r", status="completed", output=calls))) == calls
    first = dialogue.tool_result(calls[0], "{}")["id"]
    assert dialogue.item_added(first) is None  # the other is still at work
    second = dialogue.tool_result(calls[1], "{}")["id"]
    assert dialogue.item_added("something else") is None
    assert dialogue.item_added(second) == "tool_result"
    assert dialogue.item_added(second) is None


def test_a_cancelled_response_calls_nothing() -> None:
    call = Output(id="o", type="function_call", call_id="c", name="save_lead")
    assert list(Dialogue().tool_calls(Response(id="r", status="cancelled", output=[call]))) == []


def test_the_lead_is_fed_by_transcripts_and_function_calls() -> None:
    lead = Lead()
    for text in ("כן", "אני צריך התקנת מנעול חכם.", "בתל אביב", "כן, תודה"):
        lead.hear(text)
    assert lead.as_dict() == {"service": "התקנת מנעול חכם", "city": "תל אביב", "confirmed": True}
    assert lead.call_tool("save_lead", '{"city": "חיפה"}')["city"] == "חיפה"
    assert "error" in lead.call_tool("save_lead", "nonsense")
    assert "error" in lead.call_tool("save_lead", "[]")
    assert "error" in lead.call_tool("unknown", "{}")


def test_errors_without_a_code_are_known_by_their_text() -> None:
    active = Problem(message="Conversation already has an active response in progress: resp_AB1. Wait until")
    assert (active.known_code, active.response_id) == (ALREADY_ACTIVE, "resp_AB1")
    assert Problem(message="Cancellation failed: no active response found").known_code == NOT_ACTIVE
    assert Problem(type="server_error", message="?").known_code == "server_error"


# -- after the call


def test_the_transcription_of_recordings_cannot_reach_live_calls() -> None:
    code = (
        "import sys, reference_agent.transcribe_recording, reference_agent.__main__\n"
        "print([m for m in sys.modules if m.startswith('reference_agent.')])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['reference_agent.transcribe_recording', 'reference_agent.__main__']"


@pytest.mark.parametrize(
    ("call", "url"),
    [
        ("CA" + "0" * 32, "https://evil.example/2010-04-01/Accounts/AC" + "0" * 32 + "/Recordings/RE" + "0" * 32),
        ("../../etc", "https://api.twilio.com/2010-04-01/Accounts/AC" + "0" * 32 + "/Recordings/RE" + "0" * 32),
        ("CA" + "0" * 32, "https://api.twilio.com/2010-04-01/Accounts/AC" + "0" * 32 + "/Recordings/../x"),
        ("CA" + "0" * 32, "file:///etc/passwd"),
    ],
)
def test_only_twilios_own_recordings_are_fetched(call: str, url: str) -> None:
    assert asyncio.run(Jobs(Settings("k", "t")).start(call, url)) is False
