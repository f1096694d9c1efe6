"""The agent's command line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import click

from pipeline_guard import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reference-agent")
def main() -> None:
    """The phone agent between Twilio Media Streams and OpenAI Realtime, with one path in and one trigger."""


@main.command()
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), show_default=True)
def serve(env_file: Path) -> None:
    """Answer calls.  Settings come from the environment or the file; exit code 2 when one is wrong."""
    from reference_agent.settings import SettingsError, load_settings

    try:
        settings = load_settings(os.environ, env_file)
    except SettingsError as error:
        for line in str(error).splitlines():
            click.echo(f"reference-agent: {line}", err=True)
        sys.exit(2)
    try:
        from reference_agent.serve import serve as run
    except ImportError as error:
        click.echo(f"reference-agent: {error.name} is missing: pip install 'pipeline-guard[agent]'", err=True)
        sys.exit(2)
    run(settings)


@main.command()
@click.option("--setup", "names", multiple=True, help="Only setups of this name; may be given several times.")
@click.option("--quick", is_flag=True, help="Small setups: a second instead of a minute.")
def prove(names: tuple[str, ...], quick: bool) -> None:
    """Search every order of events around the response gate; exit code 1 with a trace when an invariant breaks."""
    from pipeline_guard.certify.model_check import SETUPS, SMALL, check
    from reference_agent.gate import ResponseGate

    setups = SMALL if quick else SETUPS
    unknown = sorted(set(names) - set(setups))
    if unknown:
        raise click.UsageError(f"there is no setup {unknown[0]!r}; known are {', '.join(setups)}.")
    worlds, seconds, broken = 0, 0.0, False
    for name, setup in setups.items():
        if not names or name in names:
            verdict = check(ResponseGate, setup, name)
            worlds, seconds = worlds + verdict.states, seconds + verdict.seconds
            broken = broken or verdict.problem is not None
            click.echo(f"{name:32} {verdict.states:10,} states {verdict.steps:11,} steps {verdict.seconds:7.1f} s")
            for line in [verdict.problem, *verdict.trace] if verdict.problem else []:
                click.echo(f"    {line}")
    click.echo(f"{'kept' if not broken else 'BROKEN':32} {worlds:10,} states {seconds:25.1f} s of CPU")
    sys.exit(1 if broken else 0)


@main.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--seed", default=0, show_default=True)
def call(form: str, seed: int) -> None:
    """Make one simulated test call to the agent, over sockets on loopback; exit code 1 when it fails."""
    from reference_agent.simulated_call import make_test_call

    outcome = asyncio.run(make_test_call(seed))
    if form == "json":
        result = {
            "passed": outcome.passed,
            "turns": outcome.turns,
            "responses": outcome.responses,
            "errors": outcome.errors,
            "checks": [
                {"name": c.name, "passed": c.passed, "shown": c.shown, "detail": c.detail} for c in outcome.checks
            ],
            "reasons": [{"code": r.code, "text": r.text, "at": r.at} for r in outcome.reasons],
        }
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        for c in outcome.checks:
            click.echo(f"{('pass' if c.passed else 'FAIL') if c.shown else '?':4}  {c.name}: {c.detail}")
            for reason in c.reasons:
                click.echo(f"      {reason}")
    sys.exit(0 if outcome.passed else 1)


@main.command()
@click.argument("recording_url")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The JSON file to write.")
def transcribe(recording_url: str, output: Path) -> None:
    """Transcribe the recording of a finished call; keys come from the environment.  Never part of a live call."""
    from reference_agent.transcribe_recording import transcribe_recording

    model = os.environ.get("OPENAI_TRANSCRIPTION_MODEL", "gpt-transcribe")
    try:
        transcribe_recording(recording_url, output, os.environ.get("TWILIO_AUTH_TOKEN", ""), model)
    except Exception as error:
        click.echo(f"reference-agent: {recording_url} was not transcribed: {error}", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
