"""The user's settings: finds them and hands them on as immutable data."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

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
SELECTOR = r"ALL|PG\d{0,3}"


class ConfigError(UserError):
    """Settings that cannot be used; the message names the file and the key."""


class Contract(msgspec.Struct, frozen=True):
    """Which names of the backend are *the* pipeline.  ``None`` means: infer it, and say so."""

    queue: str | None = None
    sender: str | None = None
    trigger: str | None = None
    active_response: str | None = None
    normal_turn: NormalTurn | None = None


class App(msgspec.Struct, frozen=True):
    """One of several apps in a repository: the files that are its alone, and what is said about its pipeline.

    ``paths`` are patterns like ``exclude``.  What ``contract`` leaves out holds as for the whole project.
    """

    name: str
    paths: tuple[str, ...]
    contract: Contract = msgspec.field(default_factory=Contract)


class PathSettings(msgspec.Struct, frozen=True):
    """What holds for the files that one gitignore-style pattern names, on top of all else."""

    pattern: str
    ignore: tuple[str, ...] = ()
    severity: Mapping[str, SeverityName] = msgspec.field(default_factory=dict)


class Config(msgspec.Struct, frozen=True):
    """All settings of one run.

    ``select`` and ``ignore`` hold rule ids or prefixes of ids ("PG2"); an empty ``select`` means every rule.
    ``exclude`` and all other patterns are gitignore-style and relative to ``base``, the folder of the configuration
    file; so are ``paths``, the files and folders to report on when the command line names none.
    ``baseline`` is the file that a check compares with when the command line names nothing else.
    ``sinks`` are raw tables: whoever uses them checks them.  Findings below ``fail_on`` are reported and do not set the
    exit code.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    max_file_size: int = DEFAULT_MAX_FILE_SIZE
    fail_on: SeverityName = "warning"
    contract: Contract = msgspec.field(default_factory=Contract)
    severity: Mapping[str, SeverityName] = msgspec.field(default_factory=dict)
    vocabulary: tuple[Path, ...] = ()
    sinks: tuple[Mapping[str, Any], ...] = ()
    apps: tuple[App, ...] = ()
    per_path: tuple[PathSettings, ...] = ()
    baseline: Path | None = None
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

    def fails(self, severity: SeverityName) -> bool:
        """Say whether a finding of this severity sets the exit code."""
        return SEVERITIES.index(severity) <= SEVERITIES.index(self.fail_on)

    def severity_of(self, rule_id: str, default: SeverityName) -> SeverityName:
        """Return the severity the user gave a rule, else the rule's own."""
        return self.severity.get(rule_id, default)


def matches(rule_id: str, selectors: Iterable[str]) -> bool:
    """Say whether one of some rule ids or prefixes speaks of a rule."""
    return _longest_match(rule_id, selectors) is not None


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
    else:
        table = _read(path)
    from pipeline_guard.config_reader import Reader

    return Reader(path, f"tool.{TABLE}." if path.name == "pyproject.toml" else "").config(table)


def check_selectors(config: Config, known: Collection[str]) -> None:
    """Refuse rule ids that no rule has: a typo in ``ignore`` would otherwise hide nothing and say nothing."""
    where = str(config.source) if config.source is not None else "command line"
    groups = [("select", config.select), ("ignore", config.ignore), ("severity", tuple(config.severity))]
    for each in config.per_path:
        groups += [
            (f"per-path.{each.pattern}.ignore", each.ignore),
            (f"per-path.{each.pattern}.severity", (*each.severity,)),
        ]
    for key, selectors in groups:
        for selector in selectors:
            if selector != "ALL" and not any(rule.startswith(selector) for rule in known):
                raise ConfigError(f"{where}: {key}: no rule is called {selector!r}{did_you_mean(selector, known)}")


def parse_selectors(text: str, option: str) -> tuple[str, ...]:
    """Return the rule ids in a command line value such as ``PG201,PG1``."""
    selectors = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    for selector in selectors:
        if not re.fullmatch(SELECTOR, selector):
            raise ConfigError(f"{option}: {selector!r} is not a rule id such as PG201, a prefix such as PG2, or ALL")
    return selectors


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or nothing when none is near."""
    import difflib

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
