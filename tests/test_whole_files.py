"""A file is written whole or not at all, whatever stops the writer."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_guard.whole_files import UNFINISHED, replace_file

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
KILLED = """
import os, signal, sys
from pipeline_guard import whole_files
# Between the last byte of the new content and the moment at which it takes the old one's place.
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
whole_files.replace_file(sys.argv[1], b"new" * 100_000, durable=True)
"""
FULL = """
import resource, signal, sys
from pipeline_guard.whole_files import replace_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    replace_file(sys.argv[1], b"new" * 100_000)
except OSError as error:
    sys.exit(7)
"""


def run(program: str, target: Path) -> int:
    return subprocess.run([sys.executable, "-c", program, str(target)], check=False).returncode


def test_new_content_takes_the_old_ones_place(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    replace_file(target, b"first")
    replace_file(target, b"second", durable=True)
    assert target.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [target]


@posix_only
def test_a_writer_that_is_killed_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(b"old")
    assert run(KILLED, target) == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    # What it had written by then stands beside it, and is no obstacle to the next writer.
    assert [path.suffix for path in tmp_path.iterdir() if path != target] == [UNFINISHED]
    replace_file(target, b"new")
    assert target.read_bytes() == b"new"


@posix_only
@pytest.mark.parametrize("old", [b"old", None])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path, old: bytes | None) -> None:
    target = tmp_path / "report.json"
    if old is not None:
        target.write_bytes(old)
    assert run(FULL, target) == 7
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if old is None else [old])


@posix_only
def test_permissions_are_those_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    before = os.umask(0o077)
    try:
        replace_file(target, b"mine")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        replace_file(target, b"everybody's", mode=0o664)
        assert stat.S_IMODE(target.stat().st_mode) == 0o664
    finally:
        os.umask(before)


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    replace_file(target, b"content")
    assert target.read_bytes() == b"content"
