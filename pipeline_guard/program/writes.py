"""What the operations of a function change, by name: what they assign, and what they call a changing method of."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.facts import ir
from pipeline_guard.program.trees import last_name, walk

MUTATORS = frozenset({"add", "append", "set", "clear", "discard", "remove", "pop", "update", "extend", "put_nowait"})
CHANGING = MUTATORS | {"setattr"}


def names_written(ops: Iterable[ir.Op], *, inside: bool) -> list[frozenset[str]]:
    """Return for each operation the names that it changes itself; attributes go by their last name.

    ``inside`` says whether its expression may change something as well: by ``:=``, by a call of one of ``CHANGING``.
    """
    return [frozenset(_of(op, inside)) for op in ops]


def _of(op: ir.Op, inside: bool) -> set[str]:
    targets = [part for target in op.targets for part in (target.items if type(target) is ir.Seq else [target])]
    found = {last_name(target.base if type(target) is ir.Sub else target) for target in targets}
    for node in walk(op.value) if inside and op.value is not None else ():
        if type(node) is ir.Walrus:
            found.add(node.name)
        elif type(node) is ir.Call and type(node.func) is ir.Attr and node.func.name in MUTATORS:
            found.add(last_name(node.func.base))
        elif type(node) is ir.Call and last_name(node.func) == "setattr" and len(node.args) > 1:
            found.update(str(n.value) for n in node.args[1:2] if type(n) is ir.Const)
    found.discard("")
    return found
