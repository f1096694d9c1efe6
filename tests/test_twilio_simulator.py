"""The Twilio simulator: the media stream's rules, playing out and marks, the webhook, signatures, faults."""

from __future__ import annotations

import asyncio
import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_guard.certify import virtual_time
from pipeline_guard.certify.faults import parse_fault
from pipeline_guard.certify.mulaw import voice
from pipeline_guard.certify.twilio.errors import CallFailed
from pipeline_guard.certify.twilio.media_stream import Identity, MediaStream
from pipeline_guard.certify.twilio.phone import Phone
from pipeline_guard.certify.twilio.signature import sign
from pipeline_guard.certify.twilio.twiml import TwimlError, read_twiml, stream_url
from pipeline_guard.certify.twilio_simulator import TwilioCall
from tests.telephone_agents import Line, agent, web

TONE = voice(7, 1000)


def stream(**options: Any) -> MediaStream:
    return MediaStream(Identity("AC1", "CA1", "MZ1"), **options)


def said(stream: MediaStream, event: str, now: float, **body: Any) -> None:
    stream.receive(json.dumps({"event": event, "streamSid": "MZ1", **body}), now)


def play(stream: MediaStream, audio: bytes, now: float) -> None:
    said(stream, "media", now, media={"payload": base64.b64encode(audio).decode()})


# -- the media stream -------------------------------------------------------------------------------------------------


def test_sequence_numbers_count_all_messages_and_chunks_only_media() -> None:
    line = stream()
    sent = [line.connected(), line.start({"a": "b"}), line.media(b"1", 0), line.dtmf("5"), line.media(b"2", 20)]
    events = [json.loads(message) for message in [*sent, line.stop()]]
    assert [event.get("sequenceNumber") for event in events] == [None, "1", "2", "3", "4", "5"]
    assert [event["media"]["chunk"] for event in events if event["event"] == "media"] == ["1", "2"]
    assert events[1]["start"]["customParameters"] == {"a": "b"}


def test_a_mark_comes_back_when_the_audio_before_it_has_been_heard() -> None:
    line = stream()
    play(line, TONE, 1.0)
    said(line, "mark", 1.0, mark={"name": "end"})
    assert line.take() == []
    assert line.next_due() == 2.0
    line.tick(2.0)
    (mark,) = map(json.loads, line.take())
    assert mark["mark"] == {"name": "end"}
    assert line.marks_returned == [(2.0, "end", False)]


def test_a_mark_with_nothing_before_it_comes_back_at_once() -> None:
    line = stream()
    said(line, "mark", 1.0, mark={"name": "x"})
    assert len(line.take()) == 1


def test_clear_ends_what_is_heard_and_returns_the_marks_of_what_is_not() -> None:
    line = stream()
    for name in ("a", "b"):
        play(line, TONE, 0.0)
        said(line, "mark", 0.0, mark={"name": name})
    line.tick(1.2)
    said(line, "clear", 1.5)
    assert line.marks_returned == [(1.2, "a", False), (1.5, "b", True)]
    assert b"".join(piece.audio for piece in line.played(9)) == TONE + TONE[:4000]
    play(line, TONE, 1.6)
    assert line.free_at == pytest.approx(2.6)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (b"\x00", 31950, "binary frame"),
        ("nonsense", 31924, "not JSON"),
        ("[]", 31924, "only media, mark and clear"),
        ('{"event":"start","streamSid":"MZ1"}', 31924, "'start'"),
        ('{"event":"media","streamSid":"MZ2","media":{"payload":"AA=="}}', 31924, "'MZ2'"),
        ('{"event":"media","streamSid":"MZ1"}', 31924, "without its media"),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":""}}', 31924, "empty"),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"*"}}', 31924, "base64"),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"UklGRgAA"}}', 31924, "header"),
        ('{"event":"mark","streamSid":"MZ1","mark":{}}', 31924, "without a name"),
    ],
)
def test_what_the_agent_may_not_send(message: str | bytes, code: int, text: str) -> None:
    line = stream()
    line.receive(message, 3.0)
    (violation,) = line.violations
    assert violation.code == code
    assert text in violation.text
    assert line.take() == []
    assert line.played(9) == []


