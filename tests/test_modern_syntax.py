"""Syntax newer than the running Python: what it is read as, and that every line stays where it was."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.facts.modern import parse_newer


def calls(tree: ast.AST) -> list[tuple[int, str]]:
    return sorted((n.lineno, ast.dump(n.func)) for n in ast.walk(tree) if isinstance(n, ast.Call))


def lines_of_calls(tree: ast.AST) -> dict[str, int]:
    return {n.func.id: n.lineno for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


# Each pair says the same; the older spelling parses everywhere.
SPELLINGS = {
    "same quotes": ('x = f"{d["k"]}"', "x = f\"{d['k']}\""),
    "nested": ('f"{f"{f"{g(1)}"}"}"', "f'''{f\"{f'{g(1)}'}\"}'''"),
    "conversion and spec": ('f"a{x["k"]!r:>{w["q"]}}b"', "f\"a{x['k']!r:>{w['q']}}b\""),
    "spec with a string": ("f'{x:{f('>')}3}'", "f'{x:{f(\">\")}3}'"),
    "braces": ('f"{{{d["k"]}}}"', "f\"{{{d['k']}}}\""),
    "raw": ('rf"\\d{d["k"]}\\{x}"', "rf\"\\d{d['k']}\\{x}\""),
    "escapes": ('f"\\n\\N{BULLET}\\"{d["k"]}"', 'f"\\n\\N{BULLET}\\"{d[\'k\']}"'),
    "concatenated": ('"a" f"{d["k"]}" "b" r"\\c"', '"a" f"{d[\'k\']}" "b" r"\\c"'),
    "text only": ('[f"", f"a", f"{d["k"]}"]', '[f"", f"a", f"{d[\'k\']}"]'),
    "star": ('f"{*d["k"], 1}"', "f\"{*d['k'], 1}\""),
    "lambda": ('f"{(lambda x: d["k"])}"', "f\"{(lambda x: d['k'])}\""),
    "method": ('f"{d["k"]}".join(x) % f"{d["k"]}"', "f\"{d['k']}\".join(x) % f\"{d['k']}\""),
    "next to a keyword": ('y = 1 if x else"a"f"{d["k"]}"', 'y = 1 if x else "a" f"{d[\'k\']}"'),
    "alias": ("type X = list[f()]", "X = list[f()]"),
    "generic alias": ("type X[T: (int, str) = int, *Ts = *tuple[()], **P = ...] = T", "X = T"),
    "function": ("async def f[T, *Ts, **P](x: T) -> T: g()", "async def f(x: T) -> T: g()"),
    "class": ("class A[T: int = bool](B[T], k=f()): pass", "class A(B[T], k=f()): pass"),
    "bare class": ("class A[T]: pass", "class A: pass"),
    "except": ("try: f()\nexcept A, B: g()", "try: f()\nexcept (A, B): g()"),
    "except*": ("try: f()\nexcept*A as e: g()\nelse: h()", "try: f()\nexcept A as e: g()\nelse: h()"),
    "except* of two": ("try: f()\nexcept*A, B: g()\nfinally: h()", "try: f()\nexcept (A, B): g()\nfinally: h()"),
    "star in subscript": ("a[*b]; a[*b, c]; a[c, *b,]", "a[(*b,)]; a[(*b, c)]; a[(c, *b)]"),
    "star annotation": ("def f(*args: *Ts): pass", "def f(*args: Ts): pass"),
    "template": ('t"a{f("b")!r:>{w}}"', "f\"a{f('b')!r:>{w}}\""),
    "carriage returns": ('f()\r\ng(f"{d["k"]}")\rh()', "f()\ng(f\"{d['k']}\")\nh()"),
    "mark": ('f"{_fstring_["k"]}"', "f\"{_fstring_['k']}\""),
}


@pytest.mark.parametrize(("newer", "older"), SPELLINGS.values(), ids=SPELLINGS)
def test_newer_spelling_is_read_as_the_older_one(newer: str, older: str) -> None:
    assert ast.dump(parse_newer(newer)) == ast.dump(ast.parse(older))
    assert calls(parse_newer(newer)) == calls(ast.parse(older))


def test_self_documenting_fields_keep_their_text() -> None:
    tree = parse_newer('f"{ d["k"] = }{x=:>3}{y=!s}"')
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and str(n.value).endswith(("=", "= "))]
    conversions = [n.conversion for n in ast.walk(tree) if isinstance(n, ast.FormattedValue)]
    assert texts == [' d["k"] = ', "x=", "y="]
    assert conversions == [ord("r"), -1, ord("s")]


LONG = '''\
a()
x = f"{b()}{
    c(  # a note with a " and a }
        d["k"]
    )
    !r:>{e()}}" "text" f"{
f()}"; g()
y = (f"""line
two {h(
d["k"])}
{i()} \\
""" "and" # more
  f'{j('k')}')
type \\
  X[
    T,
] = k()
def function[
    T: int,
](x=l()) -> m():
    n()
class A[
    T
]: o()
class B[
  T](p()): q()
try: r()
except* (A,
         s()): t()
z = u[*v(),
      w()]
'''


def test_lines_stay_where_they_are() -> None:
    expected = {"a": 1, "b": 2, "c": 3, "e": 6, "f": 7, "g": 7, "h": 9, "i": 11, "j": 13, "k": 17}
    expected |= {"l": 20, "m": 20, "n": 21, "o": 24, "p": 26, "q": 26, "r": 27, "s": 29, "t": 29, "v": 30, "w": 31}
    tree = parse_newer(LONG)
    assert lines_of_calls(tree) == expected
    assert [n.lineno for n in tree.body] == [1, 2, 7, 8, 14, 18, 22, 25, 27, 30]


def test_constants_and_expressions_of_strings_stay_visible() -> None:
    tree = parse_newer('send(f"a{event["type"]}b" f"{ {"x": 1}["x"] }", "c")')
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call))
    joined, plain = call.args
    assert isinstance(joined, ast.JoinedStr)
    texts = [n.value for n in joined.values if isinstance(n, ast.Constant)]
    fields = [ast.unparse(n.value) for n in joined.values if isinstance(n, ast.FormattedValue)]
    assert texts == ["a", "b"]
    assert fields == ["event['type']", "{'x': 1}['x']"]
    assert isinstance(plain, ast.Constant)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a = 1\nb = = 2\n", 2),
        ('x = 1\ny = f"{d["k"]}"\ntry: f()\nfinally g()\n', None),
        ("def f():\n  return 1\n )\n", 3),
        ('\nf"{d["k"]}" = 3\n', 2),
        ('x = 1\nf"\\N{no such}{d["k"]}"\n', 2),
        ('match x:\n  case f"{d["k"]}": pass\n', 2),
        ('b"a" f"{d["k"]}"\n', 1),
        ("x = '\ud800'\n", None),
        ("x = 1\0\n", None),
        ("f'{x!}'\n", 1),
        ("f(\n", 1),
    ],
)
def test_what_no_python_takes_is_a_syntax_error(source: str, line: int | None) -> None:
    with pytest.raises(SyntaxError) as caught:
        parse_newer(source)
    assert caught.value.msg
    assert caught.value.lineno is not None
    assert line in (None, caught.value.lineno)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 50_000,
        "f(1, " * 5_000 + ")" * 5_000,
        "x = " + "-" * 50_000 + "1",
        "x = " + "a + " * 50_000 + "1",
        "x = " + "lambda a, b: " * 5_000 + "1",
        "x = " + "f'{" * 5_000,
        "x = a" + "[0]" * 5_000,
        "x = f\"{a:'''}\"\ny = " + "(" * 50_000,
        "if a: pass\n" + "elif b: pass\n" * 50_000,
        "x = " + "+".join(["a"] * 900),
    ],
    ids=[
        "brackets",
        "calls",
        "signs",
        "sum",
        "lambdas",
        "strings",
        "subscripts",
        "after a spec",
        "elifs",
        "for the walk only",
    ],
)
def test_deep_nesting_neither_crashes_nor_hangs(source: str) -> None:
    """libcst alone would end the process for most of these."""
    with pytest.raises(RecursionError):
        parse_newer(source)


def test_long_flat_code_does_not_count_as_nesting() -> None:
    table = "x = [\n" + "    (-1, 'a(', f\"[{b}\"),  # ([{\n" * 500 + "]\n"
    chain = "if a: pass\n" + "elif b: pass\n" * 100
    statements = "a(b); " * 500 + "pass\n"
    strings = "x = f\"{a:'>3}{b:{c}'''}\" + f'{d[0:1]:\">{e}}'\n" * 300
    assert len(calls(parse_newer(table + chain + strings + statements))) == 500


def test_libcst_is_not_imported_until_it_is_needed() -> None:
    code = "import sys, pipeline_guard.facts.modern; sys.exit('libcst' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NAMES = st.sampled_from(["ws", "event", "send", "model", "lock"])
TEXTS = st.text(st.sampled_from("ab {}\\\"'\n\té\N{BULLET}"), max_size=6)


def quoted(text: str) -> str:
    """Return the text as it is written inside of f"…"."""
    return text.encode("unicode_escape").decode().replace('"', '\\"').replace("{", "{{").replace("}", "}}")


# No string in a replacement field: that is what the oldest Pythons do not take.
FIELDS = st.recursive(
    NAMES,
    lambda inner: st.one_of(
        st.builds("{}({})".format, NAMES, inner),
        st.builds("{}.{}({}, k={})".format, inner, NAMES, inner, inner),
        st.builds("{}[{}]".format, NAMES, inner),
        st.builds("({} if {} else [{}])".format, inner, inner, inner),
    ),
    max_leaves=4,
)
ENDS = st.sampled_from(["", "!r", ":>3", ":{width(1)}", "!s:%H:%M", "=", " = !s"])
PARTS = st.one_of(TEXTS.map(quoted), st.builds("{{{}{}}}".format, FIELDS, ENDS))
FORMATTED = st.lists(PARTS, max_size=4).map(lambda parts: f'f"{"".join(parts)}"')
STRINGS = st.one_of(FORMATTED, TEXTS.map(repr), st.just("'''a\n{b}\n'''"))
EXPRESSIONS = st.one_of(
    FIELDS,
    STRINGS,
    st.lists(STRINGS, min_size=2, max_size=3).map(" ".join),
    st.builds("{}(\n{},\n  {})".format, NAMES, FIELDS, STRINGS),
    st.builds("await {}.{}({})".format, NAMES, NAMES, STRINGS),
)
STATEMENTS = st.one_of(
    EXPRESSIONS,
    st.builds("{} = {}  # {{".format, NAMES, EXPRESSIONS),
    st.builds("return {}".format, EXPRESSIONS),
    st.builds("if {}:\n        {}\n    else: {}".format, EXPRESSIONS, EXPRESSIONS, EXPRESSIONS),
    st.builds("async with {} as x:\n\n        {}".format, FIELDS, EXPRESSIONS),
    st.builds("try: {}\n    except (A, B): {}".format, EXPRESSIONS, EXPRESSIONS),
)
FUNCTIONS = st.lists(STATEMENTS, min_size=1, max_size=5).map(lambda body: "async def f():\n    " + "\n    ".join(body))


@settings(max_examples=60, deadline=None)
@given(st.lists(FUNCTIONS, min_size=1, max_size=2).map("\n\n".join))
def test_ordinary_code_is_read_as_ast_reads_it(source: str) -> None:
    ordinary, newer = ast.parse(source), parse_newer(source)
    assert calls(newer) == calls(ordinary)
    assert ast.dump(newer) == ast.dump(ordinary)
    statements = [[n.lineno for n in ast.walk(tree) if isinstance(n, ast.stmt)] for tree in (newer, ordinary)]
    assert statements[0] == statements[1]
