"""Describes the audio side of a lane: its queues, its senders, who takes the caller's frames, and their sites."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.config import Contract
from pipeline_guard.facts import ir
from pipeline_guard.pipeline.audio import AudioReader, AudioSender
from pipeline_guard.pipeline.evidence import Evidence, first_running, step_at
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import Context, Kind, Queue, Role, Sender, Site, Step
from pipeline_guard.pipeline.queues import QueueIndex, QueueKey
from pipeline_guard.program.code import Func
from pipeline_guard.program.reach import Reachability


class AudioDescriber:
    """Turns what the audio reader found into the nouns of the model."""

    def __init__(
        self, audio: AudioReader, reach: Reachability, queues: QueueIndex, evidence: Evidence, contract: Contract
    ) -> None:
        self.audio = audio
        self.reach = reach
        self.queues = queues
        self.evidence = evidence
        self.contract = contract

    def parts(self, hops: list[Hop]) -> tuple[list[AudioSender], list[tuple[QueueKey, Queue]]]:
        """Return the senders, the canonical one first, and the audio queues, the one queue first."""
        senders = self.audio.read(hops)
        for sender in senders:
            if sender.queue is not None and self.queues.is_starved(sender.queue):
                name = self._queue(sender.queue, 0).name
                self.evidence.starve(sender.hops, f"nothing is ever put on {name}")
        live = [s for s in senders if any(self.evidence.context(hop) != "dormant" for hop in s.hops)]
        senders.sort(key=lambda s: (s not in live, not self._is_contract_sender(s), s.queue is None, not s.loop))
        direct = [s.queue for s in senders if s.queue is not None]
        keys = list(dict.fromkeys([*direct, *(early for key in direct for early in self.audio.queues_before(key))]))
        keys.sort(key=lambda key: not any(map(self._is_contract_queue, self.queues.queues[key].names)))
        return senders, [(key, self._queue(key, index)) for index, key in enumerate(keys)]

    def _is_contract_sender(self, sender: AudioSender) -> bool:
        wanted = self.contract.sender or "audio_sender_loop"
        return wanted in (sender.func.name, sender.func.symbol)

    def _is_contract_queue(self, name: str) -> bool:
        wanted = self.contract.queue
        return wanted is not None and (name == wanted or name.endswith(f".{wanted}"))

    def _queue(self, key: QueueKey, index: int) -> Queue:
        info = self.queues.queues[key]
        bounded = None
        if info.type.endswith(("Queue", "deque")):
            bounded = bool(info.call.args or any(k.name in ("maxsize", "maxlen") for k in info.call.keywords))
        name = sorted(info.names or {info.type}, key=lambda text: (not self._is_contract_queue(text), len(text), text))[
            0
        ]
        return Queue(
            name=name,
            path=info.func.module.rel,
            line=info.call.line,
            symbol=info.func.symbol,
            type=info.type,
            bounded=bounded,
            carries="audio",
            context=self.reach.context(info.func, info.op if info.func.ir.ops else None),
            producers=tuple(step_at(put.func, put.call.line, "put") for put in self.queues.puts.get(key, ())),
            consumers=tuple(step_at(get.func, get.call.line, "get") for get in self.queues.gets.get(key, ())),
            extra=index > 0,
        )

    def sender(
        self, entry: AudioSender, index: int, senders: list[AudioSender], queues: list[tuple[QueueKey, Queue]]
    ) -> Sender:
        """Describe sender number ``index`` of a lane."""
        context = first_running(self.evidence.context(hop) for hop in entry.hops)
        name = next((queue.name for key, queue in queues if key == entry.queue), None)
        shared = {func for other in senders if other is not entry for func in other.below}
        rival = index > 0 and context != "dormant" and self.audio.rivals(senders[0], entry)
        return Sender(
            symbol=entry.func.symbol,
            path=entry.func.module.rel,
            line=entry.func.ir.line,
            end_line=entry.func.ir.end_line,
            context=context,
            loop=entry.loop,
            canonical=index == 0 and context != "dormant",
            queue=name,
            sites=tuple(step_at(hop.func, hop.line) for hop in entry.hops),
            sends=tuple(step_at(hop.func, hop.line) for hop in entry.sends(shared)),
            starts=tuple(step_at(edge.caller, edge.line, edge.kind) for edge in entry.starts),
            restarts=tuple(step_at(edge.caller, edge.line, edge.kind) for edge in entry.restarts),
            rival=rival,
            takes_frames=entry.takes_frames,
        )

    def frame_handlers(self, senders: list[AudioSender]) -> Iterable[Step]:
        """Yield the places at which the caller's frames are taken."""
        seen: set[tuple[str, int]] = set()
        for sender in senders:
            places = [(sender.func, hop.line) for hop in sender.hops] if sender.takes_frames else []
            if sender.queue is not None:
                places = [(put.func, put.call.line) for put in self.queues.puts.get(sender.queue, ())]
            for func, line in places:
                if (func.module.rel, line) not in seen:
                    seen.add((func.module.rel, line))
                    yield step_at(func, line)

    # -- sites

    def queue_sites(self, queues: list[tuple[QueueKey, Queue]]) -> Iterable[Site]:
        """Yield the sites of the queues, their puts and their gets."""
        for key, queue in queues:
            info = self.queues.queues[key]
            yield _plain("audio_queue", info.func, info.call, queue.context, None)
            for put in self.queues.puts.get(key, ()):
                yield _plain("queue_put", put.func, put.call, self.reach.context(put.func, put.op), None)
            for get in self.queues.gets.get(key, ()):
                yield _plain("queue_get", get.func, get.call, self.reach.context(get.func, get.op), None)

    def loop_sites(self, senders: list[AudioSender]) -> Iterable[Site]:
        """Yield the sender loops and where they are started."""
        for sender in senders:
            if not sender.loop or sender.queue is None:
                continue
            func = sender.func
            place = ir.Call(ir.Name(func.name), [], [], func.ir.line, func.ir.line, 1)
            yield _plain("sender_loop", func, place, self.reach.context(func), "loop")
            for edge in sender.starts:
                if edge.site is not None:
                    yield _plain(
                        "sender_loop", edge.caller, edge.site, self.reach.context(edge.caller, edge.op), "start"
                    )


def _plain(kind: Kind, func: Func, call: ir.Call, context: Context, role: Role | None) -> Site:
    return Site(
        kind=kind, role=role, path=func.module.rel, line=call.line, end_line=call.end_line,
        column=call.column, symbol=func.symbol, context=context,
    )  # fmt: skip
