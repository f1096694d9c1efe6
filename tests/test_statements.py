"""What counts as the same statement: the same syntax, however it is laid out."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline_guard.cache import Cache
from pipeline_guard.facts.store import FactStore
from pipeline_guard.ratchet.matching import Stage, pair
from pipeline_guard.statements import Statement, Statements


def at(code: str, line: int = 1, column: int = 1) -> Statement:
    return Statements(lambda _path: code.encode()).at("a.py", line, column)


@pytest.mark.parametrize(
    "other",
    [
        "send({'type': 'response.create'})",
        'send(\n    {\n        "type": "response.create",\n    },\n)',
        '(send({"type": ("response" ".create")}))',
        'send({"type": "response.create"})  # twice',
        'send({"type": u"response.create"});',
        'send( { "type":"response.create" } )',
    ],
)
def test_layout_is_not_code(other: str) -> None:
    assert at(other).key == at('send({"type": "response.create"})').key


@pytest.mark.parametrize(
    "other",
    [
        'send({"type": "response.cancel"})',
        'await send({"type": "response.create"})',
        'push({"type": "response.create"})',
    ],
)
def test_code_is(other: str) -> None:
    assert at(other).key != at('send({"type": "response.create"})').key


def test_the_innermost_statement_counts_and_not_what_it_stands_in() -> None:
    deep = "class A:\n    def f(self):\n        if x:\n            for y in z:\n                send(y)\n"
    assert at(deep, 5, 17) == at("send(y)")
    assert at(deep, 5) == at("send(y)")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("if ask():\n    a()\n", 1),
        ("while ask():\n    b()\nelse:\n    c()\n", 1),
        ("def f(x):\n    return 1\n", 1),
        ("@route('/x')\n@other\ndef f(x):\n    return 1\n", 3),
        ("try:\n    a()\nexcept ValueError:\n    b()\n", 3),
    ],
)
def test_of_a_compound_statement_the_head_counts(code: str, line: int) -> None:
    changed = code.replace("a()", "aa(1)").replace("b()", "bb(2)").replace("return 1", "return 2\n    # more")
    assert at(code, line).key == at(changed, line).key
    assert "\n" not in at(code, line).code


def test_two_on_one_line_are_told_apart_by_their_columns() -> None:
    assert at("a(); b(); c()", 1, 6).key == at("b()").key
    assert at("if x: send()", 1, 7).key == at("send()").key


def test_a_match_statement_is_walked() -> None:
    code = "match e:\n    case {'type': 'x'}:\n        send(1)\n    case _:\n        send(2)\n"
    assert at(code, 5, 9).key == at("send(2)").key


def test_code_that_does_not_parse_is_compared_without_its_white_space() -> None:
    assert at("send( 1 )\nx = (\n").key == at("send(1)\ny = [\n").key


def test_a_comment_for_this_tool_is_not_shown() -> None:
    assert at("send(1)  # pipeline-guard: ignore[PG201] why").code == "send(1)"


def test_no_file_is_no_statement() -> None:
    def absent(path: str) -> bytes:
        raise FileNotFoundError(path)

    assert Statements(absent).at("a.py", 3).code == ""


def test_a_very_deep_expression_needs_no_deep_stack() -> None:
    assert at(" + ".join(["x"] * 800)).code.endswith("…")


names = st.sampled_from(["a", "b", "send", "await_", "x1"])
expressions = st.recursive(
    st.one_of(names, st.integers(0, 99).map(str), st.text("aé\"'\\ \n", max_size=5).map(repr)),
    lambda inner: st.one_of(
        st.tuples(names, st.lists(inner, max_size=3)).map(lambda c: f"{c[0]}({', '.join(c[1])})"),
        st.lists(inner, max_size=3).map(lambda c: f"[{', '.join(c)}]"),
        st.tuples(inner, inner).map(lambda c: f"({c[0]} + {c[1]})"),
        st.lists(st.tuples(st.text("abc", max_size=3), inner), max_size=2).map(
            lambda c: "{" + ", ".join(f"{k!r}: {v}" for k, v in c) + "}"
        ),
    ),
    max_leaves=8,
)


@given(expressions, st.integers(0, 3))
def test_whatever_python_writes_itself_is_the_same_statement(code: str, depth: int) -> None:
    spelt = ast.unparse(ast.parse(code))
    assume("\n" not in spelt)  # indenting a string of several lines makes it another string
    for _ in range(depth):
        spelt = "if x:\n" + textwrap.indent(spelt, "    ")
    assert at(code, 1).key == at(spelt, depth + 1, 4 * depth + 1).key


@given(st.lists(names), st.lists(names))
def test_pairs_use_every_thing_once(old: list[str], new: list[str]) -> None:
    exact: Stage[str, str] = Stage(lambda o: o, lambda n: n)
    found = pair(old, new, [exact])
    assert sorted([*(o for o, _ in found.pairs), *found.gone]) == sorted(old)
    assert sorted([*(n for _, n in found.pairs), *found.new]) == sorted(new)
    for name in set(old) | set(new):
        assert sum(o == name for o, _ in found.pairs) == min(old.count(name), new.count(name))


@given(st.lists(st.tuples(names, names)), st.lists(st.tuples(names, names)))
def test_a_weaker_sign_takes_only_what_a_stronger_one_left(
    old: list[tuple[str, str]], new: list[tuple[str, str]]
) -> None:
    exact: Stage[tuple[str, str], tuple[str, str]] = Stage(lambda o: o, lambda n: n)
    weak: Stage[tuple[str, str], tuple[str, str]] = Stage(lambda o: o[0], lambda n: n[0])
    found = pair(old, new, [exact, weak])
    strong = pair(old, new, [exact])
    assert found.pairs[: len(strong.pairs)] == strong.pairs
    assert not {o[0] for o in found.gone} & {n[0] for n in found.new}


FUNCTIONS = '''\
import x
if ready:
    @route("/a")
    async def handler(
        a,
    ):
        """Two
