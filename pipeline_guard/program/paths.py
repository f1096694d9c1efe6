"""The order in which the operations of a function can run: what one pass through its code can reach from where.

Loops are passed once and exceptions are not followed, so that a path here is one that really runs in this order, within
one round of a message loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pipeline_guard.facts import ir
from pipeline_guard.program.code import LOOPS, Func

# Nodes are the operations of a function by number; blocks follow, and one node stands for leaving the function.
EXIT = -1
_ARMS = frozenset({"if", "else", "case"})


class Paths:
    """The acyclic control flow of one function."""

    def __init__(self, func: Func) -> None:
        self.func = func
        self._count = len(func.ir.ops)
        self._next: dict[int, tuple[int, ...]] = {}
        self._follow: dict[int, tuple[int, ...]] = {0: (EXIT,)}
        self._after_loop: dict[int, tuple[int, ...]] = {}
        self._children: dict[int, list[int]] = {}
        self._own: dict[int, list[int]] = {}
        for index, block in enumerate(func.ir.blocks):
            if index:
                self._children.setdefault(block.parent, []).append(index)
        for index, op in enumerate(func.ir.ops):
            self._own.setdefault(op.block, []).append(index)
        for index in range(len(func.ir.blocks)):  # a block comes before those inside it
            self._link(index)

    def after(self, start: int, blocked: Collection[int] = ()) -> set[int]:
        """Return the operations that can run after ``start``; nothing is followed past a ``blocked`` one.

        ``EXIT`` is among them when the function can be left that way.
        """
        return self._spread(self._next.get(start, ()), blocked)

    def from_top(self, blocked: Collection[int] = ()) -> set[int]:
        """Return the operations that can run once the function is called, those that are blocked among them."""
        return self._spread((self._count,) if self.func.ir.blocks else (EXIT,), blocked)

    def _spread(self, start: Collection[int], blocked: Collection[int]) -> set[int]:
        seen: set[int] = set()
        stack = list(start)
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if node not in blocked:
                    stack.extend(self._next.get(node, ()))
        return {node for node in seen if node < self._count}

    # -- building

    def _link(self, block: int) -> None:
        """Connect what stands directly in a block, the last first, and say what comes after each block inside it."""
        current = self._follow.get(block, ())
        for item in reversed(list(self._items(block))):
            if isinstance(item, int):
                self._next[item] = self._leaving(item, current)
                current = (item,)
            else:
                current = self._compound(item, current)
        self._next[self._count + block] = current
        entry = self.func.ir.blocks[block]
        if entry.kind == "while" and self._own.get(block):
            endless = type(entry.test) is ir.Const and bool(entry.test.value)
            test = self._own[block][0]
            if not endless:
                self._next[test] = (*self._next[test], *self._after_loop.get(block, ()))

    def _items(self, block: int) -> Iterator[int | list[int]]:
        """Yield the operations of a block and the compound statements between them, each as its list of blocks."""
        groups: dict[int, list[int]] = {}
        for child in self._children.get(block, ()):
            groups.setdefault(self.func.ir.blocks[child].group, []).append(child)
        waiting = sorted(groups.values(), key=lambda blocks: blocks[0])
        for op in self._own.get(block, ()):
            while waiting and self.func.ir.blocks[waiting[0][0]].first <= op:
                yield waiting.pop(0)
            yield op
        yield from waiting

    def _leaving(self, op: int, current: tuple[int, ...]) -> tuple[int, ...]:
        kind = self.func.ir.ops[op].kind
        if kind == "return":
            return (EXIT,)
        if kind == "raise":
            return ()
        if kind == "exit":
            loop = self.func.loop_of(op)
            return self._after_loop.get(loop, ()) if loop is not None else current
        return current

    def _compound(self, blocks: list[int], current: tuple[int, ...]) -> tuple[int, ...]:
        """Say what follows each block of a compound statement; return the nodes at which it is entered."""
        kinds = {self.func.ir.blocks[block].kind: block for block in blocks}
        node = self._count
        first = self.func.ir.blocks[blocks[0]].kind
        if first in _ARMS:
            for block in blocks:
                self._follow[block] = current
            whole = "else" in kinds
            return (*(node + block for block in blocks), *(() if whole else current))
        if first in LOOPS:
            other = kinds.get("body")
            after = (node + other,) if other is not None else current
            if other is not None:
                self._follow[other] = current
            self._follow[blocks[0]] = after
            self._after_loop[blocks[0]] = after
            return (node + blocks[0], *(after if first == "for" else ()))
        if "try" in kinds:
            last = kinds.get("finally")
            end = (node + last,) if last is not None else current
            for block in blocks:
                self._follow[block] = current if block == last else end
            if "body" in kinds:
                self._follow[kinds["try"]] = (node + kinds["body"],)
            return (node + kinds["try"],)
        for block in blocks:  # a ``with``; what is dead stands for itself and is never entered
            self._follow[block] = current
        return current if first == "dead" else (node + blocks[0],)
