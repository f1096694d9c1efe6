"""What to do about surplus audio paths: their frames go onto the one queue, never lost and never put there twice."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from pipeline_guard.findings import Finding
from pipeline_guard.fixes import comments
from pipeline_guard.fixes.edits import CannotRewrite, NoOpBody, NoOpCall, Operation, Reroute, Unit
from pipeline_guard.fixes.frames import Frame, frame_at
from pipeline_guard.fixes.program import Program
from pipeline_guard.fixes.scope import functions_around, instance_at, knows_class, method_around, self_name
from pipeline_guard.fixes.surplus import is_only_for, take_out
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.fixes.wrappers import refuse_if_it_does_more
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Lane, Queue, Sender, Site

BY_HAND = "put the frame on the queue that the sender loop reads, in its place"


def past_the_queue(program: Program, finding: Finding) -> Iterator[Unit]:
    """Lead the audio of a second sender onto the queue of the first."""
    lane = program.lanes.get(finding.lane)
    sender = _sender_of(lane, finding) if lane is not None else None
    if lane is None or sender is None:
        raise CannotRewrite("which sender it belongs to was not found", BY_HAND)
    first = next((each for each in lane.senders if each.canonical), None)
    if first is None or first.queue is None:
        from pipeline_guard.fixes.new_queue import add_queue

        yield from add_queue(program, lane, sender, finding)
        return
    if not sender.rival:
        raise CannotRewrite(
            f"it runs in calls in which {first.symbol}() does not", "start the sender loop there as well"
        )
    redirect = _Redirect(program, lane, first)
    if sender.queue is not None:
        operations = redirect.second_queue(sender)
        why = f"its frames go onto {first.queue}; the loop behind {sender.queue} has nothing to send any more"
    else:
        sites = [each for step in sender.sends for each in _audio_at(lane, step.path, step.line)]
        if not sites:
            raise CannotRewrite("where it sends was not found", BY_HAND)
        operations = [operation for site in sites for operation in redirect.send(site)]
        why = f"the frame goes onto {first.queue}, and {first.symbol}() alone sends"
    yield Unit(tuple(dict.fromkeys(operations)), finding.rule, "safe", why, (finding.fingerprint,))


def _sender_of(lane: Lane, finding: Finding) -> Sender | None:
    place = (finding.path, finding.line)
    for sender in lane.senders:
        places = {(step.path, step.line) for step in (*sender.sends, *sender.sites)}
        if place in places and (not sender.canonical or sender.takes_frames):
            return sender
    return None


def _audio_at(lane: Lane, path: str, line: int) -> list[Site]:
    return [each for each in lane.sites if each.kind == "audio_send" and (each.path, each.line) == (path, line)]


class _Redirect:
    """Turns sends of one lane into puts on the queue of its sender."""

    def __init__(self, program: Program, lane: Lane, first: Sender) -> None:
        self.program = program
        self.lane = lane
        self.first = first
        queue = next((each for each in lane.queues if each.name == first.queue), None)
        if queue is None:
            raise CannotRewrite("the queue of the sender was not found", BY_HAND)
        self.queue: Queue = queue
        self.form = self._form_of_items()

    def _form_of_items(self) -> str:
        """Return the form in which the sender loop takes its frames; raises CannotRewrite where that is not plain."""
        sites = [each for step in self.first.sites for each in _audio_at(self.lane, step.path, step.line)]
        forms = {frame.form for site in sites if (frame := frame_at(self.program, self.lane, site)) is not None}
        if len(forms) != 1:
            raise CannotRewrite(f"what {self.first.symbol}() takes from its queue is not plainly seen", BY_HAND)
        return forms.pop()

    def send(self, site: Site) -> list[Operation]:
        """Return what makes one send a put: at the calls of its function where that only sends, else in its place."""
        tree = self.program.tree(site.path)
        calls = tree.calls_at(site.line, site.column)
        around = functions_around(tree, calls[0])[:1] if calls else []
        if around and is_only_for(tree, around[0], calls[0]):
            try:
                return self._at_callers(site)
            except CannotRewrite:
                pass
        try:
            return [self._put(site)]
        except CannotRewrite as error:
            try:
                return self._at_callers(site)
            except CannotRewrite:
                raise error from None

    def _at_callers(self, site: Site) -> list[Operation]:
        home = f"{site.path}:{site.symbol}"
        callers = [
            each
            for each in self.lane.sites
            if each.kind == "audio_send" and each.callee == home and each.context not in QUIET_CONTEXTS
        ]
        if not callers:
            raise CannotRewrite("nothing was found that calls it", BY_HAND)
        removal = take_out(self.program, site.path, site.line, site.column, comments.AUDIO)
        if not isinstance(removal, NoOpBody):
            raise CannotRewrite(f"{site.symbol}() does other work as well, and the queue is not at hand there", BY_HAND)
        return [removal, *(self._put(each) for each in callers)]

    def _put(self, site: Site) -> Operation:
        """Return the operation that makes a call a put of the frame it is given."""
        tree = self.program.tree(site.path)
        calls = tree.calls_at(site.line, site.column)
        if not calls:
            raise CannotRewrite("the call was not found", BY_HAND)
        if self._is_put_as_well(tree, site, calls[0]):
            return NoOpCall(site.path, site.line, site.column, comments.AUDIO)
        frame = frame_at(self.program, self.lane, site)
        if frame is None or frame.form != self.form:
            raise CannotRewrite(f"its frames have another form than those that {self.first.symbol}() sends", BY_HAND)
        code, awaits = self._put_code(tree, site, calls[0], frame)
        return Reroute(site.path, site.line, site.column, code, awaits)

    def _put_code(self, tree: Tree, site: Site, call: ast.Call, frame: Frame) -> tuple[str, bool]:
        receiver, value = self.receiver(tree, site.path, call), tree.text(frame.value)
        if self.queue.type.endswith("deque"):
            return f"{receiver}.append({value})", False
        if not self.queue.bounded:
            return f"{receiver}.put_nowait({value})", False
        if self.queue.type.startswith("asyncio"):
            return f"{receiver}.put({value})", True  # a full queue raises on put_nowait, and the frame would be lost
        raise CannotRewrite(f"{self.queue.name} is bounded, and waiting for room would stop the event loop", BY_HAND)

    def receiver(self, tree: Tree, path: str, node: ast.AST) -> str:
        """Return the expression for the queue at a place; raises CannotRewrite where it is not at hand."""
        owner, _, attribute = self.queue.name.rpartition(".")
        if not owner:
            home = self.queue.symbol
            names = {_symbol(tree, each) for each in functions_around(tree, node)}
            if path == self.queue.path and (home in names or ("." not in home and home.startswith("<"))):
                return attribute
        elif owner == "self":
            wanted = self.queue.symbol.split(".")[0]
            method = method_around(tree, node)
            if method is not None and method[0].name == wanted and path == self.queue.path:
                own = self_name(method[1])
                if own is not None:
                    return f"{own}.{attribute}"
            if knows_class(tree, path, wanted, self.queue.path):
                instance = instance_at(tree, node, wanted)
                if instance is not None:
                    return f"{instance}.{attribute}"
        raise CannotRewrite(f"{self.queue.name} ({self.queue.path}) is not at hand here", BY_HAND)

    def _is_put_as_well(self, tree: Tree, site: Site, call: ast.Call) -> bool:
        """Say whether the frame is put on the queue wherever this call runs; raises where only sometimes."""
        puts = [step.line for step in self.queue.producers if step.path == site.path and step.symbol == site.symbol]
        statement = tree.statement_of(call)
        for put in puts:
            other = next((each for each in tree.suites if each.lineno == put and not hasattr(each, "body")), None)
            if other is None or other is statement:
                continue
            relation = _relation(tree, statement, other)
            if relation == "sometimes":
                raise CannotRewrite("the frame is put on the queue as well, but not on every way", BY_HAND)
            if relation == "both":
                return True
        return False

    def second_queue(self, sender: Sender) -> list[Operation]:
        """Return what makes the producers of a second queue feed the first, and its consumer send nothing."""
        queue = next((each for each in self.lane.queues if each.name == sender.queue), None)
        sites = [each for step in sender.sends for each in _audio_at(self.lane, step.path, step.line)]
        forms = {frame.form for each in sites if (frame := frame_at(self.program, self.lane, each)) is not None}
        if queue is None or not queue.producers or forms != {self.form}:
            raise CannotRewrite("its frames cannot be led onto the first queue as they are", BY_HAND)
        operations: list[Operation] = []
        for step in queue.producers:
            tree = self.program.tree(step.path)
            puts = [each for each in tree.calls_on_line(step.line) if _is_put(each, queue.name.rpartition(".")[2])]
            if len(puts) != 1:
                raise CannotRewrite(f"the put at {step.path}:{step.line} is not plainly seen", BY_HAND)
            place = Site(
                kind="audio_send", path=step.path, line=puts[0].lineno, end_line=puts[0].lineno,
                column=tree.column(puts[0]), symbol=step.symbol, context="live",
            )  # fmt: skip
            if self._is_put_as_well(tree, place, puts[0]):
                operations.append(NoOpCall(place.path, place.line, place.column, comments.AUDIO))
                continue
            code, awaits = self._put_code(tree, place, puts[0], Frame(self.form, puts[0].args[0]))
            operations.append(Reroute(place.path, place.line, place.column, code, awaits))
        operations += (NoOpCall(each.path, each.line, each.column, comments.AUDIO) for each in sites)
        return operations


def _symbol(tree: Tree, function: ast.AST) -> str:
    from pipeline_guard.fixes.scope import qualified_name

    return qualified_name(tree, function)  # type: ignore[arg-type]


def _is_put(call: ast.Call, queue: str) -> bool:
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in ("put", "put_nowait", "append") or not call.args:
        return False
    base = function.value
    return (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")) == queue


def _relation(tree: Tree, send: ast.stmt, put: ast.stmt) -> str:
    """Return whether two statements of a function run together: "both", "never", or "sometimes"."""
    ours, theirs = _suites_to(tree, send), _suites_to(tree, put)
    for depth, (suite, child) in enumerate(theirs):
        match = next(((index, each) for index, each in enumerate(ours) if each[0] is suite), None)
        if match is None:
            continue
        index, (_, own_child) = match
        if depth > 0 and index > 0 and child is own_child and isinstance(child, ast.If):
            return "never"  # in two arms of one ``if``
        if depth > 0:
            return "sometimes"
        inner = list(ours[:index])
        if put.lineno > send.lineno and any(_leaves(suite_statements) for (suite_statements, _) in inner):
            return "never"  # ``if fast: send(); return`` and then the put
        return "both"
    return "sometimes"


def _suites_to(tree: Tree, statement: ast.stmt) -> list[tuple[Sequence[ast.stmt], ast.stmt]]:
    """Return the blocks that a statement stands in, the innermost first, each with the statement of it on the way."""
    found: list[tuple[Sequence[ast.stmt], ast.stmt]] = []
    child = statement
    while True:
        suite = tree.suites[child]
        found.append((suite.statements, child))
        owner: ast.AST = suite.owner
        while not isinstance(owner, ast.stmt):
            above = tree.parents.get(owner)
            if above is None:
                return found
            owner = above
        if isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return found
        child = owner


def _leaves(statements: Sequence[ast.stmt]) -> bool:
    return isinstance(statements[-1], (ast.Return, ast.Continue, ast.Break, ast.Raise))


def dormant(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a send that nothing reaches today."""
    site = next((each for each in program.sites_at(finding) if each.kind == "audio_send"), None)
    lane = program.lanes.get(finding.lane)
    if site is None or lane is None:
        raise CannotRewrite("it stands at no call", BY_HAND)
    refuse_if_it_is_all(lane, "audio_send", "send the caller's audio")
    if "nothing is ever put on" in site.note:
        _refuse_if_named_elsewhere(program, site)
    refuse_if_it_does_more(program, site)
    operation = take_out(program, site.path, site.line, site.column, comments.AUDIO)
    why = "nothing reaches it today, and one edit would make it a second way for audio"
    yield Unit((operation,), finding.rule, "safe", why, (finding.fingerprint,))


