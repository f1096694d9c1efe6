"""Turns operations on one file into replacements of its text, or says why one cannot be carried out.

Only the statements named are touched: what lies outside of them stays byte for byte as it was.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence

from pipeline_guard.fixes.bodies import empty_body
from pipeline_guard.fixes.edits import (
    CannotRewrite,
    Insert,
    NoOpBody,
    NoOpCall,
    Operation,
    Remove,
    Replacement,
    Reroute,
    Substitute,
    TakeElement,
    Wrap,
    splice,
)
from pipeline_guard.fixes.effects import kept_effects, spins_without
from pipeline_guard.fixes.elements import taken_element
from pipeline_guard.fixes.source import Source, lines_of
from pipeline_guard.fixes.tree import Tree, first_line, is_docstring

# Calls that only start, bound or shield the call they are given: who takes that away takes them away as well.
_CARRIERS = frozenset({"create_task", "ensure_future", "wait_for", "shield", "run_coroutine_threadsafe", "gather"})
_GONE_WITH = "the value of this call is used; decide what stands there without it and take the call out by hand"


class Rewriter:
    """Collects the replacements that operations on one source come to."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tree = Tree(source)
        self.removed: dict[ast.stmt, tuple[str, ...]] = {}
        self.dropped: set[ast.stmt] = set()
        self.replacements: list[Replacement] = []
        self.wraps: list[Wrap] = []

    def add(self, operation: Operation) -> None:
        """Take in one operation; raises CannotRewrite and then nothing of it is taken in."""
        if isinstance(operation, NoOpCall):
            statement = self._statement_of_call(operation)
            if spins_without(self.tree, statement):
                raise CannotRewrite("the loop around it would wait for nothing any more", "take the loop out with it")
            self._mark(statement, operation.comment)
        elif isinstance(operation, Reroute):
            self._reroute(operation)
        elif isinstance(operation, NoOpBody):
            function = self.tree.function_at(operation.line)
            if function is None:
                raise CannotRewrite("no function begins there any more")
            self.replacements.append(
                empty_body(self.tree, function, operation.comment, returns_are_fine=operation.returns_are_fine)
            )
        elif isinstance(operation, Insert):
            self._insert(operation)
        elif isinstance(operation, Remove):
            gone = self.tree.statement_at(operation.line)
            if gone is None or not self.tree.stands_alone(gone):
                raise CannotRewrite("the statement shares its line with other code")
            known = self.removed.setdefault(gone, ())
            if operation.whole:
                self.dropped.add(gone)
            if operation.comment and operation.comment not in known:
                self.removed[gone] = (*known, operation.comment)
        elif isinstance(operation, Wrap):
            self._wrap(operation)
        elif isinstance(operation, TakeElement):
            self.replacements += taken_element(self.tree, operation)
        elif isinstance(operation, Substitute):
            self._substitute(operation)

    def finish(self) -> list[Replacement]:
        """Return all replacements, the wider one where one lies inside another; raises CannotRewrite if two clash."""
        result = [*self.replacements, *self._removals()]
        widest = sorted(dict.fromkeys(result), key=lambda each: (each.start, -(each.end - each.start)))
        kept: list[Replacement] = []
        for each in widest:
            over = next((wide for wide in kept if wide.start <= each.start < wide.end), None)
            if over is None or (each.start == each.end == over.start):
                kept.append(each)
            elif each.end > over.end or each.start == each.end:
                raise CannotRewrite("two edits meet at one place", "run the fix again for what is left")
        for wrap in self.wraps:
            kept = self._wrapped(wrap, kept)
        return kept

    # -- calls that become nothing

    def _statement_of_call(self, operation: NoOpCall) -> ast.stmt:
        calls = self.tree.calls_at(operation.line, operation.column)
        if not calls:
            raise CannotRewrite("there is no call at this place any more")
        node: ast.AST = calls[0]
        while not isinstance(node, ast.stmt):
            above = self.tree.parents[node]
            if not self._passes_on(above, node):
                raise CannotRewrite(f"it stands inside {_named(above)}", _GONE_WITH)
            node = above
        return node

    def _passes_on(self, above: ast.AST, node: ast.AST) -> bool:
        """Say whether what stands around a call means nothing without it."""
        if isinstance(above, (ast.Await, ast.Expr)):
            return True
        if isinstance(above, ast.Call):
            name = above.func.attr if isinstance(above.func, ast.Attribute) else getattr(above.func, "id", "")
            return name in _CARRIERS and bool(above.args) and above.args[0] is node and len(above.args) <= 2
        if isinstance(above, ast.Assign) and len(above.targets) == 1 and isinstance(above.targets[0], ast.Name):
            return not self._is_read(above.targets[0].id, above)
        return False

    def _is_read(self, name: str, assignment: ast.stmt) -> bool:
        scope = self.tree.function_of(assignment)
        if scope is None:
            return True
        return any(
            (isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Store))
            or (isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names)
            for node in ast.walk(scope)
        )

    def _mark(self, statement: ast.stmt, comment: str) -> None:
        for effect in kept_effects(statement):
            if isinstance(effect, ast.Await) and not self._may_await(statement):
                raise CannotRewrite("an argument is awaited in a place where that cannot stand alone", _GONE_WITH)
        known = self.removed.get(statement, ())
        if comment not in known:
            self.removed[statement] = (*known, comment)

    def _may_await(self, statement: ast.stmt) -> bool:
        return isinstance(self.tree.function_of(statement), ast.AsyncFunctionDef)

    def _removals(self) -> list[Replacement]:
        shared: dict[ast.stmt, list[ast.stmt]] = {}
        result: list[Replacement] = []
        for statement in self.removed:
            if self.tree.stands_alone(statement):
                result.append(self._remove(statement))
            else:
                shared.setdefault(self._line_owner(statement), []).append(statement)
        result += [self._take_out(owner, statements) for owner, statements in shared.items()]
        return result

    def _remove(self, statement: ast.stmt) -> Replacement:
        """Return the comment (and what must stay) in the place of a statement that has its lines to itself."""
        first, last = statement.lineno, statement.end_lineno or statement.lineno
        indentation, newline = self.tree.indentation(first), self.source.newline_near(first)
        start, end = self.source.line_start(first), self.source.line_start(last + 1)
        text = self.source.text[start:end]
        effects = [self.tree.text(effect) for effect in self._effects(statement)]
        if any("\n" in effect or "\r" in effect for effect in effects):
            raise CannotRewrite("an argument that must still be evaluated runs over several lines", _GONE_WITH)
        lines = [*comments_in(text), *self._comments(statement), *effects]
        if not effects and self._leaves_nothing(statement):
            lines.append("pass")
        if not lines:
            return Replacement(start, end, "")
        ending = newline if text.endswith(("\n", "\r")) else ""
        return Replacement(start, end, newline.join(indentation + line for line in lines) + ending)

    def _comments(self, statement: ast.stmt) -> list[str]:
        """Return the comments to write, without one that stands right above already."""
        above = self.source.line(statement.lineno - 1).strip() if statement.lineno > 1 else ""
        return [comment for comment in self.removed[statement] if comment != above]

    def _effects(self, statement: ast.stmt) -> list[ast.expr]:
        return [] if statement in self.dropped else kept_effects(statement)

    def _leaves_nothing(self, statement: ast.stmt) -> bool:
        """Say whether a statement is the one of its block that has to stay as ``pass``."""
        suite = self.tree.suites[statement]
        if isinstance(suite.owner, ast.Module):
            return False
        gone = [each for each in suite.statements if each in self.removed and not self._effects(each)]
        return len(gone) == len(suite.statements) and gone[-1] is statement

    def _line_owner(self, statement: ast.stmt) -> ast.stmt:
        """Return the statement whose first line holds the start of the line that a statement shares."""
        owner = statement
        while True:
            begin = self.source.line_start(first_line(owner))
            if not self.source.text[begin : self.tree.start(owner)].strip(" \t\f"):
                break
            suite = self.tree.suites[owner]
            index = suite.statements.index(owner)
            if index > 0 and suite.statements[index - 1].end_lineno == first_line(owner):
                owner = suite.statements[index - 1]  # ``a(); send()``
            elif isinstance(suite.owner, ast.stmt):
                owner = suite.owner
            else:
                above = self.tree.parents.get(suite.owner)
                if not isinstance(above, ast.stmt):
                    raise CannotRewrite("it shares its line in a way that is not understood")
                owner = above
        return owner

    def _take_out(self, owner: ast.stmt, statements: list[ast.stmt]) -> Replacement:
        from pipeline_guard.fixes.shared_line import take_out

        if any(kept_effects(statement) for statement in statements):
            raise CannotRewrite("its arguments have effects of their own and the line holds other code", _GONE_WITH)
        first = first_line(owner)
        last = max(owner.end_lineno or first, *(each.end_lineno or first for each in statements))
        start, end = self.source.line_start(first), self.source.line_start(last + 1)
        text = self.source.text[start:end]
        newline = self.source.newline_near(first)
        places = {(each.lineno - first + 1, self.tree.column(each) - 1): self.removed[each] for each in statements}
        ending = "" if text.endswith(("\n", "\r")) else newline
        new = take_out(text + ending, self.tree.indentation(first), self.tree.unit, newline, places)
        return Replacement(start, end, new if not ending else new.removesuffix(ending))

    # -- calls that become others

    def _reroute(self, operation: Reroute) -> None:
        calls = self.tree.calls_at(operation.line, operation.column)
        if not calls:
            raise CannotRewrite("there is no call at this place any more")
        call: ast.expr = calls[0]
        above = self.tree.parents[call]
        code = operation.code
        if not operation.awaits:
            while not isinstance(above, ast.stmt):
                if not (isinstance(above, ast.Await) or (isinstance(above, ast.Call) and self._passes_on(above, call))):
                    raise CannotRewrite(f"it stands inside {_named(above)}", _GONE_WITH)
                if getattr(getattr(above, "func", None), "attr", "") == "run_coroutine_threadsafe":
                    raise CannotRewrite("it is handed to another thread's loop", "put it on the queue from that loop")
                call, above = above, self.tree.parents[above]
            if not isinstance(above, ast.Expr):
                raise CannotRewrite("its value is used", _GONE_WITH)
        elif isinstance(above, ast.Await):
            if not self._is_dropped(self.tree.parents[above], above):
                raise CannotRewrite("its value is used, and the trigger returns none", _GONE_WITH)
        elif isinstance(above, ast.Expr):
            if not self._may_await(above):
                raise CannotRewrite(
                    "it stands in a function that cannot await",
                    f"schedule {code} on the session's event loop in its place",
                )
            code = f"await {code}"
        elif not (isinstance(above, ast.Call) and self._passes_on(above, call)):
            raise CannotRewrite(f"it stands inside {_named(above)}", _GONE_WITH)
        start, end = self.tree.start(call), self.tree.end(call)
        comments = comments_in(self.source.text[start:end])
        if comments:
            statement = self.tree.statement_of(call)
            if not self.tree.stands_alone(statement):
                raise CannotRewrite("it holds comments and shares its line with other code", _GONE_WITH)
            begin = self.source.line_start(statement.lineno)
            indentation, newline = self.tree.indentation(statement.lineno), self.source.newline_near(statement.lineno)
            above_it = "".join(indentation + comment + newline for comment in comments)
            code = above_it + self.source.text[begin:start] + code
            start = begin
        self.replacements.append(Replacement(start, end, code))

    def _is_dropped(self, above: ast.AST, node: ast.AST) -> bool:
        return isinstance(above, ast.Expr) or (isinstance(above, ast.Assign) and self._passes_on(above, node))

    # -- text that comes in

    def _insert(self, operation: Insert) -> None:
        statement = self.tree.statement_at(operation.line)
        if statement is None:
            raise CannotRewrite("no statement begins at this line any more")
        newline = self.source.newline_near(operation.line)
        if operation.inside or operation.end:
            self._insert_into(statement, operation, newline)
            return
        if not self.tree.stands_alone(statement):
            raise CannotRewrite("the statement shares its line with other code")
        line = (statement.end_lineno or statement.lineno) + 1 if operation.after else self._above_comments(statement)
        self._put(line, operation.lines, self.tree.indentation(first_line(statement)), newline)

    def _above_comments(self, statement: ast.stmt) -> int:
        """Return the line of the comments that stand right above a statement and speak of it, else its own."""
        line = first_line(statement)
        margin = self.tree.indentation(line)
        while line > 1 and self.source.line(line - 1).startswith(margin + "#"):
            line -= 1
        return line if line > 1 else first_line(statement)

    def _insert_into(self, statement: ast.stmt, operation: Insert, newline: str) -> None:
        body: Sequence[ast.stmt] = getattr(statement, "body", ())
        if not body or body[0].lineno == statement.lineno or not self.tree.stands_alone(body[0]):
            raise CannotRewrite("the body stands on the line of its header", "put it on lines of its own")
        indentation = self.tree.indentation(first_line(body[0]))
        if operation.end:
            line = (body[-1].end_lineno or body[-1].lineno) + 1
        elif is_docstring(body[0]):
            line = (body[0].end_lineno or body[0].lineno) + 1
        else:
            line = first_line(body[0])
        self._put(line, operation.lines, indentation, newline)

    def _put(self, line: int, lines: Sequence[str], indentation: str, newline: str) -> None:
        offset = self.source.line_start(line)
        unit = self.tree.unit
        text = "".join(f"{_indented(each, indentation, unit)}{newline}" for each in lines)
        if offset == len(self.source.text) and self.source.text and not self.source.text.endswith(("\n", "\r")):
            text = newline + text.removesuffix(newline)
        self.replacements.append(Replacement(offset, offset, text))

    def _wrap(self, operation: Wrap) -> None:
        statement = self.tree.statement_at(operation.line)
        if statement is None or not self.tree.stands_alone(statement):
            raise CannotRewrite("the statement shares its line with other code")
        if operation not in self.wraps:
            self.wraps.append(operation)

    def _wrapped(self, operation: Wrap, others: list[Replacement]) -> list[Replacement]:
        """Return replacements with one more, which indents a statement as the others leave it."""
        statement = self.tree.statement_at(operation.line)
        assert statement is not None
        first, last = first_line(statement), operation.last or statement.end_lineno or statement.lineno
        newline, indentation, unit = self.source.newline_near(first), self.tree.indentation(first), self.tree.unit
        start, end = self.source.line_start(first), self.source.line_start(last + 1)
        inside = [each for each in others if start <= each.start and each.end <= end and start != each.end]
        inside = [each for each in inside if not each.start == each.end == end]
        outside = [each for each in others if each not in inside]
        if any(each.start < end and start < each.end for each in outside):
            raise CannotRewrite("two edits meet at one place", "run the fix again for what is left")
        moved = [Replacement(each.start - start, each.end - start, each.new) for each in inside]
        text = splice(self.source.text[start:end], moved)
        if not text.endswith(("\n", "\r")):
            text += newline
        lines = lines_of(text)
        within = lines_within_texts(text)
        body = "".join(
            line if number in within or not line.strip() else unit + line for number, line in enumerate(lines, 1)
        )
        before = "".join(f"{_indented(each, indentation, unit)}{newline}" for each in operation.before)
        behind = "".join(f"{_indented(each, indentation, unit)}{newline}" for each in operation.behind)
        return [*outside, Replacement(start, end, before + body + behind)]

    def _substitute(self, operation: Substitute) -> None:
        start = self.source.line_start(operation.line) + operation.column - 1
        end = self.source.line_start(operation.end_line) + operation.end_column - 1
        if start > end:
            raise CannotRewrite("there is nothing at this place")
        self.replacements.append(Replacement(start, end, operation.code))


