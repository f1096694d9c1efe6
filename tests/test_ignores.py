"""What a ``.gitignore`` names is remembered for as long as it says the same, and no longer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_guard.cache import Cache
from pipeline_guard.discovery import discover
from pipeline_guard.file_times import IS_TRUSTED
from pipeline_guard.ignores import Ignores, remembered


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("app.py", "old.py", "made/a.py", "made/keep.py", "deep/made/b.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("/old.py\n**/made/*\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def found(tree: Path, own_cache: Path) -> Callable[[], list[str]]:
    """Return what finds the files as a run with a cache does, and makes sure that one without finds the same."""

    def find() -> list[str]:
        memory = remembered(Cache(own_cache), tree)
        names = [file.rel for file in discover(tree, (), 10**6, memory=memory).files]
        memory.keep()
        return names

    return find


def fresh(tree: Path) -> list[str]:
    return [file.rel for file in discover(tree, (), 10**6).files]


def test_a_second_walk_reads_no_patterns(
    tree: Path, found: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found() == fresh(tree) == ["app.py"]

    def refuse(*_arguments: object) -> bool:
        raise AssertionError("a name was looked up again")

    monkeypatch.setattr(Ignores, "_judge", refuse)
    assert found() == ["app.py"]


def test_changed_patterns_and_names_are_looked_up(tree: Path, found: Callable[[], list[str]]) -> None:
    steps: list[Callable[[], object]] = [
        lambda: (tree / ".gitignore").write_text("/old.py\n", encoding="utf-8"),
        lambda: (tree / "made" / ".gitignore").write_text("*\n!keep.py\n", encoding="utf-8"),
        lambda: (tree / "made").rename(tree / "built"),
        lambda: (tree / ".gitignore").write_text("app.py\n", encoding="utf-8"),
        (tree / ".gitignore").unlink,
        lambda: (tree / "new.py").write_text("x = 1\n", encoding="utf-8"),
    ]
    for step in steps:
        step()
        assert found() == fresh(tree)
        assert found() == fresh(tree)


def test_what_somebody_else_wrote_is_no_memory(tree: Path, own_cache: Path, found: Callable[[], list[str]]) -> None:
    found()
    for path in own_cache.rglob("*"):
        if path.is_file():
            path.write_bytes(b"rubbish")
    assert found() == fresh(tree)


def age(tree: Path) -> None:
    """Let folders look as if nothing had happened for a while: what has just changed is not remembered."""
    for folder in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        os.utime(folder, (1_000_000_000, 1_000_000_000))


def test_a_folder_that_changed_is_listed_again(
    tree: Path, own_cache: Path, found: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time of a folder's entry cannot be set back, so the clock is set forward.
    monkeypatch.setattr("pipeline_guard.file_times.SETTLED_NS", -(10**9))
    age(tree)
    assert found() == fresh(tree) == ["app.py"]
    (tree / "new.py").write_text("", encoding="utf-8")
    (tree / "deep" / "newer.py").write_text("", encoding="utf-8")
    assert found() == fresh(tree) == ["app.py", "deep/newer.py", "new.py"]
    (tree / "new.py").unlink()
    (tree / "deep" / "newer.py").rename(tree / "deep" / "newest.py")
    assert found() == fresh(tree) == ["app.py", "deep/newest.py"]
    (tree / "deep" / "newest.py").unlink()
    (tree / "deep" / "newest.py").mkdir()
    assert found() == fresh(tree) == ["app.py"]


@pytest.mark.skipif(not IS_TRUSTED, reason="here every folder is read each time")
def test_a_folder_that_did_not_change_is_not_read_again(
    tree: Path, found: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_guard.file_times.SETTLED_NS", -(10**9))
    names = found()
    monkeypatch.setattr("os.scandir", lambda path: pytest.fail(f"{path} was read"))
    assert found() == names


def test_a_folder_that_has_just_changed_is_not_remembered(
    tree: Path, found: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = found()
    seen: list[str] = []
    scandir = os.scandir

    def spy(path: str) -> object:
        seen.append(path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", spy)
    assert found() == names
    assert str(tree) in seen
