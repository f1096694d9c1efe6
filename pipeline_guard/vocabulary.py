"""What the tool knows of the world outside the scanned code: events, SDKs, transports, services, entry points.

All of it is read from ``rules/vocabulary/*.toml`` and from the user's own files; nothing of it is Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline_guard import engine_vocabulary, hygiene_vocabulary
from pipeline_guard.access_paths import PathGlob
from pipeline_guard.config import Config, ConfigError
from pipeline_guard.engine_vocabulary import EngineIndex
from pipeline_guard.hygiene_vocabulary import HygieneWords
from pipeline_guard.own_toml import read_own_toml
from pipeline_guard.service_vocabulary import SERVICE_KEYS, Answering, read_answering
from pipeline_guard.toml_files import TomlError, read_toml

if TYPE_CHECKING:
    from pipeline_guard.cache import Cache

_KIND = "vocabulary"
_KINDS = ("audio_send", "response_create", "response_cancel", "audio_commit", "auto_response")
_KEYS: dict[str, frozenset[str]] = {
    "event": frozenset({"type", "kind", "content", "classes", "never"}),
    "connection": frozenset({"name", "paths", "names", "calls", "modules", "receivers", "provider"}),
    "wrapper": frozenset({"class", "keyword"}),
    "settings": frozenset({"paths", "keywords", "inside", "constructor_keyword"}),
    "mint": frozenset({"url"}),
    "transport": frozenset({"send", "payload", "verbs"}),
    "inbound": frozenset({"paths"}),
    "socket": frozenset({"paths", "argument", "position"}),
    "provider": frozenset({"name", "hosts"}),
    "names": frozenset({"post_call", "startup", "factories", "applications", "calls", "after"}),
    "decorator": frozenset({"names", "receiver", "context", "by_path", "stream"}),
    "registration": frozenset({"names", "context", "stream"}),
    "base": frozenset({"names", "context", "methods"}),
    "sink": frozenset({"call", "kind"}),
    "cause": frozenset({"name", "events", "words", "unless"}),
    "guard": frozenset({"names"}),
    "silent": frozenset({"messages"}),
    "seed": frozenset({"words"}),
    "engine": engine_vocabulary.KEYS,
    "requests": frozenset({"methods"}),
    "twiml": frozenset({"element", "kind", "calls", "attribute", "holds", "value"}),
    "twiml_object": frozenset({"paths", "names", "deliver", "continues"}),
    "twiml_value": frozenset({"name", "words"}),
    "ended": frozenset({"messages", "exceptions"}),
    "call_fields": frozenset({"names", "recording", "ended"}),
    "switch": frozenset({"words", "unless"}),
    "keep": frozenset({"methods"}),
    "brain": frozenset({"methods"}),
    "service": SERVICE_KEYS,
    **hygiene_vocabulary.KEYS,
}


class Event(msgspec.Struct, frozen=True):
    """A typed client event and what handing it to a transport means.

    ``never`` are fields that it never has: with one of them it is another API's event of the same type.
    """

    type: str
    kind: str
    content: str | None = None
    classes: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


class SdkCall(msgspec.Struct, frozen=True):
    """A method of a connection object and what calling it means.

    ``gated``: it lets no second response through, whoever calls it.
    """

    method: str
    kind: str
    keyword: str | None = None
    content: str | None = None
    gated: bool = False


class Connection(msgspec.Struct, frozen=True):
    """A connection type of an SDK: how to recognise one, and its calls."""

    name: str
    provider: str
    paths: tuple[PathGlob, ...]
    names: frozenset[str]
    calls: tuple[SdkCall, ...]
    modules: tuple[str, ...]
    receivers: tuple[str, ...]


class Settings(msgspec.Struct, frozen=True):
    """A call whose keyword holds session settings."""

    paths: tuple[PathGlob, ...]
    names: frozenset[str]
    keywords: tuple[str, ...]
    inside: tuple[str, ...]
    constructor_keyword: str | None


class Socket(msgspec.Struct, frozen=True):
    """A client socket and where its address stands."""

    paths: tuple[PathGlob, ...]
    argument: str
    position: int


class EntryRule(msgspec.Struct, frozen=True):
    """Names that make a function an entry point, and the context it runs in.

    ``by_path`` says that a first argument which is a path will do in place of the receiver's name, ``stream`` that the
    function stays for as long as a WebSocket is open.
    """

    names: frozenset[str]
    context: str
    receiver: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    by_path: bool = False
    stream: bool = False


class TwimlVerb(msgspec.Struct, frozen=True):
    """A TwiML verb: its element, the methods that write it, and (``attribute`` holding ``holds``) when it counts."""

    element: str
    kind: str
    calls: frozenset[str]
    attribute: str | None
    holds: str
    value: str | None


class Vocabulary(msgspec.Struct, dict=True):
    """Everything from all vocabulary files, in the order they were read."""

    events: dict[str, list[Event]] = msgspec.field(default_factory=dict)
    connections: list[Connection] = msgspec.field(default_factory=list)
    wrappers: dict[str, str] = msgspec.field(default_factory=dict)
    settings: list[Settings] = msgspec.field(default_factory=list)
    mints: list[str] = msgspec.field(default_factory=list)
    send_methods: set[str] = msgspec.field(default_factory=set)
    payload_names: list[str] = msgspec.field(default_factory=list)
    verbs: list[str] = msgspec.field(default_factory=list)
    inbound: list[PathGlob] = msgspec.field(default_factory=list)
    sockets: list[Socket] = msgspec.field(default_factory=list)
    providers: list[tuple[str, tuple[str, ...]]] = msgspec.field(default_factory=list)
    names: dict[str, list[str]] = msgspec.field(default_factory=dict)
    decorators: list[EntryRule] = msgspec.field(default_factory=list)
    registrations: list[EntryRule] = msgspec.field(default_factory=list)
    bases: list[EntryRule] = msgspec.field(default_factory=list)
    sinks: dict[str, str] = msgspec.field(default_factory=dict)
    cause_events: list[tuple[str, frozenset[str], frozenset[str]]] = msgspec.field(default_factory=list)
    cause_words: list[tuple[str, tuple[str, ...]]] = msgspec.field(default_factory=list)
    seed_words: list[str] = msgspec.field(default_factory=list)
    silent_messages: set[str] = msgspec.field(default_factory=set)
    guard_names: list[re.Pattern[str]] = msgspec.field(default_factory=list)
    engines: EngineIndex = msgspec.field(default_factory=EngineIndex)
    verbs_of_twiml: list[TwimlVerb] = msgspec.field(default_factory=list)
    twiml_values: list[tuple[str, tuple[str, ...]]] = msgspec.field(default_factory=list)
    twiml_paths: list[PathGlob] = msgspec.field(default_factory=list)
    twiml_names: set[str] = msgspec.field(default_factory=set)
    twiml_continues: set[str] = msgspec.field(default_factory=set)
    twiml_delivery: set[str] = msgspec.field(default_factory=set)
    ended_messages: set[str] = msgspec.field(default_factory=set)
    ended_exceptions: set[str] = msgspec.field(default_factory=set)
    call_fields: set[str] = msgspec.field(default_factory=set)
    ended_statuses: set[str] = msgspec.field(default_factory=set)
    recording_fields: set[str] = msgspec.field(default_factory=set)
    switches: set[str] = msgspec.field(default_factory=set)
    no_switches: set[str] = msgspec.field(default_factory=set)
    keeps: set[str] = msgspec.field(default_factory=set)
    brains: set[str] = msgspec.field(default_factory=set)
    hygiene: HygieneWords = msgspec.field(default_factory=HygieneWords)
    services: list[tuple[Connection, Answering]] = msgspec.field(default_factory=list)
    _guards: dict[str, bool] = msgspec.field(default_factory=dict)

    @cached_property
    def event_classes(self) -> dict[str, list[Event]]:
        """Class name → the events that its instances are."""
        found: dict[str, list[Event]] = {}
        for events in self.events.values():
            for event in events:
                for name in event.classes:
                    found.setdefault(name, []).append(event)
        return found

    @cached_property
    def sinks_by_name(self) -> frozenset[str]:
        """The last names of the user's own sinks."""
        return frozenset(name.rpartition(".")[2] for name in self.sinks)

    @cached_property
    def session_words(self) -> frozenset[str]:
        """Strings of which a file that touches a Realtime session itself must contain at least one."""
        words = set(self.event_classes) | {
            call.method for c in self.connections for call in c.calls if "." in call.method
        }
        words |= {word for events in self.events.values() for event in events for word in _spellings(event.type)}
        words |= {name for connection in self.connections for name in connection.names}
        words |= {module for connection in self.connections for module in connection.modules}
        words |= {name.rpartition(".")[2] for name in self.sinks} | set(self.mints) | set(self.wrappers)
        return frozenset(words | set(self.seed_words))

    @cached_property
    def literals(self) -> tuple[bytes, ...]:
        """Byte strings of which a file that holds a sink itself must contain at least one."""
        words = set(self.session_words) | self.engines.words
        words |= {call.method for _, answering in self.services for call in answering.calls if "_" in call.method}
        words |= {f"<{verb.element}" for verb in self.verbs_of_twiml} | self.twiml_names
        # Whoever holds a longer word holds the shorter one in it.
        kept: list[str] = []
        rest = sorted(words, key=len)
        while rest:
            shortest = rest[0]
            kept.append(shortest)
            rest = [word for word in rest if shortest not in word]
        return tuple(sorted(word.encode() for word in kept))

    def add(self, table: Mapping[str, Any], source: str) -> None:
        """Take in the tables of one vocabulary file.  Raises ConfigError naming ``source`` and the key."""
        for name, entries in table.items():
            if name not in _KEYS:
                raise ConfigError(
                    f"{source}: {name!r} is not a vocabulary table; known are {', '.join(sorted(_KEYS))}."
                )
            for entry in entries if isinstance(entries, list) else [entries]:
                if not isinstance(entry, Mapping):
                    raise ConfigError(f"{source}: {name!r} must be a table or a list of tables.")
                unknown = sorted(set(entry) - _KEYS[name])
                if unknown:
                    raise ConfigError(
                        f"{source}: {name}.{unknown[0]} is not a known key; known are {', '.join(sorted(_KEYS[name]))}."
                    )
                try:
                    if name in hygiene_vocabulary.KEYS:
                        self.hygiene.add(name, entry)
                    else:
                        getattr(self, f"_add_{name}")(entry)
                except (KeyError, TypeError, ValueError, re.error) as error:
                    raise ConfigError(f"{source}: [[{name}]] is incomplete or of the wrong type: {error}.") from None

    def _add_event(self, entry: Mapping[str, Any]) -> None:
        event = Event(
            entry["type"],
            _kind(entry),
            entry.get("content"),
            tuple(entry.get("classes", ())),
            tuple(entry.get("never", ())),
        )
        self.events.setdefault(event.type, []).append(event)

    def _add_connection(self, entry: Mapping[str, Any]) -> None:
        calls = tuple(
            SdkCall(call["method"], _kind(call), call.get("keyword"), call.get("content"), call.get("gated", False))
            for call in entry.get("calls", ())
        )
        self.connections.append(_connection(entry, entry.get("provider", "openai"), calls))

    def _add_service(self, entry: Mapping[str, Any]) -> None:
        self.services.append((_connection(entry, entry["name"], ()), read_answering(entry)))

    def _add_wrapper(self, entry: Mapping[str, Any]) -> None:
        self.wrappers[entry["class"]] = entry["keyword"]

    def _add_settings(self, entry: Mapping[str, Any]) -> None:
        self.settings.append(
            Settings(
                _patterns(entry["paths"]),
                frozenset(path.rpartition(".")[2] for path in entry["paths"]),
                tuple(entry["keywords"]),
                tuple(entry.get("inside", ())),
                entry.get("constructor_keyword"),
            )
        )

    def _add_mint(self, entry: Mapping[str, Any]) -> None:
        self.mints.append(entry["url"])

    def _add_transport(self, entry: Mapping[str, Any]) -> None:
        self.send_methods.update(entry.get("send", ()))
        self.payload_names.extend(entry.get("payload", ()))
        self.verbs.extend(entry.get("verbs", ()))

    def _add_inbound(self, entry: Mapping[str, Any]) -> None:
        self.inbound.extend(_patterns(entry["paths"]))

    def _add_socket(self, entry: Mapping[str, Any]) -> None:
        self.sockets.append(Socket(_patterns(entry["paths"]), entry["argument"], int(entry["position"])))

    def _add_provider(self, entry: Mapping[str, Any]) -> None:
        self.providers.append((entry["name"], tuple(entry["hosts"])))

    def _add_names(self, entry: Mapping[str, Any]) -> None:
        for key, words in entry.items():
            self.names.setdefault(key, []).extend(words)

    def _add_decorator(self, entry: Mapping[str, Any]) -> None:
        by_path = bool(entry.get("by_path", False))
        receiver = tuple(entry.get("receiver", ()))
        stream = bool(entry.get("stream", False))
        names = frozenset(entry["names"])
        self.decorators.append(EntryRule(names, entry["context"], receiver, by_path=by_path, stream=stream))

    def _add_registration(self, entry: Mapping[str, Any]) -> None:
        stream = bool(entry.get("stream", False))
        self.registrations.append(EntryRule(frozenset(entry["names"]), entry["context"], stream=stream))

    def _add_base(self, entry: Mapping[str, Any]) -> None:
        methods = frozenset(entry["methods"])
        self.bases.append(EntryRule(frozenset(entry["names"]), entry["context"], methods=methods))

    def _add_sink(self, entry: Mapping[str, Any]) -> None:
        self.sinks[entry["call"]] = _kind(entry)

    def _add_cause(self, entry: Mapping[str, Any]) -> None:
        if "events" in entry:
            unless = frozenset(entry.get("unless", ()))
            self.cause_events.append((entry["name"], frozenset(entry["events"]), unless))
        if "words" in entry:
            self.cause_words.append((entry["name"], tuple(entry["words"])))

    def _add_guard(self, entry: Mapping[str, Any]) -> None:
        self.guard_names.extend(re.compile(name, re.IGNORECASE) for name in entry["names"])

    def _add_seed(self, entry: Mapping[str, Any]) -> None:
        self.seed_words.extend(entry["words"])

    def _add_engine(self, entry: Mapping[str, Any]) -> None:
        self.engines.add(entry)

    def _add_requests(self, entry: Mapping[str, Any]) -> None:
        self.engines.requests.update(entry["methods"])

    def _add_twiml(self, entry: Mapping[str, Any]) -> None:
        self.verbs_of_twiml.append(
            TwimlVerb(
                entry["element"], entry["kind"], frozenset(entry.get("calls", ())), entry.get("attribute"),
                entry.get("holds", ""), entry.get("value"),
            )
        )  # fmt: skip

    def _add_twiml_value(self, entry: Mapping[str, Any]) -> None:
        self.twiml_values.append((entry["name"], tuple(entry["words"])))

    def _add_twiml_object(self, entry: Mapping[str, Any]) -> None:
        self.twiml_paths.extend(_patterns(entry.get("paths", ())))
        self.twiml_names.update(entry.get("names", ()))
        self.twiml_delivery.update(entry.get("deliver", ()))
        self.twiml_continues.update(entry.get("continues", ()))

    def _add_ended(self, entry: Mapping[str, Any]) -> None:
        self.ended_messages.update(entry.get("messages", ()))
        self.ended_exceptions.update(entry.get("exceptions", ()))

    def _add_call_fields(self, entry: Mapping[str, Any]) -> None:
        self.call_fields.update(entry.get("names", ()))
        self.recording_fields.update(entry.get("recording", ()))
        self.ended_statuses.update(entry.get("ended", ()))

    def _add_switch(self, entry: Mapping[str, Any]) -> None:
        self.switches.update(entry.get("words", ()))
        self.no_switches.update(entry.get("unless", ()))

    def _add_keep(self, entry: Mapping[str, Any]) -> None:
        self.keeps.update(entry["methods"])

    def _add_brain(self, entry: Mapping[str, Any]) -> None:
        self.brains.update(entry["methods"])

    def _add_silent(self, entry: Mapping[str, Any]) -> None:
        self.silent_messages.update(entry["messages"])

    @cached_property
    def brain_ends(self) -> tuple[str, ...]:
        """What the access path of a call that asks a model for text ends in, with a dot before all of it."""
        return tuple(f".{chain}" for chain in self.brains)

    def is_guard_name(self, name: str) -> bool:
        """Say whether a variable or attribute stands for "a response is active"."""
        if name not in self._guards:
            self._guards[name] = any(pattern.search(name) for pattern in self.guard_names)
        return self._guards[name]

    def provider_of(self, url: str) -> str | None:
        """Return the service that an address belongs to, or None when no part of it is known."""
        return next((name for name, hosts in self.providers if any(host in url for host in hosts)), None)


