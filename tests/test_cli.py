"""The command line: exit codes, what goes where, and one clear sentence for everything that cannot work.

The analysis is replaced by a map made by hand, so that these tests are about the commands alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from pipeline_guard import __version__
from pipeline_guard.__main__ import main
from pipeline_guard.cli.demo import BACKEND
from pipeline_guard.cli.target import resolve_target
from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap
from tests.sample_maps import demo_map, empty_map, finding


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Core:
    """Stands in for the analysis: remembers what it was asked and answers with what it was given."""

    def __init__(self) -> None:
        self.map = demo_map()
        self.findings: list[Finding] = []
        self.error: Exception | None = None
        self.root = Path()
        self.files: list[str] = []
        self.config = Config()

    def analyse(
        self,
        root: Path,
        files: Sequence[Any],
        config: Config,
        progress: object,
        documents: object = (),
        cache: object = None,
        to_judge: bool = False,
    ) -> PipelineMap:
        self.root, self.files, self.config = root, [file.rel for file in files], config
        if self.error is not None:
            raise self.error
        return self.map

    def run_checks(self, _map: PipelineMap, _config: Config, *_known: object) -> list[Finding]:
        return self.findings


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    stand_in = Core()
    for name, function in (("pipeline.build", "analyse"), ("checks", "run_checks")):
        module = ModuleType(f"pipeline_guard.{name}")
        setattr(module, function, getattr(stand_in, function))
        monkeypatch.setitem(sys.modules, f"pipeline_guard.{name}", module)
    return stand_in


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    for name in ("main.py", "call_session.py", "realtime_client.py"):
        (tmp_path / name).write_text((BACKEND / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "notes.txt").write_text("no code", encoding="utf-8")
    return tmp_path


class Runner:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Result:
        code = main([str(argument) for argument in arguments])
        return Result(code, *self.capsys.readouterr())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def test_a_clean_backend_exits_0(core: Core, project: Path, run: Runner) -> None:
    result = run("check", project)
    assert (result.code, result.err) == (0, "")
    assert "No findings in 1 pipeline" in result.out
    assert core.files == ["call_session.py", "main.py", "realtime_client.py"]


def test_findings_exit_1_unless_they_are_all_suppressed(core: Core, project: Path, run: Runner) -> None:
    core.findings = [finding()]
    result = run("check", project)
    assert result.code == 1
    assert "PG101 error" in result.out
    core.findings = [finding(suppressed=True)]
    assert run("check", project).code == 0


@pytest.mark.parametrize(
    ("severity", "codes"),
    # The exit code with --fail-on error, warning, note, and without the option.
    [("note", [0, 0, 1, 0]), ("warning", [0, 1, 1, 1]), ("error", [1, 1, 1, 1])],
)
def test_the_exit_code_follows_the_least_severity_that_counts(
    core: Core, project: Path, run: Runner, severity: str, codes: list[int]
) -> None:
    core.findings = [finding(severity=severity)]
    options: list[list[str]] = [["--fail-on", "error"], ["--fail-on", "warning"], ["--fail-on", "note"], []]
    results = [run("check", str(project), "-q", *option) for option in options]
    assert [result.code for result in results] == codes
    assert all("call_session.py" in result.out for result in results)


def test_the_settings_say_what_counts_and_the_command_line_goes_before_them(
    core: Core, project: Path, run: Runner
) -> None:
    (project / "pyproject.toml").write_text('[tool.pipeline-guard]\nfail-on = "note"\n', encoding="utf-8")
    core.findings = [finding(severity="note")]
    assert run("check", str(project), "-q").code == 1
    assert run("check", str(project), "-q", "--fail-on", "warning").code == 0


def test_quiet_is_one_line_per_finding_and_silence_when_clean(core: Core, project: Path, run: Runner) -> None:
    assert run("check", "-q", project) == (0, "", "")
    core.findings = [finding()]
    assert run("check", "-q", project).out.count("\n") == 1


def test_piped_output_is_plain_and_has_no_spaces_at_line_ends(core: Core, project: Path, run: Runner) -> None:
    core.findings = [finding()]
    for command in ("check", "map"):
        out = run(command, project).out
        assert "\x1b" not in out
        assert not [line for line in out.split("\n") if line != line.rstrip()]


def test_check_json_is_one_document(core: Core, project: Path, run: Runner) -> None:
    core.findings = [finding()]
    result = run("check", project, "--format", "json")
    assert result.code == 1
    assert json.loads(result.out)["summary"]["findings"] == 1


def test_a_single_file_is_judged_within_its_project(core: Core, project: Path, run: Runner) -> None:
    core.findings = [finding()]
    assert run("check", project / "main.py").code == 0
    assert core.root == project
    assert len(core.files) == 3
    result = run("check", project / "call_session.py")
    assert result.code == 1
    assert run("check", project / "main.py", project / "call_session.py").code == 1
    assert "1 more in files you did not ask about" in run("check", project / "main.py").out


def test_a_script_that_is_named_is_read_even_without_a_suffix(core: Core, project: Path, run: Runner) -> None:
    (project / "serve").write_text("#!/usr/bin/env python3\n", encoding="utf-8")
    run("check", project / "serve")
    assert "serve" in core.files


@pytest.mark.parametrize("command", ["check", "map"])
def test_a_path_that_cannot_be_read_is_one_sentence_and_exit_2(
    core: Core, project: Path, run: Runner, command: str
) -> None:
    for path, words in (
        (project / "nowhere", "there is no such file or folder; name the folder of a Python project"),
        (project / "docs", "holds no Python files"),
        (project / "docs" / "notes.txt", "is not a Python file"),
    ):
        result = run(command, path)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"pipeline-guard: {path}: ")
        assert words in result.err
        assert result.err.count("\n") == 1


def test_a_folder_whose_files_are_all_too_large_says_so(core: Core, project: Path, run: Runner) -> None:
    (project / "pyproject.toml").write_text("[tool.pipeline-guard]\nmax-file-size = 10\n", encoding="utf-8")
    result = run("check", project)
    assert result.code == 2
    assert "holds no Python file that can be read (call_session.py: " in result.err


def test_files_left_aside_are_part_of_the_coverage(core: Core, project: Path, run: Runner) -> None:
    (project / "pyproject.toml").write_text("[tool.pipeline-guard]\nmax-file-size = 3000\n", encoding="utf-8")
    out = run("map", project).out
    assert "call_session.py" not in core.files
    assert "4 Python files found, 3 read in depth" in out
    assert "too large" in out


def test_settings_that_are_wrong_exit_2(core: Core, project: Path, run: Runner) -> None:
    (project / "pyproject.toml").write_text("[tool.pipeline-guard]\nexclud = []\n", encoding="utf-8")
    result = run("check", project)
    assert result.code == 2
    assert "tool.pipeline-guard.exclud: is not a setting; did you mean 'exclude'?" in result.err
    assert run("check", project, "--config", project / "none.toml").code == 2


def test_settings_reach_the_analysis(core: Core, project: Path, run: Runner) -> None:
    settings = project / "other.toml"
    settings.write_text('select = ["PG1"]\nignore = ["PG105"]\nexclude = ["/main.py"]\n', encoding="utf-8")
    run("check", project, "--config", settings, "--ignore", "pg104")
    assert (core.config.select, core.config.ignore) == (("PG1",), ("PG105", "PG104"))
    assert core.files == ["call_session.py", "realtime_client.py"]
    run("check", project, "--config", settings, "--select", "PG2")
    assert core.config.select == ("PG2",)


def test_patterns_speak_of_the_folder_of_the_settings(core: Core, project: Path, run: Runner) -> None:
    (project / "server").mkdir()
    (project / "server" / "app.py").write_text("", encoding="utf-8")
    (project / "server" / "old.py").write_text("", encoding="utf-8")
    (project / "pyproject.toml").write_text('[tool.pipeline-guard]\nexclude = ["/server/old.py"]\n', encoding="utf-8")
    run("check", project / "server")
    assert (core.root, core.files) == (project / "server", ["app.py"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--select", "PG999"],
        ["check", "--select", "nonsense"],
        ["check", "--format", "xml"],
        ["chekc"],
        ["explain", "PG999"],
        ["map", "a", "b"],
    ],
)
def test_usage_errors_exit_2(core: Core, project: Path, run: Runner, arguments: list[str]) -> None:
    result = run(*arguments, *([project] if arguments[0] == "check" else []))
    assert result.code == 2
    assert result.err
    assert "Traceback" not in result.err


def test_an_unexpected_error_is_one_sentence_and_exit_3(
    core: Core, project: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.error = KeyError("surprise\nin two lines")
    monkeypatch.delenv("PIPELINE_GUARD_DEBUG", raising=False)
    result = run("check", project)
    assert (result.code, result.out) == (3, "")
    assert result.err.count("\n") == 1
    assert "internal error (KeyError:" in result.err
    assert "PIPELINE_GUARD_DEBUG=1" in result.err
    monkeypatch.setenv("PIPELINE_GUARD_DEBUG", "1")
    assert "Traceback (most recent call last)" in run("check", project).err


def test_running_out_of_stack_is_an_internal_error_too(core: Core, project: Path, run: Runner) -> None:
    core.error = RecursionError("maximum recursion depth exceeded")
    assert run("map", project).code == 3


def test_map_prints_every_format(core: Core, project: Path, run: Runner) -> None:
    assert "Pipeline map of" in run("map", project).out
    assert json.loads(run("map", project, "--format", "json").out)["version"] == 1
    assert run("map", project, "--format", "mermaid").out.startswith("flowchart TD\n")
    assert run("map", project, "--format", "dot").out.startswith("digraph pipeline {\n")


def test_map_of_a_file_shows_the_lanes_that_run_through_it(core: Core, project: Path, run: Runner) -> None:
    assert "Lane main.py" in run("map", project / "call_session.py").out
    assert "No Realtime session here" in run("map", project / "main.py").out


def test_a_project_without_a_session_is_clean_and_says_why(core: Core, project: Path, run: Runner) -> None:
    core.map = empty_map()
    result = run("check", project)
    assert result.code == 0
    assert "No Realtime session here" in result.out


def test_rules_and_explain(run: Runner) -> None:
    listed = run("rules")
    assert listed.code == 0
    assert "PG201" in listed.out
    explained = run("explain", "pg201")
    assert explained.code == 0
    for words in ("What the caller hears", "Why", "What to do", "Found: A tool handler", "Not found: Greeting"):
        assert words in explained.out
    assert run("explain", "response-create-outside-trigger").out == explained.out
    assert "did you mean 'PG2" in run("explain", "PG299").err


def test_demo_is_about_the_bundled_backend_whatever_the_settings_around(
    core: Core, project: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "pyproject.toml").write_text("[tool.pipeline-guard]\nnonsense = 1\n", encoding="utf-8")
    core.findings = [finding()]
    result = run("demo")
    assert result.code == 0
    assert core.root == BACKEND
    assert core.files == ["call_session.py", "main.py", "realtime_client.py"]
    assert result.out.index("Pipeline map of") < result.out.index("PG101 error") < result.out.index("Your turn")


def test_the_project_around_some_paths(tmp_path: Path) -> None:
    for name in ("one/.git", "two/.git", "two/server", "loose"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("one/a.py", "two/b.py", "two/server/c.py"):
        (tmp_path / name).write_text("", encoding="utf-8")
    target = resolve_target([tmp_path / "two" / "server" / "c.py"], "check")
    assert (target.root, target.focus) == (tmp_path / "two", ("server/c.py",))
    assert target.reports_on("server/c.py")
    assert not target.reports_on("server/c.pyx")
    both = resolve_target([tmp_path / "two" / "server", tmp_path / "two" / "b.py"], "check")
    assert (both.root, both.focus) == (tmp_path / "two", ("server", "b.py"))
    assert both.reports_on("server/deep/d.py")
    assert resolve_target([tmp_path / "loose"], "check").root == tmp_path / "loose"
    with pytest.raises(Exception, match="different projects"):
        resolve_target([tmp_path / "one" / "a.py", tmp_path / "two" / "b.py"], "check")


def python(*arguments: str, **variables: str) -> Result:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", env=environment, timeout=60, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_version_costs_no_heavy_import() -> None:
    program = (
        "import sys; from pipeline_guard.__main__ import main; code = main(['--version'])\n"
        "print(code, sorted({'rich', 'libcst', 'msgspec', 'pathspec', 'asyncio'} & set(sys.modules)))"
    )
    result = python("-c", program)
    assert result.out == f"pipeline-guard {__version__}\n0 []\n"


def test_it_runs_as_a_module_and_shows_help() -> None:
    result = python("-m", "pipeline_guard", "--help")
    assert result.code == 0
    for words in ("check", "map", "rules", "explain", "demo", "Exit codes"):
        assert words in result.out


def test_a_terminal_without_unicode_gets_ascii_and_no_traceback() -> None:
    result = python("-m", "pipeline_guard", "explain", "PG201", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (result.code, result.err) == (0, "")


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f'"{sys.executable}" -m pipeline_guard explain PG201 | head -n 1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith("PG201")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_finds_no_room_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1\n", encoding="utf-8")
    command = [sys.executable, "-m", "pipeline_guard", "check", str(tmp_path)]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 3
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("pipeline-guard: the output could not be written: No space left")
