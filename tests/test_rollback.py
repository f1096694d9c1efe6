"""A file that is an old version of itself is called one, by the history and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.findings import Finding
from pipeline_guard.ratchet.state import Baseline
from tests.ratchet_helpers import HEAD, TAIL, baseline_of, commit, compare_with, git, write
from tests.test_ratchet import APP, SESSION, TOOL_SEND

MENDED = HEAD + SESSION[:TOOL_SEND] + '        await self.trigger_response("LIMITS")\n' + TAIL
FILLER = "\n".join(f"SETTING_{number} = {number}" for number in range(40)) + "\n"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Three versions of a backend: as it was, with what was wrong mended, and with something else added."""
    git(tmp_path, "init", "-q")
    for message, code in (("first", APP), ("mended", MENDED), ("settings", MENDED + FILLER)):
        write(tmp_path, {"app.py": code})
        commit(tmp_path, message)
    return tmp_path


def back(folder: Path, code: str) -> Finding | None:
    baseline = baseline_of(folder)
    write(folder, {"app.py": code})
    return next((f for f in compare_with(baseline, folder).new if f.rule == "PG905"), None)


def test_an_old_version_is_named_with_the_one_to_take_back(history: Path) -> None:
    first, mended, newest = git(history, "log", "--reverse", "--format=%h").split()
    found = back(history, APP)
    assert found is not None
    assert f"has the content of commit {first}" in found.message
    assert f"older than {newest}" in found.message
    assert f"git checkout {git(history, 'rev-parse', newest).strip()[:12]} -- app.py" in found.message
    assert "PG201 (1)" in found.message
    assert mended not in found.message


def test_line_endings_do_not_hide_it(history: Path) -> None:
    assert back(history, APP.replace("\n", "\r\n")) is not None


def test_an_old_version_with_a_few_new_lines_is_one(history: Path) -> None:
    found = back(history, APP.replace("import asyncio\n", "import asyncio\nimport logging\n"))
    assert found is not None
    assert "but for 1 of " in found.message


def test_a_committed_rollback_is_one(history: Path) -> None:
    """In CI the commit that brought the old version is the newest one."""
    baseline = baseline_of(history)
    write(history, {"app.py": APP})
    commit(history, "restored")
    found = [f for f in compare_with(baseline, history).new if f.rule == "PG905"]
    assert len(found) == 1


def test_a_merge_that_takes_the_old_side_is_one(history: Path) -> None:
    """History along both parents would follow the old side alone and never see the newer version."""
    branch = git(history, "branch", "--show-current").strip()
    baseline = baseline_of(history)
    git(history, "checkout", "-q", "-b", "old", "HEAD~2")
    commit(history, "nothing new")
    git(history, "checkout", "-q", branch)
    git(history, "merge", "-q", "--no-commit", "-s", "ours", "old")
    write(history, {"app.py": APP})
    git(history, "add", "-A")
    git(history, "commit", "-q", "-m", "merge")
    assert [f.rule for f in compare_with(baseline, history).new if f.rule == "PG905"] == ["PG905"]


def test_a_file_that_did_not_change_is_none(history: Path) -> None:
    """It is as old as it was; what is new in it was opened from elsewhere."""
    write(history, {"app.py": APP})
    commit(history, "restored")
    (history / "notes.md").write_text("one more commit", encoding="utf-8")
    commit(history, "notes")
    found = compare_with(Baseline(), history)
    assert "PG201" in [f.rule for f in found.new]
    assert "PG905" not in [f.rule for f in found.new]


def test_an_old_version_that_breaks_nothing_is_none(history: Path) -> None:
    assert back(history, MENDED) is None


def test_a_new_violation_in_a_new_version_is_none(history: Path) -> None:
    assert back(history, APP + FILLER + "NEW = 1\n") is None


def test_a_folder_of_the_repository_has_its_own_history(history: Path) -> None:
    write(history, {"backend/app.py": APP})
    commit(history, "moved")
    write(history, {"backend/app.py": MENDED})
    commit(history, "mended again")
    baseline = baseline_of(history / "backend")
    write(history / "backend", {"app.py": APP})
    assert [f.rule for f in compare_with(baseline, history / "backend").new if f.rule == "PG905"] == ["PG905"]
