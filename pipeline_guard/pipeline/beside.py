"""Speech beside Realtime: puts every engine and TwiML verb into the lane in whose calls it runs, or into none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.grouping import Group
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import Lane, Site, in_order
from pipeline_guard.pipeline.text_trace import Fate, fate, fate_at
from pipeline_guard.pipeline.transcripts import TranscriptReader
from pipeline_guard.pipeline.twiml import Verb
from pipeline_guard.pipeline.twiml_files import TwimlFiles
from pipeline_guard.program.calls import CallGraph, Edge
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.flow import held, meet
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.switches import Switches

# Function → the operations in it that lead on, each with the call (two calls of one ``gather`` are two ways).
Above = dict[Func, set[tuple[int, int]]]
_MAX_CHAIN = 20
_CORE = frozenset({"audio_send", "response_create"})
_DURING = frozenset({"live", "unknown", "startup"})


class _Home(msgspec.Struct):
    """A lane of Realtime: its functions with all that leads to them, its files, what holds for each of its sends."""

    lane: Lane
    above: Above
    files: set[str]
    modes: list[dict[str, bool]]
    sites: list[Site] = msgspec.field(default_factory=list)


class Beside:
    """Attaches sites of other engines to lanes."""

    def __init__(
        self,
        graph: CallGraph,
        reach: Reachability,
        evidence: Evidence,
        transcripts: TranscriptReader,
        is_marked: Callable[[Func], bool],
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.evidence = evidence
        self.transcripts = transcripts
        self.is_marked = is_marked
        self.switches = Switches(graph.evaluator, transcripts.vocabulary.switches, transcripts.vocabulary.no_switches)
        self._fates: dict[int, Fate] = {}
        self._above: dict[tuple[Func, int], Above] = {}
        self._implied: dict[Func, list[Edge]] = {}
        for edges in graph.implied.values():
            for edge in edges:
                self._implied.setdefault(edge.callee, []).append(edge)

    def attach(
        self, members: list[tuple[Lane, Group]], hops: list[Hop], verbs: list[Verb], files: TwimlFiles
    ) -> tuple[tuple[Lane, ...], tuple[Site, ...]]:
        """Return the lanes with the sites that belong to them, and the sites that belong to no lane."""
        homes = [self._home(lane, group) for lane, group in members]
        own = [home for home in homes if home.lane.provider == "openai"]
        outside: list[Site] = []
        for hop in hops:
            site = self._site(hop)
            self._place(site, own, outside, self._same_call(hop, own) if site.context in _DURING else None)
        for verb in verbs if own else ():  # without a session that speaks, TwiML is simply how this backend talks
            site = self._verb_site(verb)
            here = [home for home in own if site.path in home.files]
            listens = verb.kind == "twiml_transcription"
            if not here and (listens or site.beside is not None or site.context == "dormant"):
                here = self._nearest(site, own) or own
            (here[0].sites if here else outside).append(site)
        for site in files.sites() if own else ():
            (self._nearest(site, own) or own)[0].sites.append(site)
        lanes = tuple(
            msgspec.structs.replace(home.lane, sites=in_order((*home.lane.sites, *home.sites)))
            if home.sites
            else home.lane
            for home in homes
        )
        return lanes, in_order(outside)

    def _place(self, site: Site, homes: list[_Home], outside: list[Site], together: list[_Home] | None) -> None:
        """Give a site to the lanes that share its calls; what runs outside any call, to the lane it stands next to."""
        found = together if together is not None else self._nearest(site, homes)
        for home in found:
            home.sites.append(site)
        if not found:
            outside.append(site)

    @staticmethod
    def _nearest(site: Site, homes: list[_Home]) -> list[_Home]:
        same = [home for home in homes if site.path in home.files]
        if same or len(homes) < 2:
            return (same or homes)[:1]
        best: list[_Home] = []
        depth = 0
        for home in homes:
            shared = max((_shared_folders(site.path, path) for path in home.files), default=0)
            if shared > depth:
                best, depth = [home], shared
            elif shared == depth and shared:
                best.append(home)
        return best if len(best) == 1 else []

    # -- which calls

    def _home(self, lane: Lane, group: Group) -> _Home:
        above: Above = {}
        files = {site.path for site in lane.sites}
        places = [(hop.func, hop.op) for hop in group.hops if self.evidence.context(hop) != "dormant"]
        places += [(config.func, config.op or 0) for config in group.configs]
        for func, op in places:
            for caller, ops in self._leading_to(func, op).items():
                above.setdefault(caller, set()).update(ops)
        modes = [
            self._mode(hop.func, hop.op)
            for hop in group.hops
            if hop.sink is not None and hop.kind in _CORE and self.evidence.context(hop) != "dormant"
        ]
        return _Home(lane, above, files, modes)

    def _leading_to(self, func: Func, op: int) -> Above:
        """Return the functions from which an operation is reached, each with the operations that lead there."""
        key = (func, op)
        if key in self._above:
            return self._above[key]
        above: Above = {func: {(op, 0)}}
        queue = deque([func])
        done: set[Func] = set()
        while queue:
            current = queue.popleft()
            if current in done or self.reach.entry_of(current) is not None:
                continue
            done.add(current)
            for edge in (*self.graph.incoming.get(current, ()), *self._implied.get(current, ())):
                caller = edge.caller
                if caller.index == 0 or edge.kind in ("escape", "job") or is_test(caller.module):
                    continue
                above.setdefault(caller, set()).add((edge.op, id(edge.site)))
                queue.append(caller)
        self._above[key] = above
        return above

    def _same_call(self, hop: Hop, homes: list[_Home]) -> list[_Home]:
        """Return the lanes of which one call can pass both the lane's own sites and this one."""
        mine = self._leading_to(hop.func, hop.op)
        mode = self._mode(hop.func, hop.op)
        found = []
        for home in homes:
            if home.modes and all(_conflict(mode, other) for other in home.modes):
                continue  # one call works in one mode: whoever chooses this engine has not chosen the session
            shared = [func for func in mine if func in home.above]
            together = any(
                one != other
                and meet(func, one[0], other[0])
                and not self._one_after_other(func, one[0], other[0], hop.kind)
                for func in shared
                for one in mine[func]
                for other in home.above[func]
            )
            if together or not self._consumers(mine).isdisjoint(self._consumers(home.above)):
                found.append(home)
        return found

    def _consumers(self, above: Above) -> set[Class]:
        """Return the classes of which a framework makes one object for each call, and calls its methods."""
        found = set()
        for func in above:
            entry = self.reach.entry_of(func)
            if entry is not None and entry.context == "live" and func.cls is not None:
                found.add(func.cls)
        return found

    def _one_after_other(self, func: Func, one: int, session: int, kind: str) -> bool:
        """Say whether an engine cannot run while a session does: a call at ``session`` stays until that is over.

        A voice that speaks before the session opens counts all the same.
        """
        if kind == "tts" and one < session:
            return False
        edges = [edge for edge in self.graph.outgoing.get(func, ()) if edge.op == session]
        return any(
            edge.kind == "call" and edge.callee.ir.is_async and self.reach.pumps.runs_stream(edge.callee)
            for edge in edges
        ) and not any(edge.kind in ("task", "thread", "executor") for edge in edges)

    def _mode(self, func: Func, op: int) -> dict[str, bool]:
        """Return what must hold of attributes and settings for an operation to run, here and on the only way up."""
        facts: dict[str, bool] = {}
        places = [(func, op)]
        for _ in range(_MAX_CHAIN):
            here = [_lasting(current, held(current, place)) for current, place in places]
            common = {key: value for key, value in here[0].items() if all(other.get(key) is value for other in here)}
            facts = {**common, **facts}
            current = places[0][0]
            if self.reach.entry_of(current) is not None:
                break
            edges = [
                edge
                for edge in self.graph.incoming.get(current, ())
                if edge.kind != "escape" and self.reach.reached(edge.caller, edge.op) == "live"
            ]
            if len({edge.caller for edge in edges}) != 1 or edges[0].caller is current:
                break
            places = [(edge.caller, edge.op) for edge in edges]
        return facts

    # -- sites

    def _site(self, hop: Hop) -> Site:
        func = hop.func
        names = sorted({sink.engine for sink in hop.sinks})
        text = self._fate(hop) if hop.kind == "stt" else None
        return Site(
            kind=hop.kind,  # type: ignore[arg-type]
            role="primitive" if hop.sink is not None else "call",
            path=func.module.rel,
            line=hop.line,
            end_line=hop.end_line,
            column=hop.column,
            symbol=func.symbol,
            context=self.evidence.context(hop),
            engine=" or ".join(names),
            provider="",
            note="; ".join(note for note in (hop.note, self.evidence.why_dormant(hop)) if note),
            confidence=self.evidence.confidence(hop),
            reached_from=self.evidence.path(hop),
            callee=hop.edge.callee.place if hop.edge is not None else None,
            value=text.value if text is not None else None,
            effects=text.effects if text is not None else (),
            flag=self._flag(hop.func, hop.op),
            marked=self.is_marked(func),
        )

    def _fate(self, hop: Hop) -> Fate:
        """Return where the text of what a hop leads to goes; "feeds_back" of one engine decides for all."""
        if hop.edge is not None and any(op.kind == "return" and op.value is not None for op in hop.edge.callee.ir.ops):
            return fate_at(self.transcripts, hop.func, hop.op, hop.sinks[0])
        fates = []
        for sink in hop.sinks:
            if id(sink) not in self._fates:
                self._fates[id(sink)] = fate(self.transcripts, sink)
            fates.append(self._fates[id(sink)])
        return next((f for value in ("feeds_back", "unknown") for f in fates if f.value == value), fates[0])

    def _flag(self, func: Func, op: int) -> str | None:
        """Return the setting that must be changed before an operation runs, here or on the only way that leads here."""
        switch = self.switches.off(func, op)
        current = func
        for _ in range(_MAX_CHAIN):
            if switch is not None:
                return switch
            if self.reach.entry_of(current) is not None:
                return None
            edges = [edge for edge in self.graph.incoming.get(current, ()) if edge.kind != "escape"]
            edges = [edge for edge in edges if not is_test(edge.caller.module)]
            if len(edges) != 1:
                return None
            switch = self.switches.off(edges[0].caller, edges[0].op)
            current = edges[0].caller
        return None

    def _verb_site(self, verb: Verb) -> Site:
        func = verb.func
        return Site(
            kind=verb.kind,  # type: ignore[arg-type]
            path=func.module.rel,
            line=verb.line,
            end_line=verb.end_line,
            column=verb.column,
            symbol=func.symbol,
            context=self.evidence.context_at(func, verb.op, None, verb.kind),
            engine="twilio",
            value="dtmf" if verb.kind == "twiml_gather" and not verb.listens else verb.value,
            provider="",
            note="; ".join(part for part in (_told(verb), self.evidence.why_never(func, verb.op)) if part),
            beside="update" if verb.update else None if verb.beside is None else "before" if verb.first else "after",
            flag=self._flag(func, verb.op),
            confidence=verb.confidence,
            reached_from=self.evidence.path_to(func, verb.line),
        )


