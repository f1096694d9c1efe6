"""Modules, classes and functions of the scanned program, with the per-function indexes that linking needs."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cached_property

from pipeline_guard.facts import ir
from pipeline_guard.program.trees import last_name, walk
from pipeline_guard.program.uses import CallSite, Reference, Uses, uses_of
from pipeline_guard.program.writes import CHANGING, names_written

EXCLUSIVE_ARMS = frozenset({"if", "else", "case", "except"})
LOOPS = frozenset({"while", "for"})


class Module:
    """One parsed file.  ``parts`` is its dotted name split up; a package's ``__init__`` has the package's name.

    ``is_seed`` says that the file holds a literal of the vocabulary itself.
    """

    def __init__(self, rel: str, facts: ir.ModuleFacts, is_seed: bool = True) -> None:
        self.rel = rel
        self.is_seed = is_seed
        self.is_test: bool | None = None  # what ``places`` found it to be
        pieces = rel.rpartition(".")[0].split("/")
        self.is_package = pieces[-1] == "__init__"
        self.parts = tuple(pieces[:-1] if self.is_package else pieces)
        self.facts = facts
        self.functions = [Func(self, index) for index in range(len(facts.functions))]
        self.classes = [Class(self, entry) for entry in facts.classes]
        for cls in self.classes:
            for index in cls.ir.methods.values():
                self.functions[index].cls = cls
        for index, function in enumerate(facts.functions):
            if function.owner >= 0:
                self.functions[index].cls = self.classes[function.owner]
        self.star_imports = [imp for imp in self.body.ir.imports if imp.attr == "*"]

    @property
    def body(self) -> Func:
        """The module's own top-level code."""
        return self.functions[0]

    @cached_property
    def imported(self) -> frozenset[str]:
        """The dotted names of all that the file imports, with those above them: "a", "a.b" and "a.b.c"."""
        names: set[str] = set()
        for function in self.functions:
            for imp in function.ir.imports:
                parts = [*imp.module.split("."), imp.attr or ""]
                names.update(".".join(parts[:count]) for count in range(1, len(parts) + 1))
        return frozenset(names)

    @cached_property
    def nested(self) -> dict[int, list[Func]]:
        """The number of a function → the functions that stand directly in it."""
        found: dict[int, list[Func]] = {}
        for function in self.functions:
            found.setdefault(function.ir.parent, []).append(function)
        return found

    def __repr__(self) -> str:
        return f"Module({self.rel})"


class Class:
    """A class of the program; bases are resolved by the linker."""

    def __init__(self, module: Module, entry: ir.Class) -> None:
        self.module = module
        self.ir = entry
        self.name = entry.name

    @property
    def scope(self) -> Func:
        """The function whose body defines the class; at top level the module's own."""
        return self.module.functions[self.ir.function]

    def method(self, name: str) -> Func | None:
        """Return the method that this class itself defines, not an inherited one."""
        index = self.ir.methods.get(name)
        return None if index is None else self.module.functions[index]

    @cached_property
    def own_functions(self) -> list[Func]:
        """Every method and every function nested in one: the code that can write ``self.x``."""
        roots = {index for index, function in enumerate(self.module.functions) if function.cls is self}
        result = []
        for function in self.module.functions:
            top = function
            while top.index not in roots and top.parent is not None:
                top = top.parent
            if top.index in roots:
                result.append(function)
        return result

    @cached_property
    def attribute_writes(self) -> dict[str, list[tuple[Func, int]]]:
        """Attribute name → the operations in this class's own code that assign ``self.name``."""
        writes: dict[str, list[tuple[Func, int]]] = {}
        for function in self.own_functions:
            receiver = function.self_name
            if receiver is None:
                continue
            for index, op in enumerate(function.ir.ops):
                for target in _flat_targets(op):
                    if type(target) is ir.Attr and type(target.base) is ir.Name and target.base.id == receiver:
                        writes.setdefault(target.name, []).append((function, index))
        return writes

    def __repr__(self) -> str:
        return f"Class({self.module.rel}:{self.ir.qualname})"


