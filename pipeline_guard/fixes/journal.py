"""Writes changed files so that each is either old or new at any moment, and keeps what is needed to undo the run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline_guard.errors import UserError
from pipeline_guard.whole_files import replace_file

KEPT_RUNS = 20
FOLDER_VARIABLE = "PIPELINE_GUARD_STATE_DIR"
_MANIFEST = "run.json"


class Change(msgspec.Struct, frozen=True):
    """One file of a run: path relative to the root, and the hashes of its bytes before and after."""

    path: str
    before: str
    after: str


class Run(msgspec.Struct, frozen=True):
    """One run of the codemod.  ``state`` is "started" until every file was written, then "done" or "undone"."""

    root: str
    started: float
    state: str
    changes: tuple[Change, ...]


class Undone(msgspec.Struct, frozen=True):
    """What undoing a run came to: the files put back, and those that were edited since and are left as they are."""

    restored: tuple[str, ...]
    left: tuple[str, ...]


def fingerprint(data: bytes) -> str:
    """Return the hash by which a file's content is known."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def write_all(root: Path, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[str]:
    """Write the new content of files, given by their path below ``root``; return what was left alone, and why.

    A file that is not what ``old`` says any more is left alone, and then so is every other one: the edits were planned
    together.  Raises UserError where writing fails; what was written by then is put back.
    """
    targets = {path: Path(os.path.realpath(root / path)) for path in new}
    if trouble := _obstacles(root, targets, old):
        return trouble
    folder = _open_run(root, old, new)
    written: list[str] = []
    try:
        for path, data in new.items():
            _replace(targets[path], data)
            written.append(path)
    except BaseException as error:
        for path in written:
            with contextlib.suppress(OSError):
                _replace(targets[path], old[path])
        _set_state(folder, "undone")
        if isinstance(error, OSError):
            name = path if len(written) < len(new) else str(root)
            reason = error.strerror or str(error)
            raise UserError(f"{name}: cannot be written ({reason}); no file was changed") from error
        raise
    _set_state(folder, "done")
    return []


def _obstacles(root: Path, targets: Mapping[str, Path], old: Mapping[str, bytes]) -> list[str]:
    trouble: list[str] = []
    real_root = Path(os.path.realpath(root))
    for path, target in targets.items():
        try:
            status = target.stat()
            data = target.read_bytes()
        except OSError as error:
            trouble.append(f"{path}: cannot be read any more ({error.strerror or error})")
            continue
        if not target.is_relative_to(real_root):
            trouble.append(f"{path}: the link leaves the scanned folder")
        elif status.st_nlink > 1:
            trouble.append(f"{path}: has a second name on disk (a hard link), which would keep the old content")
        elif not stat.S_ISREG(status.st_mode):
            trouble.append(f"{path}: is not a regular file")
        elif data != old[path]:
            trouble.append(f"{path}: was changed while the fix was being planned")
    return trouble


def _replace(target: Path, data: bytes) -> None:
    """Put new content in a file's place, whole or not at all; mode and owner stay."""
    status = target.stat()
    foreign = hasattr(os, "getuid") and (status.st_uid, status.st_gid) != (os.getuid(), os.getgid())
    owner = (status.st_uid, status.st_gid) if foreign else None
    replace_file(target, data, mode=stat.S_IMODE(status.st_mode), owner=owner, durable=True)


# -- the journal


def _runs_folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).absolute()
    from platformdirs import user_state_path

    return user_state_path("pipeline-guard", appauthor=False) / "runs"


def _open_run(root: Path, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Path:
    top = _runs_folder()
    now = time.time()
    folder = top / f"{int(now * 1000):015d}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(mode=0o700, parents=True)
        for path in new:
            (folder / fingerprint(old[path])).write_bytes(old[path])
        changes = tuple(Change(path, fingerprint(old[path]), fingerprint(data)) for path, data in new.items())
        _write_manifest(folder, Run(os.path.realpath(root), now, "started", changes))
        for stale in sorted(top.iterdir())[:-KEPT_RUNS]:
            _remove(stale)
    except OSError as error:
        raise UserError(
            f"{top}: the old content of the files cannot be kept there ({error.strerror or error}), so nothing was "
            f"changed; set {FOLDER_VARIABLE} to a folder you may write to"
        ) from error
    return folder


def _write_manifest(folder: Path, run: Run) -> None:
    replace_file(folder / _MANIFEST, msgspec.json.format(msgspec.json.encode(run)), durable=True)


def _set_state(folder: Path, state: str) -> None:
    with contextlib.suppress(OSError):
        _write_manifest(folder, msgspec.structs.replace(_read_run(folder), state=state))


def _read_run(folder: Path) -> Run:
    try:
        return msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Run)
    except msgspec.DecodeError as error:
        raise UserError(f"{folder / _MANIFEST}: is no record of a run ({error})") from error


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def last_run(root: Path) -> tuple[Path, Run] | None:
    """Return the newest run over a root that is not undone yet, with the folder of its record."""
    top, real_root = _runs_folder(), os.path.realpath(root)
    if not top.is_dir():
        return None
    for folder in sorted(top.iterdir(), reverse=True):
        if (folder / _MANIFEST).is_file():
            run = _read_run(folder)
            if run.root == real_root and run.state != "undone":
                return folder, run
    return None


def undo(folder: Path, run: Run) -> Undone:
    """Put back the files of a run; one that was edited since is left as it is."""
    restored: list[str] = []
    left: list[str] = []
    for change in run.changes:
        target = Path(os.path.realpath(Path(run.root) / change.path))
        try:
            current = fingerprint(target.read_bytes())
        except OSError:
            left.append(change.path)
            continue
        if current == change.before:
            continue
        if current != change.after:
            left.append(change.path)
            continue
        old = (folder / change.before).read_bytes()
        if fingerprint(old) != change.before:
            left.append(change.path)
            continue
        _replace(target, old)
        restored.append(change.path)
    _set_state(folder, "undone")
    return Undone(tuple(restored), tuple(left))


def summary(paths: Sequence[str], limit: int = 3) -> str:
    """Return file names for a sentence: the first few, and how many more there are."""
    shown = ", ".join(paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit} more"
