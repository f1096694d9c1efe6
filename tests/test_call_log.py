"""audit-log: every format, every symptom, overlapping calls, cut ids, pasted repeats, and no line ever lost."""

from __future__ import annotations

import gzip
import io
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_guard.__main__ import main
from pipeline_guard.calllog.audit import Audit, audit, checks_of
from pipeline_guard.calllog.formats import LineReader, seconds_of
from pipeline_guard.calllog.ledger import CallLedger
from pipeline_guard.calllog.markers import KINDS, Markers, load_markers
from pipeline_guard.calllog.report_html import HtmlReport
from pipeline_guard.calllog.report_json import JsonReport
from pipeline_guard.calllog.report_text import TextReport, clean

LOGS = sorted((Path(__file__).parent / "fixtures" / "call_logs").glob("*.log"))
CALL = "CA00112233445566778899aabbccddeeff"
MARGIN = len(f"{'':>7} {'':>4} {'':<24} │ ")


def clock(number: int) -> str:
    return f"{12 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"


def replit(lines: list[str]) -> str:
    return "".join(f"2026-05-01 {clock(n)}.{n % 100:02}\nab12cd34\nUser\n{line}\n" for n, line in enumerate(lines))


FORMATS: dict[str, Callable[[list[str]], str]] = {
    "plain": lambda lines: "".join(f"{line}\n" for line in lines),
    "docker compose": lambda lines: "".join(f"voice-backend-1  | {line}\n" for line in lines),
    "foreman": lambda lines: "".join(f"{clock(n)} web.1     | {line}\n" for n, line in enumerate(lines)),
    "heroku": lambda lines: "".join(
        f"2026-05-01T{clock(n)}.000000+00:00 app[web.1]: {line}\n" for n, line in enumerate(lines)
    ),
    "kubernetes": lambda lines: "".join(
        f"2026-05-01T{clock(n)}.123456789Z stdout F {line}\n" for n, line in enumerate(lines)
    ),
    "logging": lambda lines: "".join(
        f"2026-05-01 {clock(n)},123 INFO agent.call: {line}\n" for n, line in enumerate(lines)
    ),
    "replit": replit,
    "json lines": lambda lines: "".join(
        json.dumps({"time": f"2026-05-01T{clock(n)}Z", "level": "info", "message": line}) + "\n"
        for n, line in enumerate(lines)
    ),
    "json in docker": lambda lines: "".join(
        f"app-1  | {json.dumps({'ts': clock(n), 'msg': line}, ensure_ascii=False)}\n" for n, line in enumerate(lines)
    ),
    "crlf": lambda lines: "".join(f"{line}\r\n" for line in lines),
    "coloured": lambda lines: "".join(f"\x1b[36mapp-1  |\x1b[0m \x1b[32mINFO\x1b[0m {line}\n" for line in lines),
}


