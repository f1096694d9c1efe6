"""Says what causes a response (greeting, user turn, tool result, timer, …) and whether a guard stands before it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.chains import Chains
from pipeline_guard.pipeline.events import mentions
from pipeline_guard.pipeline.hops import Hop
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import LOOPS, Func
from pipeline_guard.program.flow import conditions, names_in
from pipeline_guard.program.reach import Reachability
from pipeline_guard.program.trees import walk
from pipeline_guard.program.uses import CallSite
from pipeline_guard.program.values import External, Frame, Instance, JsonText, Literal, Mapping, Text
from pipeline_guard.vocabulary import Vocabulary

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_COMMITS = frozenset({"commit", "commit_audio", "commit_audio_buffer", "commit_input", "commit_input_audio"})
# Registrations whose callback runs because of what registers it.
_RUN_SOON = frozenset({"add_done_callback", "call_soon", "call_soon_threadsafe"})
_ROUNDS = 3  # how far a clear cause travels along calls
_EXCEPT = "in an except branch"
_TIMERS = frozenset({"timer", "silence"})
_CLOCKED = frozenset({"recovery", "timer", "silence", "error_retry"})
_GREETS = ("greet", "welcome", "introduce yourself", "say hello", "say good morning", "say good evening")
_HTTP = r"@(?!\w*sock)[\w.]*\.(post|get|put|patch|delete|route|api_route)\b"
# Causes that are read off words many functions bear: a clearer sign goes before them.
_WEAK = frozenset({"text_input", "user_turn", "server_event", "other"})


class Cause(msgspec.Struct, frozen=True):
    """Why a response is created.  ``here`` says that the place itself shows it, not only a place above or below."""

    name: str
    here: bool
    why: str = ""
    event: str = ""


class TriggerReader:
    """Reads the cause and the guard of every hop that leads to ``response.create``."""

    def __init__(self, graph: CallGraph, reach: Reachability, chains: Chains, vocabulary: Vocabulary) -> None:
        self.graph = graph
        self.reach = reach
        self.chains = chains
        self.vocabulary = vocabulary
        self._hops: dict[Func, list[Hop]] = {}
        self._above: dict[Func, list[Hop]] = {}
        self._others: dict[Func, list[Hop]] = {}  # hops of other kinds: what else a function sends
        self._causes: dict[int, Cause] = {}
        self._known_words: dict[str, str | None] = {}
        self._outputs: dict[int, bool] = {}

    def read(self, hops: list[Hop]) -> dict[int, Cause]:
        """Return the cause of each hop, by ``id(hop)``."""
        for hop in self.chains.hops:
            if hop.kind != "response_create":
                self._others.setdefault(hop.func, []).append(hop)
        for hop in hops:
            self._hops.setdefault(hop.func, []).append(hop)
            if hop.edge is not None:
                for callee in hop.callees:
                    self._above.setdefault(callee, []).append(hop)
        for hop in hops:
            self._causes[id(hop)] = self._cause(hop)
        for _ in range(_ROUNDS):
            for hop in hops:
                self._ask_neighbours(hop)
        for hop in hops:
            if self._causes[id(hop)].name == "other":
                self._causes[id(hop)] = self._from_callers(hop.func) or self._from_callee(hop) or Cause("other", False)
        return self._causes

    def _ask_neighbours(self, hop: Hop) -> None:
        """Let a place whose own signs are weak take over what its callers, or what it calls, say clearly."""
        cause = self._causes[id(hop)]
        if cause.why == _EXCEPT and hop.sink is None:
            below = self._from_callee(hop)
            if below is not None and below.name == "tool_result":  # the tool's failure is the tool's result
                self._causes[id(hop)] = below
        if cause.name not in _WEAK:
            return
        if (hop.sink is not None or cause.name == "other") and not self._is_handler_of_events(hop.func, cause):
            self._causes[id(hop)] = self._from_callers(hop.func) or cause
        if hop.sink is None and self._causes[id(hop)] is cause:
            below = self._from_callee(hop)
            if below is not None and below.name in _CLOCKED:
                self._causes[id(hop)] = below

    def _is_handler_of_events(self, func: Func, cause: Cause) -> bool:
        """Say whether a turn causes it and its function is only registered, which says nothing of when it runs."""
        above = self._above.get(func, ())
        registered = all(hop.edge is not None and hop.edge.kind == "callback" for hop in above)
        calls = [hop.edge.call for hop in above if hop.edge is not None and hop.edge.call is not None]
        if any(ir.source(call.func).rpartition(".")[2] in _RUN_SOON for call in calls):
            return False
        return bool(above) and cause.name == "user_turn" and cause.event is not None and registered

    def _cause(self, hop: Hop) -> Cause:
        """Return the cause that the clearest sign speaks of; names that many functions bear are asked last."""
        func, op = hop.func, hop.op
        event = self._from_condition_events(func, op)
        found = next((sign for sign in self._signs(hop, event) if sign is not None), None)
        if found is not None and event is not None:
            found = msgspec.structs.replace(found, event=event.event)
        entry = self.reach.entry_of(func)
        if entry is not None and re.match(_HTTP, entry.note) and (found is None or not _is_strong(found)):
            return Cause("operator_http", True, entry.note)
        if found is None or (not _is_strong(found) and not found.here):
            return Cause("other", False)
        return found

    def _signs(self, hop: Hop, event: Cause | None) -> Iterator[Cause | None]:
        """Yield what the signs say, the clearest first, each read only when those before it say nothing."""
        func, op = hop.func, hop.op
        yield self._from_reason(hop)
        named = self._from_callee_name(hop)
        yield named if _is_strong(named) else None
        yield event if _is_strong(event) else None
        yield Cause("tool_result", True, "after a function_call_output") if self._after_tool_output(func, op) else None
        yield self._from_except(func, op)
        own = self._from_function_names(func)
        timed = self._from_timer(hop)
        yield timed if own is None or own.name in _TIMERS else None
        yield self._from_condition_names(func, op)
        yield own if _is_strong(own) else None
        yield timed
        yield self._from_neighbours(func, op)
        yield self._from_opening(func, op)
        yield self._after_commit(func, op)
        yield self._from_payload(hop) if hop.sink is not None else None
        yield event
        yield named
        yield own

    # -- what stands at the place itself

    def _from_condition_events(self, func: Func, op: int) -> Cause | None:
        for condition in conditions(func, op):
            if condition.early or not condition.wanted:
                continue
            words = set(self._strings(condition.test, Frame(func, op)))
            for name, events, unless in self.vocabulary.cause_events:
                hit = words & events
                if hit and not words & unless:
                    return Cause(name, True, f"on {sorted(hit)[0]}", sorted(hit)[-1])
        return None

    def _strings(self, test: ir.Expr, frame: Frame) -> Iterator[str]:
        """Yield the strings that a condition compares with, through constants and enum members."""
        stack: list[ir.Expr] = [test]
        while stack:
            node = stack.pop()
            if type(node) is ir.Compare:
                if any(op in ("!=", "not in", "is not") for op in node.ops):
                    continue
                for right in [node.left, *node.rights]:
                    if type(right) is ir.Seq:
                        stack.extend(right.items)
                    elif right is node.left and type(right) is not ir.Const:
                        continue  # what is compared: its values are not what is compared with
                    elif type(right) in (ir.Name, ir.Attr):
                        for value in self.graph.evaluator.eval(right, frame):
                            if isinstance(value, Literal) and isinstance(value.value, str):
                                yield value.value
                    else:
                        stack.append(right)
            elif type(node) is ir.Const and isinstance(node.value, str):
                yield node.value
            elif type(node) is ir.Bool:
                stack.extend(node.values)

    def _from_condition_names(self, func: Func, op: int) -> Cause | None:
        for condition in conditions(func, op):
            if condition.early:
                continue
            for name in names_in(condition.test):
                cause = self._word(name) if not name[:1].isupper() else None  # classes and constants name no state
                if cause is not None and cause not in ("timer", "text_input", "user_turn", "error_retry"):
                    return Cause(cause, True, f"under a test of {name}")
        return None

    def _from_except(self, func: Func, op: int) -> Cause | None:
        for block in func.ancestors(func.ir.ops[op].block):
            if func.ir.blocks[block].kind == "except":
                return Cause("error_retry", True, _EXCEPT)
        return None

    def _from_timer(self, hop: Hop) -> Cause | None:
        if hop.edge is not None and hop.edge.kind == "timer":
            name = self._word(hop.edge.callee.name) or "timer"
            return Cause(name if name in ("recovery", "silence", "greeting") else "timer", True, "started by a timer")
        func = hop.func
        loop = func.loop_of(hop.op)
        if loop is not None and func.ir.blocks[loop].kind == "while":
            entry = func.ir.blocks[loop]
            inside = [s for s in func.calls if entry.first <= s.op < entry.last]
            sleeps = any(ir.source(s.call.func).rpartition(".")[2] == "sleep" for s in inside)
            if sleeps and not self.chains.pumps.in_pump(func, hop.op):
                silent = self._word(func.name) == "silence" or any(
                    self._word(n) == "silence" for c in conditions(func, hop.op) for n in names_in(c.test)
                )
                return Cause("silence" if silent else "timer", True, "in a loop that sleeps")
        return None

    def _from_neighbours(self, func: Func, op: int) -> Cause | None:
        """Read the flags set in the same suite just before: ``self.greeting_sent = True``."""
        block = func.ir.ops[op].block
        outer = {block, func.ir.blocks[block].parent}
        for operation in func.ir.ops[max(0, op - 8) : op]:
            if operation.block in outer and operation.kind == "assign":
                for target in operation.targets:
                    if type(target) in (ir.Name, ir.Attr):
                        cause = self._word(ir.source(target).rpartition(".")[2])
                        if cause in ("greeting", "silence", "recovery", "end_call"):
                            return Cause(cause, True, f"beside {ir.source(target)}")
        return None

    def _from_reason(self, hop: Hop) -> Cause | None:
        """Read the reason that a call gives: ``trigger_response("greeting")``."""
        call = hop.edge.call if hop.edge is not None else None
        for node in [*call.args, *(k.value for k in call.keywords if k.name == "reason")] if call is not None else ():
            if (
                type(node) is ir.Const
                and isinstance(node.value, str)
                and len(node.value) < 40
                and " " not in node.value
            ):
                name = self._word(node.value)
                if name is not None:
                    return Cause(name, True, f"reason {node.value!r}")
        return None

    def _from_opening(self, func: Func, op: int) -> Cause | None:
        """Recognise what is sent while the session is set up: after its settings, or before any message is read."""
        sent_settings = any(
            hop.op < op and not func.exclusive(func.ir.ops[hop.op].block, func.ir.ops[op].block)
            for hop in self._others.get(func, ())
            if hop.kind == "auto_response"
        )
        if sent_settings and not self.chains.pumps.in_pump(func, op):
            return Cause("greeting", True, "right after the session is configured")
        loops = [
            b.first for i, b in enumerate(func.ir.blocks) if b.kind in LOOPS and self.chains.pumps.is_pump(func, i)
        ]
        starts = [
            e.op
            for e in self.graph.outgoing.get(func, ())
            if e.kind in ("task", "thread") and self.chains.pumps.has_pump(e.callee)
        ]
        if (loops or starts) and op <= min(loops or starts):
            return Cause("greeting", True, "before the first message is read")
        return None

    def _after_commit(self, func: Func, op: int) -> Cause | None:
        """Recognise a manual turn: the input buffer is committed (or an audio item added) just before."""
        block = func.ir.ops[op].block
        if any(
            hop.kind == "audio_send" and op - 6 <= hop.op < op
            and not func.exclusive(func.ir.ops[hop.op].block, block)
            for hop in self._others.get(func, ())
        ):  # fmt: skip
            return Cause("user_turn", True, "after the audio is sent")
        for operation in func.ir.ops[max(0, op - 6) : op]:
            if operation.value is None or func.exclusive(operation.block, func.ir.ops[op].block):
                continue
            for node in walk(operation.value):
                if type(node) is ir.Const and node.value in ("input_audio_buffer.commit", "input_audio"):
                    return Cause("user_turn", True, "after the input buffer is committed")
                if type(node) is ir.Call and ir.source(node.func).rpartition(".")[2] in _COMMITS:
                    return Cause("user_turn", True, "after the input buffer is committed")
        return None

    def _after_tool_output(self, func: Func, op: int) -> bool:
        sites = [site for at in range(op - 15, op) for site in func.calls_at.get(at, ())]
        return any(
            not func.exclusive(func.ir.ops[site.op].block, func.ir.ops[op].block)
            and self._gives_tool_output(func, site)
            for site in sites
        )

    def _gives_tool_output(self, func: Func, site: CallSite) -> bool:
        """Say whether a call is given the output of a tool, remembered: it may stand before several hops."""
        key = id(site.call)
        if key not in self._outputs:
            evaluator, frame = self.graph.evaluator, Frame(func, site.op)
            self._outputs[key] = any(
                mentions(evaluator, value, "function_call_output")
                for node in [*site.call.args, *(k.value for k in site.call.keywords)]
                for value in evaluator.eval(node, frame)
            )
        return self._outputs[key]

    def _from_payload(self, hop: Hop) -> Cause | None:
        assert hop.sink is not None
        if hop.sink.payload is not None and any(
            any(word in text.lower() for word in _GREETS) for text in self._texts(hop.sink.payload)
        ):
            return Cause("greeting", True, "its instructions greet")
        return None

    def _texts(self, payload: object, depth: int = 4) -> Iterator[str]:
        if isinstance(payload, Literal) and isinstance(payload.value, str):
            yield payload.value
        elif isinstance(payload, Text):
            yield from (part for part in payload.parts if part)
        elif isinstance(payload, Mapping) and depth:
            for thunks in payload.entries.values():
                for value in self.graph.evaluator.force_all(thunks):
                    yield from self._texts(value, depth - 1)
        elif (
            isinstance(payload, (Instance, External))
            and payload.call is not None
            and payload.frame is not None
            and depth
        ):
            for keyword in payload.call.keywords:
                for value in self.graph.evaluator.eval(keyword.value, payload.frame):
                    yield from self._texts(value, depth - 1)
        elif isinstance(payload, JsonText) and depth:
            for value in payload.inner:
                yield from self._texts(value, depth - 1)

    # -- names

    def _from_callee_name(self, hop: Hop) -> Cause | None:
        if hop.edge is None:
            return None
        name = self._word(hop.edge.callee.name)
        return Cause(name, True, f"{hop.edge.callee.name}()") if name is not None else None

    def _from_function_names(self, func: Func) -> Cause | None:
        for scope in func.enclosing():
            name = self._word(scope.name) if scope.index != 0 else None
            if name is not None:
                return Cause(name, True, f"in {scope.name}()")
        return None

    def _word(self, name: str) -> str | None:
        """Return the cause that a name speaks of."""
        if name in self._known_words:
            return self._known_words[name]
        found = self._spelled(name)
        self._known_words[name] = found
        return found

    def _spelled(self, name: str) -> str | None:
        pieces = [piece.lower() for piece in _WORD.findall(name)]
        joined = f"_{'_'.join(pieces)}_"
        for cause, words in self.vocabulary.cause_words:
            if any(f"_{word}_" in joined for word in words):
                return cause
        return None

    # -- what the places around it say

    def _from_callers(self, func: Func) -> Cause | None:
        names = {self._causes[id(hop)].name for hop in self._above.get(func, ()) if id(hop) in self._causes}
        names.discard("other")
        return Cause(names.pop(), False, "from its callers") if len(names) == 1 else None

    def _from_callee(self, hop: Hop) -> Cause | None:
        if hop.edge is None:
            return None
        names = {self._causes[id(below)].name for below in self._hops.get(hop.edge.callee, ())}
        names.discard("other")
        return Cause(names.pop(), False, "from what it calls") if len(names) == 1 else None


class GuardReader:
    """Reads whether an active-response check stands before a send, and whether a pending mark is set before it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def guard(self, func: Func, op: int, names: frozenset[str] = frozenset()) -> str:
        """Return "none", "active_checked" or "pending_set" for a send at operation ``op``."""
        checked = [c for c in conditions(func, op) if self._checks(c.test, names)]
        if not checked:
            return "none"
        for index, operation in enumerate(func.ir.ops):
            if index >= op or func.is_dead(index) or not func.dominates(index, op):
                continue
            for name in set_names(operation, clearing=False):
                if self.is_guard(name, names):
                    return "pending_set"
        return "active_checked"

    def is_guard(self, name: str, names: frozenset[str]) -> bool:
        """Say whether a name is an active-response flag: by the contract's own name for it, or by how it is called."""
        last = name.rpartition(".")[2]
        return last in names or self.vocabulary.is_guard_name(last)

    def _checks(self, test: ir.Expr, names: frozenset[str]) -> bool:
        return any(self.is_guard(name, names) for name in names_in(test))


def set_names(op: ir.Op, *, clearing: bool) -> Iterator[str]:
    """Yield the names that an operation sets (or clears: assigns None, False, 0 or ""; ``.clear()`` on an event)."""
    value = op.value
    if op.kind == "assign" and value is not None:
        empty = type(value) is ir.Const and not value.value
        if empty is clearing:
            yield from (ir.source(target) for target in op.targets if type(target) in (ir.Name, ir.Attr))
    if op.kind == "expr":
        call = value.value if type(value) is ir.Await else value
        function = call.func if type(call) is ir.Call else None
        if type(function) is ir.Attr and function.name == ("clear" if clearing else "set"):
            yield ir.source(function.base)


def _is_strong(cause: Cause | None) -> bool:
    return cause is not None and cause.name not in _WEAK