def test_a_stream_that_only_listens_plays_nothing() -> None:
    line = stream(bidirectional=False)
    play(line, TONE, 0)
    assert "<Start><Stream>" in line.violations[0].text


@given(st.lists(st.one_of(st.integers(1, 2000), st.just("mark"), st.just("clear"), st.floats(0.001, 0.5)), max_size=40))
def test_marks_come_back_once_each_in_order_and_nothing_is_heard_twice(steps: list[Any]) -> None:
    line = stream()
    now, sent, names = 0.0, 0, []
    for step in steps:
        if isinstance(step, float):
            now += step
            line.tick(now)
        elif step == "mark":
            names.append(str(len(names)))
            said(line, "mark", now, mark={"name": names[-1]})
        elif step == "clear":
            said(line, "clear", now)
        else:
            sent += step
            play(line, b"\x00" * step, now)
    line.tick(now + 100)
    assert [name for _, name, _ in line.marks_returned] == names
    heard = line.played(now + 100)
    assert sum(len(piece.audio) for piece in heard) <= sent
    assert all(a.ends_at <= b.at + 1e-9 for a, b in pairwise(heard))


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_message_breaks_the_stream(message: str | bytes) -> None:
    line = stream()
    line.receive(message, 0)
    assert len(line.violations) == 1


# -- TwiML and signatures ---------------------------------------------------------------------------------------------


def test_the_signature_is_twilio_s() -> None:
    """The example of Twilio's documentation."""
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675310", "Digits": "1234", "From": "+14158675310"}
    form["To"] = "+18005551212"
    url = "https://example.com/myapp.php?foo=1&bar=2"
    assert sign("12345", url, form) == "L/OH5YylLD5NRKLltdqwSvS0BnU="


def test_verbs_in_order_with_their_parameters() -> None:
    verbs = read_twiml(
        "<Response><Say>Hi</Say><Connect><Stream url='wss://a/b'><Parameter name='k' value='v'/></Stream></Connect>"
        "<Hangup/></Response>"
    )
    assert [verb.name for verb in verbs] == ["Say", "Connect/Stream", "Hangup"]
    assert verbs[1].parameters == {"k": "v"}


def test_what_twilio_says_while_it_waits_for_a_key_is_heard_as_well() -> None:
    verbs = read_twiml(
        "<Response><Gather numDigits='1'><Say>Press one</Say><Pause/></Gather><Redirect>/x</Redirect></Response>"
    )
    assert [verb.name for verb in verbs] == ["Gather", "Gather/Say", "Gather/Pause", "Redirect"]
    assert [verb.text for verb in verbs if verb.speaks] == ["Press one"]


@pytest.mark.parametrize("url", ["ws://a/b", "https://a", "wss://a/b?x=1", "", "wss:///b"])
def test_addresses_that_twilio_does_not_connect_to(url: str) -> None:
    (verb,) = read_twiml(f'<Response><Connect><Stream url="{url}"/></Connect></Response>')
    with pytest.raises(TwimlError, match="31920"):
        stream_url(verb)


@pytest.mark.parametrize("body", ["", "hello", "<html></html>", "<Response>"])
def test_what_is_no_twiml(body: str) -> None:
    with pytest.raises(TwimlError, match="12100"):
        read_twiml(body)


# -- whole calls ------------------------------------------------------------------------------------------------------


def call(handler: Any, caller: Any, *faults: str, **options: Any) -> tuple[TwilioCall, Line]:
    """Let ``caller`` call an agent in virtual time; return the call and the agent's end of its first stream."""
    lines: list[Line] = []

    async def keep(line: Line) -> None:
        lines.append(line)
        await handler(line)

    async def main() -> TwilioCall:
        async with agent(keep) as url:
            made = TwilioCall(None, caller, stream_url=url, faults=[parse_fault(f) for f in faults], **options)
            return await made.run()

    made = virtual_time.run(main())
    made.clock = lambda: 1e9
    return made, lines[0]


