"""Runs an agent that is not ours, unmodified, as a child process whose OpenAI is the simulator.

This is the one place where the tool executes code of the agent: in a process of its own, because a certification was
asked for.  Into that process go an environment without secrets and ``inside/sitecustomize.py``, which leads
``api.openai.com`` to the simulator, lets the process trust the simulator's certificate, and refuses every other host.
Python's own sockets, asyncio, uvloop, aiohttp, gRPC and everything above them are held; programs that are no Python and
that the agent starts (a tunnel, curl) are not, and are written down.

    spec = AgentSpec(app="main:app", directory=Path("agent"))
    async with running_agent(spec, openai_port=openai.port, ca=tls.ca) as agent:
        agent.base_url, agent.lines, agent.outside
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipeline_guard.errors import UserError

SIMULATED_HOSTS = ("api.openai.com",)
# What an agent finds in its environment; none of it is worth anything.
API_KEY = "sk-certification-0000000000000000"
ACCOUNT_SID = "AC00000000000000000000000000000000"
AUTH_TOKEN = "certification0000000000000000000"
PHONE_NUMBER = "+97231234567"
PUBLIC_HOST = "agent.example"
_INSIDE = Path(__file__).parent / "inside"
# A proxy would carry the agent's connections past the simulator.
_NOT_INHERITED = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy", "grpc_proxy", "ssl_cert_dir")
_LAST_LINES = 8
# The last line of a traceback ("TypeError: …", "package.SomeException: …"), or what a logger says of itself.
_ERROR = re.compile(r"^\s*(?:\w+\.)*\w*(?:Error|Exception|Refused|InvalidStatus\w*)\b:? |\bERROR\b|\b[Mm]issing\b")
_GRACE_SECONDS = 5.0


class AgentFailed(UserError):
    """The agent could not be started, or is none that can be called; says why in a sentence."""


@dataclass(frozen=True)
class AgentSpec:
    """How to start an agent: ``app`` as "module:app" or ``command`` as typed in a shell, in ``directory``.

    ``python`` is the agent's own interpreter; without it that of a ``.venv`` or ``venv`` in the directory, else this
    one.  ``environment`` adds to what the agent finds.  ``voice_path`` and ``stream_path`` are the webhook and the
    media stream; ``public_host`` is the host that the agent believes to be reached by.
    """

    app: str | None = None
    command: str | None = None
    directory: Path = Path()
    python: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    voice_path: str | None = None
    stream_path: str | None = None
    public_host: str = PUBLIC_HOST
    start_timeout: float = 60.0


@dataclass(frozen=True)
class Line:
    """A line that the agent wrote, at seconds of the clock that ``running_agent`` was given."""

    at: float
    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class Outside:
    """Something of the world outside that the agent reached for.

    ``kind``: "refused" (a connection to ``target``, as "host:port") or "started" (the program ``target``).  ``where``
    is the agent's line behind it, as "path:line", where one is known.
    """

    at: float
    kind: Literal["refused", "started"]
    target: str
    where: str

    @property
    def host(self) -> str:
        """The host, without the port."""
        return self.target.rpartition(":")[0] if self.kind == "refused" else ""


@dataclass
class RunningAgent:
    """The process.  ``lines`` grow while it runs; ``exit_status`` is None until it has ended by itself."""

    spec: AgentSpec
    process: asyncio.subprocess.Process
    port: int
    report: Path
    clock: Callable[[], float]
    lines: list[Line] = field(default_factory=list)
    exit_status: int | None = None
    speed: float = 1.0
    _began: tuple[float, float] = (0.0, 0.0)
    _kept: bytes | None = None

    @property
    def base_url(self) -> str:
        """Where the agent serves HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What the hook inside the process wrote down, in order."""
        if self._kept is not None:
            return [json.loads(line) for line in self._kept.splitlines()]
        try:
            return [json.loads(line) for line in self.report.read_bytes().splitlines()]
        except OSError:
            return []

    def keep_facts(self) -> None:
        """Keep what was written down past the life of the process."""
        with contextlib.suppress(OSError):
            self._kept = self.report.read_bytes()

    @property
    def outside(self) -> list[Outside]:
        """What the agent wanted of the world outside, in order."""
        found = []
        wall, at = self._began
        for fact in self.facts:
            when = at + (fact["at"] - wall) * self.speed
            if fact["kind"] == "refused":
                port = f":{fact['port']}" if fact["port"] is not None else ":?"
                found.append(Outside(when, "refused", f"{fact['host']}{port}", fact["where"]))
            elif fact["kind"] == "started" and not _is_python(fact["program"]):
                found.append(Outside(when, "started", str(fact["program"]), ""))
        return found

    def shift(self, seconds: float) -> None:
        """Count time from so many seconds later on; what was before has negative times."""
        self.lines[:] = [replace(line, at=line.at - seconds) for line in self.lines]
        self._began = (self._began[0], self._began[1] - seconds)

    @property
    def last_lines(self) -> str:
        """The end of what the agent wrote, for a message."""
        texts = [line.text for line in self.lines if line.text.strip()][-_LAST_LINES:]
        return "".join(f"\n    {text[:200]}" for text in texts) or " (it wrote nothing)"

    @property
    def last_error(self) -> str:
        """The last line that reads like an error, "" where none does."""
        found = [line.text.strip() for line in self.lines if _ERROR.search(line.text)]
        return found[-1][:300] if found else ""

    def bound_ports(self) -> list[int]:
        """Return the ports that the agent listens on or wanted to, in order."""
        return [fact["port"] for fact in self.facts if fact["kind"] == "bound"]


@asynccontextmanager
async def running_agent(
    spec: AgentSpec,
    *,
    openai_port: int,
    ca: bytes,
    clock: Callable[[], float] = time.monotonic,
    speed: float = 1.0,
) -> AsyncIterator[RunningAgent]:
    """Start the agent, wait until it serves, and end it and all that it started, whatever happens.

    ``clock`` is what the times of its lines are read from; it runs ``speed`` times faster than the world's.

    Raises AgentFailed when it does not start, or does not run where its network is held.
    """
    directory = spec.directory.resolve()
    if not directory.is_dir():
        raise AgentFailed(f"{spec.directory}: there is no such folder to start the agent in.")
    port = spec.port or _free_port()
    with tempfile.TemporaryDirectory(prefix="pipeline-guard-") as folder:
        private = Path(folder)
        (private / "ca.pem").write_bytes(ca)
        config = {
            "hosts": SIMULATED_HOSTS,
            "port": openai_port,
            "ca": str(private / "ca.pem"),
            "report": str(private / "report.jsonl"),
            "directory": str(directory),
        }
        (private / "child.json").write_text(json.dumps(config), encoding="utf-8")
        environment = child_environment(spec, private, port)
        process = await _start(spec, directory, environment, port)
        agent = RunningAgent(spec, process, port, private / "report.jsonl", clock, speed=speed)
        agent._began = (time.time(), clock())
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            asyncio.create_task(_read(agent, process.stdout, "stdout")),
            asyncio.create_task(_read(agent, process.stderr, "stderr")),
        ]
        try:
            with _ended_by_sigterm():
                agent.port = await _serving_port(agent, port)
                yield agent
                agent.exit_status = process.returncode
        finally:
            await _stop(process)
            await asyncio.wait(readers, timeout=1.0)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            agent.keep_facts()


def child_environment(spec: AgentSpec, private: Path, port: int) -> dict[str, str]:
    """Return the agent's environment: this one's, without its way out and with worthless keys."""
    environment = {name: value for name, value in os.environ.items() if name.lower() not in _NOT_INHERITED}
    environment.update(
        OPENAI_API_KEY=API_KEY,
        PORT=str(port),
        TWILIO_ACCOUNT_SID=ACCOUNT_SID,
        TWILIO_AUTH_TOKEN=AUTH_TOKEN,
        TWILIO_PHONE_NUMBER=PHONE_NUMBER,
        PYTHONUNBUFFERED="1",
        EVENTLET_NO_GREENDNS="yes",
        # For what does not make its TLS contexts with Python's ssl module.
        SSL_CERT_FILE=str(private / "ca.pem"),
        REQUESTS_CA_BUNDLE=str(private / "ca.pem"),
    )
    environment.update(spec.environment)
    paths = [str(_INSIDE), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment.update(PYTHONPATH=os.pathsep.join(paths), PIPELINE_GUARD_CHILD=str(private / "child.json"))
    return environment


def agent_python(spec: AgentSpec) -> str:
    """Return the interpreter that the agent runs on."""
    if spec.python:
        return spec.python
    for name in (".venv", "venv"):
        for place in ("bin/python", "Scripts/python.exe"):
            if (found := spec.directory.resolve() / name / place).is_file():
                return str(found)
    return sys.executable


async def _start(
    spec: AgentSpec, directory: Path, environment: Mapping[str, str], port: int
) -> asyncio.subprocess.Process:
    if spec.app:
        module, found, name = spec.app.partition(":")
        if not found or not module or not name:
            raise AgentFailed(f"{spec.app!r} is no application; write module:app, as for uvicorn.")
        words = [agent_python(spec), "-m", "pipeline_guard_serve", spec.app, str(port)]
    elif spec.command:
        try:
            words = shlex.split(spec.command.replace("${PORT}", "$PORT").replace("$PORT", str(port)))
        except ValueError as error:
            raise AgentFailed(f"the command {spec.command!r} cannot be read: {error}.") from None
        if words and words[0] in ("python", "python3"):
            words[0] = agent_python(spec)
    else:
        words = []
    if not words:
        raise AgentFailed("there is nothing to start; give the agent as --app module:app or as --command.")
    try:
        return await asyncio.create_subprocess_exec(
            *words,
            cwd=directory,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise AgentFailed(f"{words[0]} cannot be started: {error.strerror or error}.") from None


async def _read(agent: RunningAgent, stream: asyncio.StreamReader, name: Literal["stdout", "stderr"]) -> None:
    rest = b""
    while data := await stream.read(65536):
        *lines, rest = (rest + data).split(b"\n")
        at = agent.clock()
        agent.lines += [Line(at, name, line.decode("utf-8", "replace").rstrip("\r")) for line in lines]
    if rest:
        agent.lines.append(Line(agent.clock(), name, rest.decode("utf-8", "replace")))


async def _serving_port(agent: RunningAgent, wanted: int) -> int:
    """Wait until the agent accepts connections: on the port it was given, or on the one that it has chosen itself."""
    ends = time.monotonic() + agent.spec.start_timeout
    while time.monotonic() < ends:
        for port in dict.fromkeys([wanted, *agent.bound_ports()]):
            if await _accepts(port):
                # An agent whose port was taken has met somebody else on it, and ends in a moment.
                await asyncio.sleep(0.2)
                if agent.process.returncode is None:
                    _require_hook(agent)
                    return port
        if agent.process.returncode is not None:
            await asyncio.sleep(0.1)
            raise AgentFailed(
                f"the agent ended with exit status {agent.process.returncode} before it served anything; "
                f"its last lines:{agent.last_lines}"
            )
        await asyncio.sleep(0.1)
    others = ", ".join(map(str, agent.bound_ports()))
    raise AgentFailed(
        f"the agent listens on no port after {agent.spec.start_timeout:g} s (PORT={wanted}"
        f"{f'; it wanted {others}' if others else ''}); its last lines:{agent.last_lines}"
    )


def _require_hook(agent: RunningAgent) -> None:
    if not any(fact["kind"] == "hooked" for fact in agent.facts):
        raise AgentFailed(
            "the agent runs where its network cannot be held: not on Python, or with -I, -E or -S, or in a container; "
            "start it as a Python process of this machine."
        )


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1.0)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the process and its whole group: politely, then not."""
    _signal_group(process, "SIGTERM")
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
    # What the agent started may outlive it.
    _signal_group(process, "SIGKILL")
    await process.wait()


def _signal_group(process: asyncio.subprocess.Process, name: Literal["SIGTERM", "SIGKILL"]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.Signals[name])
        else:  # Windows has no groups of this kind
            process.kill()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let a request to terminate this process cancel the task, so that the agent does not outlive us."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (NotImplementedError, RuntimeError, ValueError):  # on Windows, or not in the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_python(program: object) -> bool:
    return Path(str(program)).name.startswith("python")
