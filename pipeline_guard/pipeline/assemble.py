"""Puts lanes together: describes each group of sites as a lane, with its canonical parts and who answers a turn."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline_guard.config import Contract
from pipeline_guard.facts import ir
from pipeline_guard.pipeline.apps import Apps
from pipeline_guard.pipeline.audio import AudioReader
from pipeline_guard.pipeline.chains import Chains
from pipeline_guard.pipeline.conduct import Conduct, ConductReader
from pipeline_guard.pipeline.describe_audio import AudioDescriber
from pipeline_guard.pipeline.evidence import Evidence, first_running, step_at
from pipeline_guard.pipeline.gate.reader import GateReader
from pipeline_guard.pipeline.grouping import Group, Grouping, node_of
from pipeline_guard.pipeline.guards import GuardSites
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.model import (
    QUIET_CONTEXTS,
    Context,
    Gap,
    Lane,
    Sender,
    Session,
    Site,
    Step,
    Trigger,
    in_order,
)
from pipeline_guard.pipeline.policy import decide_policy
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.pipeline.sessions import MINTED, UNREADABLE, Config
from pipeline_guard.pipeline.triggers import Cause, GuardReader, TriggerReader
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.vocabulary import Vocabulary

_TRIGGER_NAMES = ("trigger_response", "request_response", "create_response", "response_create")


class Assembler:
    """Turns hops and session configurations into lanes."""

    def __init__(
        self,
        graph: CallGraph,
        reach: Reachability,
        chains: Chains,
        queues: QueueIndex,
        vocabulary: Vocabulary,
        apps: Apps,
        relays: Iterable[Func] = (),
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.apps = apps
        self.contract = apps.common
        self.gaps: list[Gap] = []
        self.evidence = Evidence(graph, reach)
        self.audio = AudioReader(graph, reach, chains, queues)
        self.describer = AudioDescriber(self.audio, reach, queues, self.evidence, apps.common)
        self.triggers = TriggerReader(graph, reach, chains, vocabulary)
        self.guards = GuardReader(vocabulary)
        self.guard_sites = GuardSites(self.guards, self.evidence)
        self.guard_names: frozenset[str] = frozenset()
        self.gate_readers: dict[frozenset[str], GateReader] = {}
        self.vocabulary = vocabulary
        self.conduct = ConductReader(graph, reach, self.guards, chains.hops, relays)

    def lanes(self, hops: list[Hop], configs: list[Config]) -> list[tuple[Lane, Group]]:
        """Return the lanes, those with live sites first, each with what it was made of."""
        self.note_gaps(hops, configs)
        causes = self.triggers.read([hop for hop in hops if hop.kind == "response_create"])
        grouping = Grouping(self.graph, self.reach, self.evidence, self.apps)
        lanes = [
            (self._lane_under(self.apps.contract(group.app), provider, group, causes), group)
            for provider, group in grouping.groups(hops, configs)
        ]
        names: dict[str, int] = {}
        result: list[tuple[Lane, Group]] = []
        for lane, group in sorted(lanes, key=lambda entry: _lane_order(entry[0])):
            count = names[lane.name] = names.get(lane.name, 0) + 1
            named = lane if count == 1 else msgspec.structs.replace(lane, name=f"{lane.name} ({count})")
            result.append((named, group))
        return result

    # -- what could not be told

    def note_gaps(self, hops: list[Hop], configs: list[Config]) -> None:
        """Record calls that may lead to a sink but whose receiver is unknown, and settings that could not be read."""
        leading = {hop.edge.callee for hop in hops if hop.edge is not None} | {hop.func for hop in hops}
        ordered = sorted(leading, key=lambda func: (func.module.rel, func.ir.line))
        names = {func.name: func for func in ordered if func.cls is not None}
        sites = {(hop.func.module.rel, hop.line) for hop in hops}
        for func, site in self.graph.unresolved:
            node = site.call.func
            target = names.get(node.name) if type(node) is ir.Attr else None
            place = (func.module.rel, site.call.line)
            if target is None or place in sites or is_test(func.module):
                continue
            sites.add(place)
            text = ir.source(node)
            detail = f"{text}() may be {target.symbol}(): what {text.rpartition('.')[0]} is could not be told"
            self.gaps.append(Gap(path=place[0], reason="unresolved-receiver", detail=detail, line=place[1]))
        for config in configs:
            if config.note == UNREADABLE:
                detail = "the settings of this session could not be read: who answers a turn is not known"
                path = config.func.module.rel
                self.gaps.append(Gap(path=path, reason="unresolved-configuration", detail=detail, line=config.line))

    # -- one lane

    def _lane_under(self, contract: Contract, provider: str, group: Group, causes: dict[int, Cause]) -> Lane:
        """Return the lane of a group, described by the contract that holds for its app."""
        self.contract = self.describer.contract = contract
        self.guard_names = frozenset({contract.active_response} if contract.active_response else ())
        if self.guard_names not in self.gate_readers:
            self.gate_readers[self.guard_names] = GateReader(self.graph, self.vocabulary, self.guard_names)
        self.conduct.declare(self.guard_names)
        lane = self._lane(provider, group.hops, group.configs, causes)
        if group.app is None:
            return lane
        own = tuple(step for step in lane.entry_points if self.apps.of_path(step.path) in (group.app, None))
        return msgspec.structs.replace(
            lane, app=group.app.name, name=f"{group.app.name}: {lane.name}", entry_points=own or lane.entry_points
        )

    def _lane(self, provider: str, hops: list[Hop], configs: list[Config], causes: dict[int, Cause]) -> Lane:
        if provider != "openai":
            return self._foreign_lane(provider, hops)
        # Where every update leaves turn detection out, the session runs on the default, and that decides.
        configs = [config for config in configs if not config.partial] or configs
        audio = [hop for hop in hops if hop.kind == "audio_send"]
        responses = [hop for hop in hops if hop.kind == "response_create"]
        senders, queues = self.describer.parts(audio)
        triggers = self._triggers(responses, causes)
        canonical = next((trigger for trigger in triggers if trigger.canonical), None)
        sites = [
            *(self._site(hop, None) for hop in audio),
            *(self._site(hop, causes[id(hop)]) for hop in responses),
            *(self._config_site(config) for config in configs),
            *self._config_calls([hop for hop in hops if hop.kind == "auto_response"], configs),
            *self.describer.queue_sites(queues),
            *self.describer.loop_sites(senders),
            *self.guard_sites.sites({hop.func for hop in hops}, self.guard_names),
        ]
        sessions = tuple(self._session(config) for config in configs)
        own = [session for config, session in zip(configs, sessions, strict=True) if config.note != MINTED]
        policy, source = decide_policy(own or sessions, sites, self.contract.normal_turn, canonical)
        return Lane(
            name=self._name(hops, configs),
            provider=provider,
            entry_points=self._entry_points(hops),
            frame_handlers=tuple(self.describer.frame_handlers(senders)),
            queues=tuple(queue for _, queue in queues),
            senders=tuple(self.describer.sender(entry, index, senders, queues) for index, entry in enumerate(senders)),
            triggers=tuple(triggers),
            sessions=sessions,
            sites=in_order(sites),
            double_turns=self.conduct.double_turns(self._running(responses), causes),
            endless=self.conduct.endless(hops, (self.contract.trigger or _TRIGGER_NAMES[0], *_TRIGGER_NAMES[1:])),
            policy=policy,
            policy_source=source,
        )

    def _foreign_lane(self, provider: str, hops: list[Hop]) -> Lane:
        """Return a lane of another service: shown, never judged by this contract."""
        senders = tuple(
            Sender(
                symbol=hop.func.symbol, path=hop.func.module.rel, line=hop.line, end_line=hop.end_line,
                context=self.evidence.context(hop), loop=hop.func.loop_of(hop.op) is not None, canonical=True,
            )
            for hop in hops
            if hop.kind == "audio_send" and hop.sink is not None
        )  # fmt: skip
        return Lane(
            name=self._name(hops, []), provider=provider, entry_points=self._entry_points(hops), senders=senders
        )

    def _site(self, hop: Hop, cause: Cause | None) -> Site:
        func = hop.func
        context = self.evidence.context(hop)
        guard = None
        if hop.kind == "response_create":
            guard = self._guard(hop)
        notes = [hop.note, hop.sink.note if hop.sink is not None else "", self.evidence.why_dormant(hop)]
        notes.append(cause.why if cause is not None else "")
        conduct = self.conduct.of(hop, cause) if cause is not None else Conduct()
        return Site(
            kind=hop.kind,  # type: ignore[arg-type]
            role="primitive" if hop.sink is not None else "call",
            path=func.module.rel,
            line=hop.line,
            end_line=hop.end_line,
            column=hop.column,
            symbol=func.symbol,
            context=context,
            trigger=cause.name if cause is not None else None,
            cause_here=cause is not None and cause.here,
            event=cause.event or None if cause is not None else None,
            guard=guard,
            note="; ".join(note for note in notes if note),
            confidence=self.evidence.confidence(hop),
            reached_from=self.evidence.path(hop),
            callee=hop.edge.callee.place if hop.edge is not None else None,
            leads_to=tuple(dict.fromkeys(sink.func.place for sink in hop.sinks)) if hop.sink is None else (),
            dropped=conduct.dropped,
            own_loop=conduct.own_loop,
            per_tool=conduct.per_tool,
            after_cancel=conduct.after_cancel,
        )

    def _running(self, hops: list[Hop]) -> list[Hop]:
        return [hop for hop in hops if self.evidence.context(hop) not in QUIET_CONTEXTS]

    def _guard(self, hop: Hop) -> str:
        """Return the strongest guard on the way from a hop down to its sends."""
        own = self.guards.guard(hop.func, hop.op, self.guard_names)
        if own != "none" or hop.sink is not None:
            return own
        below = {self.guards.guard(sink.func, sink.op, self.guard_names) for sink in hop.sinks}
        return below.pop() if len(below) == 1 else "none"

    def _config_site(self, config: Config) -> Site:
        func = config.func
        steps = self.evidence.path_to(func, config.line)
        return Site(
            kind="auto_response",
            path=func.module.rel,
            line=config.line,
            end_line=config.end_line,
            column=1,
            symbol=func.symbol,
            context=self._config_context(config),
            value=config.value,
            note=config.note,
            confidence="medium" if config.value == "dynamic" else "high",
            reached_from=steps,
        )

    def _config_calls(self, hops: list[Hop], configs: list[Config]) -> Iterable[Site]:
        values = {id(config.sink): config.value for config in configs if config.sink is not None}
        for hop in hops:
            found = {values[id(sink)] for sink in hop.sinks if id(sink) in values}
            if hop.sink is not None or not found or hop.edge is None or hop.edge.kind == "register":
                continue
            if not any(sink.func is hop.edge.callee for sink in hop.sinks):
                continue  # only the call of the function that configures: further up a call starts a session
            yield Site(
                kind="auto_response", role="call", path=hop.func.module.rel, line=hop.line, end_line=hop.end_line,
                column=hop.column, symbol=hop.func.symbol, context=self.evidence.context(hop),
                value=found.pop() if len(found) == 1 else "dynamic", confidence=self.evidence.confidence(hop),
                reached_from=self.evidence.path(hop),
            )  # fmt: skip

    def _session(self, config: Config) -> Session:
        return Session(
            symbol=config.func.symbol,
            path=config.func.module.rel,
            line=config.line,
            end_line=config.end_line,
            context=self._config_context(config),
            value=config.value,  # type: ignore[arg-type]
            text_only=config.text_only,
            one_tool=config.one_tool,
            idle_timeout=config.idle_timeout,
        )

    def _config_context(self, config: Config) -> Context:
        """Return the context of settings: that of the update which sends them, where they are only written down."""
        used = config.used_by
        if used is not None:
            return self.evidence.context_at(used.func, used.op, used)
        return self.evidence.context_at(config.func, config.op, config.sink)

    # -- responses

    def _triggers(self, hops: list[Hop], causes: dict[int, Cause]) -> list[Trigger]:
        """Return the functions that send ``response.create`` themselves, the canonical one first."""
        by_func: dict[Func, list[Hop]] = {}
        for hop in hops:
            if hop.sink is not None:
                by_func.setdefault(hop.func, []).append(hop)
        chosen = self._canonical(by_func)
        gates = self.gate_readers[self.guard_names]
        above: dict[Func, list[tuple[Hop, str]]] = {}
        for hop in hops:
            if self.evidence.context(hop) != "dormant":
                for callee in hop.callees:
                    above.setdefault(callee, []).append((hop, causes[id(hop)].name))
        found: list[Trigger] = []
        for func, own in sorted(by_func.items(), key=lambda item: item[0] is not chosen):
            callers = [hop for hop in hops if hop.edge is not None and hop.edge.callee is func]
            guards = {self._guard(hop) for hop in own}
            running = [hop for hop in own if self.evidence.context(hop) != "dormant"] or own
            gate = gates.read(func, running, above)
            if gate.checked and gate.pending:  # the check may stand behind a property or a helper
                guards = {"pending_set"}
            found.append(
                Trigger(
                    symbol=func.symbol,
                    path=func.module.rel,
                    line=func.ir.line,
                    end_line=func.ir.end_line,
                    context=first_running(self.evidence.context(hop) for hop in own),
                    guard="none" if "none" in guards else "active_checked" if len(guards) > 1 else guards.pop(),
                    canonical=func is chosen,
                    causes=tuple(sorted({causes[id(hop)].name for hop in (*own, *callers)})),
                    sites=tuple(step_at(hop.func, hop.line) for hop in own),
                    callers=tuple(step_at(hop.func, hop.line, causes[id(hop)].name) for hop in callers),
                    gate=gate,
                    text_only=all(gates.is_text_only(hop) for hop in running),
                    uncorrelated=tuple(self.conduct.uncorrelated(own)),
                    threads=next((t for hop in own if "none" not in guards for t in [self._threads(hop)] if t), ()),
                )
            )
        return found

    def _threads(self, hop: Hop) -> tuple[Step, ...]:
        return self.conduct.threads.of(hop.func, hop.op)

    def _canonical(self, by_func: dict[Func, list[Hop]]) -> Func | None:
        """Return *the* trigger: the one the contract names, else the only one, else one named and made for it."""
        live = [f for f, own in by_func.items() if any(self.evidence.context(hop) != "dormant" for hop in own)]
        wanted = self.contract.trigger
        if wanted is not None:
            return next((f for f in by_func if wanted in (f.name, f.symbol)), None)
        named = [f for f in live if f.name == "trigger_response"]
        if len(named) == 1:
            return named[0]
        if len(live) == 1:
            return live[0]
        guarded = [f for f in live if all(self._guard(hop) != "none" for hop in by_func[f])]
        candidates = [f for f in guarded if f.name.lstrip("_") in _TRIGGER_NAMES] or [
            f for f in live if f.name.lstrip("_") in _TRIGGER_NAMES
        ]
        return candidates[0] if len(candidates) == 1 else None

    # -- names and entry points

    def _entry_points(self, hops: list[Hop]) -> tuple[Step, ...]:
        found: dict[Func, Step] = {}
        for hop in hops:
            for func in self.audio.entries(hop.func):
                entry = self.reach.entry_of(func)
                if entry is not None and entry.context != "test":
                    found[func] = Step(func.module.rel, func.ir.line, func.symbol, entry.note)
        return tuple(sorted(found.values(), key=lambda step: (step.path, step.line)))

    def _name(self, hops: list[Hop], configs: list[Config]) -> str:
        """Return the name of a lane: the class or outermost function in which most of its sites stand."""
        count: dict[str, int] = {}
        for func in [*(hop.func for hop in hops), *(config.func for config in configs)]:
            path, name = node_of(func)
            label = f"{path}:{name}" if name else path
            count[label] = count.get(label, 0) + 1
        return max(count, key=lambda label: (count[label], label))


def _lane_order(lane: Lane) -> tuple[bool, bool, int, str]:
    live = any(site.context not in ("dormant", "example") for site in lane.sites)
    return (lane.provider != "openai", not live, -len(lane.sites), lane.name)
