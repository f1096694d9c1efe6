"""Parses files written for a newer Python than the one that runs, by spelling their new syntax in an older way."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import libcst as cst

# libcst's parser is native code without a limit of its own: nesting that is too deep ends the process instead of
# raising an exception.  It holds for thousands of levels; CPython gives up at 200 brackets.
_HEAVIEST = 4_000
_MOST_LINKS = 1_000
_BRACKET, _AFTER_BRACKET, _STRING = 20, 4, 4

_CODE = re.compile(r"""#[^\n]*|\\\n|[rbuftRBUFT]{0,2}('''|\"\"\"|'|")|[\w.]+|[^\S\n]+|.""", re.DOTALL)
_TEXT = {quote: re.compile(rf"\\[^{{}}]|\{{\{{|\}}\}}|[{{\n]|{quote}", re.DOTALL) for quote in ("'", '"', "'''", '"""')}
_SPEC = "}"  # what ends the format spec of a replacement field, where quotes are ordinary characters
_TEXT[_SPEC] = re.compile("[{}]")
# No expression holds these, so whatever seems to be open at one of them is not.
_NEVER_NESTED = frozenset({"assert", "class", "def", "import", "pass", "raise", "return", "try", "while"})


def parse_newer(source: str) -> ast.Module:
    """Return the tree of a file that may use the syntax of any Python up to 3.14, with the lines of the file.

    F- and t-strings are JoinedStr as in Python 3.12, ``type X = …`` is an assignment, type parameters are gone and
    ``except*`` is ``except``.  Raises SyntaxError, and RecursionError for code that nests too deeply.
    """
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    _check_nesting(source)
    mark = "_fstring_"
    while mark in source:
        mark += "_"
    try:
        older = _Rewriter(mark).older(source)
    except (RecursionError, MemoryError):
        raise
    except Exception as error:  # besides its ParserSyntaxError libcst raises errors of its own logic and of Unicode
        return _parse_as_is(source, error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(older)
    except SyntaxError as error:
        raise _at_line(error.msg, error.lineno or 1, source) from None
    except ValueError as error:
        raise _at_line(str(error), 1, source) from None
    return _Restorer(mark, source).visit(tree) if mark in older else tree


def _parse_as_is(source: str, why: Exception) -> ast.Module:
    """Return what the running Python makes of the source, or raise its SyntaxError and say where libcst stopped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        line = getattr(why, "raw_line", None)
        # The interpreter may have stumbled over a new spelling long before the mistake.
        later = f" (for a newer Python: near line {line})" if isinstance(line, int) and line != error.lineno else ""
        raise _at_line(f"{error.msg}{later}", error.lineno or line or 1, source) from None
    except ValueError as error:
        raise _at_line(str(error), 1, source) from None


def _at_line(message: str, line: int, source: str) -> SyntaxError:
    lines = source.split("\n")
    return SyntaxError(message, ("<unknown>", line, None, lines[line - 1] if line <= len(lines) else None))


def _check_nesting(source: str) -> None:
    """Raise RecursionError for code that could exhaust the stack of libcst's parser.

    The weight of a place is what stands before it at its own and all outer levels of brackets since the last comma or
    line end there: no chain or nesting is deeper than that, save for those of ``elif`` and ``lambda``.
    """
    weight = links = position = 0
    # What is open: the weight before it and, for a string, its quote and whether it has replacement fields.
    stack: list[tuple[int, str, bool]] = []
    while position < len(source):
        before, quote, formatted = stack[-1] if stack else (0, "", False)
        found = _TEXT[quote].search(source, position) if quote else _CODE.match(source, position)
        if found is None:
            return  # a string without an end: nothing after it nests
        position = found.end()
        token = found.group()
        if quote:
            if token == quote or (token == "\n" and len(quote) == 1):
                stack.pop()
                if quote == _SPEC:
                    weight = stack.pop()[0] + _AFTER_BRACKET
            elif token == "{" and formatted:
                stack.append((weight, "", True))
                weight += _BRACKET
        elif found.group(1):
            stack.append((weight, found.group(1), not set("fFtT").isdisjoint(token)))
            weight += _STRING
        elif token in "([{":
            stack.append((weight, "", False))
            weight += _BRACKET
        elif token in ")]}" and stack:
            stack.pop()
            weight = before + _AFTER_BRACKET
        elif token == ":" and formatted:
            stack.append((weight, _SPEC, True))
        elif token == "," or (token in "\n;" and not stack):
            weight = before + _BRACKET if stack else 0
        elif token in _NEVER_NESTED:
            stack.clear()
            weight = 0
        elif not token.isspace() and token[0] not in "#\\":
            weight += len(token)
            links += token in ("elif", "lambda")
        if weight > _HEAVIEST or links > _MOST_LINKS:
            raise RecursionError("nests too deeply to be parsed")


class _Rewriter:
    """Spells a module in the syntax of Python 3.10.

    Strings become ``mark[("text", [(expression), "conversion", (spec,)],)]``, which may span lines and hold any
    expression; ``_Restorer`` turns that into the node which the string would have been.
    """

    def __init__(self, mark: str) -> None:
        import libcst as cst

        self.mark = mark
        self.text = cst.Module([]).code_for_node
        # libcst 1.8.0 has no t-strings.
        templated = [getattr(cst, "TemplatedString", cst.FormattedString)]
        self.strings: tuple[type[cst.CSTNode], ...] = (cst.FormattedString, cst.ConcatenatedString, *templated)
        self.snippets: list[str] = []
        self.visitor = _visitor(self)

    def older(self, code: str) -> str:
        import libcst as cst

        return self.pasted(self.text(cst.parse_module(code).visit(self.visitor)))

    def paste(self, code: str) -> cst.Name:
        """Return a name, in parentheses that keep it apart from a keyword before it, to stand for the code."""
        import libcst as cst

        self.snippets.append(code)
        name = f"{self.mark}{len(self.snippets) - 1}_"
        return cst.Name(name, lpar=[cst.LeftParen()], rpar=[cst.RightParen()])

    def pasted(self, code: str) -> str:
        """Return the code with the snippets in the place of their names."""
        return re.sub(rf"{self.mark}([0-9]+)_", lambda name: self.pasted(self.snippets[int(name[1])]), code)

    def leave(self, original: Any, updated: Any) -> Any:
        if isinstance(original, self.strings):
            return _older_string(original, self)
        rewrite = _REWRITES.get(type(original).__name__)
        return updated if rewrite is None else rewrite(updated, self)


def _visitor(rewriter: _Rewriter) -> cst.CSTTransformer:
    """Return the hook for libcst's walk; its base class is only at hand once libcst has been imported."""
    import libcst as cst

    class Visitor(cst.CSTTransformer):
        def on_visit(self, node: cst.CSTNode) -> bool:
            return not isinstance(node, rewriter.strings)

        def on_leave(self, original_node: Any, updated_node: Any) -> Any:
            return rewriter.leave(original_node, updated_node)

        def on_visit_attribute(self, node: cst.CSTNode, attribute: str) -> None:
            """Looking for a method for every attribute takes most of the time of a visit, and there are none."""

        def on_leave_attribute(self, original_node: cst.CSTNode, attribute: str) -> None:
            """See above."""

    return Visitor()


def _older_string(node: Any, rewriter: _Rewriter) -> cst.BaseExpression:
    import libcst as cst

    pieces: list[str] = []
    rest: Any = node
    formatted = False
    while rest is not None:
        piece, rest, between = (
            (rest.left, rest.right, rewriter.text(rest.whitespace_between))
            if isinstance(rest, cst.ConcatenatedString)
            else (rest, None, "")
        )
        if isinstance(piece, cst.SimpleString):
            pieces.append(f"{piece.value},{between}")
        else:
            formatted = True
            pieces.append(_parts(piece.parts, piece, rewriter) + between)
    if not formatted:
        plain: cst.BaseExpression = node
        return plain
    name = rewriter.paste(f"{rewriter.mark}[({''.join(pieces)})]")
    return name.with_changes(lpar=[*node.lpar, *name.lpar], rpar=[*name.rpar, *node.rpar])


def _parts(parts: Iterable[Any], string: Any, rewriter: _Rewriter) -> str:
    """Return the elements of a tuple for the texts and the replacement fields of a string or of a format spec."""
    pieces: list[str] = []
    for part in parts:
        if not hasattr(part, "expression"):
            # Lines in the text are escaped in the constant and have to be made up for.
            pieces.append(f"{_constant(part.value, string)},{_lines_of(part.value)}")
            continue
        text = rewriter.text
        before, after = text(part.whitespace_before_expression), text(part.whitespace_after_expression)
        conversion = part.conversion or ""
        if part.equal is not None:
            equal = text(part.equal)
            pieces.append(f"{before + text(part.expression) + equal + after!r},")
            after = equal.replace("=", "", 1) + after
            if part.format_spec is None:
                conversion = conversion or "r"
        spec = "None" if part.format_spec is None else f"({_parts(part.format_spec, string, rewriter)})"
        expression = text(part.expression.visit(rewriter.visitor))
        pieces.append(f"[({before}{expression}{after}), {conversion!r}, {spec}],")
    return "".join(pieces)


def _constant(text: str, string: Any) -> str:
    """Return a literal for a piece of text between the replacement fields of a string."""
    quote = string.end
    prefix = re.sub("[fFtT]", "", string.prefix)
    text = text.replace("{{", "{").replace("}}", "}")
    # The space keeps a backslash or a quote at the end of the text apart from the closing quotes.
    literal = f"{prefix}{quote}{text} {quote}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return repr(ast.literal_eval(literal)[:-1])
    except SyntaxError:  # a bad escape: the whole file is refused for it, at the right line
        return literal


def _lines_of(code: str) -> str:
    return "\n" * code.count("\n")


def _older_alias(node: cst.TypeAlias, rewriter: _Rewriter) -> cst.Assign:
    import libcst as cst

    dropped = [node.whitespace_after_type, node.whitespace_after_name, node.type_parameters]
    dropped.append(node.whitespace_after_type_parameters)
    lines = _continued("".join(rewriter.text(gone) for gone in dropped if isinstance(gone, cst.CSTNode)))
    target = cst.AssignTarget(
        node.name,
        whitespace_before_equal=cst.SimpleWhitespace(f" {lines}"),
        whitespace_after_equal=node.whitespace_after_equals,
    )
    return cst.Assign([target], node.value, semicolon=node.semicolon)


def _older_definition(node: cst.FunctionDef | cst.ClassDef, rewriter: _Rewriter) -> cst.CSTNode:
    import libcst as cst

    if node.type_parameters is None:
        return node
    lines = _continued(rewriter.text(node.type_parameters))
    return node.with_changes(
        type_parameters=None,
        whitespace_after_name=cst.SimpleWhitespace(
            node.whitespace_after_name.value + lines + node.whitespace_after_type_parameters.value
        ),
        whitespace_after_type_parameters=cst.SimpleWhitespace(""),
    )


def _continued(dropped: str) -> str:
    """Return white space with as many lines as the code it replaces, for a place without brackets."""
    return "\\\n" * dropped.count("\n")


def _older_handler(node: cst.ExceptHandler, _rewriter: _Rewriter) -> cst.ExceptHandler:
    import libcst as cst

    if isinstance(node.type, cst.Tuple) and not node.type.lpar:
        node = node.with_changes(type=node.type.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))
        if node.whitespace_after_except.empty:
            node = node.with_changes(whitespace_after_except=cst.SimpleWhitespace(" "))
    return node