async def greet(line: Line) -> None:
    async for event in line:
        if event["event"] == "start":
            await line.play(TONE)
            await line.mark("greeting")


async def say_two_seconds(phone: Phone) -> None:
    assert await phone.listen()
    phone.say(voice(1, 1000), "yes")
    await phone.pause(2)


def test_a_call_from_connected_to_stop() -> None:
    made, line = call(greet, say_two_seconds)
    events = [event["event"] for event in line.seen]
    assert events[:2] == ["connected", "start"]
    assert events[-1] == "stop"
    assert events.count("mark") == 1
    media = [event["media"] for event in line.seen if event["event"] == "media"]
    assert [int(m["timestamp"]) for m in media] == [20 * n for n in range(len(media))]
    assert [int(m["chunk"]) for m in media] == [n + 1 for n in range(len(media))]
    assert all(len(base64.b64decode(m["payload"])) == 160 for m in media)
    numbers = [int(event["sequenceNumber"]) for event in line.seen[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert b"".join(piece.audio for piece in made.heard) == TONE
    assert made.violations == []
    assert len(made.ledger) == len(media) == made.frames_sent


def test_frames_come_every_20_ms_and_faults_change_that() -> None:
    def times(*faults: str) -> list[float]:
        made, _ = call(greet, say_two_seconds, *faults)
        return [entry.at for entry in made.record.of("media", direction="sent")]

    even = times()
    assert {round(b - a, 4) for a, b in pairwise(even)} == {0.02}
    uneven = times("uneven-frames:0.05s")
    assert len({round(b - a, 4) for a, b in pairwise(uneven)}) > 10
    bursts = times("bursts:0.2s")
    gaps = [round(b - a, 4) for a, b in pairwise(bursts)]
    assert set(gaps) == {0.0, 0.2}
    drift = times("drift:0.02s")
    assert drift[50] == pytest.approx(even[50] / 1.02, abs=1e-6)


def test_a_caller_who_interrupts_is_heard_and_the_agent_s_clear_ends_its_voice() -> None:
    async def stubborn(line: Line) -> None:
        async for event in line:
            if event["event"] == "start":
                await line.play(voice(3, 10_000))
                await line.mark("long")
            if event["event"] == "dtmf":
                await line.clear()

    async def impatient(phone: Phone) -> None:
        assert await phone.hear()
        await phone.pause(1)
        await phone.press("5")
        await phone.pause(1)
        assert not phone.hears_agent

    made, line = call(stubborn, impatient)
    assert [e["dtmf"]["digit"] for e in line.seen if e["event"] == "dtmf"] == ["5"]
    heard = sum(len(piece.audio) for piece in made.heard) / 8000
    assert 0.9 < heard < 1.2
    assert [cleared for _, _, cleared in made.legs[0].stream.marks_returned] == [True]


def test_an_agent_that_never_speaks_is_waited_for_no_longer_than_asked() -> None:
    async def silent(line: Line) -> None:
        async for _ in line:
            pass

    async def caller(phone: Phone) -> None:
        assert not await phone.listen(timeout=3)

    made, _ = call(silent, caller)
    assert made.frames_sent == pytest.approx(150, abs=3)


def test_an_agent_that_hangs_up_ends_the_call() -> None:
    async def brief(line: Line) -> None:
        async for event in line:
            if event["event"] == "media" and event["media"]["chunk"] == "10":
                await line.socket.close()
                return

    async def patient(phone: Phone) -> None:
        await phone.pause(100)

    made, line = call(brief, patient)
    assert made.frames_sent < 20
    assert [event["event"] for event in line.seen if event["event"] == "stop"] == []


def test_an_agent_that_crashes_ends_the_call_and_it_is_noted() -> None:
    async def crash(line: Line) -> None:
        async for event in line:
            if event["event"] == "media":
                line.socket.transport.abort()
                return

    async def patient(phone: Phone) -> None:
        await phone.pause(100)

    made, _ = call(crash, patient)
    assert [entry.event["code"] for entry in made.record.of("disconnected")] == [1006]
    assert made.record.of("hang-up") == []


def test_a_second_socket_has_the_same_call_and_the_same_audio() -> None:
    streams: list[Line] = []

    async def collect(line: Line) -> None:
        streams.append(line)
        async for _ in line:
            pass

    async def caller(phone: Phone) -> None:
        await phone.pause(2)

    call(collect, caller, "second-socket@50")
    starts = [next(e for e in line.seen if e["event"] == "start")["start"] for line in streams]
    assert len({s["callSid"] for s in starts}) == 1
    assert len({s["streamSid"] for s in starts}) == 2
    first, second = ([e["media"]["payload"] for e in line.seen if e["event"] == "media"] for line in streams)
    assert first[49:] == second[: len(first) - 49]


def test_a_stream_can_end_without_a_stop() -> None:
    async def collect(line: Line) -> None:
        try:
            async for _ in line:
                pass
        except Exception as error:
            assert "no close frame" in str(error)  # noqa: PT017

    async def caller(phone: Phone) -> None:
        await phone.pause(60)

    made, line = call(collect, caller, "close-without-stop@60")
    assert line.seen[-1]["event"] == "media"
    assert made.frames_sent < 70


def test_an_agent_that_does_not_read_loses_audio_and_is_told() -> None:
    async def deaf(line: Line) -> None:
        await asyncio.sleep(1000)

    async def caller(phone: Phone) -> None:
        await phone.pause(60)

    made, _ = call(deaf, caller, longest=1000)
    assert [violation.code for violation in made.violations] == [31930]
    assert made.legs[0].dropped > 100


def test_an_agent_waits_while_twilio_does_not_read() -> None:
    waited: list[float] = []

    async def loud(line: Line) -> None:
        loop = asyncio.get_running_loop()
        async for event in line:
            if event["event"] == "media" and event["media"]["chunk"] == "60":
                began = loop.time()
                for _ in range(2000):
                    await line.play(TONE)
                waited.append(loop.time() - began)

    async def caller(phone: Phone) -> None:
        await phone.pause(8)

    call(loud, caller, "slow-phone@50:5s")
    assert waited[0] > 3


# -- with a web application -------------------------------------------------------------------------------------------


def twiml(media_url: str, before: str = "", after: str = "", attributes: str = "") -> str:
    url = media_url.replace("ws://", "wss://")
    return f"<Response>{before}<Connect><Stream url='{url}' {attributes}/></Connect>{after}</Response>"


async def listen_once(phone: Phone) -> None:
    await phone.listen()


def test_webhook_twiml_stream_callbacks_and_signatures() -> None:
    async def main() -> None:
        async with agent(greet) as media_url, web({"/status": "", "/stream": "", "/recorded": ""}) as application:
            recording = "<Start><Recording recordingStatusCallback='/recorded'/></Start>"
            application.pages["/voice"] = twiml(media_url, recording, "", "name='main' statusCallback='/stream'")
            made = TwilioCall(
                application.url + "/voice",
                listen_once,
                auth_token="secret",
                public_host="agent.example",
                status_callback="https://agent.example/status",
            )
            await made.run()
            assert [answer.status for answer in made.requests] == [200] * 5
            paths = [path for path, _, _ in application.requests]
            assert paths == ["/voice", "/stream", "/stream", "/status", "/recorded"]
            for path, headers, form in application.requests:
                assert headers["host"] == "agent.example"
                assert headers["x-twilio-signature"] == sign("secret", f"https://agent.example{path}", form)
                assert form["CallSid"] == made.call_sid
            events = [form["StreamEvent"] for path, _, form in application.requests if path == "/stream"]
            assert events == ["stream-started", "stream-stopped"]
            assert application.form("/status")["CallStatus"] == "completed"
            assert application.form("/recorded")["RecordingStatus"] == "completed"
            assert [verb.name for verb in made.verbs] == ["Start/Recording", "Connect/Stream"]

    virtual_time.run(main())


def test_the_websocket_is_signed_as_the_world_knows_it() -> None:
    seen: list[tuple[str, str]] = []

    async def note(line: Line) -> None:
        assert line.socket.request is not None
        headers = line.socket.request.headers
        seen.append((headers["Host"], headers["X-Twilio-Signature"]))
        await greet(line)

    async def main() -> None:
        async with agent(note) as media_url:
            host = media_url.split("/")[2]
            async with web({"/voice": twiml("ws://agent.example/media")}) as application:
                made = TwilioCall(
                    application.url + "/voice", listen_once, auth_token="secret", public_host="agent.example"
                )
                # The application serves both on one port; here they are two.
                made._local = made._local._replace(netloc=host)
                made.webhooks = type(made.webhooks)(made)
                await made.run()

    virtual_time.run(main())
    assert seen == [("agent.example", sign("secret", "wss://agent.example/media"))]


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ({}, "11200: the webhook .* failed: HTTP 404"),
        ({"/voice": "welcome"}, "12100"),
        ({"/voice": "<Response><Connect><Stream url='ws://x/y'/></Connect></Response>"}, "31920"),
        (
            {"/voice": "<Response><Connect><Stream url='wss://other.example/y'/></Connect></Response>"},
            "another machine",
        ),
        (
            {"/voice": "<Response><Connect><Stream url='wss://127.0.0.1:9/y'/></Connect></Response>"},
            "could not be opened",
        ),
    ],
)
def test_calls_that_never_come_to_a_stream(pages: dict[str, str], message: str) -> None:
    async def main() -> None:
        async with web(pages) as application:
            with pytest.raises(CallFailed, match=message):
                await TwilioCall(application.url + "/voice", listen_once).run()

    virtual_time.run(main())


