"""The network of a certified agent's process: simulated hosts lead to the simulator, this machine stays open, all else
is refused and written down.

Python's ``site`` imports this before any code of the agent, because a certification puts this folder on the PYTHONPATH
of that one process.  ``PIPELINE_GUARD_CHILD`` names a JSON file with ``hosts``, ``port`` (of the simulator), ``ca``
(a PEM file to trust), ``report`` (the file to append to, one JSON object a line) and ``directory`` (the agent's).
"""

from __future__ import annotations

import _socket
import errno
import functools
import importlib.machinery
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

try:
    import ssl
except ImportError:  # a Python without TLS does not reach a simulated host either
    ssl = None  # type: ignore[assignment]

HTTPS = (443, "443", b"443", "https", b"https")
CONFIG: dict[str, Any] = json.loads(Path(os.environ["PIPELINE_GUARD_CHILD"]).read_text("utf-8"))
HOSTS = frozenset(CONFIG["hosts"])
SIMULATOR = ("127.0.0.1", CONFIG["port"])


class Refused(ConnectionRefusedError):
    """A connection to the world outside, which a certification does not have."""


def report(kind: str, **facts: Any) -> None:
    """Append a line to the report; one write to a file opened for appending stays in one piece."""
    line = json.dumps({"kind": kind, "at": time.time(), "pid": os.getpid(), **facts}, default=str) + "\n"
    file = os.open(CONFIG["report"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def agent_line() -> str:
    """Return the innermost line of the agent's own code on the stack, as "path:line"; "" where there is none."""
    folder = CONFIG["directory"] + os.sep
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = os.path.abspath(frame.f_code.co_filename)  # noqa: PTH100 (does not touch the disk)
        if path.startswith(folder) and f"{os.sep}lib{os.sep}" not in path:
            return f"{path[len(folder) :]}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def refuse(host: Any, port: Any) -> Refused:
    """Write the attempt down and return the error to raise."""
    report("refused", host=name_of(host), port=port, where=agent_line())
    text = f"pipeline-guard: a certification reaches none but the simulated hosts, and {host}:{port} is none of them"
    return Refused(errno.ECONNREFUSED, text)


def name_of(host: Any) -> str:
    """Return a host as text in lower case, without a final dot; "" for none."""
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "replace")
    return str(host or "").lower().rstrip(".")


def is_numeric(name: str) -> bool:
    """Say whether a host is an address of IPv4 or IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name.partition("%")[0])
        except (OSError, ValueError):
            continue
        return True
    return False


def is_here(name: str) -> bool:
    """Say whether a host, by name or number, is this machine."""
    if name in ("", "localhost", "0.0.0.0", "::", "::1", "ip6-localhost") or name.endswith(".localhost"):
        return True
    if is_numeric(name):
        return name.startswith(("127.", "::ffff:127."))
    return name == own_name()


@functools.lru_cache(1)
def own_name() -> str:
    """Return the name of this machine."""
    return socket.gethostname().lower()


def led(host: Any, port: Any) -> tuple[Any, Any]:
    """Return where a connection to a host and port goes.

    Some clients keep the address of a resolved name and put the port to it themselves: so 443 of loopback is led too.
    """
    name = name_of(host)
    if port in HTTPS and (name in HOSTS or name == "127.0.0.1"):
        return SIMULATOR
    return ("127.0.0.1" if name in HOSTS else host), port


# -- names ------------------------------------------------------------------------------------------------------------

real_getaddrinfo = _socket.getaddrinfo
real_gethostbyname = _socket.gethostbyname
real_gethostbyname_ex = _socket.gethostbyname_ex


def resolvable(host: Any, port: Any) -> str:
    """Return the name of a host that may be looked up; other look-ups are refused as if the name did not exist."""
    name = name_of(host)
    if name not in HOSTS and not is_here(name) and not is_numeric(name):
        report("refused", host=name, port=port, where=agent_line())
        text = f"pipeline-guard: a certification reaches none but the simulated hosts, and {name} is none of them"
        raise socket.gaierror(socket.EAI_NONAME, text)
    return name


def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    """Look up a host, as the function of this name in ``_socket``."""
    if resolvable(host, port) in HOSTS:
        host, port = led(host, port)
    return real_getaddrinfo(host, port, *args, **kwargs)


def gethostbyname(host: Any) -> str:
    """Look up a host, as the function of this name in ``_socket``."""
    return "127.0.0.1" if resolvable(host, None) in HOSTS else real_gethostbyname(host)


def gethostbyname_ex(host: Any) -> tuple[str, list[str], list[str]]:
    """Look up a host, as the function of this name in ``_socket``."""
    return (host, [], ["127.0.0.1"]) if resolvable(host, None) in HOSTS else real_gethostbyname_ex(host)


# -- connections ------------------------------------------------------------------------------------------------------


def led_address(address: Any) -> Any:
    """Return the socket address that a connection goes to."""
    if isinstance(address, tuple) and len(address) >= 2:
        return (*led(*address[:2]), *address[2:])
    return address


def connect(self: socket.socket, address: Any) -> None:
    """Connect, as the method of this name of a socket."""
    _socket.socket.connect(self, led_address(address))


def connect_ex(self: socket.socket, address: Any) -> int:
    """Connect, as the method of this name of a socket."""
    try:
        return _socket.socket.connect_ex(self, led_address(address))
    except Refused as error:
        return error.errno or errno.ECONNREFUSED


def check(address: Any, sock: Any = None) -> None:
    """Raise Refused for an address outside.

    A datagram socket that is connected sends nothing: programs do it to learn their own address, which is no attempt.
    """
    if isinstance(address, tuple) and len(address) >= 2 and not is_here(name_of(address[0])):
        if sock is not None and sock.type == socket.SOCK_DGRAM:
            raise Refused(errno.ENETUNREACH, "pipeline-guard: a certification has no network outside of this machine")
        raise refuse(address[0], address[1])


def bound(sock: socket.socket, address: Any) -> None:
    """Write down where the agent listens."""
    if isinstance(address, tuple) and len(address) >= 2 and address[1] and sock.type == socket.SOCK_STREAM:
        report("bound", host=name_of(address[0]), port=address[1])


def started(program: Any, args: Any) -> None:
    """Write down which other program the agent starts: what is no Python is not held by anything here."""
    report("started", program=program or (args[0] if isinstance(args, (list, tuple)) and args else args))


AUDITED: dict[str, Callable[..., None]] = {
    "socket.connect": lambda sock, address: check(address, sock),
    "socket.sendto": lambda _, address: check(address),
    "socket.sendmsg": lambda _, address: check(address),
    "socket.bind": bound,
    "subprocess.Popen": lambda executable, args, _cwd, _env: started(executable, args),
    "os.system": lambda command: started(command, ()),
}


def audit(event: str, args: tuple[Any, ...]) -> None:
    """Catch what does not come through the functions above, as libraries do that use sockets in their own way."""
    seen = AUDITED.get(event)
    if seen is not None:
        seen(*args)


# -- libraries that bring a network of their own ----------------------------------------------------------------------


def patch_asyncio(base_events: Any) -> None:
    """Ask in the loop's thread whether a host may be looked up: in that of the look-up no line of the agent is seen."""
    real = base_events.BaseEventLoop.getaddrinfo

    async def resolve(self: Any, host: Any, port: Any, **options: Any) -> Any:
        resolvable(host, port)
        return await real(self, host, port, **options)

    base_events.BaseEventLoop.getaddrinfo = resolve


def patch_uvloop(uvloop: Any) -> None:
    """Lead uvloop, which resolves, connects and listens in C."""
    loop = uvloop.Loop
    real_connection, real_server = loop.create_connection, loop.create_server
    real_datagram = loop.create_datagram_endpoint

    async def create_connection(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if host is not None:
            if options.get("ssl") and options.get("server_hostname") is None:
                options["server_hostname"] = host
            if resolvable(host, port) not in HOSTS and not is_here(name_of(host)):
                raise refuse(host, port)
            host, port = led(host, port)
        return await real_connection(self, factory, host, port, **options)

    async def create_server(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if port:
            report("bound", host=host, port=port)
        return await real_server(self, factory, host, port, **options)

    async def create_datagram_endpoint(
        self: Any, factory: Any, local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> Any:
        check(remote_addr)
        return await real_datagram(self, factory, local_addr, remote_addr, **options)

    async def resolve(self: Any, host: Any, port: Any, **options: Any) -> Any:
        resolvable(host, port)
        return await self.run_in_executor(None, functools.partial(socket.getaddrinfo, host, port, **options))

    loop.create_connection, loop.create_server = create_connection, create_server
    loop.create_datagram_endpoint, loop.getaddrinfo = create_datagram_endpoint, resolve


def patch_aiohttp_resolver(resolver: Any) -> None:
    """Keep aiohttp from asking name servers by itself, as it does where aiodns is installed."""

    class Resolver(resolver.ThreadedResolver):  # type: ignore[misc]
        def __init__(self, *_args: Any, **_options: Any) -> None:
            super().__init__()

    resolver.AsyncResolver = Resolver
    resolver.DefaultResolver = resolver.ThreadedResolver


def patch_grpc(grpc: Any) -> None:
    """Hold gRPC, which has a resolver and sockets of its own, in C."""
    for name in ("insecure_channel", "secure_channel"):
        setattr(grpc, name, _held_channel(getattr(grpc, name)))


def _held_channel(real: Callable[..., Any]) -> Callable[..., Any]:
    def channel(target: str, *args: Any, **options: Any) -> Any:
        place = target.rpartition("/")[2]
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "443")
        if not target.startswith("unix:") and not is_here(name_of(host)):
            raise refuse(host, port)
        return real(target, *args, **options)

    return channel


AFTER_IMPORT: dict[str, Callable[[Any], None]] = {
    "asyncio.base_events": patch_asyncio,
    "uvloop": patch_uvloop,
    "aiohttp.resolver": patch_aiohttp_resolver,
    "grpc": patch_grpc,
    "grpc.aio": patch_grpc,
}


class AfterImport:
    """Finds a module as others would, and patches it once it has been executed."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Find the modules that are to be patched, and no others."""
        patch = AFTER_IMPORT.pop(name, None)
        spec = importlib.util.find_spec(name) if patch is not None else None
        if patch is None or spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module)

        setattr(spec.loader, "exec_module", exec_module)  # noqa: B010 (a method is replaced on purpose)
        return spec


# -- trust ------------------------------------------------------------------------------------------------------------


def trust() -> None:
    """Let every context of this process trust the simulator, whichever bundle it loads besides."""
    # Those of the class itself: a context of truststore has others, which work only after its __init__.
    real_new, load = ssl.SSLContext.__new__, ssl.SSLContext.load_verify_locations

    def new(cls: type[ssl.SSLContext], *args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = real_new(cls, *args, **kwargs)
        load(context, CONFIG["ca"])
        return context

    setattr(ssl.SSLContext, "__new__", staticmethod(new))  # noqa: B010


def next_sitecustomize() -> None:
    """Run the agent's own sitecustomize, which this one stands in front of."""
    here = Path(__file__).resolve().parent
    others = [folder for folder in sys.path if Path(folder).resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def install() -> None:
    """Put everything in its place."""
    # socket.getaddrinfo calls that of _socket; so do the libraries that have sockets of their own.
    setattr(_socket, "getaddrinfo", getaddrinfo)  # noqa: B010
    for module in (_socket, socket):
        for lookup in (gethostbyname, gethostbyname_ex):
            setattr(module, lookup.__name__, lookup)
    for function in (connect, connect_ex):
        setattr(socket.socket, function.__name__, function)
    sys.addaudithook(audit)
    sys.meta_path.insert(0, AfterImport())
    if ssl is not None:
        trust()


install()
report("hooked", python=sys.version.split()[0], argv=getattr(sys, "orig_argv", None))
next_sitecustomize()
