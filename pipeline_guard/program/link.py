"""Links modules: which file an import names, what a module-level name stands for, and the order of base classes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline_guard.program.code import Func, Module

_SOURCE_ROOTS = ("src", "lib", "app", "backend", "server", "python")


def package_of(root: Path) -> tuple[str, ...]:
    """Return the dotted name of a folder that is a package, split up; empty for any other folder."""
    names: list[str] = []
    while (root / "__init__.py").is_file() and root.name:
        names.insert(0, root.name)
        root = root.parent
    return tuple(names)


class Program:
    """The modules loaded so far; more are loaded when a name leads to them.

    ``load`` takes a relative path and returns the module, or None when that file cannot be analysed.
    ``package`` is the dotted name of the root where that is itself a package: its files import each other by it.
    """

    def __init__(
        self, paths: Iterable[str], load: Callable[[str], Module | None], package: tuple[str, ...] = ()
    ) -> None:
        self._load = load
        self._package = package
        self.modules: dict[str, Module] = {}
        self.failed: set[str] = set()
        self._by_last: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for rel in paths:
            pieces = rel.rpartition(".")[0].split("/")
            if pieces[-1] == "__init__":
                pieces.pop()
            if pieces:
                self._by_last.setdefault(pieces[-1], []).append((tuple(pieces), rel))
        self.functions_by_name: dict[str, list[Func]] = {}
        self._resolved: dict[tuple[str, str, int], str | None] = {}
        self._by_word: dict[str, list[Func]] = {}
        self._indexed = 0

    # -- modules

    def module(self, rel: str) -> Module | None:
        """Return the module of a file, loading it if need be."""
        found = self.modules.get(rel)
        if found is None and rel not in self.failed:
            found = self._load(rel)
            if found is None:
                self.failed.add(rel)
            else:
                self._register(found)
        return found

    def _register(self, module: Module) -> None:
        self.modules[module.rel] = module
        for function in module.functions[1:]:
            self.functions_by_name.setdefault(function.name, []).append(function)

    def find(self, dotted: str, importer: Module, level: int = 0) -> str | None:
        """Return the file that ``dotted`` names when imported from ``importer``, or None for something external."""
        key = (dotted, importer.rel, level)
        if key not in self._resolved:
            self._resolved[key] = self._find(dotted, importer, level)
        return self._resolved[key]

    def _find(self, dotted: str, importer: Module, level: int) -> str | None:
        wanted = tuple(part for part in dotted.split(".") if part)
        package = importer.parts if importer.is_package else importer.parts[:-1]
        if level:
            base = package[: len(package) - (level - 1)] if level > 1 else package
            full = (*base, *wanted)
            return (
                next((rel for parts, rel in self._by_last.get(full[-1], ()) if parts == full), None) if full else None
            )
        if not wanted:
            return None
        if self._package and wanted[: len(self._package)] == self._package:
            full = wanted[len(self._package) :]
            inside = (
                next((rel for parts, rel in self._by_last.get(full[-1], ()) if parts == full), None) if full else None
            )
            if inside is not None:
                return inside
        best: tuple[int, str] | None = None
        for parts, rel in self._by_last.get(wanted[-1], ()):
            if parts[-len(wanted) :] != wanted:
                continue
            root = parts[: len(parts) - len(wanted)]
            if package[: len(root)] == root:
                rank = 100 + len(root)  # a folder above the importer: the closest one wins
            elif len(wanted) == 1:
                if wanted[0] in sys.stdlib_module_names or root != ("src",):
                    continue
                rank = 1
            else:
                rank = 50 - len(root) if root and root[-1] in _SOURCE_ROOTS else 10 - len(root)
            if wanted[0] in sys.stdlib_module_names and len(wanted) == 1 and root != package:
                continue
            if best is None or rank > best[0]:
                best = (rank, rel)
        return best[1] if best else None

    def submodule(self, package: Module, name: str) -> str | None:
        """Return the file of ``package.name``."""
        full = (*package.parts, name)
        return next((rel for parts, rel in self._by_last.get(name, ()) if parts == full), None)

    def functions_with(self, word: str) -> list[Func]:
        """Return the loaded functions that may be written with a name, bare or as an attribute, or with a string."""
        if self._indexed != len(self.modules):
            fresh = list(self.modules.values())[self._indexed :]
            self._indexed = len(self.modules)
            for function in (function for module in fresh for function in module.functions):
                for each in function.ir.words | function.ir.strings:
                    self._by_word.setdefault(each, []).append(function)
        return self._by_word.get(word, [])

    def functions(self) -> Iterable[Func]:
        """Yield every function of every loaded module."""
        for module in list(self.modules.values()):
            yield from module.functions