class Sink:
    """Keeps what a report is given."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.lines: list[Any] = []
        self.data = b""

    def block(self, block: Any) -> None:
        self.data += block.data if block.data.endswith(b"\n") else block.data + b"\n"

    def line(self, line: Any) -> None:
        self.lines.append(line)
        self.data += line.data + b"\n"


def run(log: str | bytes) -> tuple[Audit, Sink]:
    sink = Sink()
    data = log.encode("utf-8", "surrogatepass") if isinstance(log, str) else log
    return audit(io.BytesIO(data), sink), sink


def failed(call: CallLedger) -> list[str]:
    return [check.name for check in checks_of(call) if check.outcome == "fail"]


def messages(path: Path) -> tuple[str, list[str]]:
    expectation, *lines = path.read_text(encoding="utf-8").splitlines()
    return expectation.removeprefix("# expect: "), lines


def clean_call() -> list[str]:
    return messages(next(path for path in LOGS if path.stem == "clean"))[1]


# -- symptoms and formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_each_symptom_is_found_in_each_format(path: Path, format_name: str) -> None:
    expected, lines = messages(path)
    result, _ = run(FORMATS[format_name](lines))
    (call,) = result.calls
    assert failed(call) == ([] if expected == "nothing" else [expected])
    assert result.passed is (expected == "nothing")


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name not in ("logging", "crlf", "coloured")])
def test_the_format_is_named(format_name: str) -> None:
    result, _ = run(FORMATS[format_name](clean_call()))
    named = {"json in docker": "docker compose"}.get(format_name, format_name)
    assert next(iter(result.formats)) == named


def test_the_account_of_a_clean_call() -> None:
    (call,) = run(FORMATS["docker compose"](clean_call()))[0].calls
    assert call.ids[0] == CALL
    assert (call.turns, call.created, call.done, call.sender_loops) == (3, 4, 4, 1)
    assert call.triggers == {"greeting": 1, "turn": 3}
    assert call.balance == 0
    assert call.turn_source == "turn_committed"
    assert call.ended_at is not None
    assert call.statuses == {"completed": 4}


def test_the_margin_says_what_each_line_means() -> None:
    _, sink = run("\n".join(clean_call()))
    said = [" + ".join(verdict.text for verdict in line.verdicts) for line in sink.lines]
    assert said[:6] == ["call begins", "sender loop 1", "greeting", "trigger: greeting", "response 1", "status"]
    assert "turn 2" in said
    assert said[-1] == "call ends"


def test_a_log_without_turns_is_not_judged_on_them() -> None:
    lines = [line for line in clean_call() if not re.search("speech|committed|transcription|User said", line)]
    (call,) = run("\n".join(lines))[0].calls
    outcomes = {check.name: check.outcome for check in checks_of(call)}
    assert outcomes["responses created = turns committed + triggers"] == "not shown"
    assert failed(call) == []


def test_a_log_without_the_sender_s_line_is_not_judged_on_it() -> None:
    (call,) = run("\n".join(line for line in clean_call() if "PIPELINE ACTIVE" not in line))[0].calls
    assert {check.name: check.outcome for check in checks_of(call)}["sender loops"] == "not shown"


def test_a_turn_without_a_response_is_named_and_breaks_nothing() -> None:
    lines = [*clean_call()[:-2], "event: input_audio_buffer.committed", *clean_call()[-2:]]
    (call,) = run("\n".join(lines))[0].calls
    assert call.unanswered == 1
    assert failed(call) == []
    assert [problem.severity for problem in call.problems] == ["warning"]


def test_a_response_logged_a_little_before_its_turn_is_its_answer() -> None:
    """Two threads write the log, and the faster one is not always the earlier."""
    lines = clean_call()
    committed = lines.index("event: input_audio_buffer.committed")
    # The turn's lines come after the response that answers it.
    moved = lines[: committed - 1] + lines[committed + 2 : committed + 3] + ["event: input_audio_buffer.committed"]
    (call,) = run("\n".join([*moved, *lines[committed + 3 :]]))[0].calls
    assert failed(call) == []


def test_raw_events_in_the_log() -> None:
    def event(kind: str, **keys: Any) -> str:
        return json.dumps({"type": kind, "event_id": "event_1", **keys})

    lines = [
        json.dumps({"event": "start", "start": {"callSid": CALL}, "streamSid": "MZ0123456789ab"}),
        event("response.create"),
        event("response.created", response={"id": "resp_A00000000001", "status": "in_progress"}),
        event("response.done", response={"id": "resp_A00000000001", "status": "completed"}),
        event("input_audio_buffer.committed", item_id="item_0001"),
        event("response.create"),
        event("response.created", response={"id": "resp_B00000000002", "status": "in_progress"}),
        event("response.output_audio_transcript.done", transcript="In which city?"),
        event("response.done", response={"id": "resp_B00000000002", "status": "cancelled"}),
        event("error", error={"code": "conversation_already_has_active_response"}),
        json.dumps({"event": "stop", "stop": {"callSid": CALL}}),
    ]
    (call,) = run("\n".join(lines))[0].calls
    assert (call.turns, call.created, call.done) == (1, 2, 2)
    assert call.statuses == {"completed": 1, "cancelled": 1}
    assert failed(call) == ["active-response errors"]


# -- several calls ----------------------------------------------------------------------------------------------------


def named(lines: list[str], number: int) -> list[str]:
    """The same call under another name, every line with its id."""
    call = f"CA{number:032x}"
    renamed = [line.replace(CALL, call).replace("MZ0011", f"MZ{number:032x}"[:6]) for line in lines]
    for kind in ("resp_", "item_"):
        renamed = [line.replace(kind, f"{kind}{number:x}") for line in renamed]
    return [line if call in line else f"[{call[:12]}] {line}" for line in renamed]


def test_calls_that_overlap_are_told_apart_by_their_ids() -> None:
    _, bad = messages(next(path for path in LOGS if path.stem == "silence_timer"))
    one, two = named(clean_call(), 0xA1B2C3D4 << 96), named(bad, 0xE5F6A7B8 << 96)
    mixed = [line for pair in zip(one, two[: len(one)], strict=False) for line in pair]
    mixed += one[len(two) :] + two[len(one) :]
    first, second = run("\n".join(mixed))[0].calls
    assert failed(first) == []
    assert failed(second) == ["timer triggers"]
    assert first.merged == second.merged == 1


def test_calls_that_overlap_without_ids_are_judged_together_and_said_to_be() -> None:
    one = [line.replace(CALL, f"CA{1 << 124:032x}").replace("MZ00112233", "MZ11111111") for line in clean_call()]
    two = [line.replace(CALL, f"CA{2 << 124:032x}").replace("MZ00112233", "MZ22222222") for line in clean_call()]
    two = [line.replace("resp_A", "resp_C").replace("resp_B", "resp_D").replace("item_", "item_2") for line in two]
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    (call,) = run("\n".join(mixed))[0].calls
    assert call.merged == 2
    assert call.sender_loops == 2
    assert call.created == 8
    assert failed(call) == []


def test_calls_one_after_the_other_are_two() -> None:
    two = [
        line.replace("00112233445566778899", "ff112233445566778899").replace("resp_", "resp_2") for line in clean_call()
    ]
    result, _ = run("\n".join([*clean_call(), *two]))
    assert [(call.created, call.turns) for call in result.calls] == [(4, 3), (4, 3)]


def test_what_is_done_after_a_call_names_it() -> None:
    lines = [line.replace(f"call={CALL}", "") for line in clean_call()]
    lines = [line.replace("stream=MZ00112233445566778899aabbccddeeff", "") for line in lines]
    (call,) = run("\n".join([*lines, f"stream ended call={CALL} status=done"]))[0].calls
    assert call.ids == [CALL]


# -- what happens to logs on their way --------------------------------------------------------------------------------


def test_lines_glued_together_count_each_for_itself() -> None:
    text = "\n".join(clean_call()).replace(
        "event: input_audio_buffer.committed\n[TRIGGER]", "event: input_audio_buffer.committed[TRIGGER]"
    )
    result, sink = run(text)
    assert failed(result.calls[0]) == []
    assert result.calls[0].turns == 3
    assert "turn 1 + trigger: turn" in [" + ".join(v.text for v in line.verdicts) for line in sink.lines]


def test_ids_that_are_cut_short_are_known_again() -> None:
    lines = [re.sub(r"(resp_\w{10})\w+", r"\1...", line) if n % 2 else line for n, line in enumerate(clean_call())]
    # Each response is told twice, once by the whole id and once by a part of it.
    doubled = []
    for line in lines:
        doubled.append(line)
        if "response.created" in line:
            doubled.append(re.sub(r"resp_\w+(\.\.\.)?", lambda m: m[0][:15] + "...", line))
    (call,) = run("\n".join(doubled))[0].calls
    assert call.created == 4
    assert failed(call) == []


def test_a_piece_that_was_pasted_twice_counts_once() -> None:
    lines = clean_call()
    result, sink = run("\n".join([*lines[:20], *lines[5:20], *lines[20:]]))
    assert result.repeated_lines > 8
    assert result.calls[0].created == 4
    assert failed(result.calls[0]) == []
    assert len([line for line in sink.lines if line.kinds == ("repeat",)]) == result.repeated_lines


def test_one_event_in_two_wordings_is_one_event() -> None:
    lines = []
    for line in clean_call():
        lines.append(line)
        if line.startswith("event: response."):
            lines.append(line.split(" id=")[0])
        if "PIPELINE ACTIVE" in line:
            lines.append("audio sender started")
    (call,) = run("\n".join(lines))[0].calls
    assert (call.created, call.done, call.sender_loops) == (4, 4, 1)
    assert failed(call) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le-bom"])
def test_other_encodings(encoding: str) -> None:
    text = "\n".join(clean_call())
    data = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-bom" else text.encode(encoding)
    assert failed(run(data)[0].calls[0]) == []


def test_noise_between_the_lines_changes_nothing() -> None:
    noise = "DEBUG audio delta 640 bytes\n" * 50
    result, sink = run(noise + noise.join(line + "\n" for line in clean_call()) + noise)
    assert failed(result.calls[0]) == []
    assert sink.data.count(b"\n") == result.lines


# -- nothing is lost, nothing breaks ----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(example for marker in load_markers().markers for example in marker.examples),
        *clean_call(),
        *("2026-05-01 12:00:00.12", "ab12cd34", "User", "app-1  | ", "12:00:01 web.1 | ", "{", '{"message":'),
        *("\x1b[31m", ""),
    ]
)  # fmt: skip
LINES = st.lists(st.one_of(WORDS, st.text(max_size=40), st.tuples(WORDS, WORDS).map("".join)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_no_line_is_lost_and_no_log_breaks_it(lines: list[str], end: str, last: bool) -> None:
    text = end.join(lines) + (end if last else "")
    data = text.encode("utf-8", "surrogatepass")
    result, sink = run(data)
    whole = data if data.endswith(b"\n") or not data else data + b"\n"
    assert sink.data.removeprefix(b"\xef\xbb\xbf") == whole.removeprefix(b"\xef\xbb\xbf")
    assert result.lines == whole.count(b"\n")
    for call in result.calls:
        checks_of(call)


@settings(max_examples=100, deadline=None)
@given(LINES)
def test_the_text_report_is_the_log_with_a_margin(lines: list[str]) -> None:
    data = "\n".join(lines).encode("utf-8", "surrogatepass").removeprefix(b"\xef\xbb\xbf")
    out = io.BytesIO()
    audit(io.BytesIO(data), TextReport(out, colour=False))
    shown = out.getvalue().decode("utf-8", "surrogatepass").split("\n")[:-1]
    expected = clean(data if data.endswith(b"\n") else data + b"\n").decode("utf-8", "surrogatepass").split("\n")[:-1]
    if data:
        assert [line[MARGIN:] for line in shown] == expected


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_of_any_kind_are_read(data: bytes) -> None:
    run(data)
    audit(io.BytesIO(data), HtmlReport(io.BytesIO()))


@given(st.text(max_size=80))
def test_a_line_of_any_kind_has_a_message(line: str) -> None:
    reader = LineReader()
    assert isinstance(reader.read(line).text, str)
    assert isinstance(reader.read("2026-05-01 12:00:00.12").seconds, float)
    assert isinstance(reader.read(line).text, str)


class Endless(io.RawIOBase):
    """A log of so many megabytes that was never written anywhere."""

    def __init__(self, megabytes: int) -> None:
        calls = [
            line.replace("resp_", f"resp_{n}x").replace("00112233", f"{n:08x}")
            for n in range(40)
            for line in clean_call()
        ]
        noise = "DEBUG audio delta 640 bytes\n" * 20
        self.piece = "".join(noise + line + "\n" for line in calls).encode()
        self.left = megabytes * 1_000_000 // len(self.piece)

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        return self.piece if self.left >= 0 else b""


def test_memory_does_not_grow_with_the_log() -> None:
    class Nowhere(io.BytesIO):
        def write(self, data: Any) -> int:
            return len(data)

    def peak(megabytes: int) -> int:
        tracemalloc.start()
        audit(Endless(megabytes), TextReport(Nowhere(), colour=False))  # type: ignore[arg-type]
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    # The second and later rounds of the same calls are repeats to it; what is kept must not grow with them either.
    peak(1)
    assert peak(3) < 1.3 * peak(1)


# -- the markers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", load_markers().markers, ids=lambda marker: f"{marker.kind}: {marker.form}")
def test_a_marker_finds_its_examples_and_not_its_counterexamples(marker: Any) -> None:
    def found(text: str) -> bool:
        return any((hit.kind, hit.form) == (marker.kind, marker.form) for hit in load_markers().find(text))

    assert marker.kind in KINDS
    assert all(any(literal in example for literal in marker.any) for example in marker.examples)
    assert [example for example in marker.examples if not found(example)] == []
    assert [example for example in marker.counterexamples if found(example)] == []
    assert all(literal.isascii() for literal in marker.any)


def test_every_kind_has_a_marker() -> None:
    assert {marker.kind for marker in load_markers().markers} == set(KINDS)


@pytest.mark.parametrize("change", [{"kind": "nothing"}, {"patern": "x"}])
def test_a_marker_that_says_nothing_known_is_refused(change: dict[str, str]) -> None:
    entry = {"kind": "greeting", "form": "x", "any": ["x"], "pattern": "x", "example": ["x"], **change}
    with pytest.raises(ValueError, match=next(iter(change.values())) if "kind" in change else "patern"):
        Markers({"marker": [entry], "reason": []})


@pytest.mark.parametrize(
    ("text", "seconds"), [("2026-05-01 12:00:01.50", 43201.5), ("9:05:00,250", 32700.25), ("no time", None)]
)
def test_times_of_day(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


# -- the command ------------------------------------------------------------------------------------------------------


def log_file(tmp_path: Path, name: str, format_name: str = "docker compose") -> Path:
    path = tmp_path / "call.log"
    path.write_text(FORMATS[format_name](messages(next(p for p in LOGS if p.stem == name))[1]), encoding="utf-8")
    return path


def test_exit_codes_and_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-log", str(log_file(tmp_path, "clean"))]) == 0
    output = capsys.readouterr().out
    assert "1 calls, none broke the contract" in output
    assert "✓ responses created = turns committed + triggers: 4 responses, 3 turns, 1 triggers (1 greeting)" in output
    assert main(["audit-log", str(log_file(tmp_path, "silence_timer"))]) == 1
    output = capsys.readouterr().out
    assert "✗ timer trigger" in output
    assert re.search(r"line \d+: a timer asked for a response", output)


def test_json_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-log", str(log_file(tmp_path, "two_sender_loops")), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["version"], report["verdict"], report["formats"]) == (1, "fail", {"docker compose": 30})
    (call,) = report["calls"]
    assert call["sender_loops"] == 2
    assert call["balance"] == 0
    assert [check["name"] for check in call["checks"] if check["outcome"] == "fail"] == ["sender loops"]
    assert [line["severity"] for line in report["lines"] if line["kinds"] == ["sender_loop"]] == [None, "error"]


def test_html_of_it_is_one_page_and_escapes_the_log(tmp_path: Path) -> None:
    path = log_file(tmp_path, "active_response")
    path.write_text(path.read_text() + "voice  | <script>alert(1)</script>\nUser said: <b>yes</b>\n")
    page = tmp_path / "audit.html"
    assert main(["audit-log", str(path), "--format", "html", "--output", str(page)]) == 1
    html = page.read_text(encoding="utf-8")
    assert "<script>" not in html
    assert "<b>yes" not in html
    assert "ACTIVE RESPONSE" in html
    assert re.search(r'<a href="#L(\d+)">line \1</a>', html)
    assert "http" not in html.replace("http-equiv", "")


def test_from_standard_input_and_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = log_file(tmp_path, "clean").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["audit-log", "-", "--summary"]) == 0
    assert "│" not in capsys.readouterr().out
    packed = tmp_path / "call.log.gz"
    packed.write_bytes(gzip.compress(data))
    assert main(["audit-log", str(packed)]) == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot be read or written: No such file"), (b"", "no call was found in 0 lines"), (b"hello\n", "no call")],
)
def test_what_is_no_log(content: bytes | None, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.log"
    if content is not None:
        path.write_bytes(content)
    assert main(["audit-log", str(path)]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_a_folder_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-log", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_escape_codes_of_a_log_never_reach_the_terminal() -> None:
    out = io.BytesIO()
    hostile = "\x1b]0;owned\x07\x1b[2Jevent: response.created\nplain \x1b[31mred\x07\n"
    audit(io.BytesIO(hostile.encode()), TextReport(out, colour=False))
    assert not re.search(rb"[\x00-\x08\x0b-\x1f]", out.getvalue())
    page = io.BytesIO()
    audit(io.BytesIO(hostile.encode()), JsonReport(page, "x"))
    assert b"\x1b" not in page.getvalue()
