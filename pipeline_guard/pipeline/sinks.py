"""Finds the primitives: the statements that hand a typed client event, or caller audio, to a Realtime transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.events import EventReader, Typed, mentions
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import CallSite, Func, Module
from pipeline_guard.program.evaluate import Evaluator, Values
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    Environment,
    External,
    Frame,
    Function,
    Instance,
    JsonText,
    Literal,
    Mapping,
    ModuleValue,
    Parameter,
    Text,
    Thunk,
    Value,
)
from pipeline_guard.vocabulary import Connection, SdkCall, Vocabulary

MAX_RELAY_DEPTH = 6
Environment_ = dict[str, Thunk]


@dataclass(frozen=True)
class Sink:
    """A primitive: ``call`` in ``func`` hands over an event of ``kind``.

    ``payload`` is the event (or the settings, for an SDK call); ``receiver`` the expression the transport is reached by.
    """

    kind: str
    func: Func
    op: int
    call: ir.Call
    payload: Value | None
    provider: str
    confidence: Confidence
    note: str = ""
    argument: ir.Expr | None = None


@dataclass(frozen=True)
class Relay:
    """A function that hands on what it is given: ``evaluate`` reads the payload for given arguments."""

    func: Func
    evaluate: Callable[[Environment_], Values]
    provider: str
    depth: int


@dataclass
class SinkFinder:
    """Collects the sinks of a program."""

    graph: CallGraph
    evaluator: Evaluator
    vocabulary: Vocabulary
    queues: QueueIndex
    is_test: Callable[[Module], bool]
    sinks: list[Sink] = field(default_factory=list)
    relay_functions: set[Func] = field(default_factory=set)
    relay_ops: set[tuple[Func, int]] = field(default_factory=set)

    def run(self) -> list[Sink]:
        """Return every sink, each once, in the order of files and lines."""
        self._resolved = {
            id(edge.site)
            for edges in self.graph.outgoing.values()
            for edge in edges
            if edge.kind != "register" and not self.is_test(edge.callee.module)
        }
        self._methods = {call.method.rpartition(".")[2] for c in self.vocabulary.connections for call in c.calls}
        self._seen: set[tuple[int, str]] = set()
        self._relays: list[Relay] = []
        leftovers: list[tuple[Func, CallSite]] = []
        for func in list(self.graph.program.functions()):
            if self.is_test(func.module):
                continue
            for site in func.calls:
                if not func.is_dead(site.op) and not self._look(func, site):
                    leftovers.append((func, site))
        self._follow_relays()
        self._follow_control_queues()
        for func, site in leftovers:
            self._look_at_verb(func, site)
        return sorted(self.sinks, key=lambda s: (s.func.module.rel, s.call.line, s.call.column, s.kind))

    # -- single calls

    def _look(self, func: Func, site: CallSite) -> bool:
        """Classify one call; False when it may still be a send whose callee nothing is known about."""
        call = site.call
        name = _last(call.func)
        if type(call.func) is ir.Attr and (name in self._methods or name in self.vocabulary.sinks_by_name):
            if self._look_at_sdk(func, site):
                return True
        if name in self.vocabulary.sinks_by_name and self._look_at_user_sink(func, site):
            return True
        if name not in self.vocabulary.send_methods:
            return False
        if id(call) in self._resolved:
            return False
        return self._look_at_transport(func, site)

    def _look_at_sdk(self, func: Func, site: CallSite) -> bool:
        call = site.call
        for connection in self.vocabulary.connections:
            for entry in connection.calls:
                receiver = _strip(call.func, entry.method)
                if receiver is None:
                    continue
                confidence = self._is_connection(func, site, receiver, connection, entry)
                if confidence is None:
                    continue
                frame = Frame(func, site.op)
                argument = _argument(call, [entry.keyword] if entry.keyword else ["audio", "message"])
                payload = self._first(argument, frame)
                if entry.content and not (payload is not None and mentions(self.evaluator, payload, entry.content)):
                    continue
                note = f"{connection.name}: {entry.method}()"
                self._add(
                    Sink(entry.kind, func, site.op, call, payload, connection.provider, confidence, note, argument)
                )
                return True
        return False

    def _is_connection(
        self, func: Func, site: CallSite, receiver: ir.Expr, connection: Connection, entry: SdkCall
    ) -> Confidence | None:
        values = self.evaluator.settled(self.evaluator.eval(receiver, Frame(func, site.op)))
        known = False
        for value in values:
            if isinstance(value, External):
                if self.matches(connection, value):
                    return "high"
                known = known or not value.path.startswith("?")
            elif value is not UNKNOWN and not isinstance(value, (Parameter, Literal)):
                known = True
        if known:
            return None
        if connection.modules:
            named = ir.source(receiver).rpartition(".")[2].lower().replace("[…]", "")
            uses = any(_imports(func.module, module) for module in connection.modules)
            alike = any(word in named for word in connection.receivers)
            return "medium" if uses and alike else None
        if entry.keyword is not None:
            return "medium" if any(k.name == entry.keyword for k in site.call.keywords) else None
        return "medium" if "." in entry.method else None

    def matches(self, connection: Connection, value: External) -> bool:
        """Say whether an external value is a connection of this type."""
        last = value.path.removesuffix("()").rpartition(".")[2]
        return last in connection.names or any(pattern.match(value.path) for pattern in connection.paths)

    def _look_at_user_sink(self, func: Func, site: CallSite) -> bool:
        """Match a sink of the user's own: ``Class.method``, ``module.function`` or a bare name."""
        text = ir.source(site.call.func)
        names = {text, *(v.path for v in self.graph.externals.get(id(site.call), ()))}
        for edge in self.graph.outgoing.get(func, ()):
            if edge.site is site.call:
                names |= {edge.callee.symbol, f"{'.'.join(edge.callee.module.parts)}.{edge.callee.symbol}"}
        for sink, kind in self.vocabulary.sinks.items():
            if any(name == sink or name.endswith(f".{sink}") for name in names):
                argument = site.call.args[0] if site.call.args else None
                payload = self._first(argument, Frame(func, site.op))
                self._add(
                    Sink(kind, func, site.op, site.call, payload, "openai", "high", f"your sink {sink}", argument)
                )
                return True
        return False

    def _look_at_transport(self, func: Func, site: CallSite) -> bool:
        call = site.call
        argument = _argument(call, self.vocabulary.payload_names)
        if argument is None:
            return True
        frame = Frame(func, site.op)
        provider, confidence = self._direction(func, site)
        if provider is None:
            return True
        values = self.evaluator.eval(argument, frame)
        typed, parameters = EventReader(self.evaluator, self.vocabulary, frame).read(values)
        for entry in typed:
            self._add(Sink(entry.event.kind, func, site.op, call, entry.value, provider, confidence, "", argument))
        for parameter in parameters:
            self._relay(parameter, provider, lambda env, f=func, o=site.op, a=argument: self._bound(f, o, a, env), 1)
            self.relay_ops.add((func, site.op))
        if not typed and not parameters:
            self._note_queue(func, site, values, provider)
            if confidence == "high" and self._passes_on(func, site, argument, values):
                note = "passes on what the other side sent, unread"
                self._add(Sink("audio_send", func, site.op, call, None, provider, "medium", note, argument))
        return bool(typed or parameters)

    def _bound(self, func: Func, op: int, argument: ir.Expr, env: Environment_) -> Values:
        return self.evaluator.eval(argument, Frame(func, op, env, 1))

    def _direction(self, func: Func, site: CallSite) -> tuple[str | None, Confidence]:
        """Return the service a transport leads to, or None when it leads to the caller's side; and how sure that is."""
        receiver = site.call.func.base if type(site.call.func) is ir.Attr else None
        if receiver is None:
            return "openai", "medium"
        values = self.evaluator.settled(self.evaluator.eval(receiver, Frame(func, site.op)))
        providers: list[str] = []
        inbound = False
        for value in values:
            if isinstance(value, External):
                if any(pattern.match(value.path) for pattern in self.vocabulary.inbound):
                    inbound = True
                    continue
                if any(self.matches(connection, value) for connection in self.vocabulary.connections):
                    return "openai", "high"
                providers.extend(self.providers_of(value))
            elif isinstance(value, (Instance, ClassValue, ModuleValue)) and inbound is False:
                continue
        if "openai" in providers:
            return "openai", "high"
        if providers:
            return providers[0], "high"
        if inbound:
            return None, "high"
        return "openai", "medium"

    def providers_of(self, value: External) -> list[str]:
        """Return the services that a client socket's address may belong to; empty when the address is not known."""
        for socket in self.vocabulary.sockets:
            if not any(pattern.match(value.path) for pattern in socket.paths):
                continue
            origin = self._connect_call(value)
            if origin is None:
                continue
            node = next((k.value for k in origin.node.keywords if k.name == socket.argument), None)  # type: ignore[union-attr]
            if node is None and len(origin.node.args) > socket.position:  # type: ignore[union-attr]
                node = origin.node.args[socket.position]  # type: ignore[union-attr]
            if node is None:
                continue
            return self._services(self.evaluator.settled(self.evaluator.eval(node, origin.frame)))
        return []

    def _connect_call(self, value: External) -> Thunk | None:
        """Return the call that opened a socket: the last call on its path whose name opens one."""
        if value.call is not None and value.frame is not None and _last(value.call.func) in _OPENERS:
            return Thunk(value.call, value.frame)
        if (
            value.origin is not None
            and type(value.origin.node) is ir.Call
            and _last(value.origin.node.func) in _OPENERS
        ):
            return value.origin
        return None

    def _services(self, values: Values) -> list[str]:
        found: list[str] = []
        for value in values:
            text = ""
            if isinstance(value, Literal):
                text = str(value.value)
            elif isinstance(value, Text):
                text = "".join(part or "*" for part in value.parts)
            elif isinstance(value, Environment) and value.default is not None:
                found.extend(self._services(self.evaluator.force(value.default)))
                continue
            provider = self.vocabulary.provider_of(text)
            if provider is not None:
                found.append(provider)
        return found

    def _passes_on(self, func: Func, site: CallSite, argument: ir.Expr, values: Values) -> bool:
        """Say whether what is sent to the model is a message of the other side, received here and not looked into."""
        if any(self._from_inbound(value) for value in values):
            return True
        if type(argument) is not ir.Name or type(site.call.func) is not ir.Attr:
            return False
        model = ir.source(site.call.func.base)
        for definition in func.reaching(argument.id, site.op)[0]:
            value = func.ir.ops[definition].value
            while type(value) in (ir.Await, ir.Elem):
                value = value.value  # type: ignore[union-attr]
            if type(value) is ir.Name and value.id != model and value.id in self._sockets_of(func):
                return True
            if type(value) is not ir.Call:
                continue
            receiving = [value.func, *value.args]
            for node in receiving:
                if type(node) is ir.Attr and node.name in _RECEIVES and ir.source(node.base) != model:
                    return True
        return False

    @staticmethod
    def _sockets_of(func: Func) -> frozenset[str]:
        """Return the parameters of a function and of those around it that are called like a socket."""
        names: set[str] = set()
        current: Func | None = func
        while current is not None:
            names |= {name for name in current.params if name.lower().endswith(("ws", "websocket", "socket"))}
            current = current.parent
        return frozenset(names)

    def _from_inbound(self, value: Value) -> bool:
        """Say whether a value was received from the caller's side and not looked into."""
        if not isinstance(value, External) or value.path.endswith("json.loads()"):
            return False
        received = value.path.endswith(
            ("receive_text()", "receive()", "receive_bytes()", "recv()", "[]", "iter_text()[]")
        )
        return received and any(pattern.match(value.path) for pattern in self.vocabulary.inbound)

    def _first(self, argument: ir.Expr | None, frame: Frame) -> Value | None:
        if argument is None:
            return None
        values = [v for v in self.evaluator.eval(argument, frame) if v is not UNKNOWN]
        return values[0] if values else None

    def _add(self, sink: Sink) -> None:
        key = (id(sink.call), sink.kind)
        if key not in self._seen:
            self._seen.add(key)
            self.sinks.append(sink)

    # -- functions that hand on what they are given

    def _relay(
        self, parameter: Parameter, provider: str, evaluate: Callable[[Environment_], Values], depth: int
    ) -> None:
        self.relay_functions.add(parameter.func)
        self._relays.append(Relay(parameter.func, evaluate, provider, depth))

    def _follow_relays(self) -> None:
        visited: set[tuple[int, int, int]] = set()
        while self._relays:
            relay = self._relays.pop()
            for edge in self._calls_of(relay.func):
                key = (id(edge), id(relay.func), relay.depth)
                if key in visited or self.is_test(edge.caller.module):
                    continue
                visited.add(key)
                self._through_relay(relay, edge)

    def _calls_of(self, func: Func) -> Iterator[Edge]:
        for edge in list(self.graph.calls_of(func)):
            if edge.call is not None and edge.kind not in ("register", "escape"):
                yield edge

    def _through_relay(self, relay: Relay, edge: Edge) -> None:
        call = edge.call
        assert call is not None

        def evaluate(outer: Environment_ | None) -> Values:
            frame = Frame(edge.caller, edge.op, outer, 1)
            return relay.evaluate(self.evaluator.bind(relay.func, call, frame, edge.bound))

        reader = EventReader(self.evaluator, self.vocabulary, Frame(edge.caller, edge.op))
        typed, parameters = reader.read(evaluate(None))
        own = [entry for entry in typed if not self._from_relay(relay, entry)]
        for entry in own:
            site = edge.site or call
            argument = call.args[0] if call.args else next((k.value for k in call.keywords), None)
            confidence: Confidence = "high" if edge.confidence == "high" else "medium"
            sink = Sink(
                entry.event.kind, edge.caller, edge.op, site, entry.value, relay.provider, confidence, "", argument
            )
            self._add(sink)
        for parameter in parameters:
            if relay.depth < MAX_RELAY_DEPTH and parameter.func is not relay.func:
                self._relay(parameter, relay.provider, evaluate, relay.depth + 1)
                self.relay_ops.add((edge.caller, edge.op))
        if not typed and not parameters:
            self._note_queue(edge.caller, edge, evaluate(None), relay.provider)

    def _from_relay(self, relay: Relay, entry: Typed) -> bool:
        """Say whether the event is the relay's own (already a sink inside it) and not the caller's."""
        return any(s.func is relay.func and s.payload is not None and s.payload is entry.value for s in self.sinks)

    # -- control queues: events that a writer task sends later

    def _note_queue(self, func: Func, site: CallSite | Edge, values: Values, provider: str) -> None:
        flat = [v for value in values for v in (value.inner if isinstance(value, JsonText) else (value,))]
        for value in flat:
            queue = self.queues.source_of(value)
            if queue is not None:
                self.queues.control.setdefault(queue, provider)

    def _follow_control_queues(self) -> None:
        done: set[object] = set()
        while True:
            waiting = [key for key in self.queues.control if key not in done]
            if not waiting:
                return
            for key in waiting:
                done.add(key)
                for put in self.queues.puts.get(key, ()):
                    if put.argument is None or self.is_test(put.func.module):
                        continue
                    frame = Frame(put.func, put.op)
                    reader = EventReader(self.evaluator, self.vocabulary, frame)
                    typed, parameters = reader.read(self.evaluator.eval(put.argument, frame))
                    provider = self.queues.control[key]
                    for entry in typed:
                        note = "by way of a queue of events"
                        self._add(
                            Sink(
                                entry.event.kind,
                                put.func,
                                put.op,
                                put.call,
                                entry.value,
                                provider,
                                "high",
                                note,
                                put.argument,
                            )
                        )
                    for parameter in parameters:
                        self._relay(
                            parameter,
                            provider,
                            lambda env, f=put.func, o=put.op, a=put.argument: self._bound(f, o, a, env),
                            1,
                        )
                        self.relay_ops.add((put.func, put.op))
            self._follow_relays()

    # -- calls whose callee is not known

    def _look_at_verb(self, func: Func, site: CallSite) -> None:
        """Take a typed event given to something unknown as sent, when the callee's name says that it sends."""
        call = site.call
        name = _last(call.func).lower()
        if not any(verb in name for verb in self.vocabulary.verbs) or not (call.args or call.keywords):
            return
        if id(call) in self._resolved and not self._opaque(func, call):
            return
        if any(self.queues.key_of(func, site.op, call) is not None for _ in (0,)):
            return
        frame = Frame(func, site.op)
        reader = EventReader(self.evaluator, self.vocabulary, frame)
        nodes = [*call.args[:3], *(k.value for k in call.keywords)]
        for node in nodes:
            values = self.evaluator.eval(node, frame)
            if len(call.args) > 1 and isinstance(values[0] if values else None, Literal):
                values = self._positional_event(call, frame)
            typed, _ = reader.read(values)
            provider, _ = self._direction(func, site)
            for entry in typed:
                if provider is not None:
                    note = f"{ir.source(call.func)}() is not known; its name says that it sends"
                    self._add(Sink(entry.event.kind, func, site.op, call, entry.value, provider, "medium", note, node))

    def _positional_event(self, call: ir.Call, frame: Frame) -> Values:
        """Read ``send_event("response.create", {...})`` as the event it names."""
        first = self.evaluator.eval(call.args[0], frame)
        kinds = [v for v in first if isinstance(v, Literal) and v.value in self.vocabulary.events]
        if not kinds:
            return first
        entries = {"type": [Thunk(call.args[0], frame)], "\0data": [Thunk(call.args[1], frame)]}
        return [Mapping(entries, True, call.line)]

    def _opaque(self, func: Func, call: ir.Call) -> bool:
        """Say whether every function this call leads to has no body to look into (an abstract method, a protocol)."""
        targets = [e.callee for e in self.graph.outgoing.get(func, ()) if e.site is call and e.kind != "register"]
        return bool(targets) and all(_is_hollow(target) for target in targets)


