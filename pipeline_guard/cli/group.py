"""The list of commands; a command's module is imported when the command is used, so that starting costs little."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from pipeline_guard import __version__

COMMANDS: dict[str, str] = {
    "check": "pipeline_guard.cli.check",
    "baseline": "pipeline_guard.cli.baseline",
    "map": "pipeline_guard.cli.map",
    "fix": "pipeline_guard.cli.fix",
    "undo": "pipeline_guard.cli.undo",
    "rules": "pipeline_guard.cli.rules",
    "explain": "pipeline_guard.cli.explain",
    "init": "pipeline_guard.cli.init",
    "demo": "pipeline_guard.cli.demo",
    "certify": "pipeline_guard.cli.certify",
    "simulate": "pipeline_guard.cli.simulate",
    "audit-log": "pipeline_guard.cli.audit_log",
    "completion": "pipeline_guard.cli.completion",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, each under the name ``command``."""

    def __init__(self, *arguments: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        command: click.Command = importlib.import_module(self.modules[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.modules and not args[0].startswith("-") and not ctx.resilient_parsing:
            from pipeline_guard.config import did_you_mean

            hint = did_you_mean(args[0], self.modules) or "; 'pipeline-guard --help' lists the commands"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 clean, 1 findings, 2 usage or configuration error, 3 internal error.",
)
@click.version_option(__version__, prog_name="pipeline-guard", message="%(prog)s %(version)s")
def cli() -> None:
    """Find every second path in a phone agent between Twilio Media Streams and the OpenAI Realtime API.

    One queue for the caller's audio, one loop that sends it, one function that creates responses: whatever else does
    either is what callers hear as double replies.
    """
