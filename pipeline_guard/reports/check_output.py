"""Takes a finished report to standard output or, whole or not at all, to a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from pipeline_guard.errors import UserError
from pipeline_guard.reports.formats import writable
from pipeline_guard.whole_files import replace_file

STANDARD_OUTPUT = Path("-")


def deliver(text: str, file: Path | None, name: str) -> None:
    """Write the report as UTF-8 to a file and say so on the error stream; without one, or to ``-``, it is printed."""
    data = writable(text).encode()
    if file is None or file == STANDARD_OUTPUT:
        click.echo(data, nl=False)
        return
    try:
        write_whole(file, data)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"{file}: {name} cannot be written there ({reason}); name a file in a folder you may write to"
        ) from error
    click.echo(f"pipeline-guard: wrote {name} to {file} ({len(data):,} bytes)", err=True)


def write_whole(named: Path, data: bytes) -> None:
    """Replace the content of a file, all at once, or leave it as it was and raise OSError.

    Mode and link of what is there stay; a pipe or a device is written to.
    """
    mode: int | None = None
    try:
        found = named.stat()
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(found.st_mode):
            # A pipe or a device has to be written to; a folder says so by itself.
            named.write_bytes(data)
            return
        mode = stat.S_IMODE(found.st_mode)
    replace_file(os.path.realpath(named), data, mode=mode)
