"""The README says what is true: its table of rules, its commands and its settings are those of the tool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline_guard.__main__ import main
from pipeline_guard.cli.group import COMMANDS
from pipeline_guard.config import read_config
from pipeline_guard.rulebook import load_rules
from pipeline_guard.toml_files import parse_toml
from tests.update_readme import COMMAND, README, updated


def test_the_table_of_rules_is_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == updated(text), f"README.md is older than the rule files; run: {COMMAND}"


def test_the_table_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--format", "markdown"]) == 0
    table = capsys.readouterr().out
    assert table in README.read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == [rule.id for rule in load_rules()]
    assert {len(row) for row in rows} == {4}


def test_a_readme_without_marks_is_left_alone() -> None:
    with pytest.raises(SystemExit, match="rules:start"):
        updated("# nothing\n")


def test_the_rules_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert [rule["id"] for rule in document["rules"]] == [rule.id for rule in load_rules()]
    for rule in document["rules"]:
        assert set(rule) == {"id", "name", "title", "family", "severity", "contract", "caller", "why", "fix"}
        assert rule["fix"]["safety"] in {"safe", "unsafe", "manual"}


def test_every_command_is_named() -> None:
    text = README.read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`pipeline-guard {name}" not in text]
    assert not missing, f"README.md does not name {missing}"


def test_the_settings_shown_can_be_used(tmp_path: Path) -> None:
    """All TOML blocks that are settings, put together, load without complaint."""
    blocks = re.findall(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    settings = "\n".join(block for block in blocks if "tool.pipeline-guard" in block)
    path = tmp_path / "pyproject.toml"
    table = parse_toml(settings, path)["tool"]["pipeline-guard"]
    for name in table.get("vocabulary", ()):
        (tmp_path / name).write_text("", encoding="utf-8")
    for name in table.get("paths", ()):
        (tmp_path / name).mkdir()
    path.write_text(settings, encoding="utf-8")
    assert read_config(path).contract.trigger == "trigger_response"


def test_every_setting_of_the_reference_agent_is_described() -> None:
    source = (README.parent / "reference_agent" / "settings.py").read_text(encoding="utf-8")
    names = set(re.findall(r'take\("([A-Z_]+)"', source))
    section = README.read_text(encoding="utf-8").partition("## The reference agent")[2].partition("\n## ")[0]
    assert names == set(re.findall(r"`([A-Z][A-Z_]+)`", section))
