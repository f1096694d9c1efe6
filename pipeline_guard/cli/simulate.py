"""``pipeline-guard simulate``: either peer of a phone agent on this machine, to try the agent without calls or keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline_guard.cli.options import no_color_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from pipeline_guard.certify.record import Entry, Record
    from pipeline_guard.certify.twilio_simulator import TwilioCall

fault_option = click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    help="Play a fault: NAME, NAME@N (at the n-th event) or NAME@N:SECONDS. May be given several times.",
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="What all chance comes from.")
speed_option = click.option(
    "--speed",
    type=click.FloatRange(0.1, 50),
    default=1.0,
    show_default=True,
    help="How many times faster than real time.",
)
record_option = click.option(
    "--record",
    "record_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write every message to FILE as JSON lines, in the order in which they came.",
)


@click.group("simulate", short_help="Play one peer of a phone agent.")
def command() -> None:
    """Simulate one peer of a phone agent: the OpenAI Realtime API, or Twilio with a caller."""


@command.command("faults")
def list_faults() -> int:
    """List the faults that can be played."""
    from pipeline_guard.certify.faults import KINDS

    width = max(map(len, KINDS))
    for kind in KINDS.values():
        length = f" ({kind.seconds:g} s)" if kind.seconds else ""
        at = f", at {kind.acts_on}" if kind.acts_on else ""
        click.echo(f"{kind.name:{width}}  {kind.side}{at}: {kind.text}{length}")
    return 0


@command.command("openai")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes any free port.")
@fault_option
@seed_option
@speed_option
@record_option
@no_color_option
def simulate_openai(
    host: str, port: int, faults: tuple[str, ...], seed: int, speed: float, record_file: Path | None, no_color: bool
) -> int:
    """Serve the OpenAI Realtime API until interrupted.

    The simulated model asks for a service, a city and a confirmation.  It understands the three recorded utterances of
    the test call and nothing else: it does not recognise speech.
    """
    import asyncio

    from pipeline_guard.certify.contract_call import model
    from pipeline_guard.certify.ear import Ear
    from pipeline_guard.certify.faults import parse_fault
    from pipeline_guard.certify.openai_simulator import OpenAISimulator
    from pipeline_guard.certify.requirements import require_websockets
    from pipeline_guard.certify.utterances import load_utterances
    from pipeline_guard.errors import UserError
    from pipeline_guard.reports.terminal import make_console

    require_websockets()
    console = make_console(no_color=no_color)
    simulator = OpenAISimulator(
        script=model,
        transcriber=Ear(None, [(u.text, u.audio) for u in load_utterances()]),
        faults=[parse_fault(text) for text in faults],
        seed=seed,
        speed=speed,
        host=host,
        port=port,
    )

    async def serve() -> None:
        try:
            await simulator.__aenter__()
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        console.print(f"OpenAI Realtime at {simulator.url}", markup=False)
        console.print(f'AsyncOpenAI(api_key="any", websocket_base_url="{simulator.websocket_base_url}")', markup=False)
        console.print("Ctrl-C ends it.\n", markup=False)
        simulator.record.watch(_printer(console))
        try:
            await _asked_to_end()
        finally:
            await simulator.__aexit__()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass
    finally:
        _write(simulator.record, record_file)
    return 0


async def _asked_to_end() -> None:
    """Wait for Ctrl-C or a request to terminate, also where a shell started this in the background, deaf to Ctrl-C."""
    import asyncio
    import contextlib
    import signal

    ended = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows: there Ctrl-C arrives as an exception
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


@command.command("twilio")
@click.argument("webhook", metavar="WEBHOOK")
@click.option("--stream", is_flag=True, help="WEBHOOK is the address of a media stream (ws://…) and not of TwiML.")
@click.option("--auth-token", metavar="TOKEN", help="Sign all requests as Twilio does with this account token.")
@click.option(
    "--public-host", metavar="HOST", help="The host that the agent is known by, for Host header and signature."
)
@fault_option
@seed_option
@speed_option
@record_option
@no_color_option
def simulate_twilio(
    webhook: str,
    stream: bool,
    auth_token: str | None,
    public_host: str | None,
    faults: tuple[str, ...],
    seed: int,
    speed: float,
    record_file: Path | None,
    no_color: bool,
) -> int:
    """Call the agent whose voice webhook is WEBHOOK (http://127.0.0.1:…), as Twilio would.

    The caller waits until the agent has spoken, says the three utterances of the test call, waits for an answer to
    each, and hangs up.  The exit code is 1 when the agent breaks Twilio's rules, stays silent, or no stream opens.
    """
    import asyncio

    from pipeline_guard.certify.callers import patient
    from pipeline_guard.certify.faults import parse_fault
    from pipeline_guard.certify.requirements import require_websockets
    from pipeline_guard.certify.twilio.errors import CallFailed
    from pipeline_guard.certify.twilio_simulator import TwilioCall
    from pipeline_guard.errors import UserError
    from pipeline_guard.reports.terminal import make_console

    require_websockets()
    schemes = ("ws://", "wss://") if stream else ("http://", "https://")
    if not webhook.startswith(schemes):
        raise UserError(f"{webhook!r} is not an address that begins with {' or '.join(schemes)}.")
    console = make_console(no_color=no_color)
    call = TwilioCall(
        None if stream else webhook,
        patient,
        stream_url=webhook if stream else None,
        auth_token=auth_token,
        public_host=public_host,
        faults=[parse_fault(text) for text in faults],
        seed=seed,
        speed=speed,
    )
    call.record.watch(_printer(console))
    heard = 0.0

    async def make() -> None:
        nonlocal heard
        await call.run()
        heard = sum(len(piece.audio) for piece in call.heard) / 8000

    try:
        asyncio.run(make())
    except CallFailed as error:
        console.print(f"The call failed. {error}", markup=False)
        return 1
    finally:
        _write(call.record, record_file)
    return _judge(console, call, heard)


def _judge(console: Console, call: TwilioCall, heard: float) -> int:
    """Print what the caller made of the call, and return the exit code."""
    console.print(f"\n{call.frames_sent} frames sent, {heard:.1f} s of the agent heard", markup=False)
    for violation in call.violations:
        console.print(f"{violation.at:8.2f}  {violation.code}: {violation.text}", markup=False)
    if not heard:
        console.print("The agent never spoke.", markup=False)
    return 1 if call.violations or not heard else 0


def _printer(console: Console) -> Callable[[Entry], None]:
    """Return what prints the record as it grows, without the audio and what follows each piece of it."""
    arrows = {"received": "agent →", "sent": "→ agent", "note": "       "}
    quiet = ("media", "mark", "input_audio_buffer.append")

    def show(entry: Entry) -> None:
        if entry.type not in quiet and not entry.type.endswith(".delta"):
            console.print(
                f"{entry.at:8.2f}  {entry.peer} {arrows[entry.direction]}  {entry.type}{_detail(entry.event)}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    return show


def _detail(event: Any) -> str:
    """Return the one thing of an event that a reader looks for."""
    error = event.get("error")
    if isinstance(error, dict):
        return f"  {error.get('code') or error.get('type')}: {error.get('message')}"
    response = event.get("response")
    if isinstance(response, dict) and "id" in response:
        return f"  {response['id']} {response['status']}"
    for key in ("transcript", "fault", "url", "item_id", "text"):
        if event.get(key):
            return f"  {event[key]}"
    return ""


def _write(record: Record, path: Path | None) -> None:
    from pipeline_guard.errors import UserError

    if path is None:
        return
    try:
        with path.open("w", encoding="utf-8") as stream:
            record.write(stream)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
