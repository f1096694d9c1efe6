"""Unmodified agents as child processes: what they reach, how they are called, what they are refused for."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline_guard.certify.child import AgentFailed, AgentSpec, child_environment, running_agent
from pipeline_guard.certify.conduct import GREETING, PROTOCOL
from pipeline_guard.certify.foreign_call import ForeignCall, certify_agent
from pipeline_guard.certify.openai_simulator import OpenAISimulator
from pipeline_guard.certify.realtime.script import Reply, sequence
from pipeline_guard.certify.throwaway_ca import throwaway_tls
from pipeline_guard.certify.voice_webhook import judged, ranked
from pipeline_guard.cli.group import cli

pytest.importorskip("trustme")
AGENTS = Path(__file__).parent / "fixtures" / "agents"
FAST = 5.0


def certified(spec: AgentSpec) -> ForeignCall:
    return asyncio.run(certify_agent(spec, speed=FAST))


def single_path(wrong: str = "") -> AgentSpec:
    return AgentSpec(app="single_path:app", directory=AGENTS, environment={"WRONG": wrong})


def codes(call: ForeignCall) -> list[str]:
    return [reason.code for reason in call.reasons]


# -- whole calls ------------------------------------------------------------------------------------------------------


def test_an_agent_with_one_path_is_certified_unmodified(tmp_path: Path) -> None:
    shutil.copy(AGENTS / "single_path.py", tmp_path)
    arguments = ["certify", str(tmp_path), "--app", "single_path:app", "--seed", "0", "--speed", str(FAST)]
    result = CliRunner().invoke(cli, [*arguments, "--format", "json"], standalone_mode=False)
    certificate = json.loads(result.stdout)
    assert [reason["text"] for call in certificate["calls"] for reason in call["reasons"]] == []
    assert certificate["verdict"] == "pass"
    assert (certificate["totals"]["turns"], certificate["totals"]["responses"]) == (3, 4)
    assert all(check["verdict"] == "pass" for check in certificate["checks"])
    assert {PROTOCOL, GREETING} < {check["name"] for check in certificate["checks"]}


def test_an_agent_on_the_sdk_passes_on_the_port_that_it_chose_itself() -> None:
    call = certified(AgentSpec(command="python sdk_agent.py", directory=AGENTS))
    assert [str(reason) for reason in call.reasons] == []
    assert call.webhook == "/voice"


def test_an_agent_on_aiohttp_passes_with_the_server_creating_the_answers() -> None:
    pytest.importorskip("aiohttp")
    call = certified(AgentSpec(app="aiohttp_agent:app", directory=AGENTS))
    assert [str(reason) for reason in call.reasons] == []
    assert call.webhook == "/answer"


def test_a_second_response_create_and_a_second_recogniser_are_each_a_reason() -> None:
    call = certified(single_path("double, second ear"))
    assert {"active.race", "stt.http", "speech.engine"} <= set(codes(call))
    refused = {each.target: each.where for each in call.outside}
    assert set(refused) == {"api.deepgram.com:443"}
    assert refused["api.deepgram.com:443"].startswith("single_path.py:")


def test_who_speaks_the_beta_is_refused_for_it_and_judged_all_the_same() -> None:
    call = certified(single_path("beta, recording"))
    assert codes(call) == ["protocol.beta"]
    assert "beta_api_shape_disabled" in call.reasons[0].text
    assert call.in_beta is not None
    assert call.in_beta.outcome.failed == call.outcome.failed == [PROTOCOL]
    assert call.in_beta.outcome.responses == 4
    said = [line for line in call.in_beta.lines if line.text.startswith("trigger")]
    assert [line.text for line in said] == ["trigger greeting", *["trigger turn"] * 3]
    assert all(0 <= line.at <= call.in_beta.outcome.facts.ended_at for line in said)
    # What it asks for when the call is over, be it another recogniser, is no part of the call.
    assert [each.target for each in call.in_beta.outside] == ["api.deepgram.com:443"]
    assert "after the call: POST /v1/audio/transcriptions" in [check.detail for check in call.in_beta.outcome.checks]


# -- starting and ending ----------------------------------------------------------------------------------------------


def started(spec: AgentSpec, then: Callable[[Any], Any] = lambda _: None) -> Any:
    async def main() -> Any:
        async with running_agent(spec, openai_port=1, ca=throwaway_tls(["api.openai.com"]).ca) as agent:
            return then(agent)

    return asyncio.run(main())


def script(folder: Path, source: str, **options: Any) -> AgentSpec:
    (folder / "agent.py").write_text(textwrap.dedent(source), encoding="utf-8")
    return AgentSpec(command="python agent.py", directory=folder, **options)


SERVE = """
    import http.server, os
    http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.BaseHTTPRequestHandler).serve_forever()
