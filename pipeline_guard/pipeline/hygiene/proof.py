"""The aids of a lane: the map in its handler, and the log lines that prove one pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline_guard.facts import ir
from pipeline_guard.pipeline.evidence import step_at
from pipeline_guard.pipeline.grouping import Group
from pipeline_guard.pipeline.hygiene.drawing import has_map
from pipeline_guard.pipeline.hygiene.frames import is_per_frame
from pipeline_guard.pipeline.hygiene.surroundings import Surroundings
from pipeline_guard.pipeline.model import Aid, Lane, Sender, Step
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.code import Func, Module
from pipeline_guard.program.trees import last_name
from pipeline_guard.program.uses import CallSite
from pipeline_guard.vocabulary import Vocabulary

_MUTING_LEVELS = frozenset({"CRITICAL", "FATAL", "ERROR", "WARNING", "WARN"})
_STREAMS = ("stdout.write", "stderr.write")


class LogLine(NamedTuple):
    """A call that writes one of the required lines."""

    func: Func
    site: CallSite

    @property
    def printed(self) -> bool:
        """Whether it goes to the terminal, past every log."""
        text = ir.source(self.site.call.func)
        return "print" in last_name(self.site.call.func).lower() or text.endswith(_STREAMS)

    @property
    def place(self) -> Step:
        return step_at(self.func, self.site.call.line)


class ProofReader:
    """Looks for the aids of a lane.  ``data`` are the bytes of the program's files by path."""

    def __init__(self, graph: CallGraph, vocabulary: Vocabulary, data: Mapping[str, bytes]) -> None:
        self.graph = graph
        self.names = vocabulary.hygiene
        self.data = data

    def read(self, lane: Lane, group: Group, around: Surroundings) -> Iterator[Aid]:
        """Yield what is wrong with the aids of a lane in which the caller's audio reaches the model."""
        sender = next((each for each in lane.senders if each.canonical and each.context == "live"), None)
        loop = self._function(sender) if sender is not None else None
        if sender is None or loop is None:
            return
        handler = self._handler(lane) or loop
        modules = list(dict.fromkeys([handler.module, loop.module, *around.modules]))
        if not self._has_map(lane, handler, loop):
            yield _missing("map", handler, step_at(handler, handler.ir.line, "draw the map here"))
        start = step_at(loop, loop.ir.line, f"the first line of {loop.name}()")
        yield from self._pipeline_log(modules, around, handler, loop, start)
        frames = {(hop.func, hop.op) for hop in group.hops if hop.kind == "audio_send"}
        yield from self._status_log(modules, around, handler, loop, frames)
        greetings = [
            site
            for site in lane.sites
            if site.kind == "response_create" and site.trigger == "greeting" and site.context == "live"
        ]
        if greetings:
            first = greetings[0]
            yield from self._greeting_log(
                modules, around, handler, Step(first.path, first.line, first.symbol, "beside the greeting")
            )

    # -- the places

    def _function(self, sender: Sender) -> Func | None:
        return self._at(sender.path, sender.symbol, sender.line)

    def _handler(self, lane: Lane) -> Func | None:
        """Return the function that takes the caller's frames."""
        for step in lane.frame_handlers:
            found = self._at(step.path, step.symbol, None)
            if found is not None:
                return found
        return None

    def _at(self, path: str, symbol: str, line: int | None) -> Func | None:
        module = self.graph.program.modules.get(path)
        for func in module.functions if module is not None else ():
            if func.symbol == symbol and (line is None or func.ir.line == line):
                return func
        return None

    # -- the aids

    def _has_map(self, lane: Lane, handler: Func, loop: Func) -> bool:
        paths = dict.fromkeys([handler.module.rel, loop.module.rel, *(step.path for step in lane.entry_points)])
        return any(has_map(self.data.get(path, b""), self.names.arrows, self.names.map_words) for path in paths)

    def _pipeline_log(
        self, modules: list[Module], around: Surroundings, handler: Func, loop: Func, start: Step
    ) -> Iterator[Aid]:
        lines = self._lines("pipeline_log", modules, around)
        good = [line for line in lines if not line.printed and not _is_muted(line)]
        if not good:
            yield self._unlogged("pipeline_log", lines, handler, start)
            return
        starters = {edge.caller for edge in self.graph.incoming.get(loop, ())}
        for line in good:
            func = line.func
            if (
                func in starters
                or (func is loop and not _in_every_round(func, line.site.op))
                or (func is not loop and loop in func.enclosing())
            ):
                return
        line = good[0]
        state = "per_frame" if line.func is loop else "elsewhere"
        yield _standing("pipeline_log", state, line, start)

    def _status_log(
        self, modules: list[Module], around: Surroundings, handler: Func, loop: Func, frames: set[tuple[Func, int]]
    ) -> Iterator[Aid]:
        place = step_at(loop, loop.ir.line, f"every 2-3 s, by a clock in {loop.name}() or a task beside it")
        lines = self._lines("status_log", modules, around)
        for line in lines:
            way = is_per_frame(self.graph, frames, line.func, line.site.op)
            if way is not None:
                yield _standing("status_log", "per_frame", line, place, way)
        if not any(not line.printed and not _is_muted(line) for line in lines):
            yield self._unlogged("status_log", lines, handler, place)

    def _greeting_log(self, modules: list[Module], around: Surroundings, handler: Func, place: Step) -> Iterator[Aid]:
        lines = self._lines("greeting_log", modules, around)
        if not any(not line.printed and not _is_muted(line) for line in lines):
            yield self._unlogged("greeting_log", lines, handler, place)

    def _unlogged(self, kind: str, lines: list[LogLine], handler: Func, belongs: Step) -> Aid:
        """Return what is wrong where no log holds a line: it is printed, muted or missing."""
        printed = next((line for line in lines if line.printed), None)
        if printed is not None:
            return _standing(kind, "printed", printed, belongs, _overrides(printed.func.module))
        if lines:
            return _standing(kind, "muted", lines[0], belongs, _muters(lines[0]))
        return _missing(kind, handler, belongs)

    def _lines(self, kind: str, modules: Iterable[Module], around: Surroundings) -> list[LogLine]:
        """Return the running calls that write a required line, in the order of the files."""
        start = self.names.proof[kind]
        found: list[LogLine] = []
        for module in modules:
            if start.encode() not in self.data.get(module.rel, b""):
                continue
            for func in module.functions:
                # The rest of the line may be built: only what it starts with stands in one string.
                for site in func.calls if any(text.lstrip().startswith(start) for text in func.ir.strings) else ():
                    if any(_leading_text(arg).startswith(start) for arg in site.call.args[:2]) and around.runs(
                        func, site.op
                    ):
                        found.append(LogLine(func, site))
        return found


