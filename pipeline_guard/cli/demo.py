"""``pipeline-guard demo``: maps and checks a small leaky backend that comes with the package."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline_guard.cli.options import no_color_option

BACKEND = Path(__file__).resolve().parent.parent / "demo" / "leaky_backend"


@click.command("demo", short_help="Map and check a small backend that leaks.")
@no_color_option
def command(no_color: bool) -> int:
    """Show the map and the findings of a small backend that leaks on purpose.

    Its exit code is 0, since findings are what it is there to show.
    """
    from rich.text import Text

    from pipeline_guard.cli.map import show_map
    from pipeline_guard.cli.run import build_map, find_problems
    from pipeline_guard.cli.target import Target
    from pipeline_guard.config import Config
    from pipeline_guard.reports import check_text
    from pipeline_guard.reports.page import RichPage
    from pipeline_guard.reports.terminal import make_console

    console = make_console(no_color=no_color)
    # Defaults, not the nearest settings: those belong to whoever runs the demo.
    config = Config()
    pipeline_map = build_map(Target(BACKEND), config)
    _headline("$ pipeline-guard map leaky_backend", no_color)
    show_map(pipeline_map, "text", no_color=no_color)
    _headline("$ pipeline-guard check leaky_backend", no_color)
    check_text.render(find_problems(pipeline_map, config), pipeline_map, RichPage(console), group_by="file")
    console.print()
    console.print(Text(f"The backend is in {BACKEND}"), soft_wrap=True)
    console.print(Text("Your turn: pipeline-guard check path/to/your/backend"))
    return 0


def _headline(text: str, no_color: bool) -> None:
    from rich.text import Text

    from pipeline_guard.reports.terminal import make_console

    console = make_console(no_color=no_color)
    console.print(Text(f"\n{text}\n", style="bold"))
