"""Which sites meet in one call of one app: joined by calls, classes and files into the groups that make a lane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline_guard.config import App
from pipeline_guard.pipeline.apps import Apps
from pipeline_guard.pipeline.evidence import Evidence
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.pipeline.sessions import Config
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Class, Func
from pipeline_guard.program.reach import Reachability

Node = tuple[str, str]


class Group(NamedTuple):
    """The sites and the settings of one lane, and the app that it belongs to, where apps are declared."""

    hops: list[Hop]
    configs: list[Config]
    app: App | None = None


GroupKey = tuple[Node, str]


class Grouping:
    """Joins functions that run in the same call; a class and its bases are one node, so is a top-level function."""

    def __init__(self, graph: CallGraph, reach: Reachability, evidence: Evidence, apps: Apps) -> None:
        self.graph = graph
        self.reach = reach
        self.evidence = evidence
        self.apps = apps
        self._app: App | None = None
        self._parent: dict[Node, Node] = {}

    def groups(self, hops: list[Hop], configs: list[Config]) -> list[tuple[str, Group]]:
        """Return the groups, each with its provider.

        Each declared app is joined by itself, as if its siblings were not there; code that belongs to none of them is
        part of every app that gets to it, and stands alone only where none does.
        """
        found: list[tuple[str, Group]] = []
        taken: set[int] = set()
        for app in self.apps.declared:
            own = self._joined(app, hops, configs)
            for provider, group in own:
                if any(self.apps.of_path(node[0]) is app for node in self._component(group)):
                    found.append((provider, group._replace(app=app)))
                    taken.update(map(id, (*group.hops, *group.configs)))
        rest = [hop for hop in hops if id(hop) not in taken], [entry for entry in configs if id(entry) not in taken]
        return found + self._joined(None, *rest)

    def _component(self, group: Group) -> Iterator[Node]:
        """Yield every function and class that is joined with those of a group."""
        funcs = [*(hop.func for hop in group.hops), *(config.func for config in group.configs)]
        tops = {self._find(node_of(func)) for func in funcs}
        yield from [node for node in self._parent if self._find(node) in tops]

    def _is_in(self, func: Func) -> bool:
        return self.apps.of(func) in (self._app, None)

    def _joined(self, app: App | None, hops: list[Hop], configs: list[Config]) -> list[tuple[str, Group]]:
        self._app = app
        self._parent = {}
        hops = [hop for hop in hops if self._is_in(hop.func)]
        configs = [config for config in configs if self._is_in(config.func)]
        self._connect(hops, configs)
        groups: dict[GroupKey, Group] = {}
        for hop in hops:
            for provider in _providers(hop):
                groups.setdefault((self._find(node_of(hop.func)), provider), Group([], [])).hops.append(hop)
        for config in configs:
            provider = config.sink.provider if config.sink is not None else "openai"
            groups.setdefault((self._find(node_of(config.func)), provider), Group([], [])).configs.append(config)
        return [(provider, group) for (_, provider), group in self._adopt(groups).items()]

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
            node = node_of(hop.func)
            self._find(node)
            for callee in hop.callees:
                if self._is_in(callee):
                    self._union(node, node_of(callee))
            self._connect_family(hop.func)
            if hop.top or hop.sink is not None:
                self._connect_callers(hop.func)
        for config in configs:
            self._find(node_of(config.func))
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
                if caller.index == 0 or caller in seen or edge.kind == "escape" or not self._is_in(caller):
                    continue
                seen.add(caller)
                self._union(node_of(current), node_of(caller))
                stack.append(caller)

    def _connect_family(self, func: Func) -> None:
        cls = func.owner_class
        if cls is not None:
            for entry in self.graph.evaluator.mro(cls):
                if isinstance(entry, Class):
                    self._union(_class_node(cls), _class_node(entry))

    def _adopt(self, groups: dict[GroupKey, Group]) -> dict[GroupKey, Group]:
        """Give groups without a live site to the lane of the same file, or to the only lane there is."""
        alive = {key: part for key, part in groups.items() if self._is_alive(part)}
        if not alive:
            return groups
        result = {key: Group(list(part.hops), list(part.configs)) for key, part in alive.items()}
        for key, part in groups.items():
            if key in alive:
                continue
            files = {hop.func.module.rel for hop in part.hops} | {config.func.module.rel for config in part.configs}
            home = next(
                (
                    other
                    for other, kept in alive.items()
                    if other[1] == key[1] and files & {hop.func.module.rel for hop in kept.hops}
                ),
                None,
            )
            same = [other for other in alive if other[1] == key[1]]
            target = home or (same[0] if len(same) == 1 else None)
            if target is None:
                result[key] = part
            else:
                result[target].hops.extend(part.hops)
                result[target].configs.extend(part.configs)
        return result

    def _is_alive(self, part: Group) -> bool:
        return any(self.evidence.context(hop) != "dormant" for hop in part.hops)


def node_of(func: Func) -> Node:
    """Return the class that a function belongs to, else its outermost function (the empty name: the module itself)."""
    cls = func.owner_class
    if cls is not None:
        return _class_node(cls)
    outer = func.outermost
    return (outer.module.rel, "" if outer.index == 0 else outer.symbol)


def _class_node(cls: Class) -> Node:
    return (cls.module.rel, cls.ir.qualname)


def _providers(hop: Hop) -> list[str]:
    found = {sink.provider for sink in hop.sinks} or {"openai"}
    return ["openai"] if "openai" in found else sorted(found)
