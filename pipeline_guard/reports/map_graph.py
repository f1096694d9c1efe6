"""The pipeline map as nodes and edges, which the diagram formats only have to spell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipeline_guard.pipeline.model import Lane, PipelineMap, Step
from pipeline_guard.reports import other_speech, words
from pipeline_guard.reports.lane_parts import audio_path, callers_with_causes
from pipeline_guard.reports.other_speech import Row
from pipeline_guard.reports.terminal import clean, count, place

Shape = Literal["entry", "function", "queue", "service", "session", "engine"]
# "aside": it runs, but in no call of the lane.
Look = Literal["plain", "duplicate", "dormant", "aside"]
_LOOKS: dict[str, Look] = {"running": "plain", "aside": "aside", "idle": "dormant"}


@dataclass(frozen=True)
class Node:
    """A box with one or more lines of text."""

    id: str
    lines: tuple[str, ...]
    shape: Shape
    look: Look


@dataclass(frozen=True)
class Edge:
    """An arrow between two boxes, perhaps with words on it."""

    source: str
    target: str
    label: str = ""


@dataclass
class Cluster:
    """One lane: a frame around its boxes."""

    id: str
    title: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)


def clusters(pipeline_map: PipelineMap) -> list[Cluster]:
    """Return a cluster per lane."""
    return [_LaneGraph(index, lane).build() for index, lane in enumerate(pipeline_map.lanes)]


class _LaneGraph:
    """Collects the boxes of a lane; what stands at one place is one box, whatever roles it plays."""

    def __init__(self, index: int, lane: Lane) -> None:
        self.lane = lane
        self.cluster = Cluster(f"lane{index}", f"{clean(lane.name)} ({clean(words.provider(lane))})")
        self.ids: dict[tuple[str, ...], str] = {}

    def build(self) -> Cluster:
        service = self.node(("service",), (words.provider(self.lane),), "service")
        sources = self.audio_sources()
        self.audio_senders(service, sources)
        self.triggers(service)
        for session in self.lane.sessions:
            lines = (session.symbol, place(session.path, session.line), words.SESSION_VALUES[session.value])
            self.edge(self.node(("session", session.path, str(session.line)), lines, "session"), service, "session")
        self.other_speech(service, sources)
        return self.cluster

    def node(self, key: tuple[str, ...], lines: tuple[str, ...], shape: Shape, look: Look = "plain") -> str:
        if key not in self.ids:
            self.ids[key] = f"{self.cluster.id}n{len(self.ids)}"
            cleaned = tuple(clean(line) for line in lines if line)
            self.cluster.nodes[self.ids[key]] = Node(self.ids[key], cleaned, shape, look)
        return self.ids[key]

    def edge(self, source: str, target: str, label: str = "") -> None:
        if source != target:
            self.cluster.edges[Edge(source, target, clean(label))] = None

    def function(self, step: Step, shape: Shape = "function") -> str:
        return self.node((step.path, step.symbol), (step.symbol, place(step.path, step.line)), shape)

    def audio_sources(self) -> list[str]:
        """Add entry points and frame handlers; return the boxes that audio comes out of."""
        entries = [self.function(step, "entry") for step in self.lane.entry_points]
        handlers = [self.function(step) for step in self.lane.frame_handlers]
        for entry in entries:
            for handler in handlers:
                self.edge(entry, handler)
        return handlers or entries

    def audio_senders(self, service: str, sources: list[str]) -> None:
        path = audio_path(self.lane)
        # Senders come first: a function that also writes or reads a queue keeps the look it has as a sender.
        boxes: dict[str, list[str]] = {}
        for sender in self.lane.senders:
            look: Look = (
                "plain" if sender in path.senders else "dormant" if sender.context == "dormant" else "duplicate"
            )
            lines = (sender.symbol, place(sender.path, sender.line))
            box = self.node((sender.path, sender.symbol), lines, "function", look)
            boxes.setdefault(sender.queue or "", []).append(box)
            self.edge(box, service, "audio")
        fed: set[str] = set()
        for queue in (*path.queues, *path.extra_queues):
            extra: Look = "plain" if queue in path.queues else "duplicate"
            lines = (queue.name, f"{queue.type} {place(queue.path, queue.line)}")
            box = self.node(("queue", queue.path, str(queue.line), queue.name), lines, "queue", extra)
            for producer in queue.producers:
                self.edge(self.function(producer), box, "put")
            for consumer in queue.consumers:
                self.edge(box, self.function(consumer), "get")
            for source in sources if not queue.producers else ():
                self.edge(source, box, "put")
            for sender_box in boxes.get(queue.name, ()) if not queue.consumers else ():
                self.edge(box, sender_box, "get")
            fed.add(queue.name)
        for name, unfed in boxes.items():
            for source in sources if name not in fed else ():
                for box in unfed:
                    self.edge(source, box)

    def triggers(self, service: str) -> None:
        for trigger in self.lane.triggers:
            look: Look = "plain" if trigger.canonical else "dormant" if trigger.context == "dormant" else "duplicate"
            guard = {
                "none": "no guard",
                "active_checked": "active response checked",
                "pending_set": "pending marker set",
            }
            lines = (trigger.symbol, place(trigger.path, trigger.line), guard.get(trigger.guard, trigger.guard))
            box = self.node(("trigger", trigger.path, trigger.symbol), lines, "function", look)
            self.edge(box, service, "response.create")
            for step, cause in callers_with_causes(trigger, self.lane):
                self.edge(self.function(step), box, cause)

    def other_speech(self, service: str, sources: list[str]) -> None:
        """Add what else listens and speaks; what does not run in the call as the code stands has no arrows."""
        rows = other_speech.by_engine(other_speech.own_places(self.lane.sites)[0])
        boxes = [(row, self.engine(row)) for row in rows]
        running = [(row, box) for row, box in boxes if other_speech.standing(row.first) == "running"]
        for row, box in running:
            if row.first.kind == "stt":
                self.recogniser(row, box, service, sources)
        verbs = [(row.first, box) for row, box in running if row.first.kind != "stt"]
        if not verbs:
            return
        caller = self.node(("caller",), ("the caller",), "entry")
        before = [box for site, box in verbs if site.beside == "before"]
        for step in self.lane.entry_points:
            for box in before or [caller]:
                self.edge(box, self.function(step, "entry"), "then the stream" if before else "")
        for site, box in verbs:
            if box in before or site.kind in other_speech.LISTENS:
                self.edge(caller, box)
            else:
                self.edge(box, caller, "voice")

    def engine(self, row: Row) -> str:
        """Add the box of an engine, or of a TwiML verb, in one context."""
        site = row.first
        twiml = site.kind.startswith("twiml")
        stands = words.one_setting_away(site.flag) if site.flag else words.BESIDE.get(site.beside or "", "")
        lines = (
            "" if twiml else site.engine or "",
            words.ENGINE_KINDS[site.kind],
            count(len(row.sites), "place") if len(row.sites) > 1 else place(site.path, site.line),
            ", ".join(part for part in (other_speech.when(site), stands) if part),
        )
        return self.node(("engine", site.kind, *lines), lines, "engine", _LOOKS[other_speech.standing(site)])

    def recogniser(self, row: Row, box: str, service: str, sources: list[str]) -> None:
        for source in sources:
            self.edge(source, box, "audio")
        values = {site.value for site in row.sites}
        if "feeds_back" in values:
            self.edge(box, service, words.TEXT_GOES["feeds_back"])
        if "log_only" in values:
            self.edge(box, self.node(("kept",), (words.TEXT_GOES["log_only"],), "session"))