def _connection(entry: Mapping[str, Any], provider: str, calls: tuple[SdkCall, ...]) -> Connection:
    return Connection(
        entry["name"], provider, _patterns(entry.get("paths", ())), frozenset(entry.get("names", ())), calls,
        tuple(entry.get("modules", ())), tuple(entry.get("receivers", ())),
    )  # fmt: skip


def _kind(entry: Mapping[str, Any]) -> str:
    kind = entry["kind"]
    if kind not in _KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(_KINDS)}")
    return str(kind)


def _patterns(globs: Iterable[str]) -> tuple[PathGlob, ...]:
    if isinstance(globs, str) or not all(isinstance(glob, str) for glob in globs):
        raise TypeError("paths must be a list of texts")
    return tuple(map(PathGlob, globs))


def _spellings(event_type: str) -> list[str]:
    """Return the words by which code names an event: the type, and the parts it may be put together from."""
    return [event_type, event_type.rpartition(".")[0]] if event_type.count(".") and "_" in event_type else [event_type]


def load(config: Config, folder: Path, cache: Cache | None = None) -> Vocabulary:
    """Return the vocabulary of ``folder``, which is part of this tool, and of the user's configuration.

    With a ``cache`` the tool's own files are read once.
    """
    vocabulary = Vocabulary()
    for name, table in _own_tables(folder, cache):
        vocabulary.add(table, name)
    for path in config.vocabulary:
        vocabulary.add(_table(path, read_toml), path.name)
    if config.sinks:
        vocabulary.add({"sink": list(config.sinks)}, str(config.source or "configuration"))
    return vocabulary


def _own_tables(folder: Path, cache: Cache | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the tables of every file of the tool's own vocabulary."""
    from pipeline_guard.cache import code_version, content_key

    key = content_key(code_version()) if cache is not None else ""
    known = cache.data(_KIND, key, list[tuple[str, dict[str, Any]]]) if cache is not None else None
    if known is not None:
        return known
    tables = [(path.name, _table(path, read_own_toml)) for path in sorted(folder.glob("*.toml"))]
    if cache is not None:
        cache.put(_KIND, key, msgspec.msgpack.encode(tables))
    return tables


def _table(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read(path)
    except TomlError as error:
        raise ConfigError(str(error)) from None
