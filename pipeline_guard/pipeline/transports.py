"""Where a transport leads: to a Realtime connection, to a socket of some service, or to the caller's side."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.model import Confidence
from pipeline_guard.program.code import Func
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.value_lists import text_with_gaps
from pipeline_guard.program.values import (
    UNKNOWN,
    Environment,
    External,
    Frame,
    Literal,
    Parameter,
    Value,
    Values,
)
from pipeline_guard.vocabulary import Connection, SdkCall, Socket, Vocabulary

_RECEIVES = frozenset({"recv", "receive", "receive_text", "receive_bytes"})
# The last names of the calls that open a client socket.
OPENERS = frozenset({"connect", "ws_connect", "aconnect_ws", "connect_ws", "WebSocketApp", "create_connection"})


class Transports:
    """Tells the transports of a program apart."""

    def __init__(self, evaluator: Evaluator, vocabulary: Vocabulary) -> None:
        self.evaluator = evaluator
        self.vocabulary = vocabulary

    def connection_of(
        self, func: Func, site: CallSite, receiver: ir.Expr, connection: Connection, entry: SdkCall
    ) -> Confidence | None:
        """Say how sure it is that ``receiver`` is a connection of this type; None when it is something else."""
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
            uses = not func.module.imported.isdisjoint(connection.modules)
            alike = any(word in named for word in connection.receivers)
            return "medium" if uses and alike else None
        if entry.keyword is not None:
            return "medium" if any(k.name == entry.keyword for k in site.call.keywords) else None
        return "medium" if "." in entry.method else None

    def matches(self, connection: Connection, value: External) -> bool:
        """Say whether an external value is a connection of this type."""
        last = value.path.removesuffix("()").rpartition(".")[2]
        return last in connection.names or any(pattern.match(value.path) for pattern in connection.paths)

    def direction(self, func: Func, site: CallSite) -> tuple[str | None, Confidence]:
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
        if "openai" in providers:
            return "openai", "high"
        if providers:
            return providers[0], "high"
        if inbound:
            return None, "high"
        return "openai", "medium"

    def address_given(self, call: ir.Call, name: str) -> ir.Expr | None:
        """Return the argument that holds the address, for a call that opens a socket by this name."""
        for socket in self.vocabulary.sockets:
            if any(f"{name}()" in pattern.glob for pattern in socket.paths):
                return _address_node(call, socket)
        return call.args[0] if call.args else None

    def providers_of(self, value: External) -> list[str]:
        """Return the services that a client socket's address may belong to; empty when the address is not known."""
        found = (self.vocabulary.provider_of(text) for text in self.addresses_of(value))
        return [provider for provider in found if provider is not None]

    def addresses_of(self, value: External) -> list[str]:
        """Return the addresses that a client socket may lead to, ``*`` for what is not known of them."""
        for socket in self.vocabulary.sockets:
            if not any(pattern.match(value.path) for pattern in socket.paths):
                continue
            call, frame = _connect_call(value)
            if call is None or frame is None:
                continue
            node = _address_node(call, socket)
            if node is not None:
                return self.texts_of(self.evaluator.settled(self.evaluator.eval(node, frame)))
        return []

    def texts_of(self, values: Values) -> list[str]:
        """Return the texts that values may be: of an environment variable, its default."""
        found: list[str] = []
        for value in values:
            if isinstance(value, Environment):
                if value.default is not None:
                    found.extend(self.texts_of(self.evaluator.force(value.default)))
            else:
                found.append(text_with_gaps(value))
        return found

    def passes_on(self, func: Func, site: CallSite, argument: ir.Expr, values: Values) -> bool:
        """Say whether what is sent to the model is a message of the other side, received here and not looked into."""
        if any(self._from_inbound(value) for value in values):
            return True
        if type(argument) is not ir.Name or type(site.call.func) is not ir.Attr:
            return False
        model = ir.source(site.call.func.base)
        for definition in func.reaching(argument.id, site.op)[0]:
            value = func.ir.ops[definition].value
            while type(value) is ir.Await or type(value) is ir.Elem:
                value = value.value
            if type(value) is ir.Name and value.id != model and value.id in _sockets_of(func):
                return True
            if type(value) is not ir.Call:
                continue
            receiving = [value.func, *value.args]
            for node in receiving:
                if type(node) is ir.Attr and node.name in _RECEIVES and ir.source(node.base) != model:
                    return True
        return False

    def _from_inbound(self, value: Value) -> bool:
        """Say whether a value was received from the caller's side and not looked into."""
        if not isinstance(value, External) or value.path.endswith("json.loads()"):
            return False
        received = value.path.endswith(
            ("receive_text()", "receive()", "receive_bytes()", "recv()", "[]", "iter_text()[]")
        )
        return received and any(pattern.match(value.path) for pattern in self.vocabulary.inbound)


def _address_node(call: ir.Call, socket: Socket) -> ir.Expr | None:
    node = next((k.value for k in call.keywords if k.name == socket.argument), None)
    if node is None and len(call.args) > socket.position:
        node = call.args[socket.position]
    return node


def _connect_call(value: External) -> tuple[ir.Call | None, Frame | None]:
    """Return the call that opened a socket: the last call on its path whose name opens one."""
    if value.call is not None and last_name(value.call.func) in OPENERS:
        return value.call, value.frame
    origin = value.origin
    if origin is not None and type(origin.node) is ir.Call and last_name(origin.node.func) in OPENERS:
        return origin.node, origin.frame
    return None, None


def _sockets_of(func: Func) -> frozenset[str]:
    """Return the parameters of a function and of those around it that are called like a socket."""
    return frozenset(
        name
        for scope in func.enclosing()
        for name in scope.params
        if name.lower().endswith(("ws", "websocket", "socket"))
    )