lines of text"""
        def inner(): return send(a); more(a)
        if a: cancel(); send(1)
        else:
            send("é"); send(2)
        return lambda: send(
            3)
def suites(a):
    if a: one(); two()
    elif b(a):
        with (
            open(a) as f,
            lock(b),
        ):
            for x in f: send(x)
            else: send(0)
    else:
        try:
            send(1)
        except (A,
                B): send(2)
        else: send(3)
        finally:
            while more(): send(4)
            else:
                send(5); \\
                send(6)
        match a:
            case 1 if b(): send(7)
            case _:
                return send(8)
class A:
\tdef f(self):
\t\ttry:
\t\t\tself.g()
\t\texcept E: send(4)
after(); last()
'''


def test_a_function_parsed_alone_holds_the_statements_that_it_has_in_its_file(tmp_path: Path) -> None:
    data = FUNCTIONS.encode()
    cache = Cache(tmp_path)
    FactStore(cache).facts(data)
    for line in range(1, FUNCTIONS.count("\n") + 2):
        for column in (1, 5, 9, 18, 30):
            # Each asked of its own, so that no place is answered by a tree that another one had parsed.
            alone = Statements(lambda _path: data, cache).at("a.py", line, column)
            assert alone == Statements(lambda _path: data).at("a.py", line, column), (line, column)


@pytest.mark.parametrize("code", ["def f():\n    return t'{x}' \n", "# coding: latin-1\ndef f():\n    send('\xe9')\n"])
def test_a_function_that_is_not_read_alone_is_found_all_the_same(code: str, tmp_path: Path) -> None:
    data = code.encode("latin-1")
    cache = Cache(tmp_path)
    FactStore(cache).facts(data)
    line = code.count("\n")
    assert Statements(lambda _path: data, cache).at("a.py", line, 5) == Statements(lambda _path: data).at(
        "a.py", line, 5
    )
