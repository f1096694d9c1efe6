"""Extraction reads any Python, loses no call, and answers with facts or with one reason, whatever the bytes are."""

from __future__ import annotations

import ast
import codecs
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_guard.facts import ir
from pipeline_guard.facts.columns import Columns
from pipeline_guard.facts.extract import Unreadable, decode_facts, encode_facts, extract

Lines = list[str]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.sampled_from(["ws", "self.ws", "queue", "event", "send", "größe", "session"])
literals = st.sampled_from(
    ["1", "2.5", "'response.create'", '"ü"', "b'\\xff'", "None", "True", "...", "10**40", "1j", "r'\\d'"]
)


# -- a small generator of programs


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return larger expressions made of smaller ones; all are closed in brackets, so that they fit anywhere."""
    two = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(names, inner, inner).map(lambda t: f"{t[0]}({t[1]}, key={t[2]})"),
        st.tuples(names, inner).map(lambda t: f"{t[0]}(*{t[1]}, **{{'a': {t[1]}}})"),
        st.tuples(names, inner).map(lambda t: f"{t[0]}(\n  {t[1]},\n).json()"),
        two.map(lambda t: f"{{'type': {t[0]}, **{t[1]}}}"),
        two.map(lambda t: f"[{t[0]}, *{t[1]}]"),
        two.map(lambda t: f"({t[0]})[{t[1]}:]"),
        two.map(lambda t: f"({t[0]} + {t[1]})"),
        two.map(lambda t: f"({t[0]} - {t[1]})"),
        two.map(lambda t: f"({t[0]} | {t[1]})"),
        two.map(lambda t: f"({t[0]} and not {t[1]})"),
        two.map(lambda t: f"({t[0]} < {t[1]} is not None)"),
        two.map(lambda t: f"({t[0]} if {t[1]} else -{t[0]})"),
        inner.map(lambda e: f"(lambda a, b=send(): {e})"),
        inner.map(lambda e: f"(found := {e})"),
        inner.map(lambda e: f"[x for x in {e} if send(x)]"),
        inner.map(lambda e: f"{{x: send(x) for x, *_ in {e}}}"),
        st.just('f"a {send(1)!r:>{width()}} b"'),
        st.just("'%s' % (send(), 2)"),
    )


expressions = st.recursive(st.one_of(names, literals, st.just("send()")), _grown, max_leaves=6)
simple = st.one_of(
    expressions,
    expressions.map(lambda e: f"x = y = {e}"),
    expressions.map(lambda e: f"x[{e}] = 1"),
    expressions.map(lambda e: f"a, (b, *c) = {e}"),
    expressions.map(lambda e: f"x: 'dict[str, int]' = {e}"),
    expressions.map(lambda e: f"x += {e}"),
    expressions.map(lambda e: f"assert {e}, send('assert')"),
    expressions.map(lambda e: f"del x[{e}]"),
    st.sampled_from(
        ["pass", "import json", "from a.b import c as d", "from . import *", "from .. import up", '"""text"""']
    ),
)


def indented(lines: Lines) -> Lines:
    return [f"\0{line}" for line in lines]


@st.composite
def suites(
    draw: st.DrawFn, depth: int = 0, function: bool = False, loop: bool = False, asynchronous: bool = False
) -> Lines:
    """Draw a suite; a NUL at the start of a line stands for one level of indentation."""
    lines: Lines = []
    for _ in range(draw(st.integers(1, 3))):
        lines += draw(statements(depth, function, loop, asynchronous))
    return lines


@st.composite
def statements(draw: st.DrawFn, depth: int, function: bool, loop: bool, asynchronous: bool) -> Lines:
    kinds = ["simple", "simple", "semicolons"]
    kinds += ["return", "yield", "raise"] if function else []
    kinds += ["break", "continue"] if loop else []
    kinds += ["await"] if asynchronous else []
    if depth < 3:
        kinds += ["if", "while", "for", "try", "with", "match", "def", "class", "try*"]
        kinds += ["async for", "async with"] if asynchronous else []
    kind = draw(st.sampled_from(kinds))

    def expression() -> str:
        return draw(expressions)

    def body(**context: bool) -> Lines:
        inside = {"function": function, "loop": loop, "asynchronous": asynchronous, **context}
        return indented(draw(suites(depth + 1, **inside)))

    if kind == "semicolons":
        return ["; ".join(draw(st.lists(simple, min_size=2, max_size=3)))]
    if kind in ("return", "raise", "yield"):
        text = {"return": "return {}", "raise": "raise {} from send('cause')", "yield": "x = yield {}"}[kind]
        return [text.format(expression())] if not (kind == "return" and asynchronous) else ["return"]
    if kind in ("break", "continue"):
        return [kind]
    if kind == "await":
        return [f"await {draw(names)}({expression()})"]
    if kind == "if":
        return [f"if {expression()}:", *body(), f"elif {expression()}:", *body(), "else:", *body()]
    if kind == "while":
        return [f"while {expression()}:", *body(loop=True), "else:", *body()]
    if kind.endswith("for"):
        return [f"{kind} i, d[{expression()}] in {expression()}:", *body(loop=True), "else:", *body()]
    if kind.endswith("with"):
        return [f"{kind} {expression()} as a, open({expression()}):", *body()]
    if kind == "try" or (kind == "try*" and sys.version_info < (3, 11)):
        return ["try:", *body(), f"except ({expression()}) as e:", *body(), "else:", *body(), "finally:", *body()]
    if kind == "try*":
        return ["try:", *body(loop=False, function=False), "except* ValueError:", "\0send('group')"]
    if kind == "match":
        guarded = f"\0case [a, {{'k': b}}] if {expression()}:"
        return [
            f"match {expression()}:",
            guarded,
            *indented(body()),
            "\0case A.B | 'x':",
            *indented(body()),
            "\0case _:",
            "\0\0pass",
        ]
    if kind == "def":
        sync = draw(st.sampled_from(["", "async "]))
        head = f"{sync}def f(a, b={expression()}, /, *c, d: int = {expression()}, **e) -> 'str':"
        return [f"@send({expression()})", head, *body(function=True, loop=False, asynchronous=bool(sync))]
    if kind == "class":
        fields = [
            f"\0name: str = {expression()}",
            f"\0other = {expression()}",
            f"\0def m(self, a={expression()}): return send(a)",
        ]
        return [f"class C(base({expression()}), metaclass=meta()):", *fields, f"\0register({expression()})"]
    return [draw(simple)]


modules = suites().map("\n".join)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a program: its text, and its bytes in some encoding with some line ends and some indentation."""
    text = draw(modules).replace("\0", draw(st.sampled_from(["    ", "\t", " "])))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"]))
    if encoding in ("latin-1", "cp1252"):
        text = f"# -*- coding: {encoding} -*-\n{text}"
    text = (text + "\n").replace("\n", end)
    return text, text.encode(encoding)