_RECEIVES = frozenset({"recv", "receive", "receive_text", "receive_bytes"})
_OPENERS = frozenset({"connect", "ws_connect", "aconnect_ws", "connect_ws", "WebSocketApp", "create_connection"})


def _is_hollow(func: Func) -> bool:
    return all(op.kind in ("raise", "return") for op in func.ir.ops) and not func.calls


def _last(node: ir.Expr) -> str:
    kind = type(node)
    if kind is ir.Attr:
        return node.name  # type: ignore[union-attr]
    return node.id if kind is ir.Name else ""  # type: ignore[union-attr]


def _strip(node: ir.Expr, method: str) -> ir.Expr | None:
    """Return the receiver of ``receiver.a.b`` for the method path ``a.b``; None when the path is another."""
    current = node
    for part in reversed(method.split(".")):
        if type(current) is not ir.Attr or current.name != part:
            return None
        current = current.base
    return current


def _argument(call: ir.Call, names: Iterable[str]) -> ir.Expr | None:
    wanted = list(names)
    for keyword in call.keywords:
        if keyword.name in wanted:
            return keyword.value
    return call.args[0] if call.args else None


def _imports(module: Module, name: str) -> bool:
    return any(
        imp.module == name or imp.module.startswith(f"{name}.") or f"{imp.module}.{imp.attr}" == name
        for function in module.functions
        for imp in function.ir.imports
    )


__all__ = ["Function", "Relay", "Sink", "SinkFinder"]
