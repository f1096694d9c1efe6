"""A suppression covers exactly what it stands at, has to give its reason, and is reported when nothing needs it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.__main__ import main
from pipeline_guard.checks import run_checks
from pipeline_guard.checks.suppressions import Mistake, Suppression, read
from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.facts.remarks import may_hold_remarks, remarks_in
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import Remark

IGNORE = "# pipeline-guard: ignore[PG201] asked for by ops"
SEND = 'await self.realtime.send(json.dumps({"type": "response.create", "event_id": "e"}))'
START = """
import asyncio
import json

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


def logged(function):
    return function


class CallSession:
    def __init__(self, realtime) -> None:
        self.realtime = realtime
        self.active_response_id: str | None = None
        self.pending = False

    async def trigger_response(self, reason: str) -> None:
        if self.active_response_id is None and not self.pending:
            self.pending = True
            await self.realtime.send(json.dumps({"type": "response.create", "event_id": reason}))

    async def on_tool_call(self, call_id: str) -> None:
        note = call_id
"""
END = """
    async def read_events(self) -> None:
        async for raw in self.realtime:
            event = json.loads(raw)
            if event["type"] == "response.created":
                self.active_response_id, self.pending = event["response"]["id"], False
            elif event["type"] == "response.done" and event["response"]["id"] == self.active_response_id:
                self.active_response_id = None
            elif event["type"] == "input_audio_buffer.committed":
                await self.trigger_response("user_turn")
            elif event["type"] == "response.output_item.added":
                await self.on_tool_call(event["item"]["call_id"])


@app.websocket("/media-stream")
async def media_stream(twilio: WebSocket) -> None:
    await twilio.accept()
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime") as realtime:
        await CallSession(realtime).read_events()