# -- what must hold for each


def calls_in_source(text: str) -> set[tuple[int, int]]:
    """Return line and column of every call outside case patterns."""
    columns = Columns(text)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {(node.lineno, columns.at(node.lineno, node.col_offset)) for node in found}


def expressions_of(facts: ir.ModuleFacts) -> Iterator[ir.Expr | None]:
    for function in facts.functions:
        yield from function.decorators
        yield function.returns
        for op in function.ops:
            yield from (op.value, op.annotation, *op.targets)
        for param in function.params:
            yield from (param.default, param.annotation)
    for cls in facts.classes:
        yield from (*cls.bases, *cls.decorators)
        for field in cls.fields:
            yield from (field.value, field.annotation)


def calls_in_facts(facts: ir.ModuleFacts) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    stack = [node for node in expressions_of(facts) if node is not None]
    while stack:
        node = stack.pop()
        if isinstance(node, ir.Call):
            found.add((node.line, node.column))
        stack.extend(ir.children(node))
    return found


@FEW
@given(files())
def test_every_call_keeps_its_place(file: tuple[str, bytes]) -> None:
    text, data = file
    lost = calls_in_source(text) - calls_in_facts(extract(data))
    quoted = "".join(f"\n  {line}:{column}  {text.splitlines()[line - 1]}" for line, column in sorted(lost))
    assert not lost, f"calls that the facts do not hold:{quoted}"


@FEW
@given(files())
def test_facts_survive_being_written_and_read(file: tuple[str, bytes]) -> None:
    facts = extract(file[1])
    assert decode_facts(encode_facts(facts)) == facts


@FEW
@given(files())
def test_blocks_and_operations_fit_into_each_other(file: tuple[str, bytes]) -> None:
    facts = extract(file[1])
    for number, function in enumerate(facts.functions):
        assert function.parent < number
        for index, op in enumerate(function.ops):
            assert op.line <= op.end_line
            block: ir.Block | None = function.blocks[op.block]
            while block is not None:
                assert block.first <= index < block.last
                block = function.blocks[block.parent] if block.parent or block is not function.blocks[0] else None
                if block is function.blocks[0]:
                    break


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_are_facts_or_unreadable(data: bytes) -> None:
    assert outcome(data) in ("facts", "encoding", "syntax", "recursion")