def _lasting(func: Func, facts: dict[str, bool]) -> dict[str, bool]:
    """Return the facts that mean the same in other functions: of attributes of an object, and of settings."""
    owner = func.owner_class
    name = f"{owner.name}." if owner is not None else ""
    return {
        text.replace("self.", name): value
        for text, value in facts.items()
        if (name and text.startswith("self.")) or text.partition(".")[0].isupper() or text.startswith("settings.")
    }


def _conflict(one: dict[str, bool], other: dict[str, bool]) -> bool:
    """Say whether two modes exclude each other: a test with both outcomes, or one thing equal to two constants."""
    for text, value in one.items():
        if other.get(text, value) is not value:
            return True
        left, sign, _ = text.partition(" == ")
        if sign and value and any(t != text and v and t.startswith(f"{left} == ") for t, v in other.items()):
            return True
    return False


def _told(verb: Verb) -> str:
    parts = []
    if verb.beside is not None:
        parts.append(f"{'before' if verb.first else 'after'} the <Stream> in line {verb.beside}")
    if verb.update:
        parts.append("sent to a running call")
    if verb.listens and verb.kind in ("twiml_gather", "twiml_transcription"):
        parts.append("listens to speech")
    return "; ".join(parts)


def _shared_folders(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if left != right:
            break
        count += 1
    return count
