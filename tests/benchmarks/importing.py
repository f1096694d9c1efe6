"""Imports the modules of a tree in the interpreter of another environment, and counts how many can be.

Each module is imported in a process of its own, under each name that it may go by: from the tree's root down to its own
folder.  A tree's code runs here; give it an environment and a machine that may be thrown away.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_SECONDS = 90
_PROGRAM = """
import importlib, sys
root, name = sys.argv[1:]
sys.path.insert(0, root)
importlib.import_module(name)
sys.stdout.flush()
import os
os._exit(0)
"""
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+([^#\n]*(?:\([^)]*\))?)|import[ \t]+([^#\n]+))", re.M
)


def importable(python: Path, before: Path, after: Path, changed: Sequence[str]) -> tuple[int, int, int]:
    """Return how many of the modules concerned import in one folder, in the other, and how many there are.

    Concerned are the changed files and what imports them, however far away; all else is what it was.
    """
    concerned = sorted(_concerned(before, changed))
    counts = [sum(_imports(python, root, path) for path in concerned) for root in (before, after)]
    return counts[0], counts[1], len(concerned)


def _concerned(root: Path, changed: Iterable[str]) -> set[str]:
    imports: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        rel = path.relative_to(root).as_posix()
        if any(part.startswith(".") or part in ("node_modules", "site-packages") for part in rel.split("/")):
            continue
        imports[rel] = {
            word.rpartition(".")[2]
            for match in _IMPORT.finditer(path.read_bytes())
            for word in re.findall(
                r"[\w.]+", b" ".join(each or b"" for each in match.groups()).decode("utf-8", "replace")
            )
        }
    found = set(changed)
    while True:
        names = {_module_word(each) for each in found}
        more = {path for path, words in imports.items() if words & names} - found
        if not more:
            return found
        found |= more


def _module_word(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    return parts[-2] if parts[-1] == "__init__" and len(parts) > 1 else parts[-1]


def _imports(python: Path, root: Path, path: str) -> bool:
    """Say whether a module imports under one of its names."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return any(
        _try(python, root.joinpath(*parts[:depth]), ".".join(parts[depth:]))
        for depth in range(len(parts))
        if all(part.isidentifier() for part in parts[depth:])
    )


def _try(python: Path, root: Path, name: str) -> bool:
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")}
    # Modules that refuse to load without their settings get some that lead nowhere.
    environment |= dict.fromkeys(("OPENAI_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"), "none")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        done = subprocess.run(
            [str(python), "-c", _PROGRAM, str(root), name],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