"""
Marks = list[tuple[str, bool]]


def program(body: str) -> str:
    """Return a backend whose tool handler goes on with the given lines."""
    indented = "".join(f"        {line}\n" if line else "\n" for line in body.split("\n"))
    return START.lstrip("\n") + indented + END


def check_files(folder: Path, files: dict[str, bytes], config: Config | None = None) -> list[Finding]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    config = config or Config()
    found = discover(folder, config.exclude, config.max_file_size)
    return run_checks(analyse(folder, found.files, config), config)


def check(body: str, config: Config | None = None) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        return check_files(Path(folder), {"app.py": program(body).encode()}, config)


def marks(findings: list[Finding]) -> Marks:
    return [(finding.rule, finding.suppressed) for finding in findings]


SUPPRESSED: Marks = [("PG201", True)]


@pytest.mark.parametrize(
    "body",
    [
        f"{SEND}  {IGNORE}",
        f"{SEND}  # noqa: E501  {IGNORE}",
        f"{SEND}  {IGNORE}  # noqa: E501",
        f"{IGNORE}\n{SEND}",
        f"{IGNORE}\n# and that is all\n{SEND}",
        f"if note:\n    {IGNORE}\n    {SEND}",
        f"if note: {SEND}  {IGNORE}",
        f"await asyncio.gather(\n    {SEND[6:]},  {IGNORE}\n)",
        f"await asyncio.gather(\n    {IGNORE}\n    {SEND[6:]},\n)",
        f"await asyncio.gather(\n    {SEND[6:]},\n)  {IGNORE}",
        f"{IGNORE}\nawait asyncio.gather(\n\n    {SEND[6:]},\n)",
        f"{SEND}  # pipeline-guard:ignore[pg201]: asked for by ops, see #123",
        f"{SEND}  # pipeline-guard: ignore[PG201] נחוץ עד OPS-41",
    ],
)
def test_a_suppression_counts_behind_the_statement_in_it_and_directly_above_it(body: str) -> None:
    assert marks(check(body)) == SUPPRESSED


@pytest.mark.parametrize(
    "body",
    [
        f"{IGNORE}\n\n{SEND}",
        f"{IGNORE}\nnote = 1\n{SEND}",
        f"note = 1  {IGNORE}\n{SEND}",
        f"{SEND}\n{IGNORE}",
        f"await asyncio.gather(\n    asyncio.sleep(0),  {IGNORE}\n    {SEND[6:]},\n)",
        f"{SEND}  # pipeline-guard: ignore[PG102] the wrong rule",
    ],
)
def test_elsewhere_it_counts_for_nothing_and_is_unused(body: str) -> None:
    assert sorted(marks(check(body))) == [("PG201", False), ("PG902", False)]


def test_each_of_two_findings_in_one_call_has_its_own_line() -> None:
    body = f"await asyncio.gather(\n    {SEND[6:]},  {IGNORE}\n    {SEND[6:]},\n)"
    assert marks(check(body)) == [("PG201", True), ("PG201", False)]


def test_above_decorators_a_suppression_speaks_of_the_whole_head_of_the_function() -> None:
    code = f"{IGNORE}\n@app.get(\n    '/x'\n)\n\n@logged\nasync def hook() -> None:\n    pass\n"
    (remark,) = remarks_in("app.py", code.encode())
    assert (remark.first, remark.last) == (2, 7)


def test_several_ids_share_a_reason_and_each_has_to_be_needed() -> None:
    (finding, unused) = sorted(
        check(f"{SEND}  # pipeline-guard: ignore[PG201, PG102, PG2001] asked for by ops"), key=lambda f: f.rule
    )
    assert finding.suppressed
    assert (unused.rule, unused.severity, unused.line) == ("PG902", "warning", finding.line)
    assert unused.message.startswith("nothing here is a finding of PG102.")
    assert "no rule is called 'PG2001'; did you mean 'PG201'?" in unused.message


def test_only_rules_of_this_run_can_be_unused() -> None:
    body = "note = 2  # pipeline-guard: ignore[PG102] once needed"
    assert marks(check(body)) == [("PG902", False)]
    assert check(body, Config(select=("PG2",))) == []
    assert check(body, Config(select=("PG2", "PG9"))) == []
    assert check(body, Config(ignore=("PG102",))) == []
    assert check(body, Config(ignore=("PG902",))) == []
    assert marks(check(body, Config(select=("PG102", "PG902")))) == [("PG902", False)]
    assert check(body, Config(severity={"PG902": "note"}))[0].severity == "note"


@pytest.mark.parametrize("comment", ["# pipeline-guard: ignore[PG201]", "# pipeline-guard: ignore[PG201] - # noqa"])
def test_without_a_reason_it_does_not_count(comment: str) -> None:
    found = {finding.rule: finding for finding in check(f"{SEND}  {comment}")}
    assert sorted(found) == ["PG201", "PG903"]
    assert (found["PG201"].suppressed, found["PG903"].severity) == (False, "error")
    assert "has no reason" in found["PG903"].message
    assert found["PG903"].column == 8 + len(SEND) + 2 + 1


@pytest.mark.parametrize("rule", ["PG901", "PG902", "PG903", "PG904"])
def test_what_the_gate_says_about_itself_cannot_be_suppressed(rule: str) -> None:
    found = check(f"{SEND}  # pipeline-guard: ignore[PG201, {rule}] enough of it")
    assert sorted(marks(found)) == [("PG201", True), ("PG903", False)]
    assert next(f for f in found if f.rule == "PG903").message.startswith(f"{rule} cannot be suppressed")


def parts(text: str, *, alone: bool = False) -> list[Suppression | Mistake]:
    return list(read(Remark(path="a.py", line=1, column=1, text=text, alone=alone, first=1, last=1)))


@pytest.mark.parametrize(
    "text",
    """
# pipeline-guard: ignore
# pipeline-guard: ignore this line
# pipeline-guard: ignore[]
# pipeline-guard: ignore[ , ] reason
# pipeline-guard: ignore[PG201 reason
# pipeline-guard: ignores[PG201] reason
# pipeline-guard: ingore[PG201] reason
# pipeline-guard: ignore=[PG201] reason
# pipeline-guard: ignore PG201 reason
# pipeline-guard: ignore-next-line[PG201] reason
# pipeline-guard:ignore (PG201)
# pipeline-guard ignore[PG201] reason
# pipeline-guard[PG201] reason
# pipeline_guard: ignore[PG201] reason
# PipelineGuard: ignore[PG201] reason
# pipeline-guard: noqa
# pipeline-guard: disable=PG201 reason
# noqa  # pipeline-guard: suppress(PG201) reason
""".strip().split("\n"),
)
def test_what_somebody_would_believe_to_work_is_named_with_what_to_write(text: str) -> None:
    (mistake,) = parts(text)
    assert isinstance(mistake, Mistake)
    assert "does not count" in mistake.message
    assert "# pipeline-guard: ignore[PG201]" in mistake.message


@pytest.mark.parametrize(
    "text",
    """
