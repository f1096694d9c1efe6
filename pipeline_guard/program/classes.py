"""What classes of the program are: their bases and subclasses, their methods, and what annotations say of them."""

from __future__ import annotations

from pipeline_guard.facts import ir
from pipeline_guard.program import models
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.questions import MAX_CHAIN, Questions
from pipeline_guard.program.values import (
    UNKNOWN,
    ClassValue,
    Container,
    External,
    Frame,
    Instance,
    Values,
)


class Classes(Questions):
    """Answers questions about classes and annotations."""

    def mro(self, cls: Class) -> list[Class | External]:
        """Return the class, then its bases, nearest first; bases outside the program as externals."""
        known = self._mro.get(id(cls))
        if known is not None:
            return known
        if self._chained > MAX_CHAIN:
            return [cls, *(External(f"?.{ir.source(base)}") for base in cls.ir.bases)]
        self._mro[id(cls)] = [cls]  # a cycle ends here
        order: list[Class | External] = [cls]
        self._chained += 1
        try:
            for base in cls.ir.bases:
                node = base.base if type(base) is ir.Sub else base
                for value in self.eval(node, Frame(cls.scope, None)):
                    if isinstance(value, ClassValue):
                        order.extend(entry for entry in self.mro(value.cls) if entry not in order)
                    elif isinstance(value, External):
                        order.append(value)
                    elif value is UNKNOWN:
                        order.append(External(f"?.{ir.source(base)}"))
        finally:
            self._chained -= 1
        self._mro[id(cls)] = order
        return order

    def subclasses(self, cls: Class) -> list[Class]:
        """Return the classes of the loaded modules that derive from ``cls``, at any distance."""
        if self._subclasses is None:
            self._subclasses = {}
            for module in list(self.program.modules.values()):
                for entry in module.classes:
                    for base in entry.ir.bases:
                        name = ir.source(base.base if type(base) is ir.Sub else base).rpartition(".")[2]
                        self._subclasses.setdefault(name, []).append(entry)
        found: list[Class] = []
        queue = [cls]
        while queue:
            current = queue.pop()
            for entry in self._subclasses.get(current.name, ()):
                if entry not in found and entry is not cls and current in self.mro(entry):
                    found.append(entry)
                    queue.append(entry)
        return found

    def method(self, cls: Class, name: str) -> Func | None:
        for entry in self.mro(cls):
            if isinstance(entry, Class):
                found = entry.method(name)
                if found is not None:
                    return found
        return None

    def is_enum(self, cls: Class) -> bool:
        return any(isinstance(e, External) and e.path.rpartition(".")[2] in models.ENUM_BASES for e in self.mro(cls))

    def annotated(self, node: ir.Expr | None, function: Func) -> Values:
        """Return the values that an annotation allows: instances of its class, its literals, its elements."""
        if node is None or (type(node) is ir.Const and node.value is None):
            return []
        if type(node) is ir.Merge:
            return [*self.annotated(node.left, function), *self.annotated(node.right, function)]
        frame = Frame(function, None, None, 3)
        if type(node) is ir.Sub:
            return self._generic(node, function, frame)
        if type(node) not in (ir.Name, ir.Attr):
            return []
        results: Values = []
        for value in self.eval(node, frame):
            if isinstance(value, ClassValue):
                results.append(Instance(value.cls))
            elif isinstance(value, External) and not value.path.startswith(("builtins.", "typing.")):
                results.append(External(f"{value.path}()"))
        return results

    def _generic(self, node: ir.Sub, function: Func, frame: Frame) -> Values:
        name = ir.source(node.base).rpartition(".")[2]
        inner = list(node.key.items) if type(node.key) is ir.Seq else [node.key]
        if name == "Literal":
            return [v for item in inner for v in self.eval(item, frame)]
        if name in ("Optional", "Union", "Annotated", "ClassVar", "Final"):
            return [v for item in inner for v in self.annotated(item, function)]
        if name in models.CONTAINER_ANNOTATIONS:
            elements = [v for item in inner[-1:] for v in self.annotated(item, function)]
            return [Container(tuple(elements))] if elements else []
        return self.annotated(node.base, function)
