"""The Realtime simulator over real sockets: with the SDK, with plain WebSockets, with faults, in virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline_guard.certify import virtual_time
from pipeline_guard.certify.faults import Fault, fault, parse_fault, seeded
from pipeline_guard.certify.mulaw import silence, voice
from pipeline_guard.certify.openai_simulator import Latency, OpenAISimulator
from pipeline_guard.certify.realtime.script import Reply, sequence
from pipeline_guard.errors import UserError
from tests.realtime_driver import PCMU, check_shape

KEY = {"Authorization": "Bearer sk-test"}
SHORT = sequence(Reply.say("Hello", 400))


class Client:
    """A plain client: sends events, keeps what comes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, event_type: str, **keys: Any) -> None:
        await self.socket.send(json.dumps({"type": event_type, **keys}))

    async def until(self, event_type: str) -> dict[str, Any]:
        while True:
            event = json.loads(await asyncio.wait_for(self.socket.recv(), 20))
            check_shape(event)
            self.seen.append(event)
            if event["type"] == event_type:
                return event

    async def configured(self, **turn_detection: Any) -> Client:
        session = json.loads(json.dumps(PCMU))
        session["audio"]["input"]["turn_detection"].update(turn_detection)
        await self.send("session.update", session=session)
        await self.until("session.updated")
        return self

    async def speak(self, seed: int = 1) -> None:
        audio = voice(seed, 400) + silence(600)
        for start in range(0, len(audio), 160):
            await self.send("input_audio_buffer.append", audio=base64.b64encode(audio[start : start + 160]).decode())


def connected(simulator: OpenAISimulator) -> connect:
    return connect(simulator.url + "?model=gpt-realtime-2.1", additional_headers=KEY, compression=None)


def with_client(body: Any, **options: Any) -> Any:
    """Run ``body(client, simulator)`` in virtual time."""

    async def main() -> Any:
        async with OpenAISimulator(**{"script": SHORT, **options}) as simulator, connected(simulator) as socket:
            return await body(Client(socket), simulator)

    return virtual_time.run(main())


def test_the_sdk_holds_a_call_with_it() -> None:
    async def main() -> None:
        async with OpenAISimulator(script=SHORT, speed=4) as simulator:
            client = AsyncOpenAI(api_key="sk-test", websocket_base_url=simulator.websocket_base_url)
            async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
                seen = []
                async for event in connection:
                    seen.append(event.type)
                    if event.type == "session.created":
                        await connection.session.update(session=PCMU)  # type: ignore[arg-type]
                    if event.type == "session.updated":
                        await connection.response.create(event_id="e1", response={"metadata": {"trigger_id": "e1"}})
                    if event.type == "response.created":
                        assert event.response.metadata == {"trigger_id": "e1"}
                    if event.type == "response.done":
                        break
        assert seen[0] == "session.created"
        assert "response.output_audio.delta" in seen
        assert [r.status for r in simulator.responses] == ["completed"]

    asyncio.run(main())


def test_a_call_of_a_minute_takes_a_second_in_virtual_time() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> float:
        await client.configured()
        for turn in range(8):
            await client.speak(turn)
            await client.until("input_audio_buffer.committed")
            await client.send("response.create")
            await client.until("response.done")
            await asyncio.sleep(5)
        return simulator.now

    began = time.perf_counter()
    assert with_client(body) > 40
    assert time.perf_counter() - began < 10


def test_the_clock_waits_for_threads() -> None:
    async def main() -> float:
        await asyncio.to_thread(time.sleep, 0.05)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(main()) == 0.0


def test_the_record_is_one_order_of_both_directions() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.speak()
        await client.until("input_audio_buffer.committed")
        entries = simulator.record.entries
        assert [entry.order for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
        appends = simulator.record.of("input_audio_buffer.append", direction="received")
        assert sum(entry.size for entry in appends) == 8000
        assert all("audio" not in entry.event for entry in appends)
        assert all(json.loads(line)["order"] for line in simulator.record.lines())

    with_client(body)


def test_waiting_for_what_never_comes_says_what_came() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        with pytest.raises(TimeoutError, match=r"no response\.done number 1 within 3 s; .*session\.created"):
            await simulator.record.wait_for("response.done", timeout=3)

    with_client(body)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/v1/realtime", {}, 401), ("/v1/realtime", {"Authorization": "Bearer wrong"}, 401), ("/v1/other", KEY, 404)],
)
def test_who_has_no_business_here_is_turned_away(path: str, headers: dict[str, str], status: int) -> None:
    async def main() -> None:
        async with OpenAISimulator(api_key="sk-test") as simulator:
            url = simulator.url.removesuffix("/v1/realtime") + path + "?model=x"
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers=headers)
            assert refused.value.response.status_code == status

    virtual_time.run(main())


def test_the_beta_is_refused_as_the_api_refuses_it() -> None:
    async def main() -> None:
        async with OpenAISimulator() as simulator:
            headers = {**KEY, "OpenAI-Beta": "realtime=v1"}
            async with connect(simulator.url + "?model=x", additional_headers=headers) as socket:
                error = json.loads(await socket.recv())
                assert error["error"]["code"] == "beta_api_shape_disabled"
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 4000

    virtual_time.run(main())


def test_latency_delays_and_keeps_the_order() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> list[str]:
        await client.configured()
        for _ in range(3):
            await client.send("response.create")
            await client.until("response.done")
        return [event["type"] for event in client.seen]

    plain = with_client(body)
    late = with_client(body, to_client=Latency(0.1, 0.3), to_server=Latency(0.05, 0.2), seed=9)
    assert plain == late


def faulty(body: Any, *faults: str, **options: Any) -> Any:
    return with_client(body, faults=[parse_fault(text) for text in faults], **options)


