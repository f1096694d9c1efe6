"""The user's settings: finds them, checks every key, and hands them on as immutable data."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast

from pipeline_guard.errors import UserError
from pipeline_guard.toml_files import TomlError, read_toml

SeverityName = Literal["error", "warning", "note"]
NormalTurn = Literal["client", "server"]

SEVERITIES: tuple[SeverityName, ...] = ("error", "warning", "note")
NORMAL_TURNS: tuple[NormalTurn, ...] = ("client", "server")
DEFAULT_MAX_FILE_SIZE = 10_000_000
TABLE = "pipeline-guard"
# In one folder the first of these wins; the dotted name is the more deliberate one.
STANDALONE_NAMES = (".pipeline-guard.toml", "pipeline-guard.toml")
_RULE_ID = re.compile(r"PG\d{3}")
_SELECTOR = re.compile(r"ALL|PG\d{0,3}")
_Word = TypeVar("_Word", bound=str)


class ConfigError(UserError):
    """Settings that cannot be used; the message names the file and the key."""


@dataclass(frozen=True)
class Contract:
    """Which names of the backend are *the* pipeline.  ``None`` means: infer it, and say so."""

    queue: str | None = None
    sender: str | None = None
    trigger: str | None = None
    active_response: str | None = None
    normal_turn: NormalTurn | None = None


@dataclass(frozen=True)
class Config:
    """All settings of one run.

    ``select`` and ``ignore`` hold rule ids or prefixes of ids ("PG2"); an empty ``select`` means every rule.
    ``exclude`` holds gitignore-style patterns relative to ``base``, the folder of the configuration file.
    ``sinks`` and ``lanes`` are raw tables: whoever uses them checks them.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    max_file_size: int = DEFAULT_MAX_FILE_SIZE
    contract: Contract = field(default_factory=Contract)
    severity: Mapping[str, SeverityName] = field(default_factory=dict)
    vocabulary: tuple[Path, ...] = ()
    sinks: tuple[Mapping[str, Any], ...] = ()
    lanes: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None

    @property
    def base(self) -> Path | None:
        """The folder that ``exclude`` speaks of, or ``None`` when no configuration file was found."""
        return self.source.parent if self.source is not None else None

    def prefix_of(self, root: Path) -> str:
        """Return the way from the folder that patterns speak of down to a root; empty when there is none."""
        if self.base is None:
            return ""
        way = os.path.relpath(os.path.realpath(root), self.base).replace(os.sep, "/")
        return "" if way == "." or way.startswith("..") else way

    def is_selected(self, rule_id: str) -> bool:
        """Say whether findings of a rule are wanted; the longer of two matching selectors wins, as in Ruff."""
        selected = _longest_match(rule_id, self.select) if self.select else 0
        ignored = _longest_match(rule_id, self.ignore)
        return selected is not None and (ignored is None or selected > ignored)

    def severity_of(self, rule_id: str, default: SeverityName) -> SeverityName:
        """Return the severity the user gave a rule, else the rule's own."""
        return self.severity.get(rule_id, default)


def _longest_match(rule_id: str, selectors: Iterable[str]) -> int | None:
    lengths = [
        0 if selector == "ALL" else len(selector)
        for selector in selectors
        if selector == "ALL" or rule_id.startswith(selector)
    ]
    return max(lengths, default=None)


def find_config_file(start: Path) -> Path | None:
    """Return the configuration nearest to a folder: in it or above it, but never above the repository it belongs to.

    A ``pyproject.toml`` without a ``[tool.pipeline-guard]`` table belongs to other tools and is passed over.
    """
    folder = start.resolve()
    for candidate in (folder, *folder.parents):
        for name in STANDALONE_NAMES:
            if (candidate / name).is_file():
                return candidate / name
        pyproject = candidate / "pyproject.toml"
        if pyproject.is_file() and _own_table(pyproject) is not None:
            return pyproject
        if (candidate / ".git").exists():
            return None
    return None


def load_config(start: Path) -> Config:
    """Return the settings that hold for a folder, or the defaults when there are none."""
    path = find_config_file(start)
    return Config() if path is None else read_config(path)


def read_config(path: Path) -> Config:
    """Return the settings in one file: a ``pyproject.toml``, or a file of our own with the same keys at top level."""
    path = path.resolve()
    if path.name == "pyproject.toml":
        table = _own_table(path)
        if table is None:
            raise ConfigError(f"{path}: has no [tool.{TABLE}] table; add one, or name another file")
        return _Reader(path, f"tool.{TABLE}.").config(table)
    return _Reader(path, "").config(_read(path))


def check_selectors(config: Config, known: Collection[str]) -> None:
    """Refuse rule ids that no rule has: a typo in ``ignore`` would otherwise hide nothing and say nothing."""
    where = str(config.source) if config.source is not None else "command line"
    for key, selectors in (("select", config.select), ("ignore", config.ignore), ("severity", tuple(config.severity))):
        for selector in selectors:
            if selector != "ALL" and not any(rule.startswith(selector) for rule in known):
                raise ConfigError(f"{where}: {key}: no rule is called {selector!r}{did_you_mean(selector, known)}")