def test_twiml_before_and_after_the_stream_is_noted() -> None:
    async def brief(line: Line) -> None:
        async for event in line:
            if event["event"] == "media" and event["media"]["chunk"] == "10":
                await line.socket.close()
                return

    async def main() -> None:
        async with agent(brief) as media_url:
            pages = {"/after": "<Response><Say>Bye</Say><Hangup/></Response>"}
            pages["/voice"] = twiml(media_url, "<Say>Welcome</Say><Pause length='1'/>", "<Redirect>/after</Redirect>")
            async with web(pages) as application:
                made = TwilioCall(application.url + "/voice", lambda phone: phone.pause(50))
                await made.run()
                assert [v.name for v in made.verbs] == ["Say", "Pause", "Connect/Stream", "Redirect", "Say", "Hangup"]

    virtual_time.run(main())


def test_a_forked_stream_listens_beside_the_one_that_holds_the_call() -> None:
    streams: dict[str, Line] = {}

    async def collect(line: Line) -> None:
        async for event in line:
            if event["event"] == "start":
                streams[event["start"]["customParameters"].get("name", "")] = line
                await line.play(TONE)

    async def main() -> TwilioCall:
        async with agent(collect) as media_url:
            url = media_url.replace("ws://", "wss://")
            fork = f"<Start><Stream url='{url}'><Parameter name='name' value='fork'/></Stream></Start>"
            async with web({"/voice": twiml(media_url, fork)}) as application:
                return await TwilioCall(application.url + "/voice", lambda phone: phone.pause(2)).run()

    made = virtual_time.run(main())
    held, fork = ([e for e in streams[name].seen if e["event"] == "media"] for name in ("", "fork"))
    assert len(held) == len(fork) > 90
    assert [event["media"]["payload"] for event in held] == [event["media"]["payload"] for event in fork]
    assert [violation.code for violation in made.violations] == [31924]
    assert "only listens" in made.violations[0].text