# -- one statement each, so that a failure names what is lost


STATEMENTS = [
    "raise Error() from cause()",
    "assert ready(), reason()",
    "f'{value:>{width()}}'",
    "class C(metaclass=meta()): pass",
    "class C:\n    register(C)",
    "class C:\n    table['x'] = make()",
    "class C:\n    if flag():\n        x = make()",
    "class C:\n    for x in names():\n        y = make(x)",
    "class C:\n    with lock():\n        y = make()",
    "class C:\n    try:\n        import a\n    except Error():\n        y = make()",
    "class C:\n    x: Annotated[int, make()]",
    "class C:\n    first, second = make()",
    "class C:\n    x = [make(y) for y in names()]",
    "for x[first()], second().y in names(): pass",
    "with a() as b().c: pass",
    "del x[make()]",
    "x[make()] += other()",
    "def f(a: make() = other()) -> last(): pass",
    "lambda a=make(): other()",
    "match value():\n    case 1 if guard(): pass",
    "[x for y in names() for y[make()] in other()]",
    "global_name: make()",
    "async def f():\n    async for x in names():\n        yield [y async for y in other()]",
    "x = yield_() if (yield make()) else 1",
    "class C(*bases(), **options()): pass",
    "@first()\n@second\nclass C: pass",
    "class C:\n    def m(self, x=make()): pass",
    "class C:\n    while more():\n        x, y.z[key()] = make()\n        x += other()\n        del y.z[gone()]",
    "class C:\n    match value():\n        case 1 if guard(): x = make()",
    "class C:\n    with lock() as x, make() as y[key()]: pass",
    "class C:\n    class D(base()):\n        assert ready(), reason()",
    "try: pass\nexcept errors(): pass",
    "'%*d %X %%%r' % (width(), make(), other(), more())",
    "print(f'{a(f'{1}' if b() else 2)}')" if sys.version_info >= (3, 12) else "f'{a()!r}'",
]


@pytest.mark.parametrize("code", STATEMENTS)
def test_no_call_is_lost(code: str) -> None:
    source = code if not code.startswith("x = yield_") else f"def g():\n    {code}"
    assert calls_in_source(source) - calls_in_facts(extract(source.encode())) == set()


# -- class bodies run where they stand, and what they bind belongs to the class

CLASS = """\
def f():
    class C:
        a, (b, *c) = make()
        d, e = 1, make()
        import json
        if flag():
            def m(self): pass
        try:
            def n(self): pass
        except ImportError as error:
            def n(self): stand_in()
        with lock() as g:
            @decorator(lambda: 1)
            def o(self, x=default()): pass
        for h in names():
            i: int = h
        table[key()] = c
        class D:
            j = 1
    return C
"""


def test_a_class_body_binds_fields_and_methods() -> None:
    facts = extract(CLASS.encode())
    outer, inner = facts.classes
    assert [field.name for field in outer.fields] == ["a", "b", "c", "d", "e", "json", "g", "h", "i"]
    assert [field.name for field in inner.fields] == ["j"]
    assert (inner.owner, inner.qualname) == (0, "f.C.D")
    assert {name: facts.functions[at].line for name, at in outer.methods.items()} == {"m": 7, "n": 9, "o": 14}
    assert [function.qualname for function in facts.functions if function.owner == 0] == [
        "f.C.m",
        "f.C.n",
        "f.C.n",
        "f.C.o",
    ]


def test_a_class_body_runs_in_the_function_around_it() -> None:
    function = extract(CLASS.encode()).functions[1]
    assert [(op.kind, op.line, function.blocks[op.block].kind) for op in function.ops] == [
        ("expr", 3, "body"),
        ("expr", 4, "body"),
        ("test", 6, "body"),
        ("expr", 12, "with"),
        ("expr", 14, "with"),
        ("expr", 14, "with"),
        ("test", 15, "body"),
        ("assign", 17, "body"),
        ("class", 2, "body"),
        ("return", 20, "body"),
    ]
    bound = [target.id for op in function.ops for target in op.targets if isinstance(target, ir.Name)]
    assert bound == ["C"]


