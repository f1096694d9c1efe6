"""``pipeline-guard certify``: the source, the gate, and calls over seeded faults, put together into one certificate."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pipeline_guard.cli.options import config_option, no_color_option
from pipeline_guard.cli.simulate import fault_option
from pipeline_guard.errors import UserError

if TYPE_CHECKING:
    from pipeline_guard.certify.certificate.model import Agent, Certificate, Part
    from pipeline_guard.certify.certification import MadeCall, Maker
    from pipeline_guard.certify.child import AgentSpec
    from pipeline_guard.certify.faults import Fault
    from pipeline_guard.certify.schedules import Schedule

FORMATS = ("text", "json", "markdown", "html")
# A reference call takes a second, another agent's as long as a call takes.
_QUICK, _QUICK_FOREIGN = 12, 4
_REFERENCE = "reference_agent"


class Target(NamedTuple):
    """The agent: its source, and how it is started (None: it is the reference agent)."""

    source: Path
    spec: AgentSpec | None
    words: tuple[str, ...]  # of the command line that named it
    speed: float = 1.0


@click.command("certify", short_help="Certify an agent by its source and by calls.")
@click.argument("path", type=click.Path(path_type=Path), required=False, metavar="[PATH]")
@click.option("--app", metavar="MODULE:APP", help="An ASGI or WSGI application to start and call.")
@click.option("--command", "command_line", metavar="COMMAND", help="A command that starts the agent to call.")
@click.option("--python", metavar="FILE", help="The agent's interpreter; else that of a .venv in PATH, else this one.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port that the agent listens on; else it is found out.")
@click.option(
    "--webhook",
    "--voice-path",
    "webhook",
    metavar="URLPATH",
    help="The path of the agent's voice webhook; else it is found out.",
)
@click.option(
    "--stream",
    "--stream-path",
    "stream",
    metavar="URLPATH",
    help="The path of its media stream, for an agent without a webhook.",
)
@click.option("--public-host", metavar="HOST", help="The host that the agent is known by.  [default: agent.example]")
@click.option(
    "--speed",
    type=click.FloatRange(1, 20),
    help="Talk that many times faster than real time, to an agent without timers of its own.",
)
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set in the agent's environment.")
@click.option(
    "--seeds",
    "--schedules",
    "seeds",
    type=click.IntRange(1, 100_000),
    help="How many calls; 200 make the full certificate.  [default: 12, or 4 for another agent]",
)
@click.option("--seed", "only", type=click.IntRange(0), multiple=True, help="Make only the call of this seed.")
@fault_option
@click.option(
    "--record", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="With one --seed: all messages."
)
@click.option("--live", is_flag=True, help="Call with the real OpenAI service (costs money; OPENAI_API_KEY).")
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--output", "output_file", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE instead.")
@config_option
@no_color_option
def command(
    path: Path | None,
    app: str | None,
    command_line: str | None,
    python: str | None,
    port: int | None,
    webhook: str | None,
    stream: str | None,
    public_host: str | None,
    speed: float | None,
    environment: tuple[str, ...],
    seeds: int | None,
    only: tuple[int, ...],
    faults: tuple[str, ...],
    record: Path | None,
    live: bool,
    output_format: str,
    output_file: Path | None,
    config_file: Path | None,
    no_color: bool,
) -> int:
    """Certify the reference agent, or with --app or --command the agent in PATH, unmodified.

    The source is checked (one audio path in, one trigger, one recogniser, one voice); the reference agent's gate is
    searched for an order of events that breaks it; and the agent is called, once for each seed, between a simulated
    telephone and a simulated Realtime service on this machine. Seed 0 is the plain test call; the others play callers
    who interrupt, slow networks and faults. Each refusal says where in the call it happened, and how to make that call
    again. With --seed only the calls are made.

    An agent that is not the reference agent is started, so its code runs: its own process gets no secrets and no
    network but the simulators.

    Exit codes: 0 certified, 1 refused, 2 usage or configuration error, 3 internal error.
    """
    from pipeline_guard.certify.faults import parse_fault
    from pipeline_guard.certify.requirements import require_websockets

    options = {
        "--python": python,
        "--port": port,
        "--webhook": webhook,
        "--stream": stream,
        "--public-host": public_host,
        "--speed": speed,
    }
    target = _target(path, app, command_line, options, environment)
    if record is not None and len(only) != 1:
        raise UserError("--record takes the messages of one call: name it with --seed")
    extra = [parse_fault(text) for text in faults]
    require_websockets()
    if live:
        if target.spec is not None or only or seeds or faults:
            raise UserError("--live makes one call of the reference agent; it goes with no other agent, seed or fault")
        certificate = _live_certificate(target, config_file)
    else:
        certificate = _certificate(target, _schedules(target, seeds, only, extra), only, faults, record, config_file)
    _deliver(certificate, output_format, output_file, no_color=no_color)
    return 0 if certificate.passed else 1


# -- what is to be done


def _target(
    path: Path | None,
    app: str | None,
    command_line: str | None,
    options: dict[str, Any],
    environment: tuple[str, ...],
) -> Target:
    if app is not None and command_line is not None:
        raise UserError("--app and --command both say how to start the agent; use one of them")
    given = {name: value for name, value in options.items() if value is not None}
    if app is None and command_line is None:
        if given or environment:
            name = next(iter(given), "--env")
            raise UserError(f"{name} is about an agent that has to be started; name it with --app or --command")
        return Target(_reference_source(path), None, () if path is None else (str(path),))
    source = path if path is not None else Path()
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder; name the folder that the agent is started in")
    from pipeline_guard.certify.child import PUBLIC_HOST, AgentSpec

    spec = AgentSpec(
        app=app,
        command=command_line,
        directory=source,
        python=options["--python"],
        environment=_environment(environment),
        port=options["--port"],
        voice_path=options["--webhook"],
        stream_path=options["--stream"],
        public_host=options["--public-host"] or PUBLIC_HOST,
    )
    words = [] if path is None else [str(path)]
    words += ["--app", app] if app is not None else ["--command", command_line or ""]
    for name, value in given.items():
        words += [name, str(value)]
    for setting in environment:
        words += ["--env", setting]
    return Target(source, spec, tuple(words), options["--speed"] or 1.0)


def _reference_source(path: Path | None) -> Path:
    try:
        import reference_agent
        import reference_agent.app
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install 'pipeline-guard[agent,certify]'") from None
    assert reference_agent.__file__ is not None
    source = Path(reference_agent.__file__).parent
    if path is None or path.resolve() == source or (path / _REFERENCE).resolve() == source:
        return source
    raise UserError(
        f"{path}: is not the installed reference agent; say how to start the agent there: --app MODULE:APP or --command"
    )


def _environment(settings: Sequence[str]) -> dict[str, str]:
    for setting in settings:
        name, equals, _ = setting.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--env {setting!r}: write NAME=VALUE")
    return dict(setting.split("=", 1) for setting in settings)


def _schedules(target: Target, seeds: int | None, only: Sequence[int], extra: Sequence[Fault]) -> list[Schedule]:
    from pipeline_guard.certify.schedules import schedule_of

    count = seeds or (_QUICK if target.spec is None else _QUICK_FOREIGN)
    return [schedule_of(seed, extra) for seed in (only or range(count))]


# -- doing it


def _certificate(
    target: Target,
    schedules: Sequence[Schedule],
    only: Sequence[int],
    faults: Sequence[str],
    record: Path | None,
    config_file: Path | None,
) -> Certificate:
    from pipeline_guard.certify.certificate.model import FULL, Certificate
    from pipeline_guard.certify.certification import foreign_maker, make_calls, reference_call

    maker: Maker = reference_call if target.spec is None else foreign_maker(target.spec, target.speed)

    def rerun(schedule: Schedule) -> str:
        words = ["pipeline-guard", "certify", *target.words, "--seed", str(schedule.seed)]
        return shlex.join([*words, *(word for fault in faults for word in ("--fault", fault))])

    with _progress(len(schedules)) as (say, advance):

        def done(made: MadeCall) -> None:
            advance(made)
            if record is not None:
                _write(made, record)

        parts: list[Part] = []
        agent = _agent(target, config_file)
        if not only:
            say("reading the source")
            parts.append(_static(target, config_file))
            if target.spec is None:
                from pipeline_guard.certify.gate_proof import gate_part

                full = len(schedules) >= FULL
                parts.append(gate_part(full=full, progress=lambda name: say(f"searching: {name}")))
        say("calling")
        calls = make_calls(maker, schedules, rerun, done)
    return Certificate(agent, _now(), _version(), parts, calls)


def _live_certificate(target: Target, config_file: Path | None) -> Certificate:
    from pipeline_guard.certify.certificate.model import Certificate
    from pipeline_guard.certify.gate_proof import gate_part
    from pipeline_guard.cli.certify_live import live_result, unshown

    call = live_result("pipeline-guard certify --live")
    parts = [_static(target, config_file), gate_part(full=False)]
    return Certificate(_agent(target, config_file), _now(), _version(), parts, [call], live=True, unshown=unshown())


def _static(target: Target, config_file: Path | None) -> Part:
    from pipeline_guard.certify.static_contract import static_part
    from pipeline_guard.cli.run import build_map, find_problems, settings_for
    from pipeline_guard.cli.target import Target as Analysed

    root = target.source.resolve()
    config = settings_for(Analysed(root), config_file)
    pipeline_map = build_map(Analysed(root), config, show_progress=False)
    failing = [finding for finding in find_problems(pipeline_map, config) if config.fails(finding.severity)]
    return static_part(pipeline_map, failing, target.source)


def _agent(target: Target, config_file: Path | None) -> Agent:
    from pipeline_guard.certify.certificate.model import Agent
    from pipeline_guard.certify.static_contract import digest_of
    from pipeline_guard.cli.run import find_files, settings_for
    from pipeline_guard.cli.target import Target as Analysed

    root = target.source.resolve()
    found = find_files(Analysed(root), settings_for(Analysed(root), config_file))
    digest, count = digest_of((file.rel, root / file.rel) for file in found.files)
    if target.spec is None:
        return Agent(_REFERENCE, "in virtual time, in this process", digest, count)
    started = f"--app {target.spec.app}" if target.spec.app is not None else f"--command {target.spec.command!r}"
    return Agent(root.name, started, digest, count)


def _now() -> str:
    from datetime import datetime, timezone

    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _version() -> str:
    from pipeline_guard import __version__

    return __version__


# -- telling it


def _deliver(certificate: Certificate, output_format: str, output_file: Path | None, *, no_color: bool) -> None:
    from pipeline_guard.reports.check_output import deliver
    from pipeline_guard.reports.terminal import make_console

    if output_format == "text":
        import contextlib
        import io

        from pipeline_guard.certify.certificate import to_text

        if output_file is None:
            to_text.render(certificate, make_console(no_color=no_color))
            return
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            to_text.render(certificate, make_console(no_color=True))
        text = stream.getvalue()
    else:
        import importlib

        writer = importlib.import_module(f"pipeline_guard.certify.certificate.to_{output_format}")
        text = writer.render(certificate)
    deliver(text, output_file, "the certificate")


def _write(made: MadeCall, path: Path) -> None:
    try:
        with path.open("w", encoding="utf-8") as stream:
            made.record.write(stream)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


Say = Callable[[str], None]


@contextmanager
def _progress(count: int) -> Iterator[tuple[Say, Callable[[MadeCall], None]]]:
    """Show how far it is, on a terminal's error stream only."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _: None, lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        failed = 0

        def advance(made: MadeCall) -> None:
            nonlocal failed
            failed += not made.result.passed
            told = f"calling, {failed} failed" if failed else "calling"
            bar.update(task, advance=1, description=told)

        yield lambda text: bar.update(task, description=text), advance
