"""Writes a file whole or not at all: whoever reads it, and whatever stops the writer, finds the old content or the new.

The new content goes to a file of another name beside it, which then takes its place.
"""

from __future__ import annotations

import contextlib
import os

# How the name ends under which content stands until it is complete.
UNFINISHED = ".tmp"


def replace_file(
    path: str | os.PathLike[str],
    data: bytes,
    *,
    mode: int | None = None,
    owner: tuple[int, int] | None = None,
    durable: bool = False,
) -> None:
    """Put content in a file's place, or raise OSError and leave what is there as it was.

    A link is replaced, not followed.  ``mode`` are the permissions that the file gets, whatever the umask says; without
    them it has those of any new file.  ``owner`` (user and group) is kept where that is allowed.  ``durable`` waits
    until the content is on the disk: then not even a power cut leaves an empty file.
    """
    # Nothing of the file's own name: with more added to it, it could be too long.
    beside = os.path.join(os.path.dirname(path), f".{os.urandom(8).hex()}{UNFINISHED}")  # noqa: PTH118, PTH120
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # Until it has the permissions it is to have, nobody else reads it.
    handle = os.open(beside, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(handle, mode)
            if owner is not None and hasattr(os, "fchown"):
                with contextlib.suppress(PermissionError):
                    os.fchown(handle, *owner)
            if durable:
                os.fsync(handle)
        os.replace(beside, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)  # noqa: PTH108
        raise
