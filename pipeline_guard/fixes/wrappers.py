"""Tells a function that only sends from one that also sends: a call of the latter is more than a second path."""

from __future__ import annotations

from pipeline_guard.fixes.edits import CannotRewrite
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import find_function, functions_around
from pipeline_guard.fixes.surplus import is_only_for
from pipeline_guard.pipeline.model import Site

_DEPTH = 4


def refuse_if_it_does_more(program: Program, site: Site) -> None:
    """Raise where a call leads to a function that does other work beside the send: that would be lost with the call."""
    if site.role == "primitive" or site.callee is None:
        return
    path, _, symbol = site.callee.rpartition(":")
    if not _only_sends(program, path, symbol, site.kind, _DEPTH):
        name = symbol.rpartition(".")[2]
        raise CannotRewrite(f"{name}() does other work as well", "delete the dead code as a whole")


def _only_sends(program: Program, path: str, symbol: str, kind: str, depth: int) -> bool:
    if path not in program.sources.data or find_function(program.tree(path), symbol) is None or not depth:
        return False
    tree = program.tree(path)
    inner = [each for each in program.map.sites() if (each.kind, each.path, each.symbol) == (kind, path, symbol)]
    if len(inner) != 1:
        return False
    calls = tree.calls_at(inner[0].line, inner[0].column)
    around = functions_around(tree, calls[0])[:1] if calls else []
    if not around or not is_only_for(tree, around[0], calls[0]):
        return False
    if inner[0].role == "primitive" or inner[0].callee is None:
        return True
    further, _, name = inner[0].callee.rpartition(":")
    return _only_sends(program, further, name, kind, depth - 1)