def _indented(line: str, indentation: str, unit: str) -> str:
    if not line:
        return ""
    levels, rest = 0, line
    while rest.startswith("    "):
        levels, rest = levels + 1, rest[4:]
    return indentation + unit * levels + rest


def lines_within_texts(text: str) -> set[int]:
    """Return the lines (1-based) that begin inside a string: to indent them would change it."""
    found: set[int] = set()
    begun = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
            name = tokenize.tok_name[token.type]
            if name == "STRING":
                found.update(range(token.start[0] + 1, token.end[0] + 1))
            elif name in ("FSTRING_START", "TSTRING_START") and not begun:
                begun = token.start[0]
            elif name in ("FSTRING_END", "TSTRING_END") and begun:
                found.update(range(begun + 1, token.end[0] + 1))
                begun = 0
    except (tokenize.TokenError, SyntaxError, IndentationError) as error:
        raise CannotRewrite(f"its strings could not be told apart ({error})") from None
    return found


def comments_in(text: str) -> list[str]:
    """Return the comments in a piece of code, without what is set apart by brackets left open."""
    found: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
            if token.type == tokenize.COMMENT:
                found.append(token.string.rstrip())
    except (tokenize.TokenError, SyntaxError, IndentationError):
        pass
    return found


def _named(node: ast.AST) -> str:
    names = {
        ast.Lambda: "a lambda", ast.ListComp: "a comprehension", ast.GeneratorExp: "a generator", ast.IfExp:
        "a conditional expression", ast.BoolOp: "a condition", ast.withitem: "a with statement", ast.Return:
        "a return statement", ast.arguments: "a default argument", ast.NamedExpr: "an assignment", ast.Assign:
        "an assignment whose value is used", ast.Call: "the arguments of another call", ast.Yield: "a yield",
        ast.JoinedStr: "a string", ast.Dict: "a display", ast.List: "a display", ast.Tuple: "a display",
    }  # fmt: skip
    return names.get(type(node), f"an expression ({type(node).__name__})")
