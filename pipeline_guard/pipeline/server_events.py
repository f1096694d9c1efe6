"""Which server events an operation answers: by the tests it stands behind, or by the table its function is kept in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.flow import conditions
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.values import Frame, Literal, Sequence

SPEECH_STOPPED = "input_audio_buffer.speech_stopped"
COMMITTED = "input_audio_buffer.committed"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
# The events of one utterance of the caller, the one that says the turn is complete first.
TURN_EVENTS = (COMMITTED, SPEECH_STOPPED, TRANSCRIBED)
ARGUMENTS_DONE = "response.function_call_arguments.done"
ITEM_DONE = "response.output_item.done"
# Server events of the Realtime API that code dispatches on (``openai.types.realtime``, with the names of the beta).
_KNOWN = (
    *TURN_EVENTS, ARGUMENTS_DONE, ITEM_DONE, "input_audio_buffer.speech_started", "input_audio_buffer.cleared",
    "input_audio_buffer.timeout_triggered", "conversation.item.created", "conversation.item.added",
    "conversation.item.done", "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.failed", "conversation.item.truncated", "response.created",
    "response.done", "response.output_item.added", "response.content_part.added", "response.content_part.done",
    "response.output_audio.delta", "response.output_audio.done", "response.audio.delta", "response.audio.done",
    "response.output_audio_transcript.delta", "response.output_audio_transcript.done",
    "response.audio_transcript.delta", "response.audio_transcript.done", "response.output_text.delta",
    "response.output_text.done", "response.text.delta", "response.text.done", "response.function_call_arguments.delta",
    "session.created", "session.updated", "rate_limits.updated",
)  # fmt: skip
_FAMILIES = ("input_audio_buffer.", "output_audio_buffer.", "conversation.", "response.", "session.", "rate_limits.")
# Enum members and constants of SDKs: RESPONSE_FUNCTION_CALL_ARGUMENTS_DONE.
_BY_CONSTANT = {event.replace(".", "_").upper(): event for event in _KNOWN}
_SAME, _OTHER = frozenset({"==", "is", "in", "match"}), frozenset({"!=", "is not", "not in"})
_REGISTERS = frozenset({"on", "add_listener", "add_handler", "register", "register_handler", "subscribe", "handle"})


class Branches:
    """Says in the branch of which server events an operation stands."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self._tables: dict[Module, dict[str, set[str]]] = {}
        self._known: dict[tuple[Func, int], frozenset[str]] = {}

    def events(self, func: Func, op: int) -> frozenset[str]:
        """Return the server events of the innermost branch on events around an operation; empty outside of any."""
        key = (func, op)
        if key not in self._known:
            self._known[key] = self._read(func, op)
        return self._known[key]

    def words(self, func: Func, op: int) -> frozenset[str]:
        """Return every string that something is known to be equal to where an operation runs."""
        return frozenset(
            word
            for condition in conditions(func, op)
            for word in self._equal_to(condition.test, condition.wanted, Frame(func, op))
        )

    def _read(self, func: Func, op: int) -> frozenset[str]:
        for condition in conditions(func, op):
            words = self._equal_to(condition.test, condition.wanted, Frame(func, op))
            found = frozenset(word for word in words if is_server_event(word))
            if found:
                return found
        for scope in func.enclosing():
            table = self._registered(scope.module)
            if scope.name in table:
                return frozenset(table[scope.name])
        return frozenset()

    def _equal_to(self, test: ir.Expr, wanted: bool, frame: Frame) -> Iterator[str]:
        """Yield the strings of which a condition says that what it tests is one of them."""
        if type(test) is ir.Not:
            yield from self._equal_to(test.value, not wanted, frame)
        elif type(test) is ir.Bool:
            if wanted or test.op == "or":
                for part in test.values:
                    yield from self._equal_to(part, wanted, frame)
        elif type(test) is ir.Compare:
            for op, right in zip(test.ops, test.rights, strict=True):
                if op == "in" and type(test.left) is ir.Const and type(right) is not ir.Seq and wanted:
                    yield from _holding(test.left.value)
                elif op in (_SAME if wanted else _OTHER):
                    yield from self._strings(right, frame)
                    if type(test.left) is ir.Const and isinstance(test.left.value, str):
                        yield test.left.value
        elif type(test) is ir.Call and type(test.func) is ir.Attr and test.args and wanted:
            part = test.args[0]
            if test.func.name == "endswith" and type(part) is ir.Const and isinstance(part.value, str):
                yield from (event for event in _KNOWN if event.endswith(part.value))

    def _strings(self, node: ir.Expr, frame: Frame) -> Iterator[str]:
        if type(node) is ir.Const:
            if isinstance(node.value, str):
                yield node.value
        elif type(node) is ir.Seq:
            for item in node.items:
                yield from self._strings(item, frame)
        elif type(node) in (ir.Name, ir.Attr):
            if last_name(node) in _BY_CONSTANT:
                yield _BY_CONSTANT[last_name(node)]
                return
            for value in self.evaluator.eval(node, frame):
                parts = self.evaluator.force_all(value.items) if isinstance(value, Sequence) else [value]
                yield from (v.value for v in parts if isinstance(v, Literal) and isinstance(v.value, str))

    def _registered(self, module: Module) -> dict[str, set[str]]:
        """Return the functions of a file that are kept under a server event: in a dict, by a decorator, by ``on()``."""
        if module not in self._tables:
            found: dict[str, set[str]] = {}
            for func in module.functions:
                for decorator in func.ir.decorators:
                    if type(decorator) is ir.Call:
                        self._register(found, decorator.args[:1], func.name)
                for op in func.ir.ops if _may_hold_events(func) else ():
                    self._read_tables(found, op.value)
            for cls in module.classes:
                for field in cls.ir.fields:
                    self._read_tables(found, field.value)
            self._tables[module] = found
        return self._tables[module]

    def _read_tables(self, found: dict[str, set[str]], value: ir.Expr | None) -> None:
        for node in walk(value) if value is not None else ():
            if type(node) is ir.DictNode:
                for key, handler in zip(node.keys, node.values, strict=True):
                    if key is not None and last_name(handler):
                        self._register(found, [key], last_name(handler))
            elif type(node) is ir.Call and last_name(node.func) in _REGISTERS and len(node.args) > 1:
                self._register(found, node.args[:1], last_name(node.args[1]))

    def _register(self, found: dict[str, set[str]], keys: Iterable[ir.Expr], name: str) -> None:
        for key in keys:
            word = key.value if type(key) is ir.Const else _BY_CONSTANT.get(last_name(key))
            if name and isinstance(word, str) and is_server_event(word):
                found.setdefault(name, set()).add(word)


def _may_hold_events(func: Func) -> bool:
    return func.has_words(_BY_CONSTANT.keys()) or any(map(is_server_event, func.ir.strings))


def is_server_event(word: str) -> bool:
    """Say whether a string is the type of a server event of the Realtime API."""
    return word.startswith(_FAMILIES) and " " not in word


def _holding(part: object) -> Iterator[str]:
    """Yield the known events that a text is part of: ``"speech_stopped" in event_type``."""
    if isinstance(part, str) and len(part) > 3:
        yield from (event for event in _KNOWN if part in event)