def _leading_text(node: ir.Expr) -> str:
    """Return the constant text that a message starts with (plain, f-string, ``%`` or ``.format``)."""
    while True:
        if type(node) is ir.Join and node.parts:
            node = node.parts[0]
        elif type(node) is ir.Call and type(node.func) is ir.Attr and type(node.func.base) in (ir.Const, ir.Join):
            node = node.func.base
        else:
            return node.value.lstrip() if type(node) is ir.Const and isinstance(node.value, str) else ""


def _in_every_round(func: Func, op: int) -> bool:
    """Say whether an operation is in a loop and nothing there keeps it from running every time."""
    loop = func.loop_of(op)
    if loop is None:
        return False
    below = func.ancestors(func.ir.ops[op].block)
    inside = below[below.index(loop) + 1 :]
    return not any(func.ir.blocks[block].kind in ("if", "else", "case", "except") for block in inside)


# -- where a line goes


def _overrides(module: Module) -> tuple[Step, ...]:
    """Return where a file replaces ``print``."""
    body = module.body
    places = [step_at(body, body.ir.ops[op].line, "print is replaced here") for op in body.definitions.get("print", ())]
    for func in module.functions:
        for op in func.ir.ops:
            if any(ir.source(target) == "builtins.print" for target in op.targets):
                places.append(step_at(func, op.line, "print is replaced here"))
    return tuple(places)


def _is_muted(line: LogLine) -> bool:
    return bool(_muters(line))


def _muters(line: LogLine) -> tuple[Step, ...]:
    """Return what surely keeps a line out of the log: its logger is disabled or asked for warnings only, by its file.

    Only what a file does when it is loaded, without a condition, is sure.
    """
    if type(line.site.call.func) is not ir.Attr:
        return ()
    logger = ir.source(line.site.call.func.base)
    level = line.site.call.func.name
    body = line.func.module.body
    found: list[Step] = []
    for index, op in enumerate(body.ir.ops):
        if op.block != 0:
            continue
        if op.kind == "assign" and type(op.value) is ir.Const and any(
            ir.source(target) == f"{logger}.disabled" for target in op.targets
        ):  # fmt: skip
            found = [step_at(body, op.line, "the logger is disabled")] if op.value.value else []
        for site in body.calls_at.get(index, ()):
            text = ir.source(site.call.func)
            given = last_name(site.call.args[0]) if site.call.args else ""
            if text == f"{logger}.setLevel":
                quiet = given in _MUTING_LEVELS and level in ("info", "debug")
                found = [step_at(body, op.line, f"the logger's level is {given}")] if quiet else []
            elif text == "logging.disable":
                off = given in _MUTING_LEVELS - {"WARN"} or given == "INFO" or not site.call.args
                found = [step_at(body, op.line, "logging is disabled")] if off and level in ("info", "debug") else []
    return tuple(found)


# -- results


def _missing(kind: str, handler: Func, belongs: Step) -> Aid:
    line = handler.ir.line
    return _aid(kind, "missing", step_at(handler, line), line, belongs, ())


def _standing(kind: str, state: str, line: LogLine, belongs: Step, why: tuple[Step, ...] = ()) -> Aid:
    return _aid(kind, state, line.place, line.site.call.end_line, belongs, why)


def _aid(kind: str, state: str, place: Step, end_line: int, belongs: Step, why: tuple[Step, ...]) -> Aid:
    return Aid(kind=kind, state=state, place=place, end_line=end_line, belongs=belongs, why=why)  # type: ignore[arg-type]
