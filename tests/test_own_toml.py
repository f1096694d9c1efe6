"""The TOML files of this tool: what they say is kept beside them, and never outlives them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pipeline_guard.own_toml import read_own_toml
from pipeline_guard.rulebook import rules_dir
from pipeline_guard.toml_files import TomlError, read_toml

TEXT = 'name = "a"\n[[entry]]\nwords = ["\\u00e4", "b\\n"]\nnumber = 1.5\nis_new = true\n'


@pytest.fixture(autouse=True)
def _bytecode_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "words.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(rules_dir().rglob("*.toml")), ids=lambda path: path.stem)
def test_every_file_of_the_tool_says_the_same_either_way(path: Path) -> None:
    assert read_own_toml(path) == read_own_toml(path) == read_toml(path)


def test_the_second_time_nothing_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    tables = read_own_toml(path)
    assert tables == {"name": "a", "entry": [{"words": ["ä", "b\n"], "number": 1.5, "is_new": True}]}

    monkeypatch.setattr("pipeline_guard.own_toml.read_toml", None)
    assert read_own_toml(path) == tables


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    read_own_toml(path)
    write(tmp_path, TEXT.replace('"a"', '"another"'))
    assert read_own_toml(path)["name"] == "another"


def test_whoever_changes_the_tables_changes_only_their_own(tmp_path: Path) -> None:
    path = write(tmp_path)
    read_own_toml(path)["entry"].clear()
    assert len(read_own_toml(path)["entry"]) == 1


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="nothing keeps this user from writing")
def test_a_folder_that_cannot_be_written_will_do(tmp_path: Path) -> None:
    path = write(tmp_path)
    tmp_path.chmod(0o500)
    assert read_own_toml(path)["name"] == "a"
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_bytecode_is_wanted_none_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = write(tmp_path)
    assert read_own_toml(path)["name"] == "a"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_wrong_with_a_file_is_said_as_ever(tmp_path: Path) -> None:
    with pytest.raises(TomlError, match=r"words\.toml: is not valid TOML"):
        read_own_toml(write(tmp_path, "name = "))
    with pytest.raises(TomlError, match=r"none\.toml: cannot be read"):
        read_own_toml(tmp_path / "none.toml")
