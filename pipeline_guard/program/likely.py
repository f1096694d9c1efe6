"""Guesses which files linking is going to ask for: those from which functions that lead to a sink import the most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from pipeline_guard.program.code import Func
from pipeline_guard.program.link import Program

# Files that are guessed at once; of as many, three of four turn out to be needed.
_FEW = 40
_IN_A_SEED = 3  # what a file with a sink imports is asked for more often


def likely_needed(program: Program, functions: Iterable[Func], is_apart: Callable[[Func], bool]) -> list[str]:
    """Return a few files that are not loaded, the likeliest first.

    ``functions`` lead to sinks; what those import that are ``is_apart`` does not count.
    """
    counts: Counter[str] = Counter()
    for func in functions:
        if is_apart(func):
            continue
        module = func.module
        for imp in func.ir.imports:
            whole = program.find(imp.module, module, imp.level) if imp.module or imp.level else None
            dotted = ".".join(part for part in (imp.module, imp.attr) if part)
            part = program.find(dotted, module, imp.level) if imp.attr is not None else None
            for rel in {whole, part}:
                if rel is not None and rel not in program.modules:
                    counts[rel] += _IN_A_SEED if module.is_seed else 1
    return [rel for rel, _ in counts.most_common(_FEW)]
