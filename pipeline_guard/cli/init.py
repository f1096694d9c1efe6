"""``pipeline-guard init``: writes the contract of a backend into its settings, from what the map found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline_guard.cli.target import Target
    from pipeline_guard.config import Config
    from pipeline_guard.pipeline.model import Lane, PipelineMap
    from pipeline_guard.reports.init_settings import AppDraft


@click.command("init", short_help="Write the contract into the settings.")
@click.argument("path", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the settings and write nothing.")
@click.option("--force", is_flag=True, help="Replace the contract and the apps that the settings already have.")
def command(path: Path, to_stdout: bool, force: bool) -> int:
    """Write down which queue, sender and trigger are the one pipeline of the backend in PATH.

    The settings go into pyproject.toml where there is one, else into pipeline-guard.toml; what else stands there stays
    as it is.  Comments say why each name is the one, and where the code differs.
    """
    import msgspec

    from pipeline_guard.cli.run import build_map
    from pipeline_guard.cli.target import resolve_target
    from pipeline_guard.config import Contract, find_config_file, load_config
    from pipeline_guard.settings_file import refuse_overwrite, with_tables, write

    target = resolve_target([path], "init")._replace(focus=())
    file = find_config_file(target.root) or _new_file(target.root)
    if not to_stdout and not force:
        refuse_overwrite(file)
    config = msgspec.structs.replace(load_config(target.root), contract=Contract(), apps=())
    pipeline_map = build_map(target, config, use_cache=True)
    text = _settings(pipeline_map, target, config, file)
    if to_stdout:
        click.echo(text.encode(), nl=False)
        return 0
    write(file, with_tables(file, text))
    click.echo(f"pipeline-guard: wrote the contract to {file}; read its comments, then run 'pipeline-guard check'")
    return 0


def _new_file(root: Path) -> Path:
    pyproject = root / "pyproject.toml"
    return pyproject if pyproject.is_file() else root / "pipeline-guard.toml"


def _settings(pipeline_map: PipelineMap, target: Target, config: Config, file: Path) -> str:
    """Return the tables of the first wording under which the backend has the same map as without any."""
    from pipeline_guard.config import TABLE
    from pipeline_guard.errors import UserError
    from pipeline_guard.reports import init_settings

    lanes = init_settings.live_lanes(pipeline_map)
    if not lanes:
        raise UserError(
            f"{target.root}: no running OpenAI Realtime session was found, so there is no contract to write; "
            "'pipeline-guard map' shows what was"
        )
    prefix = f"tool.{TABLE}." if file.name == "pyproject.toml" else ""
    folder = config.prefix_of(target.root) if config.base is not None else ""
    drafts = init_settings.app_drafts(lanes) if len(lanes) > 1 else []
    if folder:
        drafts = [_below(folder, draft) for draft in drafts]
    for apps in (drafts, []) if drafts else ([],):
        text = init_settings.render(pipeline_map, lanes, apps, prefix)
        if _shape(init_settings.live_lanes(_map_under(text, target, config, file))) == _shape(lanes):
            return text
    raise UserError(
        f"{target.root}: the names found do not lead to the same map when they are declared; this is a defect of "
        "pipeline-guard: please report it with what 'pipeline-guard map' prints"
    )


def _below(folder: str, draft: AppDraft) -> AppDraft:
    import msgspec

    return msgspec.structs.replace(draft, paths=tuple(f"/{folder}{path}" for path in draft.paths))


def _map_under(text: str, target: Target, config: Config, file: Path) -> PipelineMap:
    """Return the map that the backend has with these tables in its settings."""
    import msgspec

    from pipeline_guard.cli.run import build_map
    from pipeline_guard.config_reader import Reader
    from pipeline_guard.settings_file import own_tables

    declared = Reader(file, "").config(own_tables(text, file))
    with_contract = msgspec.structs.replace(
        config, contract=declared.contract, apps=declared.apps, source=config.source or file.resolve()
    )
    return build_map(target, with_contract, show_progress=False, use_cache=True)


def _shape(lanes: Sequence[Lane]) -> list[tuple[object, ...]]:
    """Return what two maps must have in common; who answers a turn is declared on purpose."""
    return sorted(
        (
            tuple((site.path, site.line, site.column, site.kind, site.role or "", site.context) for site in lane.sites),
            tuple((sender.path, sender.symbol, sender.canonical) for sender in lane.senders),
            tuple((trigger.path, trigger.symbol, trigger.canonical) for trigger in lane.triggers),
            tuple((queue.path, queue.line, queue.name) for queue in lane.queues),
        )
        for lane in lanes
    )