def test_a_yield_stands_in_the_block_that_runs_it() -> None:
    code = "def f():\n  for x in y:\n    if x: pass\n    z = yield 4\n  while (yield 5):\n    pass\n  yield 7"
    function = extract(code.encode()).functions[1]
    yields = [(op.line, function.blocks[op.block].kind) for op in function.ops if op.kind == "yield"]
    assert yields == [(4, "for"), (5, "while"), (7, "body")]


# -- depth

DEEP = {
    "a sum of a thousand terms": " + ".join(["make()"] * 1000),
    "a difference of a thousand terms": " - ".join(["make()"] * 1000),
    "a thousand attributes": "x" + ".y" * 1000 + ".send()",
    "a thousand calls in a row": "x" + ".y()" * 1000,
    "a thousand subscripts": "x" + "[0]" * 1000,
    "five hundred elifs": "if a == 0:\n    send()\n" + "".join(f"elif a == {n}:\n    send({n})\n" for n in range(500)),
    "five hundred nested if expressions": "x = " + "1 if a else " * 500 + "2",
    "ninety nested lists": "[" * 90 + "]" * 90,
    "two hundred nested parentheses": "(" * 200 + ")" * 200,
    "five hundred nested lists": "[" * 500 + "]" * 500,
    "ninety nested calls": "f(" * 90 + ")" * 90,
    "four hundred lambdas": "lambda: " * 400 + "1",
    "a thousand nots": "not " * 1000 + "x",
    "ten thousand minus signs": "-" * 10_000 + "1",
    "a thousand bytes of and": " and ".join(["a()"] * 1000),
    "nested functions": "".join(" " * n + f"def f{n}():\n" for n in range(95)) + " " * 95 + "send()",
    "nested classes": "".join(" " * n + f"class C{n}:\n" for n in range(95)) + " " * 95 + "x = 1",
    "nested blocks": "".join(" " * n + "if a:\n" for n in range(95)) + " " * 95 + "send()",
    "two hundred nested blocks": "".join(" " * n + "if a:\n" for n in range(200)) + " " * 200 + "send()",
    "a string annotation that nests": f"x: '{'[' * 150}{']' * 150}' = 1",
    "a thousand decorators": "@d()\n" * 1000 + "def f(): pass",
    "a dict of ten thousand lines": "x = {\n" + "".join(f"    {n}: send({n}),\n" for n in range(10_000)) + "}",
}


@pytest.mark.parametrize("code", DEEP.values(), ids=DEEP.keys())
def test_depth_ends_in_facts_or_in_a_reason(code: str) -> None:
    said = outcome(code.encode())
    if said not in ("recursion", "syntax"):
        facts = extract(code.encode())
        assert facts.truncated or calls_in_source(code) <= calls_in_facts(facts)
        assert decode_facts(encode_facts(facts)) == facts


def test_what_people_write_is_not_too_deep() -> None:
    """A long sum, a long chain of elifs and a long builder chain of calls are ordinary code."""
    for name in ("a sum of a thousand terms", "five hundred elifs", "ninety nested calls", "nested functions"):
        assert not extract(DEEP[name].encode()).truncated, name


# -- encodings


def outcome(data: bytes) -> str:
    try:
        facts = extract(data)
    except Unreadable as error:
        return error.reason
    return " ".join(cls.name for cls in facts.classes) or "facts"


BYTES = [
    pytest.param(b"", "facts", id="empty"),
    pytest.param(b"\n\n# only a comment", "facts", id="a comment"),
    pytest.param(codecs.BOM_UTF8, "facts", id="only a byte-order mark"),
    pytest.param("class Größe: pass".encode("utf-8-sig"), "Größe", id="UTF-8 with a mark"),
    pytest.param("class Größe: pass".encode("utf-16"), "Größe", id="UTF-16"),
    pytest.param(codecs.BOM_UTF16_BE + "class Größe: pass".encode("utf-16-be"), "Größe", id="UTF-16 big-endian"),
    pytest.param(codecs.BOM_UTF32_LE + "class Größe: pass".encode("utf-32-le"), "Größe", id="UTF-32"),
    pytest.param(codecs.BOM_UTF16_LE + b"x", "encoding", id="half of UTF-16"),
    pytest.param("# coding: latin-1\nclass Größe: pass".encode("latin-1"), "Größe", id="latin-1 with its cookie"),
    pytest.param("class Größe: pass".encode("latin-1"), "encoding", id="latin-1 without a cookie"),
    pytest.param(b"# coding: klingon\nclass A: pass", "encoding", id="an unknown cookie"),
    pytest.param("# coding: klingon\nclass Größe: pass".encode(), "encoding", id="an unknown cookie and umlauts"),
    pytest.param(b"# coding: rot13\npynff N: cnff", "encoding", id="a cookie that is no text encoding"),
    pytest.param(b"\xef\xbb\xbf# coding: latin-1\nclass A: pass", "encoding", id="a mark and a cookie that differ"),
    pytest.param(b"x = 1\0", "syntax", id="a NUL"),
    pytest.param(b"x = 1\n" * 100 + b"\0", "syntax", id="a NUL far down"),
    pytest.param(b"\0" * 100, "syntax", id="only NULs"),
    pytest.param(b"class A:\r\tpass\r", "A", id="old Mac line ends"),
    pytest.param(b"class A: pass\n\x0c\nclass B: pass", "A B", id="a form feed"),
    pytest.param(b"class A: pass\n\x1a", "syntax", id="an end-of-file of DOS"),
    pytest.param(b"if x:\n\ty\n        z", "syntax", id="tabs and spaces"),
    pytest.param(b"print 'Python 2'", "syntax", id="Python 2"),
]


