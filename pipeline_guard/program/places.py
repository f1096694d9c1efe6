"""What a file's place and name say about its code: tests, examples, or ordinary code."""

from __future__ import annotations

import re
from functools import lru_cache

from pipeline_guard.pipeline.model import Context
from pipeline_guard.program.code import Module

_EXAMPLE_FOLDERS = frozenset({
    "example", "examples", "demo", "demos", "sample", "samples", "scripts", "notebooks", "tutorials", "playground",
})  # fmt: skip
_SCRIPT_FOLDERS = frozenset({"scripts", "tools", "bin"})
_TEST_FOLDERS = frozenset({"test", "tests", "testing", "__tests__"})
_NUMBERED = re.compile(r"\d+[_-]")  # a lesson of a tutorial: nothing can import a file of such a name
_TEST_WORDS = (b"import pytest", b"import unittest", b"from unittest", b"def test", b"class Test")


def module_context(module: Module) -> Context | None:
    """Return the context that a file's place gives all its code, or None when it is ordinary code."""
    if is_test(module):
        return "test"
    return "example" if _is_example_place(module.rel) else None


@lru_cache(maxsize=1024)  # asked for every edge of the program
def _is_example_place(rel: str) -> bool:
    folders = {part.lower() for part in rel.split("/")[:-1]}
    stem = rel.rpartition("/")[2].lower()
    return bool(folders & _EXAMPLE_FOLDERS or _NUMBERED.match(stem) or stem.startswith(("example", "demo", "test_")))


def is_script(module: Module) -> bool:
    """Say whether a file lies among the scripts that people run by hand."""
    return any(part.lower() in _SCRIPT_FOLDERS for part in module.rel.split("/")[:-1])


def is_test_file(rel: str, data: bytes) -> bool:
    """Say the same of a file that is not parsed: nothing in it can be a site, so that it need not be."""
    return _in_test_place(rel) or (_has_test_name(rel) and any(word in data for word in _TEST_WORDS))


def is_test(module: Module) -> bool:
    """Say whether a file holds tests: by its place, or by its name together with what it imports or defines."""
    if module.is_test is None:  # asked for every function of the program, again and again
        module.is_test = _is_test(module)
    return module.is_test


def _is_test(module: Module) -> bool:
    if _in_test_place(module.rel):
        return True
    if not _has_test_name(module.rel):
        return False
    uses = any(imp.module.partition(".")[0] in ("pytest", "unittest") for imp in module.body.ir.imports)
    defines = any(f.name.startswith("test") for f in module.functions) or any(
        c.name.startswith("Test") for c in module.classes
    )
    return uses or defines


def _in_test_place(rel: str) -> bool:
    *folders, name = rel.split("/")
    return name.rpartition(".")[0] == "conftest" or any(part.lower() in _TEST_FOLDERS for part in folders)


def _has_test_name(rel: str) -> bool:
    stem = rel.rpartition("/")[2].rpartition(".")[0]
    return stem.startswith("test_") or stem.endswith(("_test", "_tests"))
