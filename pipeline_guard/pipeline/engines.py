"""Finds the calls that run a speech engine beside Realtime: recognisers, synthesisers, their requests and sockets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pipeline_guard.engine_vocabulary import Engine
from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.pipeline.primitives import Sink, SinkList
from pipeline_guard.pipeline.transports import OPENERS, Transports
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.flow import names_in
from pipeline_guard.program.places import is_test
from pipeline_guard.program.spawners import SPAWNERS
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.value_lists import text_with_gaps
from pipeline_guard.program.values import (
    UNKNOWN,
    External,
    Frame,
    Function,
    JsonText,
    Literal,
    Mapping,
    Parameter,
    Text,
)
from pipeline_guard.vocabulary import Vocabulary

# Fields of a JSON message that carry speech (to a recogniser) or what is to be spoken (to a synthesiser).
_SPEECH_FIELDS = {
    "stt": frozenset({"audio", "audio_data", "audio_chunk", "audio_base_64", "audio_base64", "chunk", "samples"}),
    "tts": frozenset({"text", "transcript", "input", "speak", "sentence"}),
}
_ADDRESS_WORDS = ("url", "uri", "endpoint", "api", "host", "addr", "base")
_PREPARED = ("build_request()", "requests.Request()", "urllib.request.Request()", "Request().prepare()")


class Run(msgspec.Struct, frozen=True):
    """What a call runs: the engine, the name it goes by here, and how sure that is."""

    engine: Engine
    name: str
    confidence: Confidence


class EngineFinder(msgspec.Struct):
    """Collects the sinks of kinds "stt" and "tts"."""

    graph: CallGraph
    vocabulary: Vocabulary
    transports: Transports
    _objects: dict[Module, list[Engine]] = msgspec.field(default_factory=dict)
    _wrappers: set[Func] = msgspec.field(default_factory=set)
    _telling: dict[Module, set[str]] = msgspec.field(default_factory=dict)
    _decorators: dict[Module, set[tuple[Func | None, int, int]]] = msgspec.field(default_factory=dict)

    def run(self) -> list[Sink]:
        """Return every call that runs an engine, each once, in the order of files and lines."""
        sinks = SinkList()
        functions = [func for func in list(self.graph.program.functions()) if not is_test(func.module)]
        # Wrappers first: what one is given to ask is the affair of whoever gives it.
        wrapping: set[int] = set()
        for func in filter(self._may_wrap, functions):
            for site in func.calls:
                if not func.is_dead(site.op) and self._look_at_wrapper(func, site, sinks):
                    wrapping.add(id(site.call))
        resolved = self.graph.led_into_program() | wrapping
        for func in filter(self._may_run, functions):
            telling = self._telling[func.module]
            objects = bool(self._called_objects(func.module))
            for site in func.calls:
                if not objects and last_name(site.call.func) not in telling:
                    continue
                if not func.is_dead(site.op) and id(site.call) not in resolved:
                    self._look(func, site, sinks)
        for func in functions:
            if func.has_words(self.vocabulary.engines.by_name.keys()):
                self._look_at_references(func, sinks)
        return sorted(sinks, key=lambda s: (s.func.module.rel, s.call.line, s.call.column, s.kind))

    def _may_wrap(self, func: Func) -> bool:
        """Say whether a function may hand the address of an engine on, by its strings alone."""
        at_address = self.vocabulary.engines.at_address
        return any("/" in text and at_address(text, socket=False) is not None for text in func.ir.strings)

    def _may_run(self, func: Func) -> bool:
        """Say whether a function may run an engine, by the names that it calls."""
        module = func.module
        if module not in self._telling:
            engines = self.vocabulary.engines
            names = {*engines.by_name, *engines.requests, *OPENERS, *self.vocabulary.send_methods}
            imports = [imp for function in module.functions for imp in function.ir.imports]
            self._telling[module] = names | {imp.name for imp in imports if imp.attr in engines.by_name}
        return func.may_call(self._telling[module]) or bool(self._called_objects(module))

    def _look(self, func: Func, site: CallSite, sinks: SinkList) -> None:
        call = site.call
        found = list(self._by_callee(func, site.op, call.func))
        if not found:
            found = [run for run in [self._by_address(func, site)] if run is not None]
        argument = call.args[0] if call.args else next((k.value for k in call.keywords if k.name), None)
        for run in found:
            kind = run.engine.kind
            sinks.add(Sink(kind, func, site.op, call, None, "openai", run.confidence, "", argument, run.name))

    def _look_at_wrapper(self, func: Func, site: CallSite, sinks: SinkList) -> bool:
        """Find the address of an engine given to a function that makes the request: ``self._post("/audio/speech")``."""
        texts = [arg.value for arg in site.call.args[:2] if type(arg) is ir.Const and isinstance(arg.value, str)]
        for text in texts:
            engine = self.vocabulary.engines.at_address(text, socket=False) if "/" in text else None
            if engine is None:
                continue
            values = self.graph.evaluator.eval(site.call.func, Frame(func, site.op))
            asking = [v.func for v in values if isinstance(v, Function) and self._requests(v.func)]
            if asking:
                self._wrappers.update(asking)
                sinks.add(Sink(engine.kind, func, site.op, site.call, None, "openai", "high", "", None, engine.name))
                return True
        return False

    def _requests(self, func: Func) -> bool:
        """Say whether a function makes an HTTP request of what it is given."""
        return any(
            last_name(site.call.func) in self.vocabulary.engines.requests
            and any(
                name in func.params
                for node in (*site.call.args[:2], *(k.value for k in site.call.keywords if k.name == "url"))
                for name in names_in(node)
            )
            for site in func.calls
        )

    # -- by what is called

    def _by_callee(self, func: Func, op: int, callee: ir.Expr) -> Iterator[Run]:
        """Yield what a call runs, at most one engine of a kind (a voice pipeline is a recogniser and a synthesiser)."""
        engines = self.vocabulary.engines
        candidates = list(engines.by_name.get(_imported_name(func, callee), ()))
        candidates += self._called_objects(func.module)
        if not candidates:
            return
        values = self.graph.evaluator.settled(self.graph.evaluator.eval(callee, Frame(func, op)))
        done: set[str] = set()
        for engine in candidates:
            names = [self._by_path(engine, value) for value in values if isinstance(value, External)]
            name = next((name for name in names if name is not None), None)
            if name is not None and engine.kind not in done:
                done.add(engine.kind)
                yield Run(engine, name, "high")
        if done or any(not _is_vague(value) for value in values):
            return
        text = ir.source(callee)
        for engine in candidates:
            strong = any(_ends_in(text, method) for method in engine.methods)
            weak = any(_ends_in(text, method) for method in engine.weak) and _uses(func.module, engine)
            if strong or weak:
                yield Run(engine, engine.name, "medium")
                return

    def _by_path(self, engine: Engine, value: External) -> str | None:
        """Return the engine's name when an access path is one of its calls."""
        if engine.first is not None and not self._made_with(value, engine.first):
            return None
        last = "()" if value.path.endswith("()") else value.path.rpartition(".")[2]
        for pattern in engine.patterns.get(last, ()):
            stars = pattern.stars(value.path)
            if stars is not None:
                return engine.named(stars)
        if any("." in method and _ends_in(value.path, method) for method in engine.methods):
            return engine.name
        return None

    def _made_with(self, value: External, first: str) -> bool:
        """Say whether the client at the root of an access path was made with a constant (``boto3.client("polly")``)."""
        made = [(value.call, value.frame)]
        if value.origin is not None and type(value.origin.node) is ir.Call:
            made.append((value.origin.node, value.origin.frame))
        for call, frame in made:
            if call is None or frame is None:
                continue
            nodes = [*call.args[:1], *(k.value for k in call.keywords if k.name in ("service_name", "task"))]
            for node in nodes:
                if any(isinstance(v, Literal) and v.value == first for v in self.graph.evaluator.eval(node, frame)):
                    return True
        return False

    def _called_objects(self, module: Module) -> list[Engine]:
        """Return the engines whose very objects are called that a file may use."""
        if module not in self._objects:
            engines = self.vocabulary.engines.by_name.get("()", ())
            self._objects[module] = [engine for engine in engines if _uses(module, engine)]
        return self._objects[module]

    def _look_at_references(self, func: Func, sinks: SinkList) -> None:
        """Find engines handed to an executor unbound: ``asyncio.to_thread(client.recognize, request)``."""
        for reference in func.references:
            if not reference.outer or type(reference.node) is not ir.Attr or func.is_dead(reference.op):
                continue
            outer = reference.outer[0]
            if last_name(outer.func) not in SPAWNERS or reference.node.name not in self.vocabulary.engines.by_name:
                continue
            for run in self._by_callee(func, reference.op, reference.node):
                kind = run.engine.kind
                sinks.add(Sink(kind, func, reference.op, outer, None, "openai", run.confidence, "", None, run.name))

    # -- by where it leads

    def _by_address(self, func: Func, site: CallSite) -> Run | None:
        call = site.call
        name = last_name(call.func)
        engines = self.vocabulary.engines
        if name in engines.requests and not self._is_decorator(func, call):
            found = self._request(func, site)
            if found is not None:
                return Run(found, found.name, "high")
        if name in OPENERS:
            for text in self._texts(self.transports.address_given(call, name), Frame(func, site.op)):
                engine = engines.at_address(text, socket=True)
                if engine is not None:
                    return Run(engine, engine.name, "high")
        if name in self.vocabulary.send_methods and type(call.func) is ir.Attr:
            return self._sent_on_socket(func, site, call.func.base)
        return None

    def _is_decorator(self, func: Func, call: ir.Call) -> bool:
        """Say whether a call decorates a function: ``@app.post("/tts")`` serves an address, it does not ask one."""
        module = func.module
        if module not in self._decorators:
            self._decorators[module] = {
                (function.parent, decorator.line, decorator.column)
                for function in module.functions
                for decorator in function.ir.decorators
                if type(decorator) is ir.Call
            }
        return (func, call.line, call.column) in self._decorators[module]

    def _request(self, func: Func, site: CallSite) -> Engine | None:
        call = site.call
        frame = Frame(func, site.op)
        nodes = [*call.args[:2], *(k.value for k in call.keywords if k.name in ("url", "request"))]
        for node in nodes:
            if func in self._wrappers and not func.params.keys().isdisjoint(names_in(node)):
                continue
            if last_name(call.func) == "get" and not _looks_like_address(node):
                continue
            for text in self._texts(node, frame):
                engine = self.vocabulary.engines.at_address(text, socket=False)
                if engine is not None:
                    return engine
        return None

    def _sent_on_socket(self, func: Func, site: CallSite, receiver: ir.Expr) -> Run | None:
        evaluator = self.graph.evaluator
        frame = Frame(func, site.op)
        for value in evaluator.settled(evaluator.eval(receiver, frame)):
            if not isinstance(value, External):
                continue
            for text in self.transports.addresses_of(value):
                engine = self.vocabulary.engines.at_address(text, socket=True)
                if engine is not None and self._carries_speech(engine.kind, site.call, frame):
                    return Run(engine, engine.name, "high")
        return None

    def _carries_speech(self, kind: str, call: ir.Call, frame: Frame) -> bool:
        """Say whether a message to an engine's socket is audio or text to speak, not its control protocol."""
        if not call.args:
            return False
        values = self.graph.evaluator.eval(call.args[0], frame)
        fields: set[str] = set()
        structured = False
        for value in [inner for v in values for inner in (v.inner if isinstance(v, JsonText) else (v,))]:
            if isinstance(value, Mapping):
                structured = True
                fields |= set(value.entries)
            elif isinstance(value, (Literal, Text)):
                structured = True
                fields |= {word for word in _SPEECH_FIELDS[kind] if f'"{word}"' in text_with_gaps(value)}
        return bool(fields & _SPEECH_FIELDS[kind]) if structured else kind == "stt"

    def _texts(self, node: ir.Expr | None, frame: Frame) -> Iterable[str]:
        if node is None:
            return
        evaluator = self.graph.evaluator
        for value in evaluator.settled(evaluator.eval(node, frame)):
            if isinstance(value, External) and value.path.endswith(_PREPARED) and value.call is not None:
                inner = value.frame or frame
                for part in [*value.call.args[:2], *(k.value for k in value.call.keywords if k.name == "url")]:
                    yield from self._texts(part, inner)
            else:
                yield from self.transports.texts_of([value])


def _looks_like_address(node: ir.Expr) -> bool:
    """Say whether an argument may be an address, before anything is evaluated: ``.get("name")`` is common."""
    if type(node) is ir.Const:
        return isinstance(node.value, str) and "/" in node.value
    if type(node) in (ir.Name, ir.Attr):
        return any(word in last_name(node).lower() for word in (*_ADDRESS_WORDS, "request", "req"))
    return type(node) in (ir.Join, ir.Merge, ir.Call)


def _imported_name(func: Func, callee: ir.Expr) -> str:
    """Return the last name of what is called, under which it was imported: not ``Voice`` of ``import Say as Voice``."""
    if type(callee) is ir.Name:
        for scope in func.enclosing():
            for imp in scope.imports.get(callee.id, ()):
                if imp.attr is not None:
                    return imp.attr
    return last_name(callee)


def _uses(module: Module, engine: Engine) -> bool:
    return not module.imported.isdisjoint(engine.imports)


def _is_vague(value: object) -> bool:
    return value is UNKNOWN or isinstance(value, Parameter) or (isinstance(value, Literal) and value.value is None)


def _ends_in(text: str, method: str) -> bool:
    return text == method or text.endswith(f".{method}")
