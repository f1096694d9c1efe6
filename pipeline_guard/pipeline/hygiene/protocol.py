"""The retired beta protocol, and the SDK's own reconnect."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.events import field_values
from pipeline_guard.pipeline.evidence import Evidence, step_at
from pipeline_guard.pipeline.grouping import Group
from pipeline_guard.pipeline.hygiene.surroundings import Surroundings, Word
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Misuse
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func
from pipeline_guard.program.flow import conditions, names_in, strings_in
from pipeline_guard.program.values import JsonText, Mapping, Value
from pipeline_guard.vocabulary import Vocabulary

# Words of a condition that chooses the protocol; and of one that chooses the service, which may speak the beta's names.
_PROTOCOLS = ("beta", "legacy", "preview", "azure")
_SERVICES = (*_PROTOCOLS, "xai", "grok", "provider", "backend", "vendor", "gemini", "qwen")
_MAX_PLACES = 12


class _Name(msgspec.Struct, frozen=True):
    """A name of the beta protocol and where it stands; the lower ``rank``, the more it decides."""

    rank: int
    what: str
    func: Func
    line: int
    end_line: int


class ProtocolReader:
    """Reads which protocol a lane speaks, and who connects again."""

    def __init__(self, graph: CallGraph, evidence: Evidence, vocabulary: Vocabulary) -> None:
        self.graph = graph
        self.evaluator = graph.evaluator
        self.evidence = evidence
        self.vocabulary = vocabulary
        self.names = vocabulary.hygiene

    # -- beta names

    def beta(self, group: Group, around: Surroundings) -> Iterator[Misuse]:
        """Yield one misuse for a lane that speaks the beta protocol to OpenAI itself."""
        if not self._is_openai(group, around) or self._may_be_preview(around):
            return
        found = [*self._headers(around), *self._clients(around), *self._keys(group), *self._events(around)]
        found.sort(key=lambda name: (name.rank, name.func.module.rel, name.line))
        if not found:
            return
        first = found[0]
        rest = list(dict.fromkeys(step_at(name.func, name.line, name.what) for name in found))
        yield Misuse(
            kind="beta_name", path=first.func.module.rel, line=first.line, end_line=first.end_line, column=1,
            symbol=first.func.symbol, what=first.what, reached_from=tuple(rest[:_MAX_PLACES]),
        )  # fmt: skip

    def _is_openai(self, group: Group, around: Surroundings) -> bool:
        """Say whether it is known that the lane talks to OpenAI itself, not to a server that speaks like it."""
        if any(hop.sink is not None and hop.sink.note.startswith("openai-sdk") for hop in group.hops):
            return True
        return around.says(self.names.address)

    def _may_be_preview(self, around: Surroundings) -> bool:
        """Say whether the lane may talk to Azure, whose preview API versions need the names of the beta."""
        names = "\n".join({*around.imported, *_attribute_names(around)}).lower()
        return any(sign in names for sign in self.names.preview) or around.says(self.names.preview, any_case=True)

    def _headers(self, around: Surroundings) -> Iterator[_Name]:
        what = f"the header OpenAI-Beta: {self.names.header}"
        for text in around.texts_with([self.names.header]):
            yield from (
                self._at(0, what, word) for word in around.words(text) if self._counts(word, around, _PROTOCOLS)
            )

    def _clients(self, around: Surroundings) -> Iterator[_Name]:
        for module in around.modules:
            for func in module.functions:
                if self.names.client not in func.attribute_chains:
                    continue
                for site in func.calls:
                    if ir.source(site.call.func).endswith(f".{self.names.client}") and around.runs(func, site.op):
                        what = f"{ir.source(site.call.func)}()"
                        yield _Name(1, what, func, site.call.line, site.call.end_line)

    def _keys(self, group: Group) -> Iterator[_Name]:
        """Yield the updates and responses whose settings have the beta's keys and none that came later."""
        chooses: dict[Func, bool] = {}
        for hop in group.hops:
            sink = hop.sink
            if sink is None or sink.payload is None or self.evidence.context(hop) in QUIET_CONTEXTS:
                continue
            if sink.note and not sink.note.startswith(("openai-sdk", "by way of")):
                continue  # another SDK's settings have names of their own
            if hop.func not in chooses:
                tests = [block.test for block in hop.func.ir.blocks if block.test is not None]
                chooses[hop.func] = any(_speaks_of(test, _SERVICES) for test in tests)
            if chooses[hop.func]:
                continue  # the settings may be those of another service
            if sink.kind == "auto_response":
                keys, field = self.names.session, "session"
            elif sink.kind == "response_create":
                keys, field = self.names.response, "response"
            else:
                continue
            old = self._old_keys(sink.payload, field, keys)
            if old:
                what = f"{', '.join(sorted(old))} of {'session.update' if field == 'session' else 'response.create'}"
                yield _Name(2, what, hop.func, hop.line, hop.end_line)

    def _old_keys(self, payload: Value, field: str, keys: frozenset[str]) -> set[str]:
        if isinstance(payload, JsonText):
            return {key for inner in payload.inner for key in self._old_keys(inner, field, keys)}
        inner = field_values(self.evaluator, payload, field)
        if not inner and isinstance(payload, Mapping) and "type" not in payload.entries:
            inner = [payload]
        found: set[str] = set()
        for settings in inner:
            if isinstance(settings, Mapping):
                names = set(settings.entries)
                if not names & self.names.renewed and not (field == "session" and "type" in names):
                    found |= names & keys
        return found

    def _events(self, around: Surroundings) -> Iterator[_Name]:
        for old, new in self.names.renamed.items():
            if around.words(new):
                continue  # both are understood
            for word in around.words(old):
                # Elsewhere only what has a name of its own: a function there may serve another lane.
                own = word.func.module in around.modules or word.func.index == 0
                # What is made here goes to somebody else, a browser: the client makes no such event.
                if own and not word.built and self._counts(word, around, _SERVICES):
                    yield self._at(3, f"the event {old} (now {new})", word)

    @staticmethod
    def _counts(word: Word, around: Surroundings, modes: tuple[str, ...]) -> bool:
        """Say whether a name runs, and not only in a mode that is about the protocol or the service."""
        if not around.runs(word.func, word.op):
            return False
        behind = conditions(word.func, word.op) if word.op is not None else ()
        return not any(_speaks_of(condition.test, modes) for condition in behind)

    @staticmethod
    def _at(rank: int, what: str, word: Word) -> _Name:
        return _Name(rank, what, word.func, word.line, word.end_line)

    # -- the SDK's reconnect

    def reconnects(self, around: Surroundings) -> Iterator[Misuse]:
        """Yield the connecting calls that let the SDK connect again by itself."""
        for module in around.modules:
            for func in module.functions:
                for site in func.calls:
                    if self._replays(site.call, around) and around.runs(func, site.op):
                        call = site.call
                        yield Misuse(
                            kind="sdk_reconnect", path=module.rel, line=call.line, end_line=call.end_line,
                            column=call.column, symbol=func.symbol, what=self.names.reconnect_argument,
                            reached_from=self.evidence.path_to(func, call.line),
                        )  # fmt: skip

    def _replays(self, call: ir.Call, around: Surroundings) -> bool:
        given = {keyword.name: keyword.value for keyword in call.keywords if keyword.name is not None}
        wanted = given.get(self.names.reconnect_argument)
        if wanted is None or (type(wanted) is ir.Const and wanted.value is None):
            return False
        size = given.get(self.names.reconnect_queue)
        if type(size) is ir.Const and size.value == 0:
            return False
        text = ir.source(call.func)
        uses = any("openai" in module.imported for module in around.near)
        return uses and any(text.endswith(f".{name}") for name in self.names.reconnects)


def _speaks_of(test: ir.Expr, modes: tuple[str, ...]) -> bool:
    words = [text.lower() for text in (*names_in(test), *strings_in(test))]
    return any(mode in text for text in words for mode in modes)


def _attribute_names(around: Surroundings) -> Iterator[str]:
    """Yield the names and access paths that the lane's files call (``AsyncAzureOpenAI``)."""
    for module in around.modules:
        for func in module.functions:
            yield from func.names_used
            yield from func.attribute_chains