# see pipeline-guard docs
# pipeline-guard docs say that PG201 matters
# pipeline-guard: see the docs, PG201
# pipeline-guard: ignores tests by default
# pipeline-guard ignores PG201 in tests
# pipeline-guard ignores (see docs) the tests
# pipeline-guard: ok
# PG201 is found here by pipeline-guard
# from pipeline_guard import ignore
# type: ignore[PG201]
#
""".strip().split("\n"),
)
def test_prose_that_mentions_the_tool_is_nothing(text: str) -> None:
    assert parts(text) == parts(text, alone=True) == []


def test_code_that_is_commented_out_takes_its_suppression_with_it() -> None:
    body = f"# {SEND}  {IGNORE}\n{SEND}"
    assert marks(check(body)) == [("PG201", False)]


@pytest.mark.parametrize("quote", ['"', "'", '"""', "'''", 'f"', 'r"'])
def test_a_string_that_contains_the_text_never_counts(quote: str) -> None:
    end = quote.lstrip("fr")
    assert marks(check(f"{SEND}; note = {quote}{IGNORE}{end}")) == [("PG201", False)]
    assert marks(check(f"{quote}{IGNORE}{end}\n{SEND}")) == [("PG201", False)]


FILLERS = st.sampled_from(["", "# a word", '"pipeline-guard: ignore[PG201] text",', '"# pipeline-guard: ignore[PG1]",'])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_comment_may_end_any_line_of_a_call(data: st.DataObject) -> None:
    fillers = data.draw(st.lists(FILLERS, max_size=3))
    lines = ["await self.realtime.send(", "    json.dumps(", '        {"type": "response.create", "extra": [', *fillers,
             "        ]}", "    )", ")"]  # fmt: skip
    free = [number for number, line in enumerate(lines) if not line.lstrip().startswith("#")]
    place = data.draw(st.sampled_from(free))
    bare = "\n".join(lines)
    lines[place] += f"  {IGNORE}"
    assert marks(check(bare)) == [("PG201", False)]
    assert marks(check("\n".join(lines))) == SUPPRESSED


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.sampled_from(list("#'\"\\\n\r\f\t ab{}()[]")), max_size=20),
    st.text(alphabet=st.sampled_from(list("#'\"\\\n\r\f\t ab{}()[]")), max_size=20),
)
def test_strings_are_never_comments_whatever_surrounds_the_text(before: str, after: str) -> None:
    code = f"x = {before + IGNORE + after!r}\n"
    assert remarks_in("a.py", code.encode()) == []


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_no_bytes_whatever_raise(noise: bytes) -> None:
    comment = IGNORE.encode()
    for data in (noise, noise + comment, comment + b"\n" + noise, b"x = (" + comment + b"\n" + noise):
        may_hold_remarks(data)
        for remark in remarks_in("a.py", data):
            assert remark.first <= remark.last
            assert list(read(remark)) is not None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="pipeline-guard_:ignore[]()PG201, #\t\x0céש", max_size=60))
def test_no_comment_whatever_raises(text: str) -> None:
    for alone in (False, True):
        for part in parts(f"#{text}", alone=alone) + parts(f"# pipeline-guard: ignore{text}", alone=alone):
            assert part.column >= 1


@pytest.mark.parametrize("filler", [" ", "\t", "ign", "[", "PG2", "PG201,", "#", " # "])
def test_long_comments_are_read_at_once(filler: str) -> None:
    start = time.perf_counter()
    for head in ("# pipeline-guard", "# pipeline-guard:", "# pipeline-guard: ignore", "# pipeline-guard: ignore["):
        parts(head + filler * 20_000 + "x")
    assert time.perf_counter() - start < 5


