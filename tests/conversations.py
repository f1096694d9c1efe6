"""Runs the small backends of ``fixtures/runnable`` between the two simulators, and tells what the caller lived through.

A backend is imported from its folder and served by uvicorn on a real port of loopback, in the virtual time of the
simulators: its timers run as fast as theirs.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_guard.certify import virtual_time
from pipeline_guard.certify.callers import patient as caller
from pipeline_guard.certify.contract_call import ContractCall, Outcome
from pipeline_guard.certify.faults import parse_fault
from pipeline_guard.certify.twilio.phone import Phone
from pipeline_guard.certify.twilio_simulator import TwilioCall
from pipeline_guard.certify.utterances import load_utterances

RUNNABLE = Path(__file__).parent / "fixtures" / "runnable"
Caller = Callable[[Phone], Awaitable[None]]


async def slow_caller(phone: Phone) -> None:
    """A caller who takes five seconds before the second answer."""
    await phone.listen()
    for number, utterance in enumerate(load_utterances()):
        if number == 1:
            await phone.pause(5.0)
        phone.say(utterance.audio, utterance.text)
        await phone.listen(quiet=2.0 if number == 2 else 0.6)


async def caller_with_keys(phone: Phone) -> None:
    """A caller who presses a key as soon as the agent begins to speak, then listens and answers."""
    await phone.hear()
    await phone.press("1")
    await caller(phone)


@dataclass
class Conversation:
    """A finished call.

    ``greeting`` is what the first response was asked to say, and by whom; ``answers`` are the responses after it;
    ``troubles`` is what the backend logged as an error or left unraised; ``twiml`` are the words of ``<Say>``;
    ``heard_ms`` is how much the caller heard of the agent, ``seconds`` how long the call lasted; ``given`` are the
    texts that were put into the conversation.
    """

    outcome: Outcome
    greeting: dict[str, Any]
    answers: int
    active_errors: int
    troubles: list[str]
    twiml: list[str]
    heard_ms: int
    seconds: float
    given: list[str]

    @property
    def turns(self) -> int:
        return self.outcome.turns

    @property
    def lost(self) -> int:
        """Frames of the caller that were lost, doubled or came in the wrong order."""
        return sum(
            a.lost + len(a.duplicated) + len(a.reordered) + a.foreign_bytes // 160 for a in self.outcome.arrivals
        )

    @property
    def failed(self) -> set[str]:
        return set(self.outcome.failed)


class _Call(ContractCall):
    """The contract's test call with another caller."""

    def __init__(self, caller: Caller, faults: tuple[str, ...]) -> None:
        super().__init__(seed=1, faults=[parse_fault(text) for text in faults])
        self.caller = caller

    async def run_at(self, webhook: str) -> Outcome:
        self.phone_call = TwilioCall(
            webhook, self.caller, seed=1, record=self.record, ledger=self.ledger, clock=lambda: self.openai.now
        )
        await self.phone_call.run()
        return self.judge()


def converse(folder: Path, caller: Caller = caller, *faults: str) -> Conversation:
    """Call the backend in a folder and return what came of it."""

    async def main() -> Conversation:
        troubles: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: troubles.append(repr(context.get("exception") or context["message"]))
        )
        call = _Call(caller, faults)
        async with call.openai, transcriptions() as http_url:
            with loaded(folder, REALTIME_URL=call.openai.url, HTTP_URL=http_url) as app, errors_logged(troubles):
                async with served(app) as port:
                    outcome = await call.run_at(f"http://127.0.0.1:{port}/incoming-call")
        return _conversation(call, outcome, troubles)

    return virtual_time.run(main())


def _conversation(call: _Call, outcome: Outcome, troubles: list[str]) -> Conversation:
    assert call.phone_call is not None
    asked = call.record.of("response.create", peer="openai", direction="received")
    answers = [r for r in call.openai.responses if r.in_default and r.created_at is not None]
    return Conversation(
        outcome,
        greeting={"by": answers[0].cause, **(dict(asked[0].event.get("response", {})) if asked else {})},
        answers=len(answers) - 1,
        active_errors=sum(e["code"] == "conversation_already_has_active_response" for e in call.openai.errors),
        troubles=troubles,
        twiml=[verb.text for verb in call.phone_call.verbs if verb.name == "Say"],
        seconds=call.record.entries[-1].at,
        given=[
            part.get("text", "")
            for entry in call.record.of("conversation.item.create", direction="received")
            for part in entry.event["item"].get("content", ())
        ],
        heard_ms=sum(len(piece.audio) for piece in call.phone_call.heard) // 8,
    )


@contextmanager
def loaded(folder: Path, **environment: str) -> Iterator[Any]:
    """Import ``app.py`` of a folder as a program does that runs there, and forget its modules afterwards."""
    names = {path.stem for path in folder.glob("*.py")}
    assert not names & sys.modules.keys()
    saved = {name: os.environ.get(name) for name in (*environment, "OPENAI_API_KEY")}
    os.environ.update(environment, OPENAI_API_KEY="sk-test")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("app").app
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        for name, value in saved.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def errors_logged(into: list[str]) -> Iterator[None]:
    """Collect what anybody logs as an error, but for what the backends say about the server's own errors."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.getMessage().startswith("realtime: "):
                into.append(record.getMessage())

    handler = Collector(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """Serve an application on a free port; yields the port."""
    import uvicorn

    config = uvicorn.Config(app, "127.0.0.1", 0, log_config=None, ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(config)
    # The test process handles its own signals.
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def transcriptions() -> AsyncIterator[str]:
    """Serve the HTTP side of OpenAI as far as a backend's second recogniser needs it; yields its base address."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length"))
        await reader.readexactly(length)
        await asyncio.sleep(2.5)
        body = json.dumps({"text": "heard by somebody else"}).encode()
        header = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write(header.encode() + b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