@pytest.mark.parametrize(("data", "expected"), BYTES)
def test_bytes_of_every_kind(data: bytes, expected: str) -> None:
    assert outcome(data) == expected


def test_lone_surrogates_can_be_written_down() -> None:
    """``"\\ud800"`` is a valid string in Python and in no encoding; tests of parsers are full of them."""
    facts = extract(b'x = send("\\ud800 lone", b"\\xff")')
    assert decode_facts(encode_facts(facts)) == facts


def test_a_reason_names_the_line() -> None:
    with pytest.raises(Unreadable) as caught:
        extract(b"x = 1\ny = (\n")
    assert (caught.value.reason, caught.value.line) == ("syntax", 2)
    with pytest.raises(Unreadable) as caught:
        extract(b"x = 1\ny = '\xff'\n")
    assert (caught.value.reason, caught.value.line) == ("encoding", 2)


REASONS = [
    (b"# coding: klingon\nx = 1", 1, "klingon"),
    (b"#!/usr/bin/python\n# coding: klingon\nx = 1", 2, "klingon"),
    (b"# coding: rot13\nk = 1 1", 1, "rot13"),
    (b"\xef\xbb\xbf# coding: latin-1\nx = 1", 1, "latin-1"),
    (b"# M\xfcller\nx = 1", 1, "0xfc"),
    (b"\xef\xbb\xbfx = 1\ny = '\xe4'", 2, "0xe4"),
    (b"x = 1\r\ry = '\xe4'", 3, "0xe4"),
]


@pytest.mark.parametrize(("data", "line", "word"), REASONS)
def test_an_encoding_that_cannot_be_read_is_named(data: bytes, line: int, word: str) -> None:
    with pytest.raises(Unreadable) as caught:
        extract(data)
    assert (caught.value.reason, caught.value.line) == ("encoding", line)
    assert word in caught.value.detail


def test_a_cookie_holds_for_the_line_before_it_and_for_its_own() -> None:
    for text in ("# Müller\n# coding: latin-1\nclass Größe: pass", "# coding: latin-1 für alle\nclass Größe: pass"):
        assert outcome(text.encode("latin-1")) == "Größe"


def test_what_a_newer_python_parses_is_read() -> None:
    code = "type A = B\ndef f[T](x: T):\n    return send(f'{x['key']}')\ntry: pass\nexcept* E: other()\n"
    assert {line for line, _ in calls_in_facts(extract(code.encode()))} == {3, 5}


def test_what_no_python_parses_keeps_the_message_of_this_one() -> None:
    for code in ("def f[T](x):\n    return 1\nx = (", "print 'Python 2'"):
        with pytest.raises(SyntaxError) as first:
            ast.parse(code)
        with pytest.raises(Unreadable) as caught:
            extract(code.encode())
        assert (caught.value.reason, caught.value.line) == ("syntax", first.value.lineno)
        assert str(first.value.msg) in caught.value.detail


def test_libcst_is_only_loaded_for_what_does_not_parse() -> None:
    code = "import sys; from pipeline_guard.facts.extract import extract; extract(b'x'); print('libcst' in sys.modules)"
    root = Path(__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert ran.stdout == "False\n"


def test_columns_count_from_one() -> None:
    facts = extract(b"x = send(1)")
    assert calls_in_facts(facts) == {(1, 5)}
