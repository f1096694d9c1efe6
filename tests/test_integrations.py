"""Every place a team runs the check in, tried for real: pre-commit, GitHub, GitLab and the shell."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline_guard.cli.demo import BACKEND
from pipeline_guard.rulebook import load_rules

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "pipeline_guard"]
CLEAN = "def hang_up():\n    return None\n"
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
needs_yaml = pytest.mark.skipif(importlib.util.find_spec("yaml") is None, reason="PyYAML is not installed")
needs_pre_commit = pytest.mark.skipif(
    importlib.util.find_spec("pre_commit") is None, reason="pre-commit is not installed"
)


def run(command: list[str], folder: Path, timeout: int = 300, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "GITHUB_", "CI"))}
    return subprocess.run(
        command, cwd=folder, env={**environment, **variables}, capture_output=True, encoding="utf-8", check=False,
        timeout=timeout,
    )  # fmt: skip


def read_yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    done = run(["git", *identity, *arguments], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def copy_of_this_repository(folder: Path) -> Path:
    """Return a repository whose one commit is the tree as it is now, committed or not."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    return folder


def demo_in(folder: Path) -> Path:
    shutil.copytree(BACKEND, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


# -- pre-commit


@needs_yaml
def test_the_hook_is_what_pre_commit_reads() -> None:
    (hook,) = read_yaml(ROOT / ".pre-commit-hooks.yaml")
    assert set(hook) <= {
        "id", "name", "description", "entry", "language", "types_or", "pass_filenames", "require_serial"
    }  # fmt: skip
    assert (hook["id"], hook["entry"], hook["language"]) == ("pipeline-guard", "pipeline-guard check", "python")
    assert (hook["pass_filenames"], hook["require_serial"]) == (False, True)


@needs_pre_commit
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is not a checkout")
def test_pre_commit_judges_the_whole_program_whatever_changed(tmp_path: Path) -> None:
    source = tmp_path / "pipeline-guard"
    source.mkdir()
    revision = git(copy_of_this_repository(source), "rev-parse", "HEAD")
    project = demo_in(tmp_path / "project")
    (project / "hang_up.py").write_text(CLEAN, encoding="utf-8")
    (project / "notes.md").write_text("no code\n", encoding="utf-8")
    (project / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {source}\n  rev: {revision}\n  hooks:\n  - id: pipeline-guard\n", encoding="utf-8"
    )
    git(project, "init", "-q")
    git(project, "add", "-A")

    def pre_commit(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run([sys.executable, "-m", "pre_commit", *arguments], project, PRE_COMMIT_HOME=str(tmp_path / "home"))

    one_clean_file = pre_commit("run", "--files", "hang_up.py")
    assert one_clean_file.returncode == 1, one_clean_file.stdout + one_clean_file.stderr
    for place in ("call_session.py:89:35  PG201 error", "main.py:38:23  PG102 error", "realtime_client.py:54:15"):
        assert place in one_clean_file.stdout
    assert "(no files to check)Skipped" in pre_commit("run", "--files", "notes.md").stdout
    (project / "main.py").write_text("def broken(:\n", encoding="utf-8")
    for name in ("call_session.py", "realtime_client.py"):
        (project / name).unlink()
    assert "main.py:1:1  PG901 error" in pre_commit("run", "--files", "hang_up.py").stdout
    (project / "main.py").write_text(CLEAN, encoding="utf-8")
    passed = pre_commit("run", "--all-files")
    assert (passed.returncode, "Passed" in passed.stdout) == (0, True)


# -- GitHub


@needs_yaml
def test_the_action_is_one_that_github_can_read() -> None:
    action = read_yaml(ROOT / "action.yml")
    assert set(action) == {"name", "description", "author", "branding", "inputs", "outputs", "runs"}
    assert len(action["description"]) <= 125, "the marketplace cuts what is longer"
    assert action["runs"]["using"] == "composite"
    for entry in action["inputs"].values():
        assert isinstance(entry["default"], str)
        assert entry["description"]
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(action["inputs"])
    ids = {step["id"] for step in action["runs"]["steps"] if "id" in step}
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"steps\.([\w-]+)\.outputs", text)) <= ids
    for step in action["runs"]["steps"]:
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            assert step["shell"] == "bash"
            # What a caller hands in must reach the shell as a value, never as part of the script.
            assert "${{" not in step["run"]
        else:
            assert re.fullmatch(r"[\w-]+(/[\w-]+)+@v\d+", step["uses"])


