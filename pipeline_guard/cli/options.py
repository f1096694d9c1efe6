"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings to use instead of the nearest pyproject.toml or pipeline-guard.toml.",
)
no_color_option = click.option(
    "--no-color", is_flag=True, help="Plain text, also on a terminal. NO_COLOR does the same."
)
no_cache_option = click.option(
    "--no-cache", is_flag=True, help="Read everything again and keep nothing for the next run."
)
