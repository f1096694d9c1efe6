"""``pipeline-guard undo``: puts back the files that the last ``fix`` changed."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline_guard.errors import UserError


@click.command("undo")
@click.argument("path", type=click.Path(path_type=Path), default=Path())
def command(path: Path) -> int:
    """Put back the files in PATH that the last 'pipeline-guard fix' changed.

    A file that was edited since is left as it is, and named.
    """
    from pipeline_guard.cli.target import resolve_target
    from pipeline_guard.fixes.journal import last_run, undo

    root = resolve_target([path], "undo").root
    found = last_run(root)
    if found is None:
        raise UserError(f"{root}: no run of 'pipeline-guard fix' is on record here that could be undone")
    undone = undo(*found)
    for name in undone.restored:
        click.echo(f"restored {name}")
    for name in undone.left:
        click.echo(f"left as it is, for it was edited since the fix: {name}", err=True)
    if not undone.restored and not undone.left:
        click.echo("nothing to put back: every file is as it was before the fix")
    return 1 if undone.left else 0