"""


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise RuntimeError('no key')", r"ended with exit status 1 before it served .*\n.*RuntimeError: no key"),
        ("import time; print('thinking', flush=True); time.sleep(60)", r"listens on no port after 1 s.*\n +thinking"),
    ],
)
def test_an_agent_that_does_not_start_says_why(tmp_path: Path, source: str, text: str) -> None:
    with pytest.raises(AgentFailed, match=f"(?s){text}"):
        started(script(tmp_path, source, start_timeout=1.0))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (AgentSpec(), "nothing to start"),
        (AgentSpec(app="main"), "write module:app"),
        (AgentSpec(command="no-such-program-here"), "no-such-program-here cannot be started: No such file"),
        (AgentSpec(command="python 'x"), "cannot be read"),
        (AgentSpec(app="main:app", directory=Path("no/such/folder")), "no such folder"),
    ],
)
def test_what_cannot_be_started_is_refused_in_a_sentence(spec: AgentSpec, text: str) -> None:
    with pytest.raises(AgentFailed, match=text):
        started(spec)


def test_a_process_whose_network_cannot_be_held_is_not_called(tmp_path: Path) -> None:
    spec = script(tmp_path, SERVE)
    with pytest.raises(AgentFailed, match="network cannot be held"):
        started(AgentSpec(command=f"{sys.executable} -I agent.py", directory=spec.directory))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the processes in /proc")
def test_the_agent_and_what_it_started_are_gone_afterwards_also_when_the_call_fails(tmp_path: Path) -> None:
    source = """
        import signal, subprocess, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"]).pid, flush=True)
    """
    spec = script(tmp_path, textwrap.dedent(source) + textwrap.dedent(SERVE))
    pids: list[int] = []

    def fail(agent: Any) -> None:
        pids.extend([agent.process.pid, int(agent.lines[0].text)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        started(spec, fail)
    deadline = time.monotonic() + 5
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2
    assert not any(map(lives, pids))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the processes in /proc")
def test_an_agent_does_not_outlive_a_certification_that_is_ended(tmp_path: Path) -> None:
    spec = script(tmp_path, "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(99)")
    arguments = [sys.executable, "-m", "pipeline_guard", "certify", str(spec.directory), "--command", "python agent.py"]
    with subprocess.Popen([*arguments, "--seed", "0"], stderr=subprocess.PIPE) as certifying:
        deadline = time.monotonic() + 30
        pid = ""
        while not pid and time.monotonic() < deadline:
            time.sleep(0.05)
            pid = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
        assert lives(int(pid))
        certifying.terminate()
        certifying.wait(20)
        assert b"Traceback" not in (certifying.stderr.read() if certifying.stderr else b"")
    assert certifying.returncode not in (0, 1)
    assert not lives(int(pid))


def lives(pid: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody asked about is not in the way."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


# -- the network of the process ---------------------------------------------------------------------------------------


def run_inside(folder: Path, source: str, *, openai_port: int = 1, ca: bytes = b"", **environment: str) -> list[Any]:
    """Run a script where a certified agent runs; return what it prints as JSON lines, and then its report."""
    (folder / "ca.pem").write_bytes(ca or throwaway_tls(["api.openai.com"]).ca)
    config = {
        "hosts": ["api.openai.com"],
        "port": openai_port,
        "ca": str(folder / "ca.pem"),
        "report": str(folder / "report.jsonl"),
        "directory": str(folder),
    }
    (folder / "child.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "script.py").write_text(textwrap.dedent(source), encoding="utf-8")
    spec = AgentSpec(app="x:y", directory=folder, environment=environment)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=child_environment(spec, folder, 1),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]
    return [*map(json.loads, done.stdout.splitlines()), report]


OUTSIDE = """
    import asyncio, json, socket, urllib.request

    def attempt(what):
        try:
            what()
        except OSError as error:
            print(json.dumps(type(error).__name__))
        else:
            print(json.dumps("reached"))

    def datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("192.0.2.1", 53))

    def raw():
        with socket.socket() as sock:
            sock.connect(("192.0.2.1", 443))

    def error_code():
        with socket.socket() as sock:
            if sock.connect_ex(("192.0.2.1", 443)):
                raise OSError

    async def stream():
        await asyncio.open_connection("example.com", 443)

    attempt(lambda: urllib.request.urlopen("https://example.com/"))
    attempt(lambda: socket.gethostbyname("example.org"))
    attempt(datagram)
    attempt(raw)
    attempt(error_code)
    attempt(lambda: asyncio.run(stream()))
    attempt(lambda: socket.getaddrinfo("localhost", 80))
    attempt(lambda: socket.getaddrinfo(None, 80))
