"""``pipeline-guard map``: prints what the live pipeline of a backend is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline_guard.cli.options import config_option, no_cache_option, no_color_option

if TYPE_CHECKING:
    from pipeline_guard.cli.target import Target
    from pipeline_guard.pipeline.model import PipelineMap


@click.command("map", short_help="Draw the live pipeline.")
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "mermaid", "dot"]),
    default="text",
    show_default=True,
    help="How to print the map.",
)
@config_option
@no_cache_option
@no_color_option
def command(path: Path, output_format: str, config_file: Path | None, no_cache: bool, no_color: bool) -> int:
    """Show how audio and responses travel through the backend in PATH.

    PATH is a project's folder; when left out, the current one.  For a file, the whole project around it is read and the
    pipelines that run through the file are shown.
    """
    from pipeline_guard.cli.run import build_map, settings_for
    from pipeline_guard.cli.target import resolve_target

    target = resolve_target([path], "map")
    pipeline_map = build_map(target, settings_for(target, config_file), use_cache=not no_cache)
    show_map(_lanes_in_focus(pipeline_map, target), output_format, no_color=no_color)
    return 0


def show_map(pipeline_map: PipelineMap, output_format: str, *, no_color: bool) -> None:
    """Print a map in one of the formats."""
    if output_format == "text":
        from pipeline_guard.reports import map_text
        from pipeline_guard.reports.terminal import make_console

        map_text.render(pipeline_map, make_console(no_color=no_color))
        return
    from pipeline_guard.reports import map_dot, map_json, map_mermaid

    render = {"json": map_json.render, "mermaid": map_mermaid.render, "dot": map_dot.render}[output_format]
    # Bytes, because these formats are UTF-8 whatever the terminal's encoding is.
    click.echo(render(pipeline_map).encode())


def _lanes_in_focus(pipeline_map: PipelineMap, target: Target) -> PipelineMap:
    if not target.focus:
        return pipeline_map
    import msgspec

    lanes = tuple(lane for lane in pipeline_map.lanes if any(target.reports_on(site.path) for site in lane.sites))
    outside = tuple(site for site in pipeline_map.outside if target.reports_on(site.path))
    return msgspec.structs.replace(pipeline_map, lanes=lanes, outside=outside)