FORMS: dict[str, Callable[[str], bytes]] = {
    "BOM": lambda code: b"\xef\xbb\xbf" + code.encode(),
    "latin-1": lambda code: f"# -*- coding: latin-1 -*-\n# \xe9\xff\n{code}".encode("latin-1"),
    "CRLF": lambda code: code.replace("\n", "\r\n").encode(),
    "CR": lambda code: code.replace("\n", "\r").encode(),
    "form feeds": lambda code: code.replace("\n\n", "\n\f\n").encode(),
    "tabs": lambda code: code.replace("    ", "\t").encode(),
    "UTF-16": lambda code: code.encode("utf-16"),
    "no line end": lambda code: code.rstrip("\n").encode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("body", [f"{SEND}  {IGNORE}", f"{IGNORE}\n{SEND}"])
def test_any_form_of_file_that_python_takes(tmp_path: Path, form: str, body: str) -> None:
    assert marks(check_files(tmp_path, {"app.py": FORMS[form](program(body))})) == SUPPRESSED


@pytest.mark.parametrize(
    "data",
    [
        f"x = (  {IGNORE}\n".encode(),
        f'x = """  {IGNORE}\n'.encode(),
        f"if x:\n        a\n    b  {IGNORE}\n".encode(),
        f"x = $ ?  {IGNORE}\n".encode(),
        f"x = 1\0  {IGNORE}\n".encode(),
        f"# coding: klingon\nx = 1  {IGNORE}\n".encode(),
        f"x = 1  {IGNORE} \xff\n".encode("latin-1"),
        b"\xff\xfe" + IGNORE.encode(),
        b"\xef\xbb\xbf# coding: latin-1\n" + IGNORE.encode(),
        (f"x = {'(' * 5000}{')' * 5000}  {IGNORE}\n").encode(),
    ],
)
def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path, data: bytes) -> None:
    found = check_files(tmp_path, {"app.py": program(f"{SEND}  {IGNORE}").encode(), "odd.py": data})
    assert marks([finding for finding in found if finding.path == "app.py"]) == SUPPRESSED
    assert {finding.rule for finding in found if finding.path == "odd.py"} <= {"PG901"}


def test_comments_are_read_in_newer_syntax_than_the_running_one() -> None:
    code = f"type A = int\nmatch x:\n    case 1:\n        y = t'{{x}}'  {IGNORE}\n"
    (remark,) = remarks_in("a.py", code.encode())
    assert (remark.first, remark.last) == (4, 4)


def test_a_suppression_in_a_project_without_any_session_is_unused(tmp_path: Path) -> None:
    found = check_files(tmp_path, {"a.py": f"x = 1  {IGNORE}\n".encode()})
    assert marks(found) == [("PG902", False)]


def test_the_command_line_exits_0_and_counts_what_is_suppressed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text(program(f"{SEND}  {IGNORE}"), encoding="utf-8")
    assert main(["check", str(tmp_path), "--format", "json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [finding["suppressed"] for finding in document["findings"]] == [True]
    assert (document["summary"]["findings"], document["summary"]["suppressed"]) == (0, 1)
    assert main(["check", str(tmp_path)]) == 0
    assert "1 suppressed" in capsys.readouterr().out
    (tmp_path / "app.py").write_text(program(f"{SEND}  # pipeline-guard: ignore[PG201]"), encoding="utf-8")
    assert main(["check", str(tmp_path), "-q"]) == 1
    assert "PG903 error" in capsys.readouterr().out


def test_the_map_is_the_same_with_and_without_suppressions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = []
    for body in (SEND, f"{SEND}  {IGNORE}"):
        (tmp_path / "app.py").write_text(program(body), encoding="utf-8")
        assert main(["map", str(tmp_path), "--format", "json"]) == 0
        maps.append(capsys.readouterr().out)
    assert maps[0] == maps[1]


@pytest.mark.parametrize("body", [f"{SEND}  {IGNORE}", f"{IGNORE}\n{SEND}", f"if note: {SEND}\t{IGNORE}"])
def test_allowing_a_finding_leaves_its_fingerprint(body: str) -> None:
    plain = body.replace(f"{IGNORE}\n", "").replace(IGNORE, "").rstrip()
    assert [f.fingerprint for f in check(body)] == [f.fingerprint for f in check(plain)]
