"""Finds TwiML verbs that speak or listen beside the session: written with the `twilio` library, or as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import meet
from pipeline_guard.program.places import is_test
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.value_lists import text_with_gaps
from pipeline_guard.program.values import UNKNOWN, External, Frame, Parameter
from pipeline_guard.vocabulary import TwimlVerb, Vocabulary

_STREAM = r"<Stream[\s/>]"
_STREAM_CALLS = frozenset({"stream", "Stream"})
_RECEIVERS = ("response", "resp", "twiml", "gather", "vr")
_LOGS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "print"})


class Verb(msgspec.Struct, frozen=True):
    """A TwiML verb in the code.

    ``beside`` is the line of a ``<Stream>`` that the same document opens, ``first`` whether the verb comes before it;
    ``update`` says that a running call is given the document (``calls(sid).update(twiml=…)``).
    """

    kind: str
    element: str
    func: Func
    op: int
    line: int
    end_line: int
    column: int
    value: str
    confidence: Confidence
    beside: int | None = None
    first: bool = True
    update: bool = False
    listens: bool = False


class _Stream(msgspec.Struct):
    """A ``<Stream>`` in a function: the operation, its line, and the object or text it is written to.

    ``whole`` says that the text is a document of its own.
    """

    op: int
    line: int
    home: object
    position: int = 0
    whole: bool = False


class TwimlFinder:
    """Collects the verbs of a program."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary) -> None:
        self.graph = graph
        self.vocabulary = vocabulary
        self._streams: dict[Func, list[_Stream]] = {}

    def run(self) -> list[Verb]:
        """Return every verb, in the order of files and lines."""
        found: list[Verb] = []
        for func in list(self.graph.program.functions()):
            if is_test(func.module):
                continue
            if func.may_call(self._calls.keys()):
                found.extend(self._written_by_calls(func))
            found.extend(self._written_as_text(func))
        return sorted(found, key=lambda v: (v.func.module.rel, v.line, v.column, v.kind))

    @cached_property
    def _calls(self) -> dict[str, TwimlVerb]:
        return {name: verb for verb in self.vocabulary.verbs_of_twiml for name in verb.calls}

    @cached_property
    def _elements(self) -> re.Pattern[str]:
        names = "|".join(re.escape(verb.element) for verb in self.vocabulary.verbs_of_twiml)
        return re.compile(rf"<({names or '(?!)'})(?=[\s/>])")

    # -- the library

    def _written_by_calls(self, func: Func) -> Iterator[Verb]:
        for site in func.calls:
            verb = self._calls.get(last_name(site.call.func))
            if verb is None or func.is_dead(site.op):
                continue
            document, confidence = self._document(func, site)
            if document is None:
                continue
            document = self._outer_document(func, site) or document
            stream = next((s for s in self._streams_of(func) if self._same_document(func, site.op, document, s)), None)
            listens = self._holds(verb, site.call, Frame(func, site.op))
            in_gather = type(site.call.func) is ir.Attr and "gather" in ir.source(site.call.func.base).lower()
            value = verb.value or ("ivr" if in_gather or verb.kind == "twiml_gather" else "")
            spoken = self._spoken(site.call, Frame(func, site.op))
            yield Verb(
                verb.kind, verb.element, func, site.op, site.call.line, site.call.end_line, site.call.column,
                value or self._purpose(func, site.op, spoken, stream is not None),
                confidence, stream.line if stream is not None else None, stream is None or site.op < stream.op,
                self._updates(func), listens,
            )  # fmt: skip

    def _document(self, func: Func, site: CallSite) -> tuple[object | None, Confidence]:
        """Return what a verb is written to (the object that was made first on the way to it), or None."""
        evaluator = self.graph.evaluator
        callee = site.call.func
        frame = Frame(func, site.op)
        values = evaluator.settled(evaluator.eval(callee, frame))
        for value in values:
            if isinstance(value, External) and any(p.match(value.path) for p in self.vocabulary.twiml_paths):
                origin = value.origin.node if value.origin is not None else value.call
                return origin if origin is not None else site.call, "high"
        if type(callee) is ir.Attr and all(v is UNKNOWN or isinstance(v, Parameter) for v in values):
            name = last_name(callee.base).lower()
            imports = "twilio.twiml" in func.module.imported
            if imports and any(word in name for word in _RECEIVERS):
                return ir.source(callee.base), "medium"
        return None, "low"

    def _holds(self, verb: TwimlVerb, call: ir.Call, frame: Frame) -> bool:
        """Say whether a verb's attribute has the value that makes it listen; verbs without one always do."""
        if verb.attribute is None:
            return True
        for keyword in call.keywords:
            if keyword.name == verb.attribute:
                values = self.graph.evaluator.eval(keyword.value, frame)
                texts = [text_with_gaps(value) for value in values]
                return any(verb.holds in text for text in texts) or not any(texts)
        return False

    def _spoken(self, call: ir.Call, frame: Frame) -> str:
        nodes = [*call.args[:1], *(k.value for k in call.keywords if k.name in ("message", "url"))]
        return " ".join(text_with_gaps(v) for node in nodes for v in self.graph.evaluator.eval(node, frame))

    def _streams_of(self, func: Func) -> list[_Stream]:
        if func not in self._streams:
            found: list[_Stream] = []
            for site in func.calls:
                if last_name(site.call.func) in _STREAM_CALLS:
                    document, _ = self._document(func, site)
                    if document is not None:
                        found.append(_Stream(site.op, site.call.line, self._outer_document(func, site) or document))
            for op, text in self._texts(func):
                match = re.search(_STREAM, text)
                if match is not None:
                    found.append(_Stream(op, func.ir.ops[op].line, func, match.start(), "<Response" in text))
            self._streams[func] = found
        return self._streams[func]

    def _outer_document(self, func: Func, site: CallSite) -> object | None:
        """Return the response that a ``Connect()`` with a stream is appended to, in the same function."""
        if type(site.call.func) is not ir.Attr or type(site.call.func.base) is not ir.Name:
            return None
        name = site.call.func.base.id
        for other in func.calls:
            if last_name(other.call.func) in ("append", "nest") and any(
                type(arg) is ir.Name and arg.id == name for arg in other.call.args
            ):
                return self._document(func, other)[0]
        return None

    def _same_document(self, func: Func, op: int, document: object, stream: _Stream) -> bool:
        same = stream.home is document or stream.home == document
        return same and meet(func, op, stream.op)

    # -- text

    def _written_as_text(self, func: Func) -> Iterator[Verb]:
        texts = list(self._texts(func))
        if not any("<" in text and self._elements.search(text) for _, text in texts):
            return
        whole = "".join(text for _, text in texts)
        for op, text in texts:
            operation = func.ir.ops[op]
            seen: set[str] = set()
            whole_here = "<Response" in text
            for match in self._elements.finditer(text):
                verb = next(v for v in self.vocabulary.verbs_of_twiml if v.element == match.group(1))
                if verb.kind in seen or not ("<Response" in whole or f"</{verb.element}>" in text):
                    continue
                seen.add(verb.kind)
                tag = text[match.start() : text.find(">", match.start()) + 1]
                own = [s for s in self._streams_of(func) if s.home is func]
                own = [s for s in own if s.op == op or not (s.whole and whole_here)]
                stream = next((s for s in own if meet(func, op, s.op)), None)
                first = stream is None or op < stream.op or (op == stream.op and match.start() < stream.position)
                value = verb.value or ("ivr" if verb.kind == "twiml_gather" or "<Gather" in text else "")
                yield Verb(
                    verb.kind, verb.element, func, op, operation.line, operation.end_line, 1,
                    value or self._purpose(func, op, _between(text, match.end(), verb.element), stream is not None),
                    "high", stream.line if stream is not None else None, first, self._updates(func),
                    verb.attribute is None or verb.holds in tag,
                )  # fmt: skip

    def _texts(self, func: Func) -> Iterator[tuple[int, str]]:
        """Yield the operations that hold TwiML text, with it; what is only logged, compared or documented is none."""
        if not any("<" in text for text in func.ir.strings):
            return
        for index, op in enumerate(func.ir.ops):
            if op.value is None or op.kind in ("def", "class", "test") or func.is_dead(index):
                continue
            if op.kind == "expr" and type(op.value) is ir.Const:
                continue
            if type(op.value) is ir.Call and last_name(op.value.func) in _LOGS:
                continue
            text = _text_in(op.value)
            if "<" in text:
                yield index, text

    # -- what for

    def _purpose(self, func: Func, op: int, spoken: str, beside: bool) -> str:
        blocks = [func.ir.blocks[block].kind for block in func.ancestors(func.ir.ops[op].block)]
        if "except" in blocks:
            return "error_message"
        return purpose_of(spoken, self.vocabulary) or ("greeting" if beside else "other")

    def _updates(self, func: Func) -> bool:
        """Say whether a function gives a running call new TwiML: ``client.calls(sid).update(twiml=…)``."""
        return any(
            last_name(site.call.func) == "update"
            and "calls" in ir.source(site.call.func)
            and any(keyword.name in self.vocabulary.twiml_delivery for keyword in site.call.keywords)
            for site in func.calls
        )


def purpose_of(spoken: str, vocabulary: Vocabulary) -> str | None:
    """Return what a sentence is spoken for, by its words; None when they do not say."""
    text = spoken.lower()
    return next((name for name, words in vocabulary.twiml_values if any(word in text for word in words)), None)


def _text_in(node: ir.Expr) -> str:
    """Return the strings of an expression in order, ``*`` for what stands between them; comparisons left out."""
    if type(node) is ir.Const:
        return node.value if isinstance(node.value, str) else ""
    if type(node) is ir.Compare:
        return ""
    parts = [_text_in(child) for child in ir.children(node)]
    return ("" if type(node) in (ir.Join, ir.Merge) else " ").join(part for part in parts if part)


def _between(text: str, start: int, element: str) -> str:
    begin = text.find(">", start) + 1
    end = text.find(f"</{element}>", begin)
    return text[begin:end] if end > begin else ""
