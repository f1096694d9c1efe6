"""Reads the rules: what each one finds, what the caller hears, why, and examples that are tests at the same time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import msgspec

from pipeline_guard.config import SEVERITIES, SeverityName
from pipeline_guard.own_toml import read_own_toml
from pipeline_guard.toml_files import TomlError

Family = Literal["audio", "responses", "greeting", "transcription", "proof", "protocol", "gate"]
FixSafety = Literal["safe", "unsafe", "manual"]

# The hundreds of a rule's number are its family.
FAMILIES: dict[str, Family] = {
    "1": "audio",
    "2": "responses",
    "3": "greeting",
    "4": "transcription",
    "5": "proof",
    "6": "protocol",
    "9": "gate",
}
FIX_SAFETIES: tuple[FixSafety, ...] = ("safe", "unsafe", "manual")
_FILE_NAME = re.compile(r"(PG(\d)\d{2})-([a-z0-9-]+)\.toml")
_KEYS = frozenset({"id", "name", "title", "severity", "contract", "caller", "why", "fix", "bad", "good", "options"})
_SINGLE_FILE = "app.py"


class RulebookError(Exception):
    """A rule file that does not say what it must; the message names file and key."""


class Example(msgspec.Struct, frozen=True):
    """A small program.  In a bad one each expected finding is marked by the rule's id in a comment on its line.

    ``before`` is the program as it was when a baseline was recorded, for rules about what a change does.
    """

    title: str
    files: Mapping[str, str]
    before: Mapping[str, str] = msgspec.field(default_factory=dict)


class Rule(msgspec.Struct, frozen=True):
    """One promise of the contract and how it is broken.

    ``contract`` is the step of the contract the rule comes from, 0 for rules about the gate itself.
    """

    id: str
    name: str
    title: str
    family: Family
    severity: SeverityName
    contract: int
    caller: str
    why: str
    fix: str
    fix_safety: FixSafety
    bad: tuple[Example, ...]
    good: tuple[Example, ...]
    options: Mapping[str, Any]


def rules_dir() -> Path:
    """Return the folder of the rule files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "rules"
    return installed if installed.is_dir() else package.parent / "rules"


@lru_cache(maxsize=1)
def load_rules() -> tuple[Rule, ...]:
    """Return every rule, ordered by id."""
    return read_rules(rules_dir())


class RulesById(Mapping[str, Rule]):
    """Every rule by its id.  A rule's file is read when the rule is asked for: most runs speak of a few."""

    def __init__(self) -> None:
        self._paths = {match[1]: path for path, match in _rule_files()}
        self._read: dict[str, Rule] = {}

    def __getitem__(self, rule_id: str) -> Rule:
        if rule_id not in self._read:
            self._read[rule_id] = read_rule(self._paths[rule_id])
        return self._read[rule_id]

    def __contains__(self, rule_id: object) -> bool:
        return rule_id in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def rule_ids() -> tuple[str, ...]:
    """Return the ids of every rule without reading what is in the files."""
    return tuple(match[1] for _, match in _rule_files())


def _rule_files() -> list[tuple[Path, re.Match[str]]]:
    """Return the files of all rules, ordered by id, each with what its name says."""
    folder = rules_dir()
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - a Path for each would take twice as long
    except OSError as error:
        raise RulebookError(f"{folder}: holds no rule files; the installation is incomplete") from error
    matches = map(_FILE_NAME.fullmatch, names)
    return [(folder / match[0], match) for match in matches if match is not None]


def find_rule(word: str) -> Rule | None:
    """Return the rule with this id or name, in any case."""
    wanted = word.strip().lower()
    return next((rule for rule in load_rules() if wanted in {rule.id.lower(), rule.name}), None)


def read_rules(folder: Path) -> tuple[Rule, ...]:
    """Return the rules in a folder, ordered by id."""
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise RulebookError(f"{folder}: holds no rule files; the installation is incomplete")
    return tuple(read_rule(path) for path in paths)


def read_rule(path: Path) -> Rule:
    """Return the rule in one file whose name is ``PGnnn-the-name.toml``."""
    try:
        table = read_own_toml(path)
    except TomlError as error:
        raise RulebookError(str(error)) from error
    return _RuleReader(path, table).rule()


class _RuleReader:
    """Checks one rule file key by key."""

    def __init__(self, path: Path, table: Mapping[str, Any]) -> None:
        self.path = path
        self.table = table

    def rule(self) -> Rule:
        match = _FILE_NAME.fullmatch(self.path.name)
        if match is None or match[2] not in FAMILIES:
            self.fail("name", "a rule file is called PGnnn-the-name.toml")
        if (self.text("id"), self.text("name")) != (match[1], match[3]):
            self.fail("id", "id and name have to be those of the file's name")
        if unknown := sorted(self.table.keys() - _KEYS):
            self.fail(unknown[0], "is not a key of a rule")
        severity = self.text("severity")
        if severity not in SEVERITIES:
            self.fail("severity", f"must be one of {', '.join(SEVERITIES)}")
        contract = self.table.get("contract")
        if not isinstance(contract, int) or isinstance(contract, bool):
            self.fail("contract", "must be the number of a contract step")
        fix, safety = self.fix()
        return Rule(
            id=match[1],
            name=match[3],
            title=self.text("title"),
            family=FAMILIES[match[2]],
            severity=severity,
            contract=contract,
            caller=self.text("caller"),
            why=self.text("why"),
            fix=fix,
            fix_safety=safety,
            bad=self.examples("bad"),
            good=self.examples("good"),
            options=self.mapping("options"),
        )

    def fail(self, key: str, complaint: str) -> NoReturn:
        raise RulebookError(f"{self.path}: {key}: {complaint}")

    def text(self, key: str) -> str:
        value = self.table.get(key)
        if not isinstance(value, str) or not value.strip():
            self.fail(key, "must be text")
        return value.strip()

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.table.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, "must be a table")
        return value

    def fix(self) -> tuple[str, FixSafety]:
        table = self.mapping("fix")
        text, safety = table.get("text"), table.get("safety")
        if not isinstance(text, str) or not text.strip():
            self.fail("fix.text", "must be text")
        if safety not in FIX_SAFETIES:
            self.fail("fix.safety", f"must be one of {', '.join(FIX_SAFETIES)}")
        return text.strip(), cast("FixSafety", safety)

    def examples(self, key: str) -> tuple[Example, ...]:
        tables = self.table.get(key)
        if not isinstance(tables, list) or not tables:
            self.fail(key, f"needs at least one [[{key}]] example")
        return tuple(self.example(key, table) for table in tables)

    def example(self, key: str, table: Any) -> Example:
        if not isinstance(table, dict) or not isinstance(table.get("title"), str):
            self.fail(key, "an example needs a title")
        files = self.program(key, {_SINGLE_FILE: table["code"]} if "code" in table else table.get("files"))
        before = table.get("before", {})
        if before != {}:
            before = self.program(key, {_SINGLE_FILE: before} if isinstance(before, str) else before)
        return Example(title=table["title"].strip(), files=files, before=before)

    def program(self, key: str, files: Any) -> dict[str, str]:
        if not isinstance(files, dict) or not files or not all(isinstance(code, str) for code in files.values()):
            self.fail(key, "an example needs its program as 'code' or as a table of 'files'")
        return {name: code.lstrip("\n") for name, code in files.items()}