"""


def test_the_world_outside_is_refused_and_written_down(tmp_path: Path) -> None:
    *seen, report = run_inside(tmp_path, OUTSIDE)
    assert seen == ["URLError", "gaierror", "Refused", "Refused", "OSError", "gaierror", "reached", "reached"]
    refused = [(fact["host"], fact["port"]) for fact in report if fact["kind"] == "refused"]
    assert refused == [
        ("example.com", 443),
        ("example.org", None),
        ("192.0.2.1", 53),
        ("192.0.2.1", 443),
        ("192.0.2.1", 443),
        ("example.com", 443),
    ]
    assert all(fact["where"].startswith("script.py:") for fact in report if fact["kind"] == "refused")


def test_an_agents_own_sitecustomize_still_runs(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins; builtins.MINE = 5\n")
    assert run_inside(tmp_path, "print(MINE)", PYTHONPATH=str(own))[0] == 5


CLIENTS = {
    "sdk": """
        import openai
        secret = openai.OpenAI().realtime.client_secrets.create(session={"type": "realtime"})
        print(json.dumps(secret.value[:3]))
        try:
            openai.OpenAI().audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF" * 999))
        except openai.PermissionDeniedError as error:
            print(json.dumps(error.code))
    """,
    "own context": """
        import ssl, urllib.request
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        request = urllib.request.Request("https://api.openai.com/v1/models", headers=HEADERS)
        print(json.dumps(json.load(urllib.request.urlopen(request, context=context))["object"]))
    """,
    "websockets": """
        from websockets.sync.client import connect
        with connect("wss://api.openai.com/v1/realtime?model=gpt-realtime", additional_headers=HEADERS) as socket:
            print(json.dumps(json.loads(socket.recv())["type"]))
    """,
    "uvloop": """
        import uvloop
        from websockets.asyncio.client import connect
        async def main():
            async with connect("wss://api.openai.com/v1/realtime?model=gpt-realtime", additional_headers=HEADERS) as ws:
                print(json.dumps(json.loads(await ws.recv())["type"]))
            try:
                await asyncio.get_running_loop().create_connection(asyncio.Protocol, "192.0.2.1", 443)
            except OSError as error:
                print(json.dumps(type(error).__name__))
        uvloop.run(main())
    """,
    "aiohttp": """
        import aiohttp
        async def main():
            async with aiohttp.ClientSession(headers=HEADERS) as client:
                url = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
                async with client.ws_connect(url) as socket:
                    print(json.dumps((await socket.receive_json())["type"]))
                async with client.post("https://api.openai.com/v1/realtime/sessions", json={}) as answer:
                    print(json.dumps((await answer.json())["error"]["code"]))
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize(
    ("name", "needs", "seen"),
    [
        ("sdk", "openai", ["ek_", "not_simulated"]),
        ("own context", "ssl", ["list"]),
        ("websockets", "websockets", ["session.created"]),
        ("uvloop", "uvloop", ["session.created", "Refused"]),
        ("aiohttp", "aiohttp", ["session.created", "beta_api_shape_disabled"]),
    ],
)
def test_each_client_finds_the_simulator_at_the_real_name(
    tmp_path: Path, name: str, needs: str, seen: list[str]
) -> None:
    pytest.importorskip(needs)
    head = "import asyncio, json\nHEADERS = {'Authorization': 'Bearer x'}\n"

    async def main() -> list[Any]:
        tls = throwaway_tls(["api.openai.com"])
        async with OpenAISimulator(script=sequence(Reply.say("Hello")), tls=tls.server) as openai:
            source = head + textwrap.dedent(CLIENTS[name])
            return await asyncio.to_thread(run_inside, tmp_path, source, openai_port=openai.port, ca=tls.ca)

    *printed, report = asyncio.run(main())
    assert printed == seen
    assert [fact["kind"] for fact in report if fact["kind"] == "refused"] == ["refused"] * (name == "uvloop")


# -- the webhook ------------------------------------------------------------------------------------------------------


def test_routes_that_take_a_call_are_asked_and_no_others() -> None:
    routes = [
        "/",
        "/health",
        "/api/calls/{sid}",
        "/outgoing-call",
        "/call-status",
        "/recording-callback",
        "/media-stream",
        "/twilio/voice",
        "/incoming-call",
        "/make-call",
        "/webhook",
    ]
    assert ranked(routes) == ["/twilio/voice", "/incoming-call", "/webhook"]


def test_what_a_route_answers() -> None:
    stream = '<Response><Connect><Stream url="wss://x.example/s"/></Connect></Response>'
    assert judged("/v", 200, stream).opens_stream
    assert judged("/v", 200, "<Response><Say>Hi</Say></Response>").answer == "TwiML"
    assert judged("/v", 200, "{}").answer == "no TwiML"
    assert judged("/v", 405, "").answer == "HTTP 405"
