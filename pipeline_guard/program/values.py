"""Abstract values: what an expression of the scanned code can be, as far as reading can tell.

Frames and thunks are structs, as they are made most often; values are tuples, as ``isinstance`` is asked of them most,
and asks a class of any other metaclass than ``type`` the long way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Union

import msgspec

from pipeline_guard.facts import ir

if TYPE_CHECKING:
    from pipeline_guard.program.code import Class, Func, Module


class Frame(msgspec.Struct, frozen=True):
    """Where an expression is read: the function, the operation (None: anywhere), and what its parameters are bound to.

    ``env`` maps parameter names to argument thunks of one particular call; None leaves parameters symbolic.
    """

    func: Func
    at: int | None
    env: dict[str, Thunk] | None = None
    depth: int = 0


class Thunk(msgspec.Struct, frozen=True):
    """An expression together with the frame to read it in."""

    node: ir.Expr
    frame: Frame


class Literal(NamedTuple):
    """A known string, number, bool or None."""

    value: str | int | float | bool | None


class Text(NamedTuple):
    """A string of which only parts are known; None stands for an unknown part."""

    parts: tuple[str | None, ...]


class Mapping(NamedTuple):
    """A dict: constant keys with the thunks that may be their value; ``open`` when keys may be missing here.

    ``line`` and ``func`` say where it is written down (line 0: it was not, but read from text or made by a call).
    """

    entries: dict[str, list[Thunk]]
    open: bool
    line: int
    func: Func | None = None


class Sequence(NamedTuple):
    """A list, tuple or set, element by element."""

    items: list[Thunk]


class Container(NamedTuple):
    """A container whose element values are known but not their keys (from annotations and stores)."""

    elements: tuple[Value, ...]


class Function(NamedTuple):
    """A function of the program; ``bound`` is what a method is bound to, ``partial`` earlier arguments."""

    func: Func
    bound: Value | None = None
    partial: tuple[tuple[ir.Call, Frame], ...] = ()


class ClassValue(NamedTuple):
    """A class of the program."""

    cls: Class


class Instance(NamedTuple):
    """An instance of a class of the program; ``call`` is its construction when that is known.

    ``exact`` says that it is of this very class, not of one derived from it (constructed here, or ``super()``).
    """

    cls: Class
    call: ir.Call | None = None
    frame: Frame | None = None
    exact: bool = False


class ModuleValue(NamedTuple):
    """A module of the program."""

    module: Module


class External(NamedTuple):
    """Something from outside the program by its access path, for example ``websockets.connect()``.

    ``call`` is the last call on the path, so that its arguments can be read; ``origin`` the first one, which tells one
    socket or queue from another.
    """

    path: str
    call: ir.Call | None = None
    frame: Frame | None = None
    origin: Thunk | None = None


class Parameter(NamedTuple):
    """A parameter that nothing binds here."""

    func: Func
    name: str


class JsonText(NamedTuple):
    """JSON text made from a value."""

    inner: tuple[Value, ...]


class Environment(NamedTuple):
    """An environment variable, with the default that applies when it is unset."""

    name: str
    default: Thunk | None


class Computed(NamedTuple):
    """A value made at run time from others (``bool(x)``, a comparison)."""

    note: str


class Missing(NamedTuple):
    """An attribute of a class of the program that nothing ever assigns."""

    cls: Class
    name: str


class Unknown(NamedTuple):
    """Nothing is known."""


UNKNOWN = Unknown()

Value = Union[  # noqa: UP007 - the union is recursive through forward references
    Literal, Text, Mapping, Sequence, Container, Function, ClassValue, Instance, ModuleValue, External, Parameter,
    JsonText, Environment, Computed, Missing, Unknown,
]  # fmt: skip
Values = list[Value]
