"""The rules are complete, and a rule file that is not is refused."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline_guard.rulebook import (
    Example,
    Rule,
    RulebookError,
    find_rule,
    load_rules,
    read_rule,
    read_rules,
    rule_ids,
    rules_dir,
)

RULES = load_rules()
EXAMPLES = [
    pytest.param(rule, example, example in rule.bad, id=f"{rule.id}: {example.title}")
    for rule in RULES
    for example in (*rule.bad, *rule.good)
]
GOOD_RULE = """
id = "PG101"
name = "some-rule"
title = "A title"
severity = "error"
contract = 2
caller = "Hears it."
why = "Because."
[fix]
text = "Do this."
safety = "safe"
[[bad]]
title = "bad"
code = "x = 1  # PG101"
[[good]]
title = "good"
[good.files]
"a.py" = "x = 1"
"""


def test_the_rules_of_the_first_checks_are_there() -> None:
    assert set(rule_ids()) >= set("PG101 PG102 PG103 PG104 PG105 PG201 PG202 PG207 PG208 PG211 PG215 PG901".split())
    assert [rule.id for rule in RULES] == sorted(rule_ids())
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_vocabulary_lies_beside_the_rules() -> None:
    assert (rules_dir() / "vocabulary").is_dir()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_speaks_in_sentences(rule: Rule) -> None:
    for text in (rule.caller, rule.why, rule.fix):
        assert text.endswith((".", "?"))
    assert not rule.title.endswith(".")
    assert rule.contract in range(8)


@pytest.mark.parametrize(("rule", "example", "bad"), EXAMPLES)
def test_examples_are_programs_and_bad_ones_say_where(rule: Rule, example: Example, bad: bool) -> None:
    marks = sum(code.count(f"# {rule.id}") for code in example.files.values())
    assert (marks > 0) is bad
    for name, code in example.files.items():
        assert name.endswith(".py")
        if bad and rule.id == "PG901":
            with pytest.raises(SyntaxError) as caught:
                ast.parse(code)
            assert f"# {rule.id}" in code.split("\n")[(caught.value.lineno or 0) - 1]
        else:
            ast.parse(code)


def test_a_rule_is_found_by_id_and_by_name() -> None:
    assert find_rule("pg201") is find_rule("response-create-outside-trigger")
    assert find_rule("PG000") is None


def write_rule(folder: Path, text: str, name: str = "PG101-some-rule.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_rule(tmp_path: Path) -> None:
    rule = read_rule(write_rule(tmp_path, GOOD_RULE))
    assert (rule.id, rule.family, rule.fix_safety) == ("PG101", "audio", "safe")
    assert rule.bad == (Example("bad", {"app.py": "x = 1  # PG101"}),)
    assert rule.good == (Example("good", {"a.py": "x = 1"}),)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('id = "PG101"', 'id = "PG102"', "id"),
        ('name = "some-rule"', "", "name"),
        ('severity = "error"', 'severity = "fatal"', "severity"),
        ("contract = 2", 'contract = "2"', "contract"),
        ('why = "Because."', 'why = " "', "why"),
        ('safety = "safe"', 'safety = "sure"', "fix.safety"),
        ("[[good]]", "[[god]]", "god"),
        ('code = "x = 1  # PG101"', "", "bad"),
        ('title = "bad"', "", "bad"),
    ],
)
def test_a_rule_file_that_is_wrong_is_named_with_its_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in GOOD_RULE
    path = write_rule(tmp_path, GOOD_RULE.replace(old, new, 1))
    with pytest.raises(RulebookError) as caught:
        read_rule(path)
    assert str(caught.value).startswith(f"{path}: {key}: ")


def test_a_misnamed_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RulebookError, match="holds no rule files"):
        read_rules(tmp_path)
    with pytest.raises(RulebookError, match="PGnnn-the-name"):
        read_rule(write_rule(tmp_path, GOOD_RULE, "some.toml"))
    with pytest.raises(RulebookError, match="not valid TOML"):
        read_rule(write_rule(tmp_path, "id = "))
