"""Adds to every lane of OpenAI Realtime what its code does against the protocol, and which aids it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.grouping import Group, Node, node_of
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.hygiene.bounds import BoundReader
from pipeline_guard.pipeline.hygiene.proof import ProofReader
from pipeline_guard.pipeline.hygiene.protocol import ProtocolReader
from pipeline_guard.pipeline.hygiene.signatures import SignatureReader
from pipeline_guard.pipeline.hygiene.surroundings import Surroundings
from pipeline_guard.pipeline.hygiene.turns import TurnReader
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Misuse, Queue
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.reach import Reachability
from pipeline_guard.vocabulary import Vocabulary

_MAX_CLIMB = 400  # functions above an event that are looked at for its lane


class HygieneReader:
    """Reads misuses and aids.  ``data`` are the bytes of the program's files by path."""

    def __init__(
        self,
        graph: CallGraph,
        reach: Reachability,
        queues: QueueIndex,
        evidence: Evidence,
        vocabulary: Vocabulary,
        data: Mapping[str, bytes],
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.evidence = evidence
        self.turns = TurnReader(graph, reach, evidence, vocabulary)
        self.bounds = BoundReader(queues, reach.pumps, evidence)
        self.protocol = ProtocolReader(graph, evidence, vocabulary)
        self.signatures = SignatureReader(graph, evidence)
        self.proof = ProofReader(graph, vocabulary, data)

    def read(self, members: list[tuple[Lane, Group]], side: Iterable[Hop]) -> list[tuple[Lane, Group]]:
        """Return the lanes with their misuses, aids and bounds; ``side`` are the hops of events beside the others."""
        beside = self._homes(members, [hop for hop in side if hop.sink is not None])
        return [
            (self._read(lane, group, beside[index]) if lane.provider == "openai" else lane, group)
            for index, (lane, group) in enumerate(members)
        ]

    def _read(self, lane: Lane, group: Group, side: list[Hop]) -> Lane:
        if not any(self.evidence.context(hop) not in QUIET_CONTEXTS for hop in group.hops):
            return lane
        around = Surroundings(group, self.graph, self.evidence)
        misuses: list[Misuse] = [
            *self.turns.manual_commits(lane, side),
            *self.turns.audio_items(group.hops),
            *self.turns.cancels(side),
            *self.protocol.beta(group, around),
            *self.protocol.reconnects(around),
            *self.signatures.bad_calls(group.hops),
        ]
        misuses.sort(key=lambda misuse: (misuse.path, misuse.line, misuse.column, misuse.kind))
        return msgspec.structs.replace(
            lane,
            queues=tuple(self._with_bound(queue) for queue in lane.queues),
            misuses=tuple(misuses),
            aids=tuple(self.proof.read(lane, group, around)),
        )

    def _with_bound(self, queue: Queue) -> Queue:
        overflow, waits = self.bounds.read(queue)
        return msgspec.structs.replace(queue, overflow=overflow, waits=waits)

    # -- which lane an event beside the others belongs to

    def _homes(self, members: list[tuple[Lane, Group]], hops: list[Hop]) -> list[list[Hop]]:
        """Return, for each lane, the hops whose function or callers are the lane's."""
        lanes: dict[Node, set[int]] = {}
        files: dict[str, set[int]] = {}
        for index, (_, group) in enumerate(members):
            for func in [*(hop.func for hop in group.hops), *(config.func for config in group.configs)]:
                lanes.setdefault(node_of(func), set()).add(index)
                files.setdefault(func.module.rel, set()).add(index)
        found: list[list[Hop]] = [[] for _ in members]
        for hop in hops:
            if hop.sink is None or hop.sink.provider != "openai":
                continue
            for index in self._climb(hop.func, lanes) or files.get(hop.func.module.rel, set()):
                found[index].append(hop)
        return found

    def _climb(self, func: Func, lanes: dict[Node, set[int]]) -> set[int]:
        """Return the lanes of the nearest functions that lead here."""
        seen = {func}
        level = [func]
        while level and len(seen) < _MAX_CLIMB:
            here = {index for each in level for index in lanes.get(node_of(each), ())}
            if here:
                return here
            above: list[Func] = []
            for each in level:
                if self.reach.entry_of(each) is not None:
                    continue
                for edge in self.graph.calls_of(each):
                    if edge.kind != "escape" and edge.caller.index != 0 and edge.caller not in seen:
                        seen.add(edge.caller)
                        above.append(edge.caller)
            level = above
        return set()