def refuse_if_it_is_all(lane: Lane, kind: str, what: str) -> None:
    """Raise where dead code is the only code of its pipeline that does something.

    Then the entry point may only not have been seen, and a call would be left without it.
    """
    if kind == "response_create" and any(
        session.context not in QUIET_CONTEXTS and session.value in ("on", "default_on") for session in lane.sessions
    ):
        return  # the server answers the turns
    if not any(site.kind == kind and site.context not in QUIET_CONTEXTS for site in lane.sites):
        raise CannotRewrite(
            f"nothing else here would {what}: if something does start it, the call would be silent",
            "delete the whole pipeline if it is dead",
        )


def _refuse_if_named_elsewhere(program: Program, site: Site) -> None:
    """Raise where a queue that seems to be starved is named in code that may fill it."""
    name = site.note.partition("nothing is ever put on ")[2].partition(";")[0].strip().rpartition(".")[2]
    reads = ("get", "get_nowait", "empty", "qsize", "task_done", "popleft", "pop", "clear", "join", "full")
    for path, data in program.sources.data.items():
        if name.encode() not in data:
            continue
        tree = program.tree(path)
        for node in tree.parents:
            if not isinstance(node, (ast.Attribute, ast.Name)) or isinstance(node.ctx, ast.Store):
                continue
            if (node.attr if isinstance(node, ast.Attribute) else node.id) != name:
                continue
            above = tree.parents[node]
            if not (isinstance(above, ast.Attribute) and above.attr in reads):
                raise CannotRewrite(f"{name} may be filled in a way that was not seen ({path}:{node.lineno})", BY_HAND)