def _older_star_handler(node: cst.ExceptStarHandler, rewriter: _Rewriter) -> cst.ExceptHandler:
    import libcst as cst

    space = node.whitespace_after_except.value + node.whitespace_after_star.value
    handler = cst.ExceptHandler(
        node.body,
        node.type,
        node.name,
        leading_lines=node.leading_lines,
        whitespace_after_except=cst.SimpleWhitespace(space or " "),
        whitespace_before_colon=node.whitespace_before_colon,
    )
    return _older_handler(handler, rewriter)


def _older_try(node: cst.TryStar, _rewriter: _Rewriter) -> cst.Try:
    import libcst as cst

    handlers: Sequence[Any] = node.handlers  # no longer those of except*: they were left before
    return cst.Try(
        node.body,
        handlers,
        node.orelse,
        node.finalbody,
        leading_lines=node.leading_lines,
        whitespace_before_colon=node.whitespace_before_colon,
    )


def _older_subscript(node: cst.Subscript, rewriter: _Rewriter) -> cst.Subscript:
    """Put parentheses around ``*a, b`` in a subscript, which Python 3.10 wants there."""
    import libcst as cst

    if not any(getattr(element.slice, "star", None) for element in node.slice):
        return node
    comma = "," if node.slice[-1].comma is cst.MaybeSentinel.DEFAULT else ""
    inside = rewriter.paste("".join(rewriter.text(element) for element in node.slice) + comma)
    return node.with_changes(slice=[cst.SubscriptElement(cst.Index(inside))])