@pytest.mark.parametrize(
    ("name", "created", "done"),
    [
        ("drop-created@2", 1, 2),
        ("drop-done@1", 2, 1),
        ("duplicate-created@1", 3, 2),
        ("duplicate-done@2", 2, 3),
        ("stale-done@2", 2, 3),
        ("ignore-create@1", 1, 1),
    ],
)
def test_faults_change_what_the_client_sees_of_two_responses(name: str, created: int, done: int) -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> tuple[int, int]:
        await client.configured()
        for _ in range(2):
            await client.send("response.create")
            await asyncio.sleep(5)
        await client.send("conversation.item.retrieve", item_id="none")
        await client.until("error")
        types = [event["type"] for event in client.seen]
        assert [entry.event["fault"] for entry in simulator.record.of("fault")] == [name]
        return types.count("response.created"), types.count("response.done")

    assert faulty(body, name) == (created, done)


def test_a_stale_done_is_that_of_the_response_before() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.send("response.create")
        first = (await client.until("response.done"))["response"]["id"]
        await client.send("response.create")
        stale = (await client.until("response.done"))["response"]["id"]
        real = (await client.until("response.done"))["response"]["id"]
        assert first == stale != real

    faulty(body, "stale-done@2")


def test_a_foreign_response_takes_the_place_of_the_client_s() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.speak()
        await client.until("input_audio_buffer.committed")
        await client.send("response.create", event_id="mine", response={"metadata": {"trigger_id": "mine"}})
        error = (await client.until("error"))["error"]
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "mine")
        created = await client.until("response.created")
        assert created["response"]["metadata"] is None

    faulty(body, "foreign-created@1")


def test_errors_without_ids_and_unrelated_ones() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.send("response.create", event_id="a")
        unrelated = (await client.until("error"))["error"]
        assert unrelated["code"] == "server_error"
        await client.send("response.create", event_id="b")
        error = (await client.until("error"))["error"]
        assert error["code"] == "conversation_already_has_active_response"
        assert error["event_id"] is None

    faulty(body, "unrelated-error@1", "hide-error-ids", script=sequence(Reply.say("Long", 4000)))


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_response_is_made_to_end_badly(status: str) -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.send("response.create")
        assert (await client.until("response.done"))["response"]["status"] == status

    faulty(body, f"{status}-response@1")


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012])
def test_the_connection_is_closed_with_the_code(code: int) -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.send("response.create")
        with pytest.raises(ConnectionClosed):
            await client.until("response.done")
        assert client.socket.close_code == code

    faulty(body, f"close-{code}@1")


def test_an_expired_session_says_so_and_closes_and_the_next_connection_is_a_new_one() -> None:
    async def main() -> None:
        faults = [fault("session-expired"), fault("refuse-connect", 2)]
        async with OpenAISimulator(script=SHORT, faults=faults) as simulator:
            async with connected(simulator) as socket:
                client = await Client(socket).configured()
                await client.send("response.create")
                assert (await client.until("error"))["error"]["code"] == "session_expired"
                with pytest.raises(ConnectionClosed):
                    await client.until("response.done")
                assert socket.close_code == 1001
            with pytest.raises(InvalidStatus):
                await connected(simulator)
            async with connected(simulator) as socket:
                created = await Client(socket).until("session.created")
                assert created["session"]["audio"]["input"]["format"]["type"] == "audio/pcm"
        assert len({session.session["id"] for session in simulator.sessions}) == 2

    virtual_time.run(main())


def test_a_half_open_connection_neither_speaks_nor_closes() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.send("response.create")
        await client.until("response.created")
        await client.send("response.cancel")
        with pytest.raises(asyncio.TimeoutError):
            await client.until("response.done")

    faulty(body, "half-open@1")


def test_a_server_that_reads_slowly_makes_its_client_wait() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> float:
        await client.configured()
        await client.send("response.create")
        await client.until("response.created")
        began = simulator.now
        padding = "x" * 1_000_000
        for _ in range(40):
            await client.send("conversation.item.retrieve", item_id=padding)
        return simulator.now - began

    assert faulty(body, "slow-reader@1:3s") > 2


def test_a_slow_create_comes_late() -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> float:
        await client.configured()
        began = simulator.now
        await client.send("response.create")
        await client.until("response.created")
        return simulator.now - began

    assert faulty(body, "slow-create@1:6s") >= 6


@pytest.mark.parametrize(("name", "early"), [("late-transcript:4s", False), ("early-transcript", True)])
def test_transcripts_come_before_or_after_the_response(name: str, early: bool) -> None:
    async def body(client: Client, simulator: OpenAISimulator) -> None:
        await client.configured()
        await client.speak()
        await client.until("input_audio_buffer.committed")
        await client.send("response.create")
        await client.until("response.done")
        types = [event["type"] for event in client.seen]
        assert ("conversation.item.input_audio_transcription.completed" in types) is early

    faulty(body, name)


def test_schedules_come_from_their_seed() -> None:
    schedules = [seeded(seed) for seed in range(200)]
    assert schedules == [seeded(seed) for seed in range(200)]
    assert len({str(s) for s in schedules}) > 150
    assert all(parse_fault(str(f)) == f for s in schedules for f in s)
    assert {f.name for s in schedules for f in s} > {"drop-done", "half-open", "second-socket", "refuse-connect"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drop-don", "did you mean drop-done"),
        ("zzz", "known are"),
        ("drop-done@0", "counted from 1"),
        ("drop done", "is not a fault"),
    ],
)
def test_a_misspelt_fault_is_explained(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_fault(text)


def test_a_fault_as_text() -> None:
    assert parse_fault("drop-done@2") == Fault("drop-done", 2)
    assert str(parse_fault("bursts:0.3s")) == "bursts:0.3s"