def started_twice(program: Program, finding: Finding) -> Iterator[Unit]:
    """Take out a start of the sender loop that comes on top of one that has certainly been made."""
    lane = program.lanes.get(finding.lane)
    by_hand = "start the loop in one place, keep the task, and before a restart cancel it and wait for its end"
    sender = next(
        (
            each
            for each in (lane.senders if lane is not None else ())
            if any((step.path, step.line) == (finding.path, finding.line) for step in each.restarts)
        ),
        None,
    )
    tree = program.tree(finding.path)
    calls = [
        each for each in tree.calls_on_line(finding.line) if isinstance(tree.parents[each], (ast.Expr, ast.Assign))
    ]
    if sender is None or len(calls) != 1:
        raise CannotRewrite("the start is no statement of its own", by_hand)
    again = tree.statement_of(calls[0])
    firsts = [step for step in sender.starts if step.path == finding.path and step.line != finding.line]
    for step in firsts:
        first = next((each for each in tree.suites if each.lineno == step.line and not hasattr(each, "body")), None)
        if first is not None and _certainly_before(tree, first, again):
            operation = NoOpCall(finding.path, calls[0].lineno, tree.column(calls[0]), comments.AUDIO)
            why = f"{sender.symbol}() runs since line {step.line} already; a second copy would take every other frame"
            yield Unit((operation,), finding.rule, "safe", why, (finding.fingerprint,))
            return
    raise CannotRewrite("which of the starts comes first, and whether the loop still runs then, is not sure", by_hand)


def _certainly_before(tree: Tree, first: ast.stmt, again: ast.stmt) -> bool:
    """Say whether the block of one statement leads to another, further in and later, without running twice itself."""
    if first.lineno >= again.lineno or functions_around(tree, first)[:1] != functions_around(tree, again)[:1]:
        return False
    block = tree.suites[first].statements
    inside = any(each in block for each in (again, *tree.above(again)))
    around = (each for each in tree.above(first) if isinstance(each, (ast.For, ast.AsyncFor, ast.While)))
    function = next(iter(functions_around(tree, first)), None)
    return inside and not any(functions_around(tree, each)[:1] == [function] for each in around)


FIXERS = {
    "PG101": past_the_queue,
    "PG102": past_the_queue,
    "PG103": past_the_queue,
    "PG104": started_twice,
    "PG105": dormant,
}