def _older_annotation(node: cst.Annotation, rewriter: _Rewriter) -> cst.Annotation:
    """Drop the star of ``*args: *Ts``."""
    import libcst as cst

    if not isinstance(node.annotation, cst.StarredElement):
        return node
    space = rewriter.text(node.annotation.whitespace_before_value)
    return node.with_changes(annotation=rewriter.paste(space + rewriter.text(node.annotation.value)))


_REWRITES: dict[str, Callable[[Any, _Rewriter], cst.CSTNode]] = {
    "TypeAlias": _older_alias,
    "FunctionDef": _older_definition,
    "ClassDef": _older_definition,
    "ExceptHandler": _older_handler,
    "ExceptStarHandler": _older_star_handler,
    "TryStar": _older_try,
    "Subscript": _older_subscript,
    "Annotation": _older_annotation,
}


class _Restorer(ast.NodeTransformer):
    """Turns the subscripts that stand for formatted strings into the nodes of formatted strings."""

    def __init__(self, mark: str, source: str) -> None:
        self.mark = mark
        self.source = source

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.value, ast.Name) or node.value.id != self.mark:
            return node
        if not isinstance(node.ctx, ast.Load):
            raise _at_line("cannot assign to f-string expression", node.lineno, self.source)
        return self.joined(node.slice, node)

    def joined(self, parts: ast.expr, place: ast.expr) -> ast.JoinedStr:
        assert isinstance(parts, ast.Tuple)
        values: list[ast.expr] = []
        for part in parts.elts:
            if isinstance(part, ast.List):
                values.append(self.field(part))
                continue
            assert isinstance(part, ast.Constant)
            if not isinstance(part.value, str):
                raise _at_line("cannot mix bytes and nonbytes literals", part.lineno, self.source)
            last = values[-1] if values else None
            if isinstance(last, ast.Constant) and isinstance(last.value, str):
                last.value += part.value
            elif part.value:
                values.append(part)
        return ast.copy_location(ast.JoinedStr(values), place)

    def field(self, part: ast.List) -> ast.FormattedValue:
        expression, conversion, spec = part.elts
        assert isinstance(conversion, ast.Constant)
        letter = str(conversion.value)
        joined = self.joined(spec, spec) if isinstance(spec, ast.Tuple) else None
        return ast.copy_location(ast.FormattedValue(expression, ord(letter) if letter else -1, joined), part)
