"""Reads many files for their facts with two processes: a child takes about half of the bytes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_guard.facts.store import FactStore
from pipeline_guard.program.halves import may_split, start

# Bytes below which a second process costs more than it saves: reading so much takes some 50 ms.
WORTHWHILE = 400_000


def read_ahead(store: FactStore, files: Sequence[bytes]) -> None:
    """Have the facts of files ready in the store, where that is worth a second process."""
    if sum(map(len, files)) < WORTHWHILE or not may_split():
        return
    todo = sorted({data for data in files if not store.knows(data)}, key=len, reverse=True)
    sizes = [0, 0]
    halves: list[list[bytes]] = [[], []]
    for data in todo:  # the largest first, each to whoever has less to do
        lesser = 0 if sizes[0] <= sizes[1] else 1
        halves[lesser].append(data)
        sizes[lesser] += len(data)
    theirs, ours = halves
    if sum(sizes) < WORTHWHILE or not ours:
        return
    wait = start(lambda: [store.entry(data) for data in theirs], list[bytes])
    try:
        for data in ours:
            store.read(data)
    finally:
        told = wait()
    if told is not None:  # else the store reads these files when it is asked
        for data, entry in zip(theirs, told, strict=True):
            store.take(data, entry)
