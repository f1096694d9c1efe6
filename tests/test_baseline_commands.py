"""The commands around a baseline, as somebody types them, on backends in real git repositories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline_guard.__main__ import main
from tests.ratchet_helpers import HEAD, TAIL, commit, git, write
from tests.test_ratchet import APP, KNOWN, SESSION, TOOL_SEND

WORSE = HEAD + SESSION + KNOWN + TAIL
MENDED = HEAD + SESSION[:TOOL_SEND] + '        await self.trigger_response("LIMITS")\n' + TAIL
FORMATS = ("text", "json", "concise", "sarif", "github", "gitlab", "junit", "markdown", "prompt")


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a recorded baseline, which is the current folder."""
    git(tmp_path, "init", "-q")
    write(tmp_path, {"app.py": APP})
    commit(tmp_path, "a backend")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Runner:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> Result:
        code = main(list(arguments))
        return Result(code, *self.capsys.readouterr())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def test_a_baseline_says_on_one_screen_what_it_recorded(project: Path, run: Runner) -> None:
    result = run("baseline", ".", "--output", "known.json")
    assert result.code == 0
    assert "PG201 response-create-outside-trigger" in result.out
    assert "one trigger app.py:CallSession.trigger_response" in result.out
    assert "asks before it sends" in result.out
    assert len(result.out.splitlines()) < 40
    assert (project / "known.json").is_file()


