"""Backends of threads (Flask-Sock, websocket-client) through the codemod, and run against recording peers."""

from __future__ import annotations

import json
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_guard.fixes.run import Outcome, fix
from tests.fix_helpers import fixed

CALLBACKS = """
import json
import logging
import threading

import websocket
from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
logger = logging.getLogger(__name__)
URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
VAD = {"type": "server_vad", "create_response": False}
SETTINGS = {"type": "realtime", "audio": {"input": {"turn_detection": VAD}}}


class Call:
    def __init__(self, phone):
        self.phone = phone
        self.realtime = websocket.WebSocketApp(URL, on_open=self.on_open, on_message=self.on_message)

    def on_open(self, ws):
        self.realtime.send(json.dumps({"type": "session.update", "session": SETTINGS}))
        self.greet()

    def greet(self):
        self.realtime.send(json.dumps({"type": "response.create", "response": {"instructions": "Greet."}}))

    def on_message(self, ws, raw):
        event = json.loads(raw)
        kind = event.get("type")
        if kind == "input_audio_buffer.committed":
            self.realtime.send(json.dumps({"type": "response.create"}))
        elif kind == "response.function_call_arguments.done":
            threading.Thread(target=self.look_up, args=(event,), daemon=True).start()

    def look_up(self, event):
        item = {"type": "function_call_output", "call_id": event["call_id"], "output": "done"}
        self.realtime.send(json.dumps({"type": "conversation.item.create", "item": item}))
        self.realtime.send(json.dumps({"type": "response.create"}))

    def take(self, payload):
        self.realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": payload}))


@sock.route("/media")
def media(phone):
    call = Call(phone)
    threading.Thread(target=call.realtime.run_forever, daemon=True).start()
    while True:
        frame = json.loads(phone.receive())
        if frame["event"] == "media":
            call.take(frame["media"]["payload"])
        elif frame["event"] == "stop":
            break
"""
CLOSURES = """
import json
import threading

from flask import Flask
from flask_sock import Sock
from websocket import create_connection

app = Flask(__name__)
sock = Sock(app)


@sock.route("/media")
def media(phone):
    realtime = create_connection("wss://api.openai.com/v1/realtime?model=gpt-realtime")
    realtime.send(json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": {"input": {
        "turn_detection": {"type": "server_vad", "create_response": False}}}}}))

    def read():
        while True:
            event = json.loads(realtime.recv())
            if event["type"] == "session.updated":
                realtime.send(json.dumps({"type": "response.create"}))
            elif event["type"] == "input_audio_buffer.committed":
                realtime.send(json.dumps({"type": "response.create"}))

    threading.Thread(target=read, daemon=True).start()
    while True:
        frame = json.loads(phone.receive())
        if frame["event"] == "media":
            realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame["media"]["payload"]}))
        elif frame["event"] == "stop":
            break
    realtime.close()
"""


class Socket:
    """A socket of websocket-client that records what is sent, and by which thread."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.senders: set[str] = set()
        self.pause = 0.0

    def send(self, text: str) -> None:
        time.sleep(self.pause)
        event = json.loads(text)
        self.sent.append(event)
        if event["type"] == "input_audio_buffer.append":
            self.senders.add(threading.current_thread().name)

    def recv(self) -> str:
        threading.Event().wait()  # nothing comes; the thread ends with the test run
        raise AssertionError

    def run_forever(self) -> None:
        threading.Event().wait()

    def close(self) -> None:
        """Hang up."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.sent if each["type"] == kind]


class Phone:
    """The caller's side: frames, then the end of the call."""

    def __init__(self, count: int) -> None:
        frames = [{"event": "media", "media": {"payload": str(number)}} for number in range(count)]
        self.left = [*frames, {"event": "stop"}]

    def receive(self) -> str:
        return json.dumps(self.left.pop(0))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome], types.ModuleType]:
    """Return a function that runs a fixed backend's module with recording peers in the place of its libraries."""

    def load(outcome: Outcome) -> types.ModuleType:
        def route(_: str) -> Callable[[Any], Any]:
            return lambda function: function

        peers = {
            "websocket": {"WebSocketApp": Socket, "create_connection": Socket},
            "flask": {"Flask": lambda _: None},
            "flask_sock": {"Sock": lambda _: types.SimpleNamespace(route=route)},
        }
        for name, members in peers.items():
            peer = types.ModuleType(name)
            peer.__dict__.update(members)
            monkeypatch.setitem(sys.modules, name, peer)
        module = types.ModuleType("backend")
        exec(compile(outcome.program.sources.data["app.py"], "app.py", "exec"), module.__dict__)
        return module

    return load


@pytest.mark.parametrize("text", [CALLBACKS, CLOSURES], ids=["callbacks", "closures"])
def test_nothing_is_left_of_threads_that_send_what_they_like(tmp_path: Path, text: str) -> None:
    outcome = fixed(tmp_path, {"app.py": text})
    assert [finding for finding in outcome.program.findings if finding.severity != "note"] == []
    assert fix(outcome.program, lambda finding: True, unsafe=True).done == []


def test_frames_go_out_in_order_through_one_thread(tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(fixed(tmp_path, {"app.py": CLOSURES}))
    socket = Socket()
    monkeypatch.setitem(module.__dict__, "create_connection", lambda _: socket)
    module.media(Phone(100))
    assert [event["audio"] for event in socket.of("input_audio_buffer.append")] == [str(n) for n in range(100)]
    assert len(socket.senders) == 1
    assert threading.current_thread().name not in socket.senders


def test_two_threads_ask_for_one_response_and_the_other_follows(tmp_path: Path, load: Any) -> None:
    """Both results come while the send of the first still takes its time: the check alone would let both pass."""
    module = load(fixed(tmp_path, {"app.py": CALLBACKS}))
    call = module.Call(None)
    call.realtime.pause = 0.02
    threads = [threading.Thread(target=call.look_up, args=({"call_id": name},)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(call.realtime.of("response.create")) == 1
    call.on_message(None, json.dumps({"type": "response.created", "response": {"id": "resp_1"}}))
    call.look_up({"call_id": "c"})
    assert len(call.realtime.of("response.create")) == 1
    call.on_message(None, json.dumps({"type": "response.done", "response": {"id": "resp_1"}}))
    assert len(call.realtime.of("response.create")) == 2


def test_a_send_that_fails_leaves_the_guard_open(tmp_path: Path, load: Any) -> None:
    call = load(fixed(tmp_path, {"app.py": CALLBACKS})).Call(None)

    def fail(_: str) -> None:
        raise ConnectionError

    send, call.realtime.send = call.realtime.send, fail
    with pytest.raises(ConnectionError):
        call.trigger_response("USER_TURN")
    call.realtime.send = send
    call.trigger_response("USER_TURN")
    assert len(call.realtime.of("response.create")) == 1
