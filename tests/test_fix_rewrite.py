"""Calls that become nothing, or others, wherever they stand: the result compiles, and nothing else changes."""
# ruff: noqa: E501 - before and after read best side by side

from __future__ import annotations

import ast
import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.fixes.edits import CannotRewrite, NoOpBody, NoOpCall, Operation, Reroute, splice
from pipeline_guard.fixes.rewrite import Rewriter
from pipeline_guard.fixes.source import Source
from pipeline_guard.fixes.tree import Tree
from pipeline_guard.fixes.verify import complaint_about

COMMENT = "# DEPRECATED: gone"


def rewrite(data: bytes | str, *operations: Operation) -> str:
    """Return the text after operations; what the codemod itself would refuse to write fails the test."""
    source = Source("x.py", data.encode() if isinstance(data, str) else data)
    rewriter = Rewriter(source)
    for operation in operations:
        rewriter.add(operation)
    replacements = rewriter.finish()
    text = splice(source.text, replacements)
    after = Source("x.py", source.encode(text))
    assert complaint_about(source, after, replacements) is None
    return text


def calls_of(data: bytes | str, name: str = "send") -> list[tuple[int, int]]:
    """Return line and column of every call of a method in a source."""
    tree = Tree(Source("x.py", data.encode() if isinstance(data, str) else data))
    return sorted(
        (node.lineno, tree.column(node))
        for node in tree.parents
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
    )


def without_calls(data: str | bytes) -> str:
    return rewrite(data, *(NoOpCall("x.py", line, column, COMMENT) for line, column in calls_of(data)))


