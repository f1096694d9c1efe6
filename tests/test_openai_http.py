"""Plain HTTP beside the WebSocket, and the retired beta protocol where it is tolerated."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from pipeline_guard.certify.front_door import BadRequest, RequestReader
from pipeline_guard.certify.openai_simulator import OpenAISimulator
from pipeline_guard.certify.realtime import requests
from pipeline_guard.certify.realtime.beta import message_today, to_beta, to_today
from pipeline_guard.certify.realtime.events import Ids
from pipeline_guard.certify.realtime.rest import HttpRequest, answer, model_asked_for
from pipeline_guard.certify.realtime.script import Reply, sequence

KEY = {"authorization": "Bearer sk-test"}


def ask(method: str, path: str, body: bytes = b"", headers: dict[str, str] = KEY, **options: Any) -> tuple[int, Any]:
    return answer(HttpRequest(method, path, headers, body, len(body)), Ids(1), **options)


def test_a_client_secret_has_the_settings_that_were_asked_for() -> None:
    session = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    body = json.dumps({"session": session, "expires_after": {"anchor": "created_at", "seconds": 60}}).encode()
    status, secret = ask("POST", "/v1/realtime/client_secrets", body)
    assert status == 200
    assert secret["value"].startswith("ek_")
    assert secret["session"]["audio"]["output"]["voice"] == "cedar"


@pytest.mark.parametrize(
    ("request_line", "body", "status", "code"),
    [
        (
            "POST /v1/realtime/client_secrets",
            b'{"session": {"type": "realtime", "voice": "x"}}',
            400,
            "unknown_parameter",
        ),
        ("POST /v1/realtime/client_secrets", b"[", 400, "invalid_json"),
        ("POST /v1/realtime/sessions", b"{}", 400, "beta_api_shape_disabled"),
        ("POST /v1/chat/completions", b"{}", 403, "not_simulated"),
        ("POST /v1/audio/transcriptions", b"{}", 403, "not_simulated"),
        ("GET /favicon.ico", b"", 404, "unknown_url"),
    ],
)
def test_what_is_refused(request_line: str, body: bytes, status: int, code: str) -> None:
    got, answered = ask(*request_line.split(), body)
    assert (got, answered["error"]["code"]) == (status, code)


def test_no_one_is_let_in_without_a_key() -> None:
    assert ask("GET", "/v1/models", headers={})[0] == 401
    assert ask("GET", "/v1/models", api_key="sk-other")[0] == 401
    assert ask("GET", "/v1/models")[0] == 200


def test_a_session_of_the_beta_is_made_where_that_is_tolerated() -> None:
    status, session = ask("POST", "/v1/realtime/sessions", b'{"model": "old"}', tolerate_beta=True)
    assert status == 200
    assert (session["model"], session["input_audio_format"]) == ("old", "pcm16")
    assert session["client_secret"]["value"].startswith("ek_")


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "whisper-1"}', "whisper-1"),
        (b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-transcribe\r\n--x', "gpt-transcribe"),
        (b'{"model": 5}', None),
        (b"\xff\x00", None),
    ],
)
def test_the_model_of_a_request(body: bytes, model: str | None) -> None:
    assert model_asked_for(HttpRequest("POST", "/", {}, body)) == model


# -- reading requests -------------------------------------------------------------------------------------------------


def read(pieces: list[bytes]) -> HttpRequest | None:
    reader = RequestReader()
    for piece in pieces:
        request = reader.feed(piece)
        if request is not None:
            return request
    return None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


@given(st.binary(max_size=300), st.lists(st.integers(0, 2000), max_size=6), st.integers(1, 40))
def test_a_request_is_the_same_however_it_is_cut(body: bytes, places: list[int], chunk: int) -> None:
    head = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: api.openai.com\r\n"
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)] + [b""]
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)
    for data in (whole, chunked):
        request = read(cut(data, places))
        assert request is not None
        assert (request.method, request.path, request.body, request.size) == ("POST", "/v1/x", body, len(body))
        assert request.headers["host"] == "api.openai.com"


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
def test_nothing_that_is_no_request_does_harm(data: bytes, places: list[int]) -> None:
    for noise in (data, b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + data):
        with contextlib.suppress(BadRequest):
            read(cut(noise, places))


def test_long_bodies_are_counted_and_not_kept() -> None:
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n")
    requests_seen = [reader.feed(b"x" * 100_000) for _ in range(30)]
    (request,) = [request for request in requests_seen if request is not None]
    assert request.size == 3_000_000
    assert len(request.body) < 300_000


def test_one_port_serves_both_and_closing_it_waits_for_nobody() -> None:
    async def main() -> None:
        async with OpenAISimulator() as simulator:
            base = simulator.url.replace("ws://", "http://")
            silent = await asyncio.open_connection(simulator.host, simulator.port)

            def post(path: str) -> int:
                request = urllib.request.Request(base + path, b"{}", KEY)
                try:
                    with urllib.request.urlopen(request, timeout=5) as done:
                        return int(done.status)
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code

            assert await asyncio.to_thread(post, "/client_secrets") == 200
            assert await asyncio.to_thread(post, "/elsewhere") == 403
            async with connect(simulator.url + "?model=m", additional_headers=KEY) as socket:
                assert json.loads(await socket.recv())["type"] == "session.created"
            asked = [(str(each), each.status) for each in simulator.http_requests]
            assert asked == [("POST /v1/realtime/client_secrets", 200), ("POST /v1/realtime/elsewhere", 403)]
            assert len(simulator.record.of("http-request")) == 2
        assert await silent[0].read() == b""
        silent[1].close()

    asyncio.run(asyncio.wait_for(main(), 20))


# -- the beta ---------------------------------------------------------------------------------------------------------

BETA_EVENTS = [
    {
        "type": "session.update",
        "session": {
            "modalities": ["text", "audio"],
            "voice": "alloy",
            "instructions": "Be brief.",
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "create_response": False},
            "temperature": 0.8,
            "max_response_output_tokens": "inf",
            "tools": [],
        },
    },
    {"type": "response.create", "response": {"modalities": ["audio", "text"], "voice": "echo", "temperature": 0.7}},
    {"type": "response.create"},
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    },
]


@pytest.mark.parametrize("event", BETA_EVENTS, ids=lambda event: event["type"])
def test_events_of_the_beta_are_ones_of_today_once_translated(event: dict[str, Any]) -> None:
    if len(event) > 1 and event.get("item", {}).get("role") != "user":
        assert requests.read(json.dumps(event))[1] is not None
    translated, problem = requests.read(message_today(json.dumps(event)))
    assert problem is None
    assert to_today(translated) == translated


def test_settings_find_their_place() -> None:
    session = to_today(BETA_EVENTS[0])["session"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["input"]["turn_detection"]["create_response"] is False
    assert session["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "alloy"}
    assert session["output_modalities"] == ["audio"]
    assert "temperature" not in session


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_what_is_no_event_stays_what_it_is(message: bytes) -> None:
    assert message_today(message) == message


def test_a_client_of_the_beta_is_served_in_its_own_words_where_that_is_tolerated() -> None:
    async def main() -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        async with OpenAISimulator(script=sequence(Reply.say("Hello", 200)), tolerate_beta=True) as simulator:
            headers = {**KEY, "OpenAI-Beta": "realtime=v1"}
            async with connect(simulator.url + "?model=m", additional_headers=headers) as socket:
                for event in (BETA_EVENTS[0], {"type": "response.create"}):
                    await socket.send(json.dumps(event))
                while not seen or seen[-1]["type"] != "response.done":
                    seen.append(json.loads(await asyncio.wait_for(socket.recv(), 10)))
            assert simulator.errors == []
            # The record speaks today's language, whatever was on the wire.
            assert simulator.record.of("response.output_audio.delta")
        return seen

    seen = asyncio.run(main())
    kinds = {event["type"] for event in seen}
    assert {"response.audio.delta", "response.audio_transcript.done", "conversation.item.created"} <= kinds
    assert not any(kind.startswith(("response.output_audio", "conversation.item.added")) for kind in kinds)
    updated = next(event["session"] for event in seen if event["type"] == "session.updated")
    assert (updated["input_audio_format"], updated["voice"]) == ("g711_ulaw", "alloy")
    done = seen[-1]["response"]
    assert done["output"][0]["content"][0]["type"] == "audio"
    assert (done["output_audio_format"], done["modalities"]) == ("g711_ulaw", ["text", "audio"])


def test_events_that_the_beta_had_not_are_kept_from_it() -> None:
    assert to_beta({"type": "conversation.item.done", "item": {}}) is None
