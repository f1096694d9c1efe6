"""Takes a statement out of a line that it shares with others: ``if x: send()``, ``a(); send(); b()``.

Such lines are rewritten as a syntax tree (libcst), because taking text out of them by hand has too many ways to fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from pipeline_guard.fixes.edits import CannotRewrite

_BY_HAND = "put the statement on a line of its own, then run the fix again"


def take_out(
    code: str, indentation: str, unit: str, newline: str, statements: Mapping[tuple[int, int], tuple[str, ...]]
) -> str:
    """Return a statement's lines without the simple statements that begin at the given places.

    ``code`` are whole lines at ``indentation``; a key of ``statements`` is line (1-based within ``code``) and column
    (0-based) of a simple statement, its value the comment lines that take its place.  ``unit`` is one level of
    indentation.  Raises CannotRewrite.
    """
    head = f"async def _():{newline}" if indentation else ""
    config = cst.PartialParserConfig(default_indent=unit, default_newline=newline)
    try:
        module = cst.parse_module(head + code, config)
    except (cst.ParserSyntaxError, RecursionError) as error:
        raise CannotRewrite(f"the line could not be parsed on its own ({type(error).__name__})", _BY_HAND) from None
    if module.code != head + code:
        raise CannotRewrite("the line has a layout that would not survive being rewritten", _BY_HAND)
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    extra = 1 if head else 0
    targets: dict[cst.CSTNode, tuple[str, ...]] = {
        node: statements[place]
        for node, span in positions.items()
        if isinstance(node, cst.BaseSmallStatement)
        and (place := (span.start.line - extra, span.start.column)) in statements
    }
    if len(targets) != len(statements):
        raise CannotRewrite("the statement was not found in its line", _BY_HAND)
    return module.visit(_TakeOut(targets)).code[len(head) :]


class _TakeOut(cst.CSTTransformer):
    """Removes small statements; comments go above the line, or into the block that a one-line suite becomes."""

    def __init__(self, targets: dict[cst.CSTNode, tuple[str, ...]]) -> None:
        super().__init__()
        self.targets = targets

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        comments, kept = self._split(original_node.body, updated_node.body)
        if not comments:
            return updated_node
        lines = [_comment_line(comment) for comment in comments]
        return updated_node.with_changes(body=kept or [cst.Pass()], leading_lines=[*updated_node.leading_lines, *lines])

    def leave_SimpleStatementSuite(
        self, original_node: cst.SimpleStatementSuite, updated_node: cst.SimpleStatementSuite
    ) -> cst.BaseSuite:
        comments, kept = self._split(original_node.body, updated_node.body)
        if not comments:
            return updated_node
        lines = [_comment_line(comment) for comment in comments]
        statement = cst.SimpleStatementLine(
            body=kept or [cst.Pass()], leading_lines=lines, trailing_whitespace=updated_node.trailing_whitespace
        )
        return cst.IndentedBlock(body=[statement])

    def _split(
        self, original: Sequence[cst.BaseSmallStatement], updated: Sequence[cst.BaseSmallStatement]
    ) -> tuple[list[str], list[cst.BaseSmallStatement]]:
        """Return the comments of what goes, and what stays (the last of it without its semicolon)."""
        comments = [comment for node in original for comment in self.targets.get(node, ())]
        kept = [new for old, new in zip(original, updated, strict=True) if old not in self.targets]
        if kept and comments:
            kept[-1] = kept[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
        return comments, kept


def _comment_line(comment: str) -> cst.EmptyLine:
    return cst.EmptyLine(indent=True, comment=cst.Comment(comment))
