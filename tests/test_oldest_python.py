"""What the oldest Python that is supported can do, whatever runs the tests: it is not at hand everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 10)


def sources() -> Iterator[Path]:
    for folder in ("pipeline_guard", "reference_agent", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "fixtures" not in path.parts and "demo" not in path.parts:
                yield path


def test_every_file_has_the_syntax_of_the_oldest_python() -> None:
    for path in sources():
        ast.parse(path.read_bytes(), filename=str(path), feature_version=OLDEST)


def test_a_named_tuple_has_no_other_base() -> None:
    """Before 3.11 this is a TypeError when the module is imported."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef) and len(node.bases) > 1:
                names = {base.id for base in node.bases if isinstance(base, ast.Name)}
                assert "NamedTuple" not in names, f"{path.relative_to(ROOT)}:{node.lineno}"
