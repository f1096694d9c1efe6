"""Which files are found, in a repository and outside one, and what is said about those left aside."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_guard import discovery
from pipeline_guard.discovery import Discovery, discover, is_python_file
from pipeline_guard.git_files import git_environment

LIMIT = 10_000_000
symlinks = pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")


def write(root: Path, *names: str, text: str = "x = 1\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "protocol.file.allow=always")
    subprocess.run(
        ["git", *identity, "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        env=git_environment() | {"GIT_ALLOW_PROTOCOL": "file"},
    )


def names(found: Discovery) -> list[str]:
    return [file.rel for file in found.files]


def gaps(found: Discovery) -> list[tuple[str, str]]:
    return [(gap.path, gap.reason) for gap in found.gaps]


def plain_folder(root: Path) -> None:
    """A folder that no repository knows."""


def repository(root: Path) -> None:
    git(root, "init", "-q")


def committed(root: Path) -> None:
    git(root, "init", "-q")
    git(root, "add", "-A", "-f")
    git(root, "commit", "-q", "-m", "everything")


both_ways = pytest.mark.parametrize("make", [plain_folder, repository])
Make = Callable[[Path], None]


@both_ways
def test_finds_python_files_in_order_of_their_names(tmp_path: Path, make: Make) -> None:
    write(tmp_path, "b.py", "a/z.pyw", "a/b.py", "notes.txt", "a/data.json")
    make(tmp_path)
    found = discover(tmp_path, (), LIMIT)
    assert names(found) == ["a/b.py", "a/z.pyw", "b.py"]
    assert [file.path for file in found.files] == [str(tmp_path / name) for name in names(found)]
    assert found.gaps == []


@both_ways
def test_obeys_gitignore_files_at_every_level(tmp_path: Path, make: Make) -> None:
    write(
        tmp_path,
        "kept.py",
        "generated.py",
        "a/generated.py",
        "a/kept.py",
        "out/x.py",
        "a/only_here.py",
        "b/only_here.py",
    )
    write(tmp_path, ".gitignore", text="generated.py\nout/\n")
    write(tmp_path, "a/.gitignore", text="!generated.py\nonly_here.py\n")
    make(tmp_path)
    assert names(discover(tmp_path, (), LIMIT)) == ["a/generated.py", "a/kept.py", "b/only_here.py", "kept.py"]


def test_a_gitignore_line_that_git_cannot_read_does_not_switch_off_the_others(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.py")
    write(tmp_path, ".gitignore", text="!\nb.py\n")
    assert names(discover(tmp_path, (), LIMIT)) == ["a.py"]


@pytest.mark.parametrize("make", [plain_folder, repository, committed])
def test_leaves_out_other_peoples_code_even_when_committed(tmp_path: Path, make: Make) -> None:
    write(
        tmp_path,
        "app.py",
        "env/settings.py",
        "lib/site.py",
        "odd-name/pyvenv.cfg",
        "odd-name/bin/tool.py",
        ".venv/lib/python3.11/site-packages/x.py",
        ".venv/bin/activate_this.py",
        "windows/venv/Lib/site-packages/x.py",
        "windows/venv/Scripts/y.py",
        "vendor/site-packages/z.py",
        "front/node_modules/gyp/gyp.py",
        "__pycache__/cached.py",
        ".tox/py/x.py",
        "src/demo.egg-info/x.py",
    )
    make(tmp_path)
    assert names(discover(tmp_path, (), LIMIT)) == ["app.py", "env/settings.py", "lib/site.py"]


@pytest.mark.parametrize("make", [plain_folder, committed])
def test_a_build_copy_is_left_out_but_a_folder_that_is_only_called_build_is_not(tmp_path: Path, make: Make) -> None:
    write(tmp_path, "project/setup.py", "project/build/lib/copy.py", "project/build/tool.py", "build/lib/real.py")
    make(tmp_path)
    assert names(discover(tmp_path, (), LIMIT)) == ["build/lib/real.py", "project/build/tool.py", "project/setup.py"]


@both_ways
def test_exclude_patterns_are_those_of_gitignore(tmp_path: Path, make: Make) -> None:
    write(tmp_path, "app.py", "old/app.py", "deep/old/app.py", "deep/old/keep.py", "migrations/0001.py")
    make(tmp_path)
    found = discover(tmp_path, ["/old/", "**/migrations/*", "deep/**/app.py"], LIMIT)
    assert names(found) == ["app.py", "deep/old/keep.py"]


def test_exclude_speaks_of_the_folder_of_the_configuration(tmp_path: Path) -> None:
    write(tmp_path, "server/app.py", "server/old/app.py")
    found = discover(tmp_path / "server", ["server/old/"], LIMIT, exclude_prefix="server")
    assert names(found) == ["app.py"]


@both_ways
def test_a_file_that_is_too_large_is_a_gap_and_not_silence(tmp_path: Path, make: Make) -> None:
    write(tmp_path, "small.py")
    write(tmp_path, "huge.py", text="x = 1\n" * 100)
    make(tmp_path)
    found = discover(tmp_path, (), 100)
    assert names(found) == ["small.py"]
    assert gaps(found) == [("huge.py", "size")]
    assert "600 bytes" in found.gaps[0].detail


@symlinks
@both_ways
def test_links_stay_inside_the_root_and_bring_each_file_once(tmp_path: Path, make: Make) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root, "real.py", "package/inner.py")
    write(outside, "secret.py", "folder/more.py")
    (root / "again.py").symlink_to("real.py")
    (root / "away.py").symlink_to(outside / "secret.py")
    (root / "folder").symlink_to(outside / "folder")
    (root / "same").symlink_to("package")
    (root / "dangling.py").symlink_to("nowhere.py")
    (root / ".#lock.py").symlink_to("user@host.123")
    make(root)
    found = discover(root, (), LIMIT)
    assert names(found) == ["package/inner.py", "real.py"]
    assert gaps(found) == [("away.py", "symlink"), ("dangling.py", "symlink"), ("folder", "symlink")]


@symlinks
@both_ways
def test_symlink_loops_end(tmp_path: Path, make: Make) -> None:
    write(tmp_path, "a/app.py")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "one.py").symlink_to("two.py")
    (tmp_path / "two.py").symlink_to("one.py")
    make(tmp_path)
    found = discover(tmp_path, (), LIMIT)
    assert names(found) == ["a/app.py"]
    assert gaps(found) == [("one.py", "symlink"), ("two.py", "symlink")]


@symlinks
def test_the_root_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", "app.py", "sub/b.py")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "copy.py").symlink_to("app.py")
    assert names(discover(tmp_path / "link", (), LIMIT)) == ["app.py", "sub/b.py"]


def test_deleted_files_that_git_still_lists_are_no_files(tmp_path: Path) -> None:
    write(tmp_path, "gone.py", "here.py")
    committed(tmp_path)
    (tmp_path / "gone.py").unlink()
    assert names(discover(tmp_path, (), LIMIT)) == ["here.py"]


def test_a_part_of_a_repository_is_listed_relative_to_itself(tmp_path: Path) -> None:
    write(tmp_path, "other.py", "server/app.py", "server/ignored.py")
    write(tmp_path, ".gitignore", text="ignored.py\n")
    repository(tmp_path)
    assert names(discover(tmp_path / "server", (), LIMIT)) == ["app.py"]


def test_a_folder_that_git_ignores_is_read_when_somebody_names_it(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text="scratch/\n")
    write(tmp_path, "scratch/app.py", "kept.py")
    repository(tmp_path)
    assert names(discover(tmp_path / "scratch", (), LIMIT)) == ["app.py"]


def test_repositories_inside_the_repository_are_read_as_well(tmp_path: Path) -> None:
    write(tmp_path, "app.py", "nested/inner.py", "nested/skipped.py")
    write(tmp_path, "nested/.gitignore", text="skipped.py\n")
    repository(tmp_path / "nested")
    repository(tmp_path)
    assert names(discover(tmp_path, (), LIMIT)) == ["app.py", "nested/inner.py"]


def test_submodules_are_read_as_well(tmp_path: Path) -> None:
    library, app = tmp_path / "library", tmp_path / "app"
    write(library, "wrapper.py")
    committed(library)
    write(app, "app.py")
    repository(app)
    git(app, "submodule", "add", "-q", str(library), "vendored")
    assert names(discover(app, (), LIMIT)) == ["app.py", "vendored/wrapper.py"]


def test_variables_of_a_running_hook_do_not_lead_git_astray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "other", "wrong.py")
    committed(tmp_path / "other")
    write(tmp_path / "mine", "right.py")
    repository(tmp_path / "mine")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    assert names(discover(tmp_path / "mine", (), LIMIT)) == ["right.py"]


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script")
def test_a_scanned_repository_cannot_run_its_own_programs(tmp_path: Path) -> None:
    write(tmp_path, "app.py")
    committed(tmp_path)
    trace = tmp_path / "ran"
    script = tmp_path / "monitor.sh"
    script.write_text(f"#!/bin/sh\ntouch {trace}\n", encoding="utf-8")
    script.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(script))
    discover(tmp_path, (), LIMIT)
    assert not trace.exists()


def test_without_git_on_the_machine_the_folder_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "app.py", "ignored.py")
    write(tmp_path, ".gitignore", text="ignored.py\n")
    repository(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert names(discover(tmp_path, (), LIMIT)) == ["app.py"]


def test_names_that_are_no_text_can_still_be_reported(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.py"
    try:
        with open(raw, "wb") as handle:
            handle.write(b"x = 1\n")
    except OSError:
        pytest.skip("this file system takes text names only")
    (found,) = discover(tmp_path, (), LIMIT).files
    assert found.rel == "caf\\xe9.py"
    assert Path(found.path).read_bytes() == b"x = 1\n"


def test_a_script_without_suffix_counts_only_when_somebody_names_it(tmp_path: Path) -> None:
    write(tmp_path, "app.py", "notes", "run.sh")
    write(tmp_path, "serve", text="#!/usr/bin/env python3\nx = 1\n")
    assert names(discover(tmp_path, (), LIMIT)) == ["app.py"]
    assert names(discover(tmp_path, (), LIMIT, explicit=[tmp_path / "serve"])) == ["app.py", "serve"]
    assert names(discover(tmp_path, ["app.py"], LIMIT, explicit=[tmp_path / "app.py"])) == ["app.py"]
    assert [is_python_file(tmp_path / name) for name in ("app.py", "serve", "notes", "run.sh", "none")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_folder_that_cannot_be_opened_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "app.py", "closed/app.py")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    # Permissions do not bind an administrator, so the refusal is played.
    monkeypatch.setattr(os, "scandir", refuse)
    found = discover(tmp_path, (), LIMIT)
    assert (names(found), gaps(found)) == (["app.py"], [("closed", "unreadable")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_something_that_is_no_file_is_never_opened(tmp_path: Path) -> None:
    write(tmp_path, "app.py")
    os.mkfifo(tmp_path / "pipe.py")
    found = discover(tmp_path, (), LIMIT)
    assert names(found) == ["app.py"]
    assert gaps(found) == [("pipe.py", "unreadable")]


PARTS = st.sampled_from(["a", "b", "venv", "build", "x.py", "y.py", "lib", "site-packages", ".git", "node_modules"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(PARTS, min_size=1, max_size=4), max_size=8), st.lists(PARTS, max_size=2))
def test_git_and_the_walk_agree(
    tmp_path_factory: pytest.TempPathFactory, tree: list[list[str]], ignored: list[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for parts in tree:
        if ".git" in parts:
            continue  # a folder of that name inside a repository is another repository
        folder = root.joinpath(*(part.removesuffix(".py") for part in parts))
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, "module.py")
    write(root, ".gitignore", text="".join(f"{name.removesuffix('.py')}\n" for name in ignored if name != ".git"))
    walked = discover(root, (), LIMIT)
    repository(root)
    assert names(discover(root, (), LIMIT)) == names(walked)


def test_fifty_thousand_files_take_seconds_not_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files are only names here: what has to scale is our own work on them.
    listed = [f"package_{index % 500}/module_{index}.py" for index in range(50_000)]
    monkeypatch.setattr(discovery, "list_git_files", lambda _folder: listed)
    started = time.perf_counter()
    assert discover(tmp_path, ["generated/**", "*.tmp.py"], LIMIT).files == []
    assert time.perf_counter() - started < 10
