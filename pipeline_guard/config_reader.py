"""Reads the tables of a configuration file: every key is known, every value has the type and form that it must have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from msgspec.structs import replace

from pipeline_guard.config import (
    NORMAL_TURNS,
    SELECTOR,
    SEVERITIES,
    TABLE,
    App,
    Config,
    ConfigError,
    Contract,
    PathSettings,
    SeverityName,
    did_you_mean,
)

_RULE_ID = re.compile(r"PG\d{3}")
# What a function or variable can be called, alone or with its class before it.
_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_Word = TypeVar("_Word", bound=str)
_Choice = TypeVar("_Choice")
# What a call of the user's own can do.
SINK_KINDS = ("audio_send", "response_create", "auto_response")
# Part by part: names of tables, and numbers that count the tables of an array.
Key = tuple[str | int, ...]


class Reader:
    """Turns the tables of one file into ``Config``, and knows how to name a key in a complaint."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self.prefix = prefix

    def config(self, table: Mapping[str, Any]) -> Config:
        """Return the settings in a table; raises ConfigError at the first that cannot be used."""
        readers: dict[str, Callable[[Key, Any], Any]] = {
            "select": self.selectors,
            "ignore": self.selectors,
            "exclude": self.patterns,
            "paths": self.existing_paths,
            "max-file-size": self.positive_integer,
            "fail-on": self.severity,
            "contract": self.contract,
            "app": self.apps,
            "severity": self.severities,
            "per-path": self.per_path,
            "vocabulary": self.vocabulary_files,
            "sink": self.sinks,
            "baseline": self.file,
        }
        renamed = {
            "app": "apps",
            "fail-on": "fail_on",
            "max-file-size": "max_file_size",
            "per-path": "per_path",
            "sink": "sinks",
        }
        values = {key: self.known(readers, (key,))((key,), value) for key, value in table.items()}
        config = Config(source=self.path, **{renamed.get(key, key): value for key, value in values.items()})
        return replace(config, apps=tuple(replace(a, contract=_over(a.contract, config.contract)) for a in config.apps))

    # -- complaints

    def fail(self, key: Key, complaint: str) -> NoReturn:
        """Refuse the value of a key."""
        from pipeline_guard.toml_files import read_text
        from pipeline_guard.toml_places import line_of

        outer = tuple(self.prefix.rstrip(".").split(".")) if self.prefix else ()
        line = line_of(read_text(self.path), (*outer, *key))
        raise ConfigError(f"{self.path}{f':{line}' if line else ''}: {self.prefix}{_spelt(key)}: {complaint}")

    def known(self, choices: Mapping[str, _Choice], key: Key) -> _Choice:
        """Return what a table of known keys holds for the last part of a key."""
        name = str(key[-1])
        if name == "tool" and len(key) == 1 and not self.prefix:
            self.fail(key, f"in a file of its own the settings stand at top level, without [tool.{TABLE}]")
        if name not in choices:
            self.fail(key, f"is not a setting{did_you_mean(name, choices)}")
        return choices[name]

    # -- values

    def strings(self, key: Key, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fail(key, 'must be a list of strings, such as ["one", "two"]')
        return tuple(value)

    def selectors(self, key: Key, value: Any) -> tuple[str, ...]:
        selectors = self.strings(key, value)
        for selector in selectors:
            if not re.fullmatch(SELECTOR, selector):
                self.fail(key, f"{selector!r} is not a rule id such as PG201, a prefix such as PG2, or ALL")
        return selectors

    def patterns(self, key: Key, value: Any) -> tuple[str, ...]:
        patterns = self.strings(key, value)
        for pattern in patterns:
            self.pattern(key, pattern)
        return patterns

    def pattern(self, key: Key, pattern: str) -> str:
        from pathspec import GitIgnoreSpec

        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError:
            self.fail(key, f"{pattern!r} is not a pattern as in .gitignore")
        return pattern

    def existing_paths(self, key: Key, value: Any) -> tuple[str, ...]:
        paths = self.strings(key, value)
        for path in paths:
            if not (self.path.parent / path).exists():
                self.fail(key, f"there is no {path!r}; paths are relative to the configuration file")
        return paths

    def positive_integer(self, key: Key, value: Any) -> int:
        # bool is an int in Python, but not in the head of whoever writes the file.
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            self.fail(key, "must be a whole number of bytes above zero")
        return value

    def severity(self, key: Key, value: Any) -> SeverityName:
        return self.one_of(key, value, SEVERITIES)

    def table(self, key: Key, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.fail(key, "must be a table")
        return value

    def tables(self, key: Key, value: Any) -> tuple[Mapping[str, Any], ...]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(key, f"must be a list of tables: write [[{self.prefix}{_spelt(key)}]]")
        return tuple(value)

    def name(self, key: Key, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            self.fail(key, "must be a name in quotes")
        return value.strip()

    def file(self, key: Key, value: Any) -> Path:
        """Return a file that need not be there yet, by its way from the configuration file."""
        path = self.path.parent / self.name(key, value)
        if path.is_dir():
            self.fail(key, f"{value!r} is a folder; name a file, relative to the configuration file")
        return path

    def one_of(self, key: Key, value: Any, allowed: tuple[_Word, ...]) -> _Word:
        if value not in allowed:
            hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
            self.fail(key, f"must be {' or '.join(repr(word) for word in allowed)}, not {value!r}{hint}")
        return cast("_Word", value)

    # -- tables

    def contract(self, key: Key, value: Any) -> Contract:
        table = self.table(key, value)
        names = {field.replace("_", "-"): field for field in Contract.__struct_fields__}
        read: dict[str, Any] = {}
        for word, entry in table.items():
            place = (*key, word)
            field = self.known(names, place)
            name = read[field] = self.name(place, entry)
            if field == "normal_turn":
                self.one_of(place, name, NORMAL_TURNS)
            elif not _NAME.fullmatch(name):
                self.fail(place, f"{name!r} is not a name in Python; write it without 'self.', brackets or arguments")
        return Contract(**read)

    def apps(self, key: Key, value: Any) -> tuple[App, ...]:
        found: dict[str, App] = {}
        for index, table in enumerate(self.tables(key, value)):
            place = (*key, index)
            readers: dict[str, Callable[[Key, Any], Any]] = {
                "name": self.name,
                "paths": self.patterns,
                "contract": self.contract,
            }
            read = {word: self.known(readers, (*place, word))((*place, word), entry) for word, entry in table.items()}
            for needed in ("name", "paths"):
                if not read.get(needed):
                    self.fail(place, f"needs {needed!r}: an app is a name and the files that are its alone")
            app = App(**read)
            if app.name in found:
                self.fail((*place, "name"), f"two apps are called {app.name!r}")
            found[app.name] = app
        return tuple(found.values())

    def severities(self, key: Key, value: Any) -> Mapping[str, SeverityName]:
        read: dict[str, SeverityName] = {}
        for rule, severity in self.table(key, value).items():
            if not _RULE_ID.fullmatch(rule):
                self.fail((*key, rule), "is not a rule id such as PG201")
            read[rule] = self.one_of((*key, rule), severity, SEVERITIES)
        return read

    def per_path(self, key: Key, value: Any) -> tuple[PathSettings, ...]:
        found = []
        readers: dict[str, Callable[[Key, Any], Any]] = {"ignore": self.selectors, "severity": self.severities}
        for pattern, table in self.table(key, value).items():
            place = (*key, pattern)
            self.pattern(place, pattern)
            entries = self.table(place, table).items()
            read = {word: self.known(readers, (*place, word))((*place, word), entry) for word, entry in entries}
            found.append(PathSettings(pattern, **read))
        return tuple(found)

    def sinks(self, key: Key, value: Any) -> tuple[Mapping[str, Any], ...]:
        tables = self.tables(key, value)
        for index, table in enumerate(tables):
            place = (*key, index)
            for word in table:
                self.known({"call": None, "kind": None}, (*place, word))
            call = self.name((*place, "call"), table.get("call"))
            if not _NAME.fullmatch(call):
                self.fail((*place, "call"), f"{call!r} must be Class.method, module.function or a bare name")
            self.one_of((*place, "kind"), table.get("kind"), SINK_KINDS)
        return tables

    def vocabulary_files(self, key: Key, value: Any) -> tuple[Path, ...]:
        paths = tuple(self.path.parent / name for name in self.strings(key, value))
        for path in paths:
            if not path.is_file():
                self.fail(key, f"there is no file {path}; paths are relative to the configuration file")
        return paths


def _over(own: Contract, common: Contract) -> Contract:
    return Contract(**{field: getattr(own, field) or getattr(common, field) for field in Contract.__struct_fields__})


def _spelt(key: Iterable[str | int]) -> str:
    """Return a key as it is written in a file; tables of an array are counted from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            word = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{word}" if text else word
    return text