def parse_selectors(text: str, option: str) -> tuple[str, ...]:
    """Return the rule ids in a command line value such as ``PG201,PG1``."""
    selectors = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    for selector in selectors:
        if not _SELECTOR.fullmatch(selector):
            raise ConfigError(f"{option}: {selector!r} is not a rule id such as PG201, a prefix such as PG2, or ALL")
    return selectors


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except TomlError as error:
        raise ConfigError(str(error)) from error


def _own_table(pyproject: Path) -> Mapping[str, Any] | None:
    tools = _read(pyproject).get("tool", {})
    if not isinstance(tools, dict) or TABLE not in tools:
        return None
    table = tools[TABLE]
    if not isinstance(table, dict):
        raise ConfigError(f"{pyproject}: tool.{TABLE}: must be a table")
    return table


class _Reader:
    """Turns the tables of one file into ``Config``, and knows how to name a key in a complaint."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self.prefix = prefix

    def config(self, table: Mapping[str, Any]) -> Config:
        readers: dict[str, Callable[[str, Any], Any]] = {
            "select": self.selectors,
            "ignore": self.selectors,
            "exclude": self.patterns,
            "max-file-size": self.positive_integer,
            "contract": self.contract,
            "severity": self.severities,
            "vocabulary": self.vocabulary_files,
            "sink": self.tables,
            "lanes": self.table,
        }
        values = {key: self.reader_for(key, readers)(key, value) for key, value in table.items()}
        renamed = {"sink": "sinks", "max-file-size": "max_file_size"}
        return Config(source=self.path, **{renamed.get(key, key): value for key, value in values.items()})

    def reader_for(self, key: str, readers: Mapping[str, Callable[[str, Any], Any]]) -> Callable[[str, Any], Any]:
        if key not in readers:
            self.unknown(key, readers)
        return readers[key]

    def fail(self, key: str, complaint: str) -> NoReturn:
        raise ConfigError(f"{self.path}: {self.prefix}{key}: {complaint}")

    def unknown(self, key: str, known: Iterable[str]) -> NoReturn:
        last = key.rpartition(".")[2]
        self.fail(key, f"is not a setting{did_you_mean(last, known)}")

    def strings(self, key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fail(key, 'must be a list of strings, such as ["one", "two"]')
        return tuple(value)

    def selectors(self, key: str, value: Any) -> tuple[str, ...]:
        selectors = self.strings(key, value)
        for selector in selectors:
            if not _SELECTOR.fullmatch(selector):
                self.fail(key, f"{selector!r} is not a rule id such as PG201, a prefix such as PG2, or ALL")
        return selectors

    def patterns(self, key: str, value: Any) -> tuple[str, ...]:
        from pathspec import GitIgnoreSpec

        patterns = self.strings(key, value)
        for pattern in patterns:
            try:
                GitIgnoreSpec.from_lines([pattern])
            except ValueError:
                self.fail(key, f"{pattern!r} is not a pattern as in .gitignore")
        return patterns

    def positive_integer(self, key: str, value: Any) -> int:
        # bool is an int in Python, but not in the head of whoever writes the file.
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            self.fail(key, "must be a whole number of bytes above zero")
        return value

    def table(self, key: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.fail(key, "must be a table")
        return value

    def tables(self, key: str, value: Any) -> tuple[Mapping[str, Any], ...]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(key, f"must be a list of tables: write [[{self.prefix}{key}]]")
        return tuple(value)

    def contract(self, key: str, value: Any) -> Contract:
        table = self.table(key, value)
        names = {spec.name.replace("_", "-"): spec.name for spec in fields(Contract)}
        read: dict[str, Any] = {}
        for name, entry in table.items():
            if name not in names:
                self.unknown(f"{key}.{name}", names)
            if not isinstance(entry, str) or not entry.strip():
                self.fail(f"{key}.{name}", "must be a name in quotes")
            read[names[name]] = entry.strip()
        if "normal_turn" in read:
            self.one_of(f"{key}.normal-turn", read["normal_turn"], NORMAL_TURNS)
        return Contract(**read)

    def severities(self, key: str, value: Any) -> Mapping[str, SeverityName]:
        table = self.table(key, value)
        read: dict[str, SeverityName] = {}
        for rule, severity in table.items():
            if not _RULE_ID.fullmatch(rule):
                self.fail(f"{key}.{rule}", "is not a rule id such as PG201")
            read[rule] = self.one_of(f"{key}.{rule}", severity, SEVERITIES)
        return read

    def one_of(self, key: str, value: Any, allowed: tuple[_Word, ...]) -> _Word:
        if value not in allowed:
            hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
            self.fail(key, f"must be {' or '.join(repr(word) for word in allowed)}, not {value!r}{hint}")
        return cast("_Word", value)

    def vocabulary_files(self, key: str, value: Any) -> tuple[Path, ...]:
        paths = tuple(self.path.parent / name for name in self.strings(key, value))
        for path in paths:
            if not path.is_file():
                self.fail(key, f"there is no file {path}; paths are relative to the configuration file")
        return paths