def action_step(name: str) -> dict[str, Any]:
    (step,) = [step for step in read_yaml(ROOT / "action.yml")["runs"]["steps"] if step.get("name") == name]
    return dict(step)


def as_github_does(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    file = folder / "step.sh"
    file.write_text(script, encoding="utf-8")
    return run(["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(file)], folder, **variables)


@pytest.fixture
def program_on_path(tmp_path: Path) -> str:
    """Return a PATH on which ``pipeline-guard`` is the code of this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "pipeline-guard"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline_guard "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def runner(tmp_path: Path, program_on_path: str) -> dict[str, str]:
    """Return the variables that a step of a job finds."""
    (tmp_path / "temp").mkdir()
    files = {name: str(tmp_path / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
    return {**files, "RUNNER_TEMP": str(tmp_path / "temp"), "PATH": program_on_path, "PYTHONPATH": str(ROOT)}


@needs_bash
@needs_yaml
def test_the_action_reports_annotations_a_summary_and_sarif(tmp_path: Path, runner: dict[str, str]) -> None:
    project = demo_in(tmp_path / "workspace" / "-agent with space")
    script = action_step("Check")["run"]
    done = as_github_does(
        script, project.parent, **runner, CHECKED=project.name, ARGUMENTS="  --select PG2,PG1   --ignore PG105"
    )
    assert done.returncode == 1, done.stderr
    assert "::error " in done.stdout
    assert "title=PG201" in done.stdout
    assert "PG303" not in done.stdout
    output = Path(runner["GITHUB_OUTPUT"]).read_text(encoding="utf-8")
    sarif = Path(output.strip().removeprefix("sarif-file="))
    results = json.loads(sarif.read_text(encoding="utf-8"))["runs"][0]["results"]
    assert {result["ruleId"] for result in results} >= {"PG101", "PG201"}
    assert "| " in Path(runner["GITHUB_STEP_SUMMARY"]).read_text(encoding="utf-8")
    for name, text, code in (("clean", CLEAN, 0), ("broken", "def broken(:\n", 1)):
        folder = tmp_path / "workspace" / name
        folder.mkdir()
        (folder / "app.py").write_text(text, encoding="utf-8")
        assert as_github_does(script, project.parent, **runner, CHECKED=name, ARGUMENTS="").returncode == code
    (project / "pipeline-guard.toml").write_text("", encoding="utf-8")
    assert "PG201" in as_github_does(script, project, **runner, CHECKED="", ARGUMENTS="").stdout
    for arguments, name in (("--select PG999", "clean"), ("", "nowhere")):
        Path(runner["GITHUB_OUTPUT"]).write_text("", encoding="utf-8")
        done = as_github_does(script, project.parent, **runner, CHECKED=name, ARGUMENTS=arguments)
        assert (done.returncode, Path(runner["GITHUB_OUTPUT"]).read_text(encoding="utf-8")) == (2, "")


@needs_bash
@needs_yaml
def test_the_action_installs_what_it_came_with(tmp_path: Path, runner: dict[str, str]) -> None:
    source = tmp_path / "action"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n', encoding="utf-8"
    )
    # A build without anything to download: that of the real package is tried by pre-commit.
    (source / "backend.py").write_text(BUILD_BACKEND, encoding="utf-8")
    done = as_github_does(action_step("Install pipeline-guard")["run"], tmp_path, **runner,
                          PYTHON=sys.executable, SOURCE=str(source))  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = Path(runner["GITHUB_PATH"]).read_text(encoding="utf-8").split()
    assert run([str(Path(folder) / "pipeline-guard")], tmp_path).stdout == "9.9\n"


BUILD_BACKEND = """
import zipfile

INFO = "pipeline_guard-9.9.dist-info"


def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "pipeline_guard-9.9-py3-none-any.whl"
    files = {
        "pipeline_guard.py": "def run():\\n    print('9.9')\\n",
        f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: pipeline-guard\\nVersion: 9.9\\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{INFO}/entry_points.txt": "[console_scripts]\\npipeline-guard = pipeline_guard:run\\n",
    }
    files[f"{INFO}/RECORD"] = "".join(f"{each},,\\n" for each in (*files, f"{INFO}/RECORD"))
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for each, text in files.items():
            wheel.writestr(each, text)
    return name
"""


# -- GitLab


def readme_block(language: str, word: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if word in block]
    return str(block)


@needs_bash
@needs_yaml
def test_the_gitlab_job_reports_what_it_found(tmp_path: Path, program_on_path: str) -> None:
    import yaml

    job = yaml.safe_load(readme_block("yaml", "codequality"))["pipeline-guard"]
    project = demo_in(tmp_path / "project")
    install, *lines = job["script"]
    assert install.startswith("pip install ")
    # The runner starts every line in the same shell and stops at the first that fails.
    done = run(["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)], project, PATH=program_on_path,
               PYTHONPATH=str(ROOT))  # fmt: skip
    assert done.returncode == 1, done.stderr
    report = job["artifacts"]["reports"]["codequality"]
    assert job["artifacts"]["when"] == "always"
    assert {issue["check_name"] for issue in json.loads((project / report).read_text(encoding="utf-8"))} >= {"PG201"}
    assert "PG201 error" in done.stdout


@needs_yaml
def test_the_pre_commit_configuration_shown_names_the_hook() -> None:
    import yaml

    (repository,) = yaml.safe_load(readme_block("yaml", "rev:"))["repos"]
    (hook,) = read_yaml(ROOT / ".pre-commit-hooks.yaml")
    assert [each["id"] for each in repository["hooks"]] == [hook["id"]]


@needs_yaml
def test_the_workflow_shown_uses_inputs_that_the_action_has() -> None:
    import yaml

    jobs = yaml.safe_load(readme_block("yaml", "upload-sarif"))["jobs"]
    (step,) = [step for step in jobs["pipeline-guard"]["steps"] if "with" in step]
    assert set(step["with"]) <= set(read_yaml(ROOT / "action.yml")["inputs"])


# -- the shell


def completed(shell: str, folder: Path, words: str, current: str) -> list[str]:
    """Return what the program answers a shell that asks how a word can go on."""
    number = str(len(words.split()) - 1) if shell != "fish" else current
    done = run([*PROGRAM], folder, _PIPELINE_GUARD_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=number,
               PYTHONPATH=str(ROOT))  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split("\n")


@needs_bash
def test_bash_completes_commands_options_and_rules(tmp_path: Path, program_on_path: str) -> None:
    script = """
    eval "$(pipeline-guard completion bash)"
    complete -p pipeline-guard >/dev/null
    try() {
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _pipeline_guard_completion pipeline-guard "${COMP_WORDS[COMP_CWORD]}" ""
        echo "${COMPREPLY[*]}"
    }
    try pipeline-guard ch
    try pipeline-guard check --form
    try pipeline-guard check --format g
    try pipeline-guard explain pg20
    try pipeline-guard completion ""
    """
    done = run(["bash", "--norc", "-eu", "-c", script], tmp_path, PATH=program_on_path, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stderr) == (0, "")
    rules = " ".join(rule.id for rule in load_rules() if rule.id.startswith("PG20"))
    assert done.stdout.splitlines() == ["check", "--format", "github gitlab", rules, "bash zsh fish"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_a_script_and_answers(tmp_path: Path, shell: str) -> None:
    done = run([*PROGRAM, "completion", shell], tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0
    for words in ("pipeline-guard", f"_PIPELINE_GUARD_COMPLETE={shell}_complete"):
        assert words in done.stdout
    assert any("explain" in line for line in completed(shell, tmp_path, "pipeline-guard exp", "exp"))
    assert any("PG901" in line for line in completed(shell, tmp_path, "pipeline-guard explain PG90", "PG90"))
    interpreter = shutil.which(shell)
    if interpreter is not None:
        assert run([interpreter, "-n", "-c", done.stdout], tmp_path).returncode == 0