class Func:
    """A function, method, lambda or module body."""

    def __init__(self, module: Module, index: int) -> None:
        self.module = module
        self.index = index
        self.ir = module.facts.functions[index]
        self.cls: Class | None = None

    @property
    def name(self) -> str:
        return self.ir.name

    @property
    def symbol(self) -> str:
        """The dotted name a person would use: ``Class.method.inner``; a lambda is named after where it stands."""
        return self.ir.qualname or "<module>"

    @property
    def place(self) -> str:
        """Where the function is: "path:symbol"."""
        return f"{self.module.rel}:{self.symbol}"

    @cached_property
    def parent(self) -> Func | None:
        return self.module.functions[self.ir.parent] if self.ir.parent >= 0 else None

    @cached_property
    def outermost(self) -> Func:
        """The function or method at module or class level that this one is nested in; itself where it is none."""
        function = self
        while function.parent is not None and function.parent.index != 0:
            function = function.parent
        return function

    def enclosing(self) -> Iterator[Func]:
        """Yield the function, then those around it, the module's body last."""
        function: Func | None = self
        while function is not None:
            yield function
            function = function.parent

    @cached_property
    def decorator_names(self) -> tuple[str, ...]:
        """The source text of each decorator, without call parentheses."""
        return tuple(ir.source(d.func if type(d) is ir.Call else d) for d in self.ir.decorators)

    @property
    def is_registered(self) -> bool:
        """Say whether the function is nested and decorated: it is registered whenever the one around it runs."""
        return bool(self.ir.decorators) and self.parent is not None and self.parent.index != 0

    @cached_property
    def is_static(self) -> bool:
        return "staticmethod" in self.decorator_names

    @cached_property
    def is_property(self) -> bool:
        return any(name.rpartition(".")[2] in ("property", "cached_property") for name in self.decorator_names)

    @cached_property
    def owner_class(self) -> Class | None:
        """The class whose instance ``self`` names here: that of the method, or of the method this is nested in."""
        return next((function.cls for function in self.enclosing() if function.cls is not None), None)

    @cached_property
    def self_name(self) -> str | None:
        function: Func | None = self
        while function is not None:
            if function.cls is not None:
                if function.is_static or not function.ir.params:
                    return None
                return function.ir.params[0].name
            function = function.parent
        return None

    @cached_property
    def params(self) -> dict[str, ir.Param]:
        return {param.name: param for param in self.ir.params}

    @cached_property
    def definitions(self) -> dict[str, list[int]]:
        """Local name → the operations that bind it, in source order."""
        found: dict[str, list[int]] = {}
        for index, op in enumerate(self.ir.ops):
            for target in _flat_targets(op):
                if type(target) is ir.Name:
                    found.setdefault(target.id, []).append(index)
            if op.value is not None and self.ir.has_walrus:
                for name in _walrus_names(op.value):
                    found.setdefault(name, []).append(index)
        return found

    @cached_property
    def mutations(self) -> dict[str, list[int]]:
        """Source text of a container → the operations that store into it (``x[k] = v``, ``x.update(…)``, …)."""
        found: dict[str, list[int]] = {}
        for index, op in enumerate(self.ir.ops):
            for target in op.targets:
                if type(target) is ir.Sub:
                    base: ir.Expr = target
                    while type(base) is ir.Sub:
                        base = base.base
                    found.setdefault(ir.source(base), []).append(index)
            function = op.value.func if op.kind == "expr" and type(op.value) is ir.Call else None
            if type(function) is ir.Attr and function.name in ("update", "append", "extend", "setdefault", "add"):
                found.setdefault(ir.source(function.base), []).append(index)
            if op.kind == "aug" and op.targets:
                found.setdefault(ir.source(op.targets[0]), []).append(index)
        return found

    @cached_property
    def names_written(self) -> list[frozenset[str]]:
        """Operation → the names that it changes itself, attributes by their last name."""
        return names_written(self.ir.ops, inside=self.ir.has_walrus or self.may_call(CHANGING))

    @cached_property
    def imports(self) -> dict[str, list[ir.Import]]:
        found: dict[str, list[ir.Import]] = {}
        for imp in self.ir.imports:
            found.setdefault(imp.name, []).append(imp)
        return found

    @property
    def names_used(self) -> set[str]:
        """The names that the function's own code calls or hands on (arguments, dict values, plain aliases)."""
        return self._uses.names

    @property
    def attribute_chains(self) -> set[str]:
        """The last one to four parts of every called access path (``a.b.c()`` → ``c``, ``b.c``)."""
        return self._uses.chains

    @property
    def strings(self) -> set[str]:
        """The short strings in the function's own code."""
        return self._uses.strings

    @property
    def texts(self) -> set[str]:
        """The long strings in the function's own code."""
        return self._uses.texts

    @cached_property
    def mentions(self) -> dict[str, list[int]]:
        """Name, or ".name" of an attribute → the operations whose value mentions it."""
        found: dict[str, list[int]] = {}
        for index, op in enumerate(self.ir.ops):
            if op.value is None:
                continue
            nodes = list(walk(op.value))
            names = {node.id for node in nodes if type(node) is ir.Name}
            for name in names | {f".{node.name}" for node in nodes if type(node) is ir.Attr}:
                found.setdefault(name, []).append(index)
        return found

    def has_words(self, wanted: AbstractSet[str]) -> bool:
        """Say whether the function may be written with one of several names, bare ones or attributes.

        Like the next two this is answered without reading the function, and is never wrong where it says no.
        """
        return not wanted.isdisjoint(self.ir.words)

    def has_strings(self, wanted: AbstractSet[str]) -> bool:
        """Say whether the function may hold one of several strings."""
        return not wanted.isdisjoint(self.ir.strings)

    def may_call(self, wanted: AbstractSet[str]) -> bool:
        """Say whether the function may call something of one of several names."""
        return not wanted.isdisjoint(self.ir.called)

    def names_attribute(self, name: str) -> bool:
        """Say whether the function calls or hands on an attribute of a name: ``x.name``."""
        return any(type(site.call.func) is ir.Attr for site in self.calls_named.get(name, ())) or any(
            type(reference.node) is ir.Attr for reference in self.references_named.get(name, ())
        )

    @cached_property
    def calls_named(self) -> dict[str, list[CallSite]]:
        """Last name of the callee → the calls of it."""
        found: dict[str, list[CallSite]] = {}
        for site in self.calls:
            found.setdefault(last_name(site.call.func), []).append(site)
        return found

    @cached_property
    def references_named(self) -> dict[str, list[Reference]]:
        """Last name of what is handed on as a value → the places where it is."""
        found: dict[str, list[Reference]] = {}
        for reference in self.references:
            found.setdefault(last_name(reference.node), []).append(reference)
        return found

    @cached_property
    def calls_at(self) -> dict[int, list[CallSite]]:
        """Operation → the calls in it."""
        found: dict[int, list[CallSite]] = {}
        for site in self.calls:
            found.setdefault(site.op, []).append(site)
        return found

    @cached_property
    def arms_on(self) -> dict[str, list[int]]:
        """Name → the arms of ``if`` and ``match`` whose condition mentions it."""
        found: dict[str, list[int]] = {}
        for index, block in enumerate(self.ir.blocks):
            if block.test is not None and block.kind in ("if", "else", "case"):
                for name in {node.id for node in walk(block.test) if type(node) is ir.Name}:
                    found.setdefault(name, []).append(index)
        return found

    @property
    def nested(self) -> list[Func]:
        """The functions, lambdas among them, that stand directly in this one."""
        return self.module.nested.get(self.index, [])

    @cached_property
    def has_lambdas(self) -> bool:
        return any(function.name == "<lambda>" for function in self.nested)

    @cached_property
    def _uses(self) -> Uses:
        return uses_of(self.ir.ops)

    @property
    def calls(self) -> list[CallSite]:
        """Every call in this function's own operations, outer calls before the calls in their arguments."""
        return self._uses.calls

    @property
    def references(self) -> list[Reference]:
        """Names, attributes and lambdas that are handed on as values."""
        return self._uses.references

    @cached_property
    def _ancestors(self) -> list[tuple[int, ...]]:
        result: list[tuple[int, ...]] = []
        for index, block in enumerate(self.ir.blocks):
            result.append((0,) if index == 0 else (*result[block.parent], index))
        return result

    def ancestors(self, block: int) -> tuple[int, ...]:
        """Return the blocks from the function's body down to ``block`` itself."""
        return self._ancestors[block] if self._ancestors else (0,)

    def is_dead(self, op: int) -> bool:
        """Say whether the operation stands after a statement that control never runs past, or under ``if False``."""
        return self.dead_blocks[self.ir.ops[op].block]

    @cached_property
    def dead_blocks(self) -> list[bool]:
        """For each block, whether it can never be entered (because of itself or of a block around it)."""
        result: list[bool] = []
        for index, block in enumerate(self.ir.blocks):
            result.append(
                (index > 0 and result[block.parent])
                or block.kind == "dead"
                or (block.kind in ("if", "while") and _constant_truth(block.test) is False)
                or (block.kind == "else" and _constant_truth(block.test) is True)
            )
        return result

    @cached_property
    def exits(self) -> dict[int, list[int]]:
        """Block → the arms directly inside it that leave the function or the loop, last first."""
        found: dict[int, list[int]] = {}
        for index in range(len(self.ir.blocks) - 1, 0, -1):
            block = self.ir.blocks[index]
            if block.leaves and block.kind in ("if", "else") and block.test is not None and block.first < block.last:
                parent = block.parent
                found.setdefault(parent, []).append(index)
                while parent != 0 and self._surely_entered(parent):
                    parent = self.ir.blocks[parent].parent  # who comes out of these has passed the test inside
                    found.setdefault(parent, []).append(index)
        return found

    def _surely_entered(self, block: int) -> bool:
        """Say whether who comes past a block was in it: ``try``, ``with``, the ``else`` of an ``if`` that leaves."""
        entry = self.ir.blocks[block]
        if entry.kind == "else":
            return any(
                other.kind == "if" and other.group == entry.group and other.parent == entry.parent and other.leaves
                for other in self.ir.blocks
            )
        return entry.kind in ("try", "with")

    def loop_of(self, op: int) -> int | None:
        """Return the innermost loop block around an operation."""
        for block in reversed(self.ancestors(self.ir.ops[op].block)):
            if self.ir.blocks[block].kind in LOOPS:
                return block
        return None

    def exclusive(self, one: int, other: int) -> bool:
        """Say whether two blocks are different arms of one compound statement, so that only one of them runs."""
        left, right = self.ancestors(one), self.ancestors(other)
        for a, b in zip(left, right, strict=False):
            if a != b:
                first, second = self.ir.blocks[a], self.ir.blocks[b]
                return first.group == second.group and first.kind in EXCLUSIVE_ARMS and second.kind in EXCLUSIVE_ARMS
        return False

    def dominates(self, definition: int, use: int) -> bool:
        """Say whether control that reaches operation ``use`` has passed the earlier operation ``definition``."""
        block = self.ir.ops[definition].block
        while self.ir.blocks[block].kind in ("with", "finally") and block != 0:
            block = self.ir.blocks[block].parent  # these suites always run
        return block in self.ancestors(self.ir.ops[use].block)

    def reaching(self, name: str, at: int | None) -> tuple[list[int], bool]:
        """Return the definitions of ``name`` that may reach operation ``at``, and whether one of them surely does.

        Without ``at`` every definition is returned.  Definitions later in an enclosing loop count, unless an earlier
        one in the same loop always comes between.
        """
        found = self.definitions.get(name, [])
        if at is None or not found:
            return found, False
        use_block = self.ir.ops[at].block
        result: list[int] = []
        certain: int | None = None
        for definition in reversed([d for d in found if d < at]):
            if self.exclusive(self.ir.ops[definition].block, use_block) or self.is_dead(definition):
                continue
            result.append(definition)
            if self.dominates(definition, at):
                certain = definition
                break
        for block in self.ancestors(use_block):
            entry = self.ir.blocks[block]
            if entry.kind not in LOOPS or (certain is not None and certain >= entry.first):
                continue
            result.extend(d for d in found if at < d < entry.last and d not in result)
        return result, certain is not None

    def __repr__(self) -> str:
        return f"Func({self.module.rel}:{self.symbol})"


def _flat_targets(op: ir.Op) -> Iterator[ir.Expr]:
    """Yield every single place that an operation assigns to: ``a``, ``b.c`` and ``d`` in ``a, (b.c, *d) = …``."""
    stack = op.targets[::-1]
    while stack:
        target = stack.pop()
        if type(target) is ir.Seq:
            stack.extend(target.items[::-1])
        elif type(target) is ir.Star:
            stack.append(target.value)
        else:
            yield target


def _walrus_names(node: ir.Expr) -> list[str]:
    names: list[str] = []
    stack = [node]
    while stack:
        current = stack.pop()
        if type(current) is ir.Walrus:
            names.append(current.name)
        stack.extend(ir.children(current))
    return names


def _constant_truth(test: ir.Expr | None) -> bool | None:
    if type(test) is ir.Const:
        return bool(test.value)
    if type(test) is ir.Not:
        inner = _constant_truth(test.value)
        return None if inner is None else not inner
    if type(test) is ir.Name and test.id == "TYPE_CHECKING":
        return False
    return None