REMOVALS = {
    "a statement": ("def f(ws):\n    a()\n    ws.send(1)\n    b()\n", "def f(ws):\n    a()\n    # DEPRECATED: gone\n    b()\n"),
    "the only statement": ("def f(ws):\n    ws.send(1)\n", "def f(ws):\n    # DEPRECATED: gone\n    pass\n"),
    "awaited": ("async def f(ws):\n    await ws.send(1)\n    b()\n", "async def f(ws):\n    # DEPRECATED: gone\n    b()\n"),
    "spawned": (
        "async def f(ws):\n    asyncio.create_task(ws.send(1))\n    b()\n",
        "async def f(ws):\n    # DEPRECATED: gone\n    b()\n",
    ),
    "kept in a name nobody reads": (
        "async def f(ws):\n    task = asyncio.create_task(ws.send(1))\n    b()\n",
        "async def f(ws):\n    # DEPRECATED: gone\n    b()\n",
    ),
    "a one-line suite": ("def f(ws):\n    if ws: ws.send(1)\n    b()\n", "def f(ws):\n    if ws:\n        # DEPRECATED: gone\n        pass\n    b()\n"),
    "one arm of one-line suites": (
        "def f(ws):\n    if a: b()\n    else: ws.send(1)\n",
        "def f(ws):\n    if a: b()\n    else:\n        # DEPRECATED: gone\n        pass\n",
    ),
    "between semicolons": ("def f(ws):\n    a(); ws.send(1); b()\n", "def f(ws):\n    # DEPRECATED: gone\n    a(); b()\n"),
    "last of a line": ("def f(ws):\n    a(); ws.send(1)\n", "def f(ws):\n    # DEPRECATED: gone\n    a()\n"),
    "several lines with comments": (
        "def f(ws):\n    # above\n    ws.send(\n        1,  # inside\n    )  # behind\n    b()\n",
        "def f(ws):\n    # above\n    # inside\n    # behind\n    # DEPRECATED: gone\n    b()\n",
    ),
    "in try": (
        "def f(ws):\n    try:\n        ws.send(1)\n    except OSError:\n        a()\n    finally:\n        b()\n",
        "def f(ws):\n    try:\n        # DEPRECATED: gone\n        pass\n    except OSError:\n        a()\n    finally:\n        b()\n",
    ),
    "a queue is still drained": (
        "async def f(ws):\n    await ws.send(await q.get())\n",
        "async def f(ws):\n    # DEPRECATED: gone\n    await q.get()\n",
    ),
    "pure arguments go": (
        "def f(ws):\n    ws.send(json.dumps({'a': base64.b64encode(x).decode()}))\n    b()\n",
        "def f(ws):\n    # DEPRECATED: gone\n    b()\n",
    ),
    "two in one block": (
        "def f(ws):\n    ws.send(1)\n    ws.send(2)\n",
        "def f(ws):\n    # DEPRECATED: gone\n    # DEPRECATED: gone\n    pass\n",
    ),
    "at module level": ("ws.send(1)\nx = 1\n", "# DEPRECATED: gone\nx = 1\n"),
    "tabs": ("def f(ws):\n\tif a:\n\t\tws.send(1)\n", "def f(ws):\n\tif a:\n\t\t# DEPRECATED: gone\n\t\tpass\n"),
    "tabs in one line": ("def f(ws):\n\tif a: ws.send(1)\n", "def f(ws):\n\tif a:\n\t\t# DEPRECATED: gone\n\t\tpass\n"),
    "without a last line end": ("def f(ws):\n    ws.send(1)", "def f(ws):\n    # DEPRECATED: gone\n    pass"),
    "a case": (
        "def f(ws):\n    match ws:\n        case 1:\n            ws.send(1)\n",
        "def f(ws):\n    match ws:\n        case 1:\n            # DEPRECATED: gone\n            pass\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REMOVALS)
def test_a_call_becomes_nothing(case: str) -> None:
    before, after = REMOVALS[case]
    assert without_calls(before) == after


@pytest.mark.parametrize("newline", ["\r\n", "\r"], ids=["CRLF", "CR"])
def test_line_ends_stay(newline: str) -> None:
    before, after = REMOVALS["several lines with comments"]
    assert without_calls(before.replace("\n", newline).encode()) == after.replace("\n", newline)
    before, after = REMOVALS["a one-line suite"]
    if newline == "\r\n":
        assert without_calls(before.replace("\n", newline).encode()) == after.replace("\n", newline)


def test_marks_and_encodings_stay() -> None:
    text = "# -*- coding: latin-1 -*-\ndef f(ws):\n    x = 'é'; y = 'ü'\n    ws.send('é')\n    ws.send('ü'); z = 'é'\n"
    data = text.encode("latin-1")
    new = Source("x.py", data).encode(without_calls(data))
    assert new.startswith(b"# -*- coding: latin-1 -*-\ndef f(ws):\n    x = '\xe9'; y = '\xfc'\n    # DEPRECATED")
    assert new.endswith(b"    z = '\xe9'\n")
    marked = codecs.BOM_UTF8 + "def f(ws):\n    'שלום'; ws.send('שלום')\n".encode()
    assert Source("x.py", marked).encode(without_calls(marked)).startswith(codecs.BOM_UTF8 + b"def f(ws):\n")


USED = {
    "a lambda": "f = lambda ws: ws.send(1)\n",
    "a comprehension": "def f(ws):\n    return [ws.send(x) for x in y]\n",
    "a default": "def f(x=ws.send(1)):\n    pass\n",
    "a decorator": "@ws.send(1)\ndef f():\n    pass\n",
    "a with statement": "def f(ws):\n    with ws.send(1):\n        pass\n",
    "an async with statement": "async def f(ws):\n    async with ws.send(1) as x:\n        pass\n",
    "a condition": "def f(ws):\n    if not ws.send(1):\n        retry()\n",
    "a while test": "def f(ws):\n    while ws.send(1):\n        pass\n",
    "a conditional expression": "def f(ws):\n    x = ws.send(1) if a else None\n",
    "an assert": "def f(ws):\n    assert ws.send(1)\n",
    "an f-string": "def f(ws):\n    x = f'{ws.send(1)}'\n",
    "a walrus": "def f(ws):\n    (x := ws.send(1))\n",
    "a return": "def f(ws):\n    return ws.send(1)\n",
    "a name somebody reads": "def f(ws):\n    x = ws.send(1)\n    g(x)\n",
    "gathered with others": "async def f(ws):\n    await asyncio.gather(ws.send(1), b(), c())\n",
    "a yield": "def f(ws):\n    yield ws.send(1)\n",
    "an iteration": "def f(ws):\n    for x in ws.send(1):\n        pass\n",
    "an argument": "def f(ws):\n    g(ws.send(1))\n",
    "an attribute": "class A:\n    x = ws.send(1)\n",
}


@pytest.mark.parametrize("case", USED)
def test_a_call_whose_value_is_used_is_refused_with_a_reason(case: str) -> None:
    with pytest.raises(CannotRewrite) as refused:
        without_calls(USED[case])
    assert str(refused.value)


def test_a_call_is_led_through_the_trigger() -> None:
    code = "async def f(self):\n    await self.ws.send(\n        1,  # why\n    )\n    self.ws.send(2)\n    b()\n"
    places = calls_of(code)
    operations = [Reroute("x.py", line, column, 'self.trigger_response("greeting")') for line, column in places]
    assert rewrite(code, *operations) == (
        "async def f(self):\n    # why\n"
        '    await self.trigger_response("greeting")\n    await self.trigger_response("greeting")\n    b()\n'
    )


def test_a_function_that_cannot_await_is_not_led_through_the_trigger() -> None:
    code = "def f(self):\n    self.ws.send(1)\n"
    with pytest.raises(CannotRewrite, match="cannot await"):
        rewrite(code, Reroute("x.py", 2, 5, "self.trigger_response()"))


BODIES = {
    "plain": ("async def f(ws, x):\n    ws.send(1)\n    ws.send(2)  # last\n\nx = 1\n", "async def f(ws, x):\n    # DEPRECATED: gone\n    return\n\nx = 1\n"),
    "docstring": ('def f():\n    """Says it."""\n    g()\n', 'def f():\n    """Says it."""\n    # DEPRECATED: gone\n    return\n'),
    "one line": ("def f(x: int = 1): g()\n", "def f(x: int = 1):\n    # DEPRECATED: gone\n    return\n"),
    "a generator stays one": ("def f():\n    for x in y:\n        yield x\n", "def f():\n    # DEPRECATED: gone\n    return\n    yield\n"),
    "nested": ("class A:\n    def f(self):\n        def g():\n            yield 1\n        return None\n", "class A:\n    def f(self):\n        # DEPRECATED: gone\n        return\n"),
    "a header of several lines": (
        "def f(\n    x: dict[str, int] = {'a': 1},\n) -> None:\n    g()\n",
        "def f(\n    x: dict[str, int] = {'a': 1},\n) -> None:\n    # DEPRECATED: gone\n    return\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_a_body_becomes_a_comment_and_return(case: str) -> None:
    before, after = BODIES[case]
    line = next(number for number, text in enumerate(before.split("\n"), 1) if "def f(" in text)
    assert rewrite(before, NoOpBody("x.py", line, COMMENT)) == after


@pytest.mark.parametrize(
    "code",
    [
        "@contextmanager\ndef f():\n    yield 1\n",
        "@property\ndef f(self):\n    g()\n",
        "@app.get('/')\nasync def f():\n    g()\n",
        "def __init__(self):\n    g()\n",
        "def f() -> bytes:\n    g()\n",
        "def f():\n    return g()\n",
        "async def __aenter__(self):\n    g()\n",
    ],
)
def test_a_body_that_callers_need_stays(code: str) -> None:
    line = next(number for number, text in enumerate(code.split("\n"), 1) if "def " in text)
    with pytest.raises(CannotRewrite):
        rewrite(code, NoOpBody("x.py", line, COMMENT))


# -- wherever a call may stand

EXPRESSIONS = st.recursive(
    st.sampled_from(["ws.send(1)", "await ws.send(1)", "ws.send(q.get())", "a", "1", "ws.send(await q.get())"]),
    lambda inner: st.one_of(
        inner.map("(lambda: {})".format),
        inner.map("[{} for x in y]".format),
        inner.map("f({})".format),
        inner.map("asyncio.create_task({})".format),
        inner.map("(z := {})".format),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} if a else {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} and {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}, {pair[1]})"),
        inner.map("{{'k': {}}}".format),
    ),
    max_leaves=3,
)
SIMPLE = st.one_of(
    EXPRESSIONS, EXPRESSIONS.map("x = {}".format), EXPRESSIONS.map("return {}".format), st.just("pass"),
    st.just("ws.send(1)"), st.just("await ws.send(2)"), st.just("other()"), EXPRESSIONS.map("assert {}".format),
    EXPRESSIONS.map("del_me = {}".format),
)  # fmt: skip


def indented(block: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in block.split("\n"))


LINES = st.lists(SIMPLE, min_size=1, max_size=3).map("; ".join)
HEADERS = st.sampled_from([
    "if a:", "while a:", "for x in y:", "with a as b:", "async with a as b:", "async for x in y:", "def g(x=1):",
    "async def h():", "class C:",
])  # fmt: skip
STATEMENTS = st.recursive(
    st.one_of(LINES, LINES.map("{}  # a comment".format), st.tuples(HEADERS, LINES).map(" ".join)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("\n".join),
        st.tuples(HEADERS, inner).map(lambda pair: f"{pair[0]}\n{indented(pair[1])}"),
        st.tuples(inner, inner).map(lambda pair: f"try:\n{indented(pair[0])}\nfinally:\n{indented(pair[1])}"),
        st.tuples(inner, inner).map(lambda pair: f"if a:\n{indented(pair[0])}\nelse:\n{indented(pair[1])}"),
        inner.map(lambda block: f"match a:\n    case 1:\n{indented(indented(block))}"),
    ),
    max_leaves=6,
)


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    code = "async def outer(ws):\n" + indented(draw(STATEMENTS)) + "\n\n\ndef after():\n    return 1\n"
    code = code.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n"])))
    if draw(st.booleans()):
        code = code.replace("    ", "\t")
    return draw(st.sampled_from([b"", b"", codecs.BOM_UTF8])) + code.encode()


@settings(max_examples=300, deadline=None)
@given(programs(), st.data())
def test_no_placement_yields_code_that_does_not_compile_or_changes_other_statements(
    data: bytes, draw: st.DataObject
) -> None:
    try:
        compile(data, "x.py", "exec")
    except SyntaxError:
        return
    places = calls_of(data)
    if not places:
        return
    chosen = draw.draw(st.lists(st.sampled_from(places), min_size=1, unique=True))
    source = Source("x.py", data)
    rewriter = Rewriter(source)
    taken: list[tuple[int, int]] = []
    for line, column in chosen:
        try:
            rewriter.add(NoOpCall("x.py", line, column, COMMENT))
        except CannotRewrite:
            continue
        taken.append((line, column))
    try:
        replacements = rewriter.finish()
    except CannotRewrite:
        return
    after = Source("x.py", source.encode(splice(source.text, replacements)))
    assert complaint_about(source, after, replacements) is None
    if taken:
        assert len(calls_of(after.data)) < len(places)
        assert COMMENT in after.text
