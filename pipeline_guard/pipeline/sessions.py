"""Reads session settings: who creates the response of a normal turn, and where that is decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.events import field_values, has_field
from pipeline_guard.pipeline.primitives import Sink
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.places import is_test, module_context
from pipeline_guard.program.trees import walk
from pipeline_guard.program.value_lists import text_with_gaps
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    External,
    Frame,
    Instance,
    JsonText,
    Literal,
    Mapping,
    Parameter,
    Sequence,
    Text,
    Value,
    Values,
)
from pipeline_guard.vocabulary import Settings, Vocabulary

# An update without any of these changes something in mid-call; it says nothing about who creates responses.
_DECISIVE = frozenset({
    "turn_detection", "audio", "input_audio_format", "output_audio_format", "modalities", "output_modalities",
})  # fmt: skip
UNREADABLE = "settings not readable"
MINTED = "session minted over HTTP"  # for a browser, which talks to the model itself
# Requests by which such a session is asked for.
_MINTING = frozenset({"post", "request"})
# Turn detection written further down than this belongs to other settings.
_SPAN = 60


class Config(msgspec.Struct, frozen=True):
    """A place that decides about automatic responses.

    ``sink`` is the sending call, when this place is one; ``used_by`` the update that sends settings written down here.
    ``partial`` says that it leaves turn detection and formats alone: beside a full configuration it decides nothing.
    ``text_only`` says that the session answers in text, so that something else has to speak; ``one_tool`` that it calls
    one tool at a time; ``idle_timeout`` is the silence in ms after which the server speaks by itself.
    """

    func: Func
    line: int
    end_line: int
    value: str
    op: int | None
    sink: Sink | None = None
    note: str = ""
    used_by: Sink | None = None
    partial: bool = False
    text_only: bool = False
    one_tool: bool = False
    idle_timeout: int | None = None


class SessionReader:
    """Finds every session configuration and what it says."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary) -> None:
        self.graph = graph
        self.evaluator = graph.evaluator
        self.vocabulary = vocabulary
        self._covered: list[tuple[str, int, int]] = []

    def read(self, sinks: Iterable[Sink]) -> list[Config]:
        """Return the configurations, first those that are sent, then those that are only written down."""
        found: list[Config] = []
        updates = [sink for sink in sinks if sink.kind == "auto_response"]
        updates.sort(key=lambda sink: module_context(sink.func.module) is not None)  # examples only borrow settings
        for sink in updates:
            found.extend(self._of_update(sink))
        opening = {name for settings in self.vocabulary.settings for name in settings.names} | _MINTING
        for func in list(self.graph.program.functions()):
            if is_test(func.module) or not func.may_call(opening):
                continue
            for site in func.calls:
                if not func.is_dead(site.op):
                    found.extend(self._of_connect(func, site.op, site.call))
                    found.extend(self._of_mint(func, site.op, site.call))
        found.extend(self._unsent())
        return found

    # -- session.update

    def _of_update(self, sink: Sink) -> Iterator[Config]:
        payload = sink.payload
        sessions = self._sessions(payload) if payload is not None else []
        if not sessions or all(_is_unknown(value) for value in sessions):
            yield self._config(sink.func, sink.op, sink.call.line, sink.call.end_line, "dynamic", sink, UNREADABLE)
            return
        partial = all(self._is_partial(value) for value in sessions)
        value = _agreed([self._decides(session) for session in sessions])
        lines = [line for func, line in self._places(payload, sessions) if func is sink.func and line <= sink.call.line]
        first = min([sink.call.line, *lines])
        silent = all(self._is_text_only(session) for session in sessions)
        config = self._config(sink.func, sink.op, first, sink.call.end_line, value, sink)
        single = any(self._calls_one_tool(session) for session in sessions)
        idle = next((ms for session in sessions if (ms := self._idle_timeout(session)) is not None), None)
        yield msgspec.structs.replace(config, partial=partial, text_only=silent, one_tool=single, idle_timeout=idle)
        if not partial:
            yield from self._elsewhere(sink, sessions)

    def _elsewhere(self, sink: Sink, sessions: Values) -> Iterator[Config]:
        """Yield the places in other functions where the settings that this update sends are written down.

        Turn detection that has a function of its own is the place; else the settings as a whole.
        """
        note = "settings of a session.update"
        for session in sessions:
            whole = [(f, n) for f, n in self._place(session) if f is not sink.func]
            inner = [(f, n) for f, n in self._places(None, [session]) if f is not sink.func and (f, n) not in whole]
            apart = [(f, n) for f, n in inner if f not in [outer for outer, _ in whole]]
            for func, line in apart or whole[:1] or inner:
                last = max([line, *(n for f, n in inner if f is func and line <= n <= line + _SPAN)])
                if not self._is_covered(func.module.rel, line):
                    yield msgspec.structs.replace(
                        self._config(func, None, line, last, self._decides(session), None, note), used_by=sink
                    )

    def _config(
        self, func: Func, op: int | None, line: int, end_line: int, value: str, sink: Sink | None, note: str = ""
    ) -> Config:
        self._covered.append((func.module.rel, line, end_line))
        return Config(func, line, end_line, value, op, sink, note)

    def _is_covered(self, rel: str, line: int) -> bool:
        return any(path == rel and low <= line <= high for path, low, high in self._covered)

    def _sessions(self, payload: Value) -> Values:
        """Return the settings inside an update event; the payload itself where it already is the settings."""
        if isinstance(payload, JsonText):
            return [session for inner in payload.inner for session in self._sessions(inner)]
        inner = field_values(self.evaluator, payload, "session")
        inner = [v for v in inner if not (isinstance(v, Literal) and v.value is None)]
        if inner:
            return self.evaluator.settled(inner)
        return [] if has_field(payload, "session") or has_field(payload, "\0data") else [payload]

    def _is_partial(self, session: Value) -> bool:
        return (
            isinstance(session, Mapping)
            and session.line > 0  # written out here, not the dump of a settings model
            and not session.open
            and not set(session.entries) & _DECISIVE
        )

    def _is_text_only(self, session: Value) -> bool:
        """Say whether settings ask for text and no audio (``output_modalities``, once ``modalities``)."""
        for name in ("output_modalities", "modalities"):
            for value in field_values(self.evaluator, session, name):
                if isinstance(value, Sequence):
                    inner = [v for item in value.items for v in self.evaluator.force(item)]
                    return bool(inner) and all(isinstance(v, Literal) and v.value == "text" for v in inner)
        return False

    def _calls_one_tool(self, session: Value) -> bool:
        """Say whether settings turn parallel tool calls off."""
        values = field_values(self.evaluator, session, "parallel_tool_calls")
        return bool(values) and all(isinstance(v, Literal) and v.value is False for v in values)

    def _idle_timeout(self, session: Value) -> int | None:
        """Return ``idle_timeout_ms`` of the turn detection, in ms, where it is certain to be set."""
        for detection in self._turn_detection(session)[0]:
            given = self.evaluator.settled(field_values(self.evaluator, detection, "idle_timeout_ms"))
            times = [v.value for v in given if isinstance(v, Literal) and type(v.value) in (int, float)]
            if times and len(times) == len(given) and all(times):
                return int(times[0])  # type: ignore[arg-type]
        return None

    # -- what settings say

    def _decides(self, session: Value) -> str:
        """Return what one settings value says: default_on, on, off, no_vad or dynamic."""
        found, written = self._turn_detection(session)
        if not written:
            return "dynamic" if _is_open(session) else "default_on"
        values = [self._of_turn_detection(value) for value in found] or ["dynamic"]
        return _agreed(values)

    def _turn_detection(self, session: Value) -> tuple[Values, bool]:
        """Return the values of ``turn_detection`` (flat or under ``audio.input``), and whether it is written at all."""
        if self._has(session, "turn_detection"):
            return self.evaluator.settled(field_values(self.evaluator, session, "turn_detection")), True
        for audio in field_values(self.evaluator, session, "audio"):
            for given in field_values(self.evaluator, audio, "input"):
                if self._has(given, "turn_detection"):
                    return self.evaluator.settled(field_values(self.evaluator, given, "turn_detection")), True
        return [], False

    def _has(self, value: Value, name: str) -> bool:
        if isinstance(value, Instance):
            return bool(field_values(self.evaluator, value, name)) or any(
                field.name == name
                for cls in self.evaluator.mro(value.cls)
                if not isinstance(cls, External)
                for field in cls.ir.fields
            )
        return has_field(value, name)

    def _of_turn_detection(self, value: Value) -> str:
        if isinstance(value, Literal):
            return "no_vad" if value.value is None else "dynamic"
        if isinstance(value, (Mapping, External, Instance)):
            if isinstance(value, External) and value.call is None:
                return "dynamic"
            if not self._has(value, "create_response"):
                opened = _is_open(value) or (
                    isinstance(value, External) and not value.path.removesuffix("()")[-1:].isalpha()
                )
                if isinstance(value, External) and not _looks_like_class(value):
                    return "dynamic"
                return "dynamic" if opened else "default_on"
            given = field_values(self.evaluator, value, "create_response")
            return _agreed([_of_flag(flag) for flag in self.evaluator.settled(given)] or ["dynamic"])
        return "dynamic"

    # -- where they are written

    def _places(self, payload: Value | None, sessions: Values) -> Iterator[tuple[Func, int]]:
        for value in [*([payload] if payload is not None else []), *sessions]:
            yield from self._place(value)
        for session in sessions:
            found, _ = self._turn_detection(session)
            for value in found:
                yield from self._place(value)
            if isinstance(session, Instance):
                for cls in self.evaluator.mro(session.cls):
                    if not isinstance(cls, External):
                        for field in cls.ir.fields:
                            if field.name == "turn_detection":
                                yield cls.scope, field.line

    def _place(self, value: Value) -> Iterator[tuple[Func, int]]:
        if isinstance(value, Mapping) and value.line and value.func is not None:
            yield value.func, value.line
        elif isinstance(value, JsonText):
            for inner in value.inner:
                yield from self._place(inner)
        elif (
            isinstance(value, (External, Instance))
            and (value.call is not None and value.frame is not None)
            and (isinstance(value, External) or value.call.keywords)
        ):
            yield value.frame.func, value.call.line

    # -- settings given at connect time, and sessions minted over HTTP

    def _of_connect(self, func: Func, op: int, call: ir.Call) -> Iterator[Config]:
        for settings in self.vocabulary.settings:
            last = ir.source(call.func).rpartition(".")[2]
            if last not in settings.names:
                continue
            for value in self.evaluator.eval(call.func, Frame(func, op)):
                if isinstance(value, External) and any(pattern.match(value.path) for pattern in settings.paths):
                    yield from self._at_connect(func, op, call, value, settings)
                    return

    def _at_connect(self, func: Func, op: int, call: ir.Call, value: External, settings: Settings) -> Iterator[Config]:
        """Read the settings that a connecting call takes, else those its object was made with."""
        frame = Frame(func, op)
        given = [k.value for k in call.keywords if k.name in settings.keywords]
        if not given and value.origin is not None and type(value.origin.node) is ir.Call:
            given = [k.value for k in value.origin.node.keywords if k.name == settings.constructor_keyword]
            frame = value.origin.frame
        answers: list[str] = []
        written: list[tuple[Func, int]] = []
        for node in given:
            for config_value in self.evaluator.settled(self.evaluator.eval(node, frame)):
                answers.append(self._of_model_settings(config_value, settings.inside))
                for inner in self._model_settings(config_value, settings.inside):
                    written.extend(self._places(None, [inner]))
            if type(node) is ir.DictNode and value.origin is not None and type(value.origin.node) is ir.Call:
                written.append((frame.func, value.origin.node.line))
        own = [line for place, line in written if place is func and line <= call.line]
        answer = _agreed(answers) if answers else "default_on"
        yield self._config(func, op, min([call.line, *own]), call.end_line, answer, None)
        for place, line in written:
            if place is not func and not self._is_covered(place.module.rel, line):
                yield self._config(place, None, line, line + _SPAN // 4, answer, None, "settings of a session.update")

    def _model_settings(self, value: Value, inside: tuple[str, ...]) -> Values:
        return [inner for name in inside for inner in field_values(self.evaluator, value, name)] or [value]

    def _of_model_settings(self, value: Value, inside: tuple[str, ...]) -> str:
        for inner in self._model_settings(value, inside):
            if inner is not value:
                return self._decides(inner)
        return (
            self._decides(value)
            if self._turn_detection(value)[1]
            else ("dynamic" if _is_unknown(value) else "default_on")
        )

    def _of_mint(self, func: Func, op: int, call: ir.Call) -> Iterator[Config]:
        if ir.source(call.func).rpartition(".")[2] not in _MINTING or not (call.args or call.keywords):
            return
        frame = Frame(func, op)
        urls = [k.value for k in call.keywords if k.name == "url"] or call.args[:2]
        texts = [text_with_gaps(value) for node in urls for value in self.evaluator.eval(node, frame)]
        if not any(mint in text for mint in self.vocabulary.mints for text in texts):
            return
        bodies = [k.value for k in call.keywords if k.name in ("json", "data", "content")]
        answers: list[str] = []
        lines = [call.line]
        for node in bodies:
            for value in self.evaluator.settled(self.evaluator.eval(node, frame)):
                sessions = self._sessions(value)
                answers.extend(self._decides(session) for session in sessions if not _is_unknown(session))
                lines.extend(
                    line for place, line in self._places(value, sessions) if place is func and line <= call.line
                )
        answer = _agreed(answers) if answers else "dynamic"
        yield self._config(func, op, min(lines), call.end_line, answer, None, MINTED)

    # -- settings that nothing sends

    def _unsent(self) -> Iterator[Config]:
        for module in list(self.graph.program.modules.values()):
            if not is_test(module):
                for func, op, node in _update_events(module):
                    if not self._is_covered(module.rel, node.line):
                        for value in self.evaluator.eval(node, Frame(func, op)):
                            sessions = self._sessions(value)
                            if sessions and not all(self._is_partial(s) or _is_unknown(s) for s in sessions):
                                answer = _agreed([self._decides(session) for session in sessions])
                                yield self._config(
                                    func, op, node.line, node.line, answer, None, "written down; nothing sends it"
                                )


def _update_events(module: Module) -> Iterator[tuple[Func, int, ir.DictNode]]:
    if not module.is_seed:
        return
    for func in module.functions:
        if "session.update" not in func.ir.strings:
            continue
        for index, op in enumerate(func.ir.ops):
            for node in walk(op.value) if op.value is not None else ():
                if type(node) is ir.DictNode:
                    for key, value in zip(node.keys, node.values, strict=True):
                        if _is_text(key, "type") and _is_text(value, "session.update"):
                            yield func, index, node


def _is_text(node: ir.Expr | None, text: str) -> bool:
    return type(node) is ir.Const and node.value == text


def _of_flag(flag: Value) -> str:
    if isinstance(flag, Literal):
        if flag.value is None:
            return "default_on"
        return "on" if flag.value else "off"
    return "dynamic"


def _agreed(values: list[str]) -> str:
    """Return the one answer of several settings; "on" beside "default_on" is on, any other difference dynamic."""
    distinct = set(values)
    if len(distinct) == 1:
        return values[0]
    return "on" if distinct == {"on", "default_on"} else "dynamic"


def _is_unknown(value: Value) -> bool:
    return value is UNKNOWN or isinstance(value, Parameter) or (isinstance(value, Literal) and value.value is None)


def _is_open(value: Value) -> bool:
    return (isinstance(value, Mapping) and value.open) or _is_unknown(value) or isinstance(value, (Text, ClassValue))


def _looks_like_class(value: External) -> bool:
    return value.path.removesuffix("()").rpartition(".")[2][:1].isupper()
