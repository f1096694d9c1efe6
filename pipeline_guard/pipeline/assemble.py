"""Puts lanes together: which sites meet in one call of one app, and what the canonical parts of each lane are."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_guard.config import Contract
from pipeline_guard.facts import ir
from pipeline_guard.pipeline.audio import AudioReader, AudioSender
from pipeline_guard.pipeline.chains import Chains, Hop
from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.guards import GuardSites
from pipeline_guard.pipeline.model import Confidence, Context, Gap, Lane, Queue, Sender, Session, Site, Step, Trigger
from pipeline_guard.pipeline.policy import decide_policy
from pipeline_guard.pipeline.queues import QueueIndex, QueueKey
from pipeline_guard.pipeline.sessions import UNREADABLE, Config
from pipeline_guard.pipeline.triggers import Cause, GuardReader, TriggerReader
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.places import is_test
from pipeline_guard.program.reach import Reachability
from pipeline_guard.vocabulary import Vocabulary

Node = tuple[str, str]
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
        contract: Contract,
    ) -> None:
        self.graph = graph
        self.reach = reach
        self.queues = queues
        self.contract = contract
        self.gaps: list[Gap] = []
        self.evidence = Evidence(graph, reach)
        self.audio = AudioReader(graph, reach, chains, queues)
        self.triggers = TriggerReader(graph, reach, chains, vocabulary)
        self.guards = GuardReader(graph, vocabulary)
        self.guard_sites = GuardSites(graph, vocabulary, self.guards, self.evidence)
        names = {contract.active_response} if contract.active_response else set()
        self.guard_names = frozenset(names)
        self._parent: dict[Node, Node] = {}

    def lanes(self, hops: list[Hop], configs: list[Config]) -> tuple[Lane, ...]:
        """Return the lanes, those with live sites first."""
        self.note_gaps(hops, configs)
        causes = self.triggers.read([hop for hop in hops if hop.kind == "response_create"])
        self._connect(hops, configs)
        groups: dict[tuple[Node, str], tuple[list[Hop], list[Config]]] = {}
        for hop in hops:
            for provider in _providers(hop):
                groups.setdefault((self._find(_node(hop.func)), provider), ([], []))[0].append(hop)
        for entry in configs:
            provider = entry.sink.provider if entry.sink is not None else "openai"
            groups.setdefault((self._find(_node(entry.func)), provider), ([], []))[1].append(entry)
        merged = self._adopt(groups)
        lanes = [self._lane(provider, part[0], part[1], causes) for (_, provider), part in merged.items()]
        names: dict[str, int] = {}
        result: list[Lane] = []
        for lane in sorted(lanes, key=_lane_order):
            names[lane.name] = names.get(lane.name, 0) + 1
            result.append(lane if names[lane.name] == 1 else _renamed(lane, f"{lane.name} ({names[lane.name]})"))
        return tuple(result)

    # -- what could not be told

    def note_gaps(self, hops: list[Hop], configs: list[Config]) -> None:
        """Record calls that may lead to a sink but whose receiver is unknown, and settings that could not be read."""
        leading = {hop.edge.callee for hop in hops if hop.edge is not None} | {hop.func for hop in hops}
        names = {func.name: func for func in leading if func.cls is not None}
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

    # -- which sites belong together

    def _find(self, node: Node) -> Node:
        root = node
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        while self._parent[node] != root:
            self._parent[node], node = root, self._parent[node]
        return root

    def _union(self, one: Node, other: Node) -> None:
        self._parent[self._find(one)] = self._find(other)

    def _connect(self, hops: list[Hop], configs: list[Config]) -> None:
        for hop in hops:
            node = _node(hop.func)
            self._find(node)
            if hop.edge is not None:
                self._union(node, _node(hop.edge.callee))
            self._connect_family(hop.func)
            if hop.top or hop.sink is not None:
                self._connect_callers(hop.func)
        for config in configs:
            self._find(_node(config.func))
            self._connect_callers(config.func)
            self._connect_family(config.func)

    def _connect_callers(self, func: Func) -> None:
        """Join a function with whoever starts it, up to the entry point; module bodies start apps, not calls."""
        seen = {func}
        stack = [func]
        while stack:
            current = stack.pop()
            if self.reach.entry_of(current) is not None:
                continue
            for edge in self.graph.incoming.get(current, ()):
                caller = edge.caller
                if caller.index == 0 or caller in seen or edge.kind == "escape":
                    continue
                seen.add(caller)
                self._union(_node(current), _node(caller))
                stack.append(caller)

    def _connect_family(self, func: Func) -> None:
        cls = func.owner_class
        if cls is not None:
            for entry in self.graph.evaluator.mro(cls):
                if isinstance(entry, Class):
                    self._union(_class_node(cls), _class_node(entry))

    def _adopt(
        self, groups: dict[tuple[Node, str], tuple[list[Hop], list[Config]]]
    ) -> dict[tuple[Node, str], tuple[list[Hop], list[Config]]]:
        """Give groups without a live site to the lane of the same file, or to the only lane there is."""
        alive = {key: part for key, part in groups.items() if self._is_alive(part)}
        if not alive:
            return groups
        result = {key: (list(part[0]), list(part[1])) for key, part in alive.items()}
        for key, part in groups.items():
            if key in alive:
                continue
            files = {hop.func.module.rel for hop in part[0]} | {config.func.module.rel for config in part[1]}
            home = next(
                (
                    other
                    for other, kept in alive.items()
                    if other[1] == key[1] and files & {hop.func.module.rel for hop in kept[0]}
                ),
                None,
            )
            same = [other for other in alive if other[1] == key[1]]
            target = home or (same[0] if len(same) == 1 else None)
            if target is None:
                result[key] = part
            else:
                result[target][0].extend(part[0])
                result[target][1].extend(part[1])
        return result

    def _is_alive(self, part: tuple[list[Hop], list[Config]]) -> bool:
        return any(self.evidence.context(hop) != "dormant" for hop in part[0])

    # -- one lane

    def _lane(self, provider: str, hops: list[Hop], configs: list[Config], causes: dict[int, Cause]) -> Lane:
        if provider != "openai":
            return self._foreign_lane(provider, hops)
        audio = [hop for hop in hops if hop.kind == "audio_send"]
        responses = [hop for hop in hops if hop.kind == "response_create"]
        senders, queues = self._audio_parts(audio)
        triggers = self._triggers(responses, causes)
        canonical = next((trigger for trigger in triggers if trigger.canonical), None)
        sites = [
            *(self._site(hop, None) for hop in audio),
            *(self._site(hop, causes[id(hop)]) for hop in responses),
            *(self._config_site(config) for config in configs),
            *self._config_calls([hop for hop in hops if hop.kind == "auto_response"], configs),
            *self._queue_sites(queues),
            *self._loop_sites(senders),
            *self.guard_sites.sites({hop.func for hop in hops}, self.guard_names),
        ]
        sessions = tuple(self._session(config) for config in configs)
        policy, source = decide_policy(sessions, sites, self.contract.normal_turn, canonical)
        return Lane(
            name=self._name(hops, configs),
            provider=provider,
            entry_points=self._entry_points(hops),
            frame_handlers=tuple(self._frame_handlers(senders)),
            queues=tuple(queue for _, queue in queues),
            senders=tuple(self._sender(entry, index, senders, queues) for index, entry in enumerate(senders)),
            triggers=tuple(triggers),
            sessions=sessions,
            sites=tuple(sorted(_distinct(sites), key=lambda site: (site.path, site.line, site.kind, site.column))),
            policy=policy,  # type: ignore[arg-type]
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
            guard=guard,
            note="; ".join(note for note in notes if note),
            confidence=self._confidence(hop),
            reached_from=self.evidence.path(hop),
            callee=_place(hop.edge.callee) if hop.edge is not None else None,
            leads_to=tuple(dict.fromkeys(_place(sink.func) for sink in hop.sinks)) if hop.sink is None else (),
        )

    def _confidence(self, hop: Hop) -> Confidence:
        if hop.edge is not None and hop.edge.confidence == "low":
            return "low"
        return hop.confidence

    def _guard(self, hop: Hop) -> str:
        """Return the strongest guard on the way from a hop down to its sends."""
        own = self.guards.guard(hop.func, hop.op, self.guard_names)
        if own != "none" or hop.sink is not None:
            return own
        below = {self.guards.guard(sink.func, sink.op, self.guard_names) for sink in hop.sinks}
        return below.pop() if len(below) == 1 else "none"

    def _config_site(self, config: Config) -> Site:
        func = config.func
        steps = self.evidence.path_to(func, config.op, config.line)
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
                value=found.pop() if len(found) == 1 else "dynamic", confidence=self._confidence(hop),
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
        )

    def _config_context(self, config: Config) -> Context:
        """Return the context of settings: that of the update which sends them, where they are only written down."""
        used = config.used_by
        if used is not None:
            return self.evidence.context_at(used.func, used.op, used)
        return self.evidence.context_at(config.func, config.op, config.sink)

    # -- audio

    def _audio_parts(self, hops: list[Hop]) -> tuple[list[AudioSender], list[tuple[QueueKey, Queue]]]:
        senders = self.audio.read(hops)
        live = [s for s in senders if any(self.evidence.context(hop) != "dormant" for hop in s.hops)]
        senders.sort(key=lambda s: (s not in live, not self._is_contract_sender(s), s.queue is None, not s.loop))
        direct = [s.queue for s in senders if s.queue is not None]
        keys = list(dict.fromkeys([*direct, *(early for key in direct for early in self.audio.queues_before(key))]))
        return senders, [(key, self._queue(key, index)) for index, key in enumerate(keys)]

    def _is_contract_sender(self, sender: AudioSender) -> bool:
        wanted = self.contract.sender or "audio_sender_loop"
        return sender.func.name == wanted or sender.func.symbol == wanted

    def _queue(self, key: QueueKey, index: int) -> Queue:
        info = self.queues.queues[key]
        bounded = None
        if info.type.endswith(("Queue", "deque")):
            bounded = bool(info.call.args or any(k.name in ("maxsize", "maxlen") for k in info.call.keywords))
        name = sorted(info.names or {info.type}, key=lambda text: (len(text), text))[0]
        return Queue(
            name=name,
            path=info.func.module.rel,
            line=info.call.line,
            symbol=info.func.symbol,
            type=info.type,
            bounded=bounded,
            carries="audio",
            context=self.reach.context(info.func, info.op if info.func.ir.ops else None),
            producers=tuple(_step(put.func, put.call.line, "put") for put in self.queues.puts.get(key, ())),
            consumers=tuple(_step(get.func, get.call.line, "get") for get in self.queues.gets.get(key, ())),
            extra=index > 0,
        )

    def _sender(
        self, entry: AudioSender, index: int, senders: list[AudioSender], queues: list[tuple[QueueKey, Queue]]
    ) -> Sender:
        contexts = [self.evidence.context(hop) for hop in entry.hops]
        context = next((c for c in contexts if c != "dormant"), "dormant")
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
            sites=tuple(_step(hop.func, hop.line, "") for hop in entry.hops),
            sends=tuple(_step(hop.func, hop.line, "") for hop in entry.sends(shared)),
            starts=tuple(_step(edge.caller, edge.line, edge.kind) for edge in entry.starts),
            restarts=tuple(_step(edge.caller, edge.line, edge.kind) for edge in entry.restarts),
            rival=rival,
            takes_frames=entry.takes_frames,
        )

    def _frame_handlers(self, senders: list[AudioSender]) -> Iterable[Step]:
        seen: set[tuple[str, int]] = set()
        for sender in senders:
            places = [(sender.func, hop.line) for hop in sender.hops] if sender.takes_frames else []
            if sender.queue is not None:
                places = [(put.func, put.call.line) for put in self.queues.puts.get(sender.queue, ())]
            for func, line in places:
                if (func.module.rel, line) not in seen:
                    seen.add((func.module.rel, line))
                    yield _step(func, line, "")

    def _queue_sites(self, queues: list[tuple[QueueKey, Queue]]) -> Iterable[Site]:
        for key, queue in queues:
            info = self.queues.queues[key]
            yield self._plain("audio_queue", info.func, info.call, queue.context, None)
            for put in self.queues.puts.get(key, ()):
                yield self._plain("queue_put", put.func, put.call, self.reach.context(put.func, put.op), None)
            for get in self.queues.gets.get(key, ()):
                yield self._plain("queue_get", get.func, get.call, self.reach.context(get.func, get.op), None)

    def _loop_sites(self, senders: list[AudioSender]) -> Iterable[Site]:
        for sender in senders:
            if not sender.loop or sender.queue is None:
                continue
            func = sender.func
            place = ir.Call(ir.Name(func.name), [], [], func.ir.line, func.ir.line, 1)
            yield self._plain("sender_loop", func, place, self.reach.context(func), "loop")
            for edge in sender.starts:
                if edge.site is not None:
                    yield self._plain(
                        "sender_loop", edge.caller, edge.site, self.reach.context(edge.caller, edge.op), "start"
                    )

    def _plain(self, kind: str, func: Func, call: ir.Call, context: str, role: str | None) -> Site:
        return Site(
            kind=kind, role=role, path=func.module.rel, line=call.line, end_line=call.end_line,  # type: ignore[arg-type]
            column=call.column, symbol=func.symbol, context=context,  # type: ignore[arg-type]
        )  # fmt: skip

    # -- responses

    def _triggers(self, hops: list[Hop], causes: dict[int, Cause]) -> list[Trigger]:
        """Return the functions that send ``response.create`` themselves, the canonical one first."""
        by_func: dict[Func, list[Hop]] = {}
        for hop in hops:
            if hop.sink is not None:
                by_func.setdefault(hop.func, []).append(hop)
        chosen = self._canonical(by_func)
        found: list[Trigger] = []
        for func, own in sorted(by_func.items(), key=lambda item: item[0] is not chosen):
            callers = [hop for hop in hops if hop.edge is not None and hop.edge.callee is func]
            contexts = [self.evidence.context(hop) for hop in own]
            guards = {self._guard(hop) for hop in own}
            found.append(
                Trigger(
                    symbol=func.symbol,
                    path=func.module.rel,
                    line=func.ir.line,
                    end_line=func.ir.end_line,
                    context=next((c for c in contexts if c != "dormant"), "dormant"),
                    guard="none" if "none" in guards else "active_checked" if len(guards) > 1 else guards.pop(),
                    canonical=func is chosen,
                    causes=tuple(sorted({causes[id(hop)].name for hop in (*own, *callers)})),
                    sites=tuple(_step(hop.func, hop.line, "") for hop in own),
                    callers=tuple(_step(hop.func, hop.line, causes[id(hop)].name) for hop in callers),
                )
            )
        return found

    def _canonical(self, by_func: dict[Func, list[Hop]]) -> Func | None:
        """Return *the* trigger: the one the contract names, else the only one, else one that is named and made for it."""
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
            path, name = _node(func)
            label = f"{path}:{name}" if name else path
            count[label] = count.get(label, 0) + 1
        return max(count, key=lambda label: (count[label], label))


def _node(func: Func) -> Node:
    cls = func.owner_class
    if cls is not None:
        return _class_node(cls)
    current = func
    while current.parent is not None and current.parent.index != 0:
        current = current.parent
    return (current.module.rel, "" if current.index == 0 else current.symbol)


def _class_node(cls: Class) -> Node:
    return (cls.module.rel, cls.ir.qualname)


def _place(func: Func) -> str:
    return f"{func.module.rel}:{func.symbol}"


def _step(func: Func, line: int, note: str) -> Step:
    return Step(func.module.rel, line, func.symbol, note)


def _providers(hop: Hop) -> list[str]:
    found = {sink.provider for sink in hop.sinks} or {"openai"}
    return ["openai"] if "openai" in found else sorted(found)


def _distinct(sites: Iterable[Site]) -> list[Site]:
    found: dict[tuple[str, int, int, str, str | None], Site] = {}
    for site in sites:
        found.setdefault((site.path, site.line, site.column, site.kind, site.role), site)
    return list(found.values())


def _lane_order(lane: Lane) -> tuple[bool, bool, int, str]:
    live = any(site.context not in ("dormant", "example") for site in lane.sites)
    return (lane.provider != "openai", not live, -len(lane.sites), lane.name)


def _renamed(lane: Lane, name: str) -> Lane:
    import msgspec

    return msgspec.structs.replace(lane, name=name)
