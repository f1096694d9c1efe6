"""The examples in the rule files are tests: bad ones are found exactly on their marked lines, good ones not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from pipeline_guard.rulebook import Example, Rule, load_rules
from tests.ratchet_helpers import baseline_of, checked, commit, compare_with, git, write

BAD = [(rule, example) for rule in load_rules() for example in rule.bad]
GOOD = [(rule, example) for rule in load_rules() for example in rule.good]


def ids(pairs: list[tuple[Rule, Example]]) -> list[str]:
    return [f"{rule.id}: {example.title}" for rule, example in pairs]


def marked_lines(rule: Rule, example: Example) -> set[tuple[str, int]]:
    """Return path and line of every comment that names the rule."""
    return {
        (path, line)
        for path, code in example.files.items()
        for line, text in enumerate(code.split("\n"), 1)
        if f"# {rule.id}" in text
    }


def found_lines(folder: Path, rule: Rule, example: Example) -> dict[tuple[str, int], str]:
    """Return path and line of every finding of the rule, with its message."""
    if example.before:
        return lines_of(rule, found_since(folder, example))
    write(folder, example.files)
    return lines_of(rule, checked(folder, Config())[1])


def found_since(folder: Path, example: Example) -> list[Finding]:
    """Return what is new since the state before, where the program's history begins with what it is now."""
    git(folder, "init", "-q")
    for files in (example.files, example.before):
        write(folder, files)
        commit(folder, "a state")
    baseline = baseline_of(folder)
    write(folder, example.files)
    return compare_with(baseline, folder).new


def lines_of(rule: Rule, findings: list[Finding]) -> dict[tuple[str, int], str]:
    return {(finding.path, finding.line): finding.message for finding in findings if finding.rule == rule.id}


def listing(example: Example, places: set[tuple[str, int]]) -> str:
    return "\n".join(
        f"  {path}:{line}  {example.files[path].split(chr(10))[line - 1].strip()}" for path, line in sorted(places)
    )


@pytest.mark.parametrize(("rule", "example"), BAD, ids=ids(BAD))
def test_a_bad_example_is_found_on_its_marked_lines(rule: Rule, example: Example, tmp_path: Path) -> None:
    wanted, found = marked_lines(rule, example), found_lines(tmp_path, rule, example)
    missing, unexpected = wanted - found.keys(), found.keys() - wanted
    if missing or unexpected:
        said = "".join(f"\n  {message}" for place, message in sorted(found.items()) if place in unexpected)
        pytest.fail(
            f"{rule.id} not found at\n{listing(example, missing)}\nfound at\n{listing(example, unexpected)}{said}",
            pytrace=False,
        )


@pytest.mark.parametrize(("rule", "example"), GOOD, ids=ids(GOOD))
def test_a_good_example_is_left_alone(rule: Rule, example: Example, tmp_path: Path) -> None:
    found = found_lines(tmp_path, rule, example)
    if found:
        said = "".join(f"\n  {message}" for message in found.values())
        pytest.fail(f"{rule.id} found at\n{listing(example, set(found))}{said}", pytrace=False)