def test_the_file_is_sorted_json_with_one_finding_per_line(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    text = (project / "known.json").read_text(encoding="utf-8")
    table = json.loads(text)
    assert table["version"] == 1
    assert table["counts"]["PG201"] == 1
    for finding in table["findings"]:
        assert sum(finding["fingerprint"] in line for line in text.splitlines()) == 1
    run("baseline", "--output", "again.json")
    assert (project / "again.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reports_what_is_new_and_nothing_else(name: str, project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    clean = run("check", "--baseline", "known.json", "--format", name)
    assert clean.code == 0
    assert "PG201" not in clean.out or name in ("sarif", "junit")  # these list the rules that were checked
    write(project, {"app.py": WORSE})
    worse = run("check", "--baseline", "known.json", "--format", name)
    assert worse.code == 1
    assert "PG201" in worse.out


def test_the_text_says_how_many_are_known(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    known = len(json.loads((project / "known.json").read_text(encoding="utf-8"))["findings"])
    out = run("check", "--baseline", "known.json").out
    assert "No new findings in 1 pipeline" in out
    assert f"compared with known.json: {known} finding" in out
    write(project, {"app.py": WORSE})
    assert "1 new finding in 1 file" in run("check", "--baseline", "known.json").out


def test_json_names_what_it_was_compared_with(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    write(project, {"app.py": MENDED})
    table = json.loads(run("check", "--baseline", "known.json", "--format", "json").out)
    assert table["findings"] == []
    assert table["compared"]["with"] == "known.json"
    assert [known["rule"] for known in table["compared"]["stale"]] == ["PG201"]


def test_stale_entries_are_reported_and_fail_only_when_asked(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    write(project, {"app.py": MENDED})
    result = run("check", "--baseline", "known.json")
    assert result.code == 0
    assert "1 finding of the baseline is gone" in result.out
    assert "pipeline-guard baseline --update --output known.json ." in result.out
    strict = run("check", "--baseline", "known.json", "--fail-on-stale", "--format", "concise")
    assert strict.code == 1
    assert "gone" in strict.err


def test_an_update_takes_out_what_is_mended(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    write(project, {"app.py": MENDED})
    assert "(-1)" in run("baseline", "--update", "--output", "known.json").out
    assert "gone" not in run("check", "--baseline", "known.json").out
    write(project, {"app.py": APP})
    back = run("check", "--baseline", "known.json", "-q")
    assert back.code == 1
    assert "PG201" in back.out


def test_an_update_lets_nothing_in(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    before = (project / "known.json").read_text(encoding="utf-8")
    write(project, {"app.py": WORSE})
    assert "1 new finding stayed out" in run("baseline", "--update", "--output", "known.json").out
    assert (project / "known.json").read_text(encoding="utf-8") == before
    assert run("check", "--baseline", "known.json", "-q").code == 1


def test_an_update_gives_no_promise_up(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    write(project, {"app.py": APP.replace('"create_response": False', '"create_response": True')})
    run("baseline", "--update", "--output", "known.json")
    assert run("check", "--baseline", "known.json", "-q").code == 1


def test_recording_anew_says_what_grew(project: Path, run: Runner) -> None:
    run("baseline", "--output", "known.json")
    write(project, {"app.py": WORSE})
    assert "(+1)" in run("baseline", "--output", "known.json").out
    assert run("check", "--baseline", "known.json", "-q").code == 0


def test_a_file_that_cannot_be_read_is_not_recorded(project: Path, run: Runner) -> None:
    write(project, {"app.py": APP, "broken.py": "def trigger_response(:\n"})
    result = run("baseline", "--output", "known.json")
    assert result.code == 2
    assert "broken.py:1" in result.err
    assert not (project / "known.json").exists()


def test_what_is_new_is_reported_wherever_it_is(project: Path, run: Runner) -> None:
    """Pre-commit hands over the files of the commit, but the path a change opens may end in another one."""
    write(project, {"app.py": APP, "other.py": "x = 1\n"})
    run("baseline", "--output", "known.json")
    write(project, {"app.py": WORSE, "other.py": "x = 2\n"})
    result = run("check", "--baseline", "known.json", "-q", "other.py")
    assert result.code == 1
    assert result.out.startswith("app.py:")


def test_since_reports_what_a_change_adds(project: Path, run: Runner) -> None:
    assert run("check", "--since", "HEAD", "-q") == (0, "", "")
    write(project, {"app.py": WORSE})
    result = run("check", "--since", "HEAD", "-q")
    assert result.code == 1
    assert result.out.count("\n") == 1
    assert "PG201" in result.out
    assert git(project, "status", "--porcelain").split() == ["M", "app.py"]


def test_since_sees_files_that_moved(project: Path, run: Runner) -> None:
    write(project, {"server/call.py": APP})
    assert run("check", "--since", "HEAD", "-q").code == 0


def test_since_judges_a_folder_of_the_repository(project: Path, run: Runner) -> None:
    write(project, {"backend/app.py": APP, "tools/x.py": "x = 1\n"})
    commit(project, "a folder of its own")
    assert run("check", "--since", "HEAD", "-q", "backend").code == 0
    write(project, {"backend/app.py": WORSE, "tools/x.py": "x = 1\n"})
    assert run("check", "--since", "HEAD", "-q", "backend").code == 1


def test_since_obeys_settings_that_speak_of_paths(project: Path, run: Runner) -> None:
    (project / "pipeline-guard.toml").write_text('exclude = ["old/"]\n', encoding="utf-8")
    write(project, {"app.py": APP, "old/app.py": APP})
    commit(project, "settings")
    write(project, {"app.py": APP, "old/app.py": WORSE})
    assert run("check", "--since", "HEAD", "-q").code == 0


def test_since_works_where_a_hook_points_git_elsewhere(
    project: Path, run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """git sets these for hooks, and tools that pass them on read the wrong repository."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    monkeypatch.setenv("GIT_INDEX_FILE", "nowhere")
    assert run("check", "--since", "HEAD", "-q").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "no-such-branch"], "names no commit"),
        (["--since", "--output"], "names no commit"),
        (["--baseline", "none.json"], "there is no such baseline"),
        (["--baseline", "app.py"], "is not JSON"),
        (["--baseline", "other.json"], "is no baseline"),
        (["--baseline", "newer.json"], "newer pipeline-guard"),
        (["--baseline", "merged.json"], "merge conflict"),
        (["--baseline", "wrong.json"], "is no baseline of pipeline-guard (Object contains unknown field `extra`"),
        (["--baseline", "known.json", "--since", "HEAD"], "use one of them"),
    ],
)
def test_what_cannot_be_compared_with_is_one_sentence(
    arguments: list[str], said: str, project: Path, run: Runner
) -> None:
    run("baseline", "--output", "known.json")
    text = (project / "known.json").read_text(encoding="utf-8")
    (project / "other.json").write_text('{"findings": []}', encoding="utf-8")
    (project / "newer.json").write_text('{"version": 99}', encoding="utf-8")
    (project / "wrong.json").write_text('{"version": 1, "extra": 1}', encoding="utf-8")
    (project / "merged.json").write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> x\n", encoding="utf-8")
    result = run("check", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert said in result.err
    assert result.err.count("\n") == 1


def test_a_shallow_clone_says_what_to_fetch(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = git(project, "rev-parse", "HEAD").strip()
    commit(project, "one more")
    clone = tmp_path_factory.mktemp("clones") / "shallow"
    git(project, "clone", "-q", "--depth", "1", f"file://{project}", str(clone))
    command = [sys.executable, "-m", "pipeline_guard", "check", "--since", first, "."]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "holds only part of the history" in done.stderr
    assert "fetch-depth: 0" in done.stderr


def test_without_git_a_baseline_works_and_a_revision_does_not(
    tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"app.py": APP})
    monkeypatch.chdir(tmp_path)
    run("baseline", "--output", "known.json")
    write(tmp_path, {"app.py": WORSE})
    assert "PG201" in run("check", "--baseline", "known.json", "-q").out
    result = run("check", "--since", "HEAD")
    assert result.code == 2
    assert "no git repository" in result.err


SETTINGS = '[tool.pipeline-guard]\nbaseline = "known.json"\n'


def test_a_baseline_in_the_settings_makes_a_plain_check_the_ratchet(project: Path, run: Runner) -> None:
    (project / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    assert run("baseline").code == 0
    assert (project / "known.json").is_file()
    known = run("check", "--format", "json")
    assert known.code == 0
    assert json.loads(known.out)["findings"] == []
    write(project, {"app.py": WORSE})
    assert run("check", "-q").code == 1


def test_the_settings_baseline_counts_from_the_settings(
    project: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    assert run("baseline").code == 0
    (project / "docs").mkdir()
    monkeypatch.chdir(project / "docs")
    assert run("check", "..").code == 0
    assert "known.json" in run("check", "..").out


def test_the_command_line_says_more_than_the_settings_baseline(project: Path, run: Runner) -> None:
    (project / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    assert run("baseline").code == 0
    everything = run("check", "--no-baseline", "--format", "json")
    assert everything.code == 1
    assert len(json.loads(everything.out)["findings"]) == len(
        json.loads((project / "known.json").read_bytes())["findings"]
    )
    commit(project, "recorded")
    write(project, {"app.py": WORSE})
    assert len(run("check", "--since", "HEAD", "-q").out.splitlines()) == 1  # what is new since the commit
    assert run("check", "--no-baseline", "--since", "HEAD").code == 2


def test_a_settings_baseline_that_is_not_there_is_one_sentence(project: Path, run: Runner) -> None:
    (project / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    result = run("check")
    assert (result.code, result.out) == (2, "")
    assert "known.json, which does not exist; record it with 'pipeline-guard baseline'" in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "complaint"),
    [("3", "must be a name in quotes"), ('""', "must be a name in quotes"), ('"."', "is a folder")],
)
def test_a_settings_baseline_of_the_wrong_kind_is_named_with_its_line(
    value: str, complaint: str, project: Path, run: Runner
) -> None:
    (project / "pyproject.toml").write_text(f"[tool.pipeline-guard]\nbaseline = {value}\n", encoding="utf-8")
    result = run("check")
    assert result.code == 2
    assert "pyproject.toml:2: tool.pipeline-guard.baseline: " in result.err
    assert complaint in result.err


def test_a_baseline_of_the_project_is_not_held_against_one_folder_of_it(project: Path, run: Runner) -> None:
    write(project, {"server/app.py": APP})
    (project / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    assert run("baseline").code == 0
    result = run("check", "server")
    assert result.code == 2
    assert "known.json: was recorded for" in result.err
    assert "--no-baseline" in result.err
    assert run("check", "server", "--no-baseline").code == 1
