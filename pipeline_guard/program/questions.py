"""The questions that the parts of the evaluator ask of each other, and the memory they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from pipeline_guard.facts import ir
from pipeline_guard.program.code import Class, Func, Module
from pipeline_guard.program.link import Program
from pipeline_guard.program.value_lists import unique
from pipeline_guard.program.values import External, Frame, Function, Instance, Mapping, Parameter, Thunk, Value, Values

MAX_DEPTH = 6
MAX_STEPS = 6000  # per question: generated or hostile code must not make one question cost minutes
MAX_VALUES = 24
MAX_NESTING = 60  # expressions deep: a thousand reassignments of one name must not exhaust the stack
MAX_CHAIN = 120  # callers of callers, bases of bases, imports of imports: neither must any of these


class Bindings(dict[str, Thunk]):
    """Parameter → argument of one call; ``receiver`` is the instance that a method is called on, where it is known."""

    receiver: Instance | None = None


class Questions(ABC):
    """What can be asked about one program.

    ``callers`` returns the known calls of a function as (call, frame of the caller, offset of the first argument); it
    is consulted only where a parameter's own value is needed (attribute access on it, a receiver), never for payloads.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.callers: Callable[[Func], Iterable[tuple[ir.Call, Frame, bool]]] = lambda _: ()
        self._memo: dict[tuple[int, int, int | None, int], Values] = {}
        self._active: set[tuple[Any, ...]] = set()
        self._keep: list[object] = []
        self._globals: dict[tuple[str, str], Values] = {}
        self._mro: dict[int, list[Class | External]] = {}
        self._subclasses: dict[str, list[Class]] | None = None
        self._attribute_stores: dict[str, list[tuple[Func, int, ir.Attr]]] = {}
        self._modules_seen = 0
        self._steps = 0
        self._nesting = 0
        self._chained = 0  # callers, bases and modules that are being asked at the moment, each by the one before
        self._cut = 0
        self._expanded: dict[Parameter, Values] = {}
        # Parameters that no caller says anything about; to be cleared with new edges.
        self.barren: set[Parameter] = set()

    def forget(self) -> None:
        """Drop remembered answers, after new call edges or modules became known."""
        self._memo.clear()
        self._globals.clear()
        self._mro.clear()
        self._keep.clear()
        self._expanded.clear()
        self.barren.clear()
        self._subclasses = None

    # -- expressions

    def force(self, thunk: Thunk) -> Values:
        return self.eval(thunk.node, thunk.frame)

    def force_all(self, thunks: Iterable[Thunk]) -> Values:
        return unique(value for thunk in thunks for value in self.force(thunk))

    @abstractmethod
    def eval(self, node: ir.Expr, frame: Frame) -> Values:
        """Return the values that an expression may have."""

    @abstractmethod
    def item(self, base: Value, keys: list[Any]) -> Values:
        """Return ``base[key]``."""

    # -- names

    @abstractmethod
    def module_name(self, module: Module, name: str, at: int | None = None) -> Values:
        """Return the values of a module-level name."""

    @abstractmethod
    def mutated(self, text: str, values: Values, frame: Frame) -> Values:
        """Return ``values`` with what has been stored into them since they were made."""

    @abstractmethod
    def store_entries(self, op: ir.Op, frame: Frame) -> Mapping:
        """Return what one operation stores into a container."""

    @abstractmethod
    def unpacked(self, value: ir.Expr, position: int, frame: Frame) -> Values:
        """Return one element of what is assigned to several targets."""

    # -- attributes and classes

    @abstractmethod
    def attribute(self, base: Value, name: str, frame: Frame) -> Values:
        """Return ``base.name``."""

    @abstractmethod
    def instance_attribute(self, base: Instance, name: str) -> Values:
        """Return ``instance.name``."""

    @abstractmethod
    def mro(self, cls: Class) -> list[Class | External]:
        """Return a class and its bases."""

    @abstractmethod
    def subclasses(self, cls: Class) -> list[Class]:
        """Return the classes that derive from a class."""

    @abstractmethod
    def method(self, cls: Class, name: str) -> Func | None:
        """Return a method of a class or of its bases."""

    @abstractmethod
    def is_enum(self, cls: Class) -> bool:
        """Say whether a class is an enum."""

    @abstractmethod
    def annotated(self, node: ir.Expr | None, function: Func) -> Values:
        """Return the values that an annotation allows."""

    # -- calls

    @abstractmethod
    def apply(self, target: Value, node: ir.Call | None, frame: Frame) -> Values:
        """Return what calling ``target`` gives."""

    @abstractmethod
    def returned(self, target: Function, node: ir.Call | None, frame: Frame) -> Values:
        """Return what a function of the program returns when called so."""

    @abstractmethod
    def bind(
        self,
        function: Func,
        node: ir.Call | None,
        frame: Frame,
        bound: bool,
        partial: tuple[tuple[ir.Call, Frame], ...] = (),
    ) -> Bindings:
        """Return parameter → argument for one call."""

    @abstractmethod
    def expand(self, parameter: Parameter) -> Values:
        """Return what the known callers pass for a parameter."""
