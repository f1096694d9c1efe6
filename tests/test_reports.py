"""What each output says about a map and its findings, and that it stays valid whatever the scanned code is called."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline_guard.pipeline.model import Gap, Lane, PipelineMap, Site
from pipeline_guard.reports import check_json, check_text, map_dot, map_json, map_mermaid, map_text
from pipeline_guard.reports.lane_parts import audio_path
from pipeline_guard.reports.page import PlainPage, RichPage, make_page
from pipeline_guard.reports.source_frame import frame
from pipeline_guard.reports.terminal import clean
from tests.sample_maps import (
    FAST_PATH,
    QUEUE_LINE,
    SILENCE_CALL,
    demo_lane,
    demo_map,
    empty_map,
    engine_site,
    finding,
    speaking_lane,
)

GAPS = (
    Gap(path="broken.py", reason="syntax", detail="invalid syntax", line=3),
    Gap(path="generated.py", reason="size", detail="12,000,000 bytes are more than max-file-size"),
)


def console(width: int = 200, *, styled: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=styled,
        color_system="truecolor" if styled else None,
        highlight=False,
    )


def printed(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def map_of(pipeline_map: PipelineMap, width: int = 200) -> str:
    target = console(width)
    map_text.render(pipeline_map, target)
    return printed(target)


def rows(text: str, word: str) -> list[str]:
    return [line.strip("│├└─ ") for line in text.split("\n") if word in line]


def test_the_map_is_the_contracts_diagram_with_the_backends_own_functions() -> None:
    text = map_of(demo_map())
    stages = ["Twilio Media (μ-law base64)", "media frame handler", "audio queue", "audio sender", "SECOND SENDER"]
    places = [text.index(stage) for stage in stages]
    assert places == sorted(places)
    (queue,) = rows(text, "audio queue")
    assert f"call_session.py:{QUEUE_LINE}" in queue
    assert "no bound, 1 writer, 1 reader" in queue
    (handler,) = rows(text, "media frame handler")
    assert "CallSession.handle_media" in handler


def test_the_map_says_what_makes_the_agent_speak_and_who_answers_a_turn() -> None:
    text = map_of(demo_map())
    assert rows(text, "fires on") == ["fires on   the caller's turn", "fires on   silence timer, keypad"]
    assert "no guard: sends whether or not a response is active" in text
    assert f"call_session.py:{SILENCE_CALL.line}  silence timer" in text
    assert "so the server answers every turn by itself" in text
    assert "the caller hears double replies  (inferred from the code)" in text


def test_duplicates_are_red_and_nothing_else_is() -> None:
    target = console(styled=True)
    map_text.render(demo_map(), target)
    red = [line for line in printed(target).split("\n") if "\x1b[1;31m" in line]
    assert [next(word for word in ("SENDER", "sends at", "TRIGGER", "double") if word in line) for line in red] == [
        "SENDER",
        "sends at",
        "TRIGGER",
        "double",
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_width_cuts_a_name_or_a_place_short(width: int) -> None:
    text = re.sub(r"[│├└─\s]", "", map_of(demo_map(gaps=GAPS), width))
    assert "…" not in text
    for part in (f"call_session.py:{FAST_PATH.line}", "CallSession.send_audio_to_openai", "generated.py"):
        assert part in text


def section(text: str, title: str) -> list[str]:
    """Return the rows below a title, one space between the columns."""
    lines = text.split("\n")
    start = next(number for number, line in enumerate(lines) if line.strip("│├└─ ") == title)
    return [" ".join(line.strip("│├└─ ").split()) for line in lines[start + 1 : lines.index("", start)]]


SAY = engine_site("twiml_say", "twilio", 9, symbol="answer", beside="before", value="greeting")
OTHERS = (
    engine_site("tts", "playht", 70, "dormant", note="nothing calls run_playht()"),
    engine_site("tts", "lmnt", 60, "dormant", flag="USE_LMNT", note="switched off: USE_LMNT"),
    engine_site("stt", "deepgram", 10, value="feeds_back"),
    engine_site("stt", "whisper", 30, "post_call", value="log_only", marked=True),
    engine_site("tts", "elevenlabs", 20),
    engine_site("tts", "elevenlabs", 24),
    engine_site("tts", "polly", 40, flag="USE_POLLY"),
    engine_site("stt", "google", 50, "startup", value="unknown"),
    SAY,
)


def test_what_listens_and_speaks_beside_the_session_is_told_live_first() -> None:
    assert section(map_of(demo_map(speaking_lane(*OTHERS))), "Other voices and recognisers") == [
        "speech-to-text deepgram run_deepgram speech.py:10 during the call text goes back into the call",
        "another voice elevenlabs run_elevenlabs speech.py:20, 24 during the call",
        "TwiML <Say> answer speech.py:9 during the call greeting, before the stream",
        "another voice polly run_polly speech.py:40 during the call one setting away: USE_POLLY",
        "speech-to-text google run_google speech.py:50 at start-up unclear where the text goes",
        "speech-to-text whisper run_whisper speech.py:30 after the call "
        "text is only kept, declared for after the call only",
        "another voice playht run_playht speech.py:70 dormant nothing calls run_playht()",
        "another voice lmnt run_lmnt speech.py:60 dormant one setting away: USE_LMNT",
    ]


def test_calls_that_lead_to_an_engine_are_counted_unless_its_own_place_is_elsewhere() -> None:
    own = engine_site("stt", "deepgram", value="unknown")
    inner = engine_site("tts", "openai or polly", 8, role="call", symbol="speak", callee="voice.py:Voice.speak")
    outer = engine_site("tts", "openai or polly", 3, role="call", symbol="turn", callee="speech.py:speak")
    calls = [engine_site("stt", "deepgram", line, role="call") for line in (4, 5)]
    assert section(map_of(demo_map(speaking_lane(own, outer, inner, *calls))), "Other voices and recognisers") == [
        "speech-to-text deepgram run_deepgram speech.py:1 during the call unclear where the text goes",
        "another voice openai or polly speak speech.py:8 during the call",
        "3 calls lead there",
    ]


def test_many_engines_do_not_flood_the_map() -> None:
    lines = [engine_site("tts", "polly", line) for line in range(1, 6)]
    many = [engine_site("tts", f"voice{number:02}", 1) for number in range(20)]
    found = section(map_of(demo_map(speaking_lane(*lines, *many))), "Other voices and recognisers")
    assert found[0] == "another voice polly run_polly speech.py:1, 2, 3 +2 during the call"
    assert (len(found), found[-1]) == (13, "… and 9 more (see --format json)")


@pytest.mark.parametrize("width", [60, 100])
def test_a_narrow_terminal_gets_lines_that_fit_and_whole_names(width: int) -> None:
    text = map_of(demo_map(speaking_lane(*OTHERS), outside=OTHERS), width)
    assert max(len(line.rstrip()) for line in text.split("\n") if "speech.py" in line) <= width
    assert all(f"speech.py:{site.line}" in text for site in OTHERS if site.line != 24)
    assert all(site.symbol in text for site in OTHERS)


NO_SESSION = "No Realtime session here"
CASCADE = (
    engine_site("stt", "deepgram", 1),
    engine_site("tts", "elevenlabs", 2),
    engine_site("tts", "polly", 3, "dormant"),
)


@pytest.mark.parametrize(
    ("outside", "expected"),
    [
        ((), "No Realtime session here."),
        (CASCADE, "this backend listens with deepgram and speaks with elevenlabs"),
        (CASCADE[:1], "this backend listens with deepgram"),
        (CASCADE[2:], "its code for polly is not in use"),
        ((engine_site("stt", "whisper", 1, "offline"),), "this backend listens with whisper outside calls"),
        (
            (
                *(engine_site("tts", name, line) for line in (1, 2) for name in ("azure", "bark")),
                *(engine_site("tts", name, flag="VOICE") for name in ("aws", "cartesia")),
                engine_site("tts", "lmnt or polly", role="call"),
            ),
            "this backend speaks with azure, bark, lmnt and 3 more",
        ),
    ],
)
def test_a_project_without_a_session_is_said_to_have_none(outside: tuple[Site, ...], expected: str) -> None:
    text = map_of(empty_map(*outside))
    sentence = f"{NO_SESSION}: {expected} (no contract to check)." if outside else expected
    assert text.split("\n")[2] == sentence
    assert "7 Python files found, 2 read in depth, 5 set aside" in text
    said = f" ({expected})" if outside else ""
    assert check_of(empty_map(*outside)).split("\n")[0] == f"{NO_SESSION}: nothing to check{said}"
    for diagram in (map_dot, map_mermaid):
        assert sentence.rstrip(".") in diagram.render(empty_map(*outside))


def test_engines_outside_are_listed_by_engine_and_context() -> None:
    sites = (*CASCADE, engine_site("stt", "deepgram", 7), engine_site("stt", "google", 8, flag="USE_GOOGLE"))
    expected = [
        "speech-to-text deepgram speech.py:1 +1 place during the call",
        "another voice elevenlabs speech.py:2 during the call",
        "speech-to-text google speech.py:8 during the call one setting away: USE_GOOGLE",
        "another voice polly speech.py:3 dormant",
    ]
    assert section(map_of(demo_map(outside=sites)), "Other pipelines, without a Realtime session") == expected
    assert section(map_of(empty_map(*sites)), "What it runs instead") == expected
    assert NO_SESSION not in map_of(demo_map(outside=sites)) + check_of(demo_map(outside=sites))


def test_another_provider_is_a_lane_of_its_own_and_not_a_duplicate() -> None:
    site = Site(
        kind="audio_send", path="g.py", line=5, end_line=5, column=1, symbol="send", context="live", provider="gemini"
    )
    text = map_of(demo_map(demo_lane(), Lane(name="g.py", provider="gemini", sites=(site,))))
    assert "Other speech services" in text
    assert "g.py  gemini  g.py:5" in text
    alone = demo_map(Lane(name="g.py", provider="gemini", sites=(site,)))
    assert f"{NO_SESSION}: this backend talks through gemini (no contract to check)." in map_of(alone)
    assert f"{NO_SESSION}: nothing to check (this backend talks through gemini)" in check_of(alone)


def test_an_empty_lane_shows_every_stage_that_is_missing() -> None:
    text = map_of(demo_map(Lane(name="lane", provider="openai")))
    assert len(rows(text, "none found")) == 5
    assert "no function of this lane sends response.create" in text
    assert "Realtime's defaults hold" in text


def test_every_gap_is_listed_with_its_reason() -> None:
    for text in (map_of(demo_map(gaps=GAPS)), check_of(demo_map(gaps=GAPS))):
        assert "Not judged  2 places" in text
        assert re.search(r"broken\.py:3\s+cannot be parsed\s+invalid syntax", text)
        assert re.search(r"generated\.py\s+too large", text)


def check_of(pipeline_map: PipelineMap, *findings: object, group_by: str = "file", elsewhere: int = 0) -> str:
    target = console()
    check_text.render(findings, pipeline_map, RichPage(target), group_by=group_by, elsewhere=elsewhere)  # type: ignore[arg-type]
    return printed(target)


def test_a_finding_shows_the_line_and_the_way_there() -> None:
    text = check_of(demo_map(), finding())
    assert f"call_session.py:{FAST_PATH.line}:9  PG101 error  in CallSession.send_audio_to_openai" in text
    assert f"> {FAST_PATH.line} |         await self.client.send_event(" in text
    assert re.search(r"1\. main\.py:\d+ +media_stream  WebSocket /media-stream", text)
    assert re.search(rf"3\. call_session\.py:{FAST_PATH.line} ", text)
    assert "fix: no-op (safe)" in text
    assert "1 finding in 1 file: 1 error" in text
    assert "confidence" not in text
    assert "confidence: low" in check_of(demo_map(), finding(confidence="low"))


def test_findings_can_be_put_together_by_rule() -> None:
    text = check_of(demo_map(), finding("PG207", SILENCE_CALL), finding(), group_by="rule")
    assert text.index("PG101  A second function sends") < text.index("PG207  A timer or a loop")
    assert "2 findings in 1 file: 2 errors" in text


def test_suppressed_findings_and_those_elsewhere_are_counted_and_not_shown() -> None:
    text = check_of(demo_map(), finding(suppressed=True), elsewhere=3)
    assert "PG101" not in text
    assert "No findings in 1 pipeline (1 suppressed, 3 more in files you did not ask about)" in text
    assert "No Realtime session here" in check_of(empty_map())


def test_one_line_per_finding_is_what_editors_read() -> None:
    target = console(20)
    check_text.render_lines([finding(), finding(suppressed=True)], RichPage(target))
    assert printed(target) == (
        f"call_session.py:{FAST_PATH.line}:9: PG101 error: sends the caller's audio beside audio_sender_loop\n"
    )


def test_map_json_keeps_its_promise() -> None:
    document = json.loads(map_json.render(demo_map(gaps=GAPS)))
    assert (document["version"], list(document)) == (1, ["version", "root", "lanes", "outside", "errors", "coverage"])
    (lane,) = document["lanes"]
    assert set(lane) >= {"name", "provider", "policy", "sites", "queues", "senders", "triggers", "sessions"}
    assert set(lane["sites"][0]) == set(Site.__struct_fields__)
    assert lane["sites"][1]["trigger"] == "silence"
    assert lane["sites"][1]["reached_from"][-1]["line"] == SILENCE_CALL.line
    (outside,) = json.loads(map_json.render(empty_map(SAY)))["outside"]
    assert list(outside) == list(lane["sites"][0])
    assert (outside["kind"], outside["beside"]) == ("twiml_say", "before")
    assert document["errors"][0] == {"path": "broken.py", "reason": "syntax", "detail": "invalid syntax", "line": 3}


def test_check_json_keeps_its_promise() -> None:
    found = [finding(), finding("PG215", severity="warning", fix=None), finding(suppressed=True)]
    document = json.loads(check_json.render(found, demo_map(gaps=GAPS)))
    assert list(document) == ["version", "root", "findings", "errors", "summary"]
    first = document["findings"][0]
    assert first["fix"] == {"kind": "no-op", "safety": "safe"}
    assert document["findings"][1]["fix"] is None
    assert [step["path"] for step in first["evidence"]] == ["main.py", "call_session.py", "call_session.py"]
    summary = document["summary"]
    assert (summary["findings"], summary["errors"], summary["warnings"], summary["suppressed"]) == (2, 1, 1, 1)
    assert summary["by_rule"] == {"PG101": 1, "PG215": 1}
    assert (summary["lanes"], summary["realtime"]) == (1, True)
    assert json.loads(check_json.render([], empty_map(*CASCADE)))["summary"]["realtime"] is False
    assert len(document["errors"]) == 2


@pytest.mark.parametrize(
    "pipeline_map",
    [demo_map(), empty_map(), demo_map(demo_lane(), demo_lane()), demo_map(speaking_lane(*OTHERS), outside=CASCADE)],
)
def test_diagrams_name_every_box_they_draw_an_arrow_to(pipeline_map: PipelineMap) -> None:
    for text, box, edge in (
        (
            map_mermaid.render(pipeline_map),
            r"^ +(lane\d+n\d+)[\[({]",
            r"^ +(lane\d+n\d+) -->(?:\|\"[^\"]*\"\|)? (\S+)$",
        ),
        (map_dot.render(pipeline_map), r"^ +(lane\d+n\d+) \[", r"^ +(lane\d+n\d+) -> (\w+)"),
    ):
        boxes = re.findall(box, text, re.MULTILINE)
        assert len(boxes) == len(set(boxes))
        for arrow in re.findall(edge, text, re.MULTILINE):
            assert set(arrow) <= set(boxes)
    assert (":::duplicate" in map_mermaid.render(pipeline_map)) is bool(pipeline_map.lanes)


def test_diagrams_show_what_else_the_caller_hears_and_who_else_listens() -> None:
    text = map_mermaid.render(demo_map(speaking_lane(*OTHERS)))
    boxes = {label: name for name, label in re.findall(r'^ +(lane0n\d+)[\[({/]+"([^"]*)"', text, re.MULTILINE)}
    titles = {name: label.split("<br/>")[0] for label, name in boxes.items()}
    arrows = [
        (titles[source], label, titles[target])
        for source, label, target in re.findall(r'(lane0n\d+) -->(?:\|"([^"]*)"\|)? (lane0n\d+)', text)
    ]
    others = {"deepgram", "elevenlabs", "TwiML #60;Say#62;", "polly", "google", "whisper", "playht", "lmnt"}
    assert {arrow for arrow in arrows if others & set(arrow)} == {
        ("CallSession.handle_media", "audio", "deepgram"),
        ("deepgram", "text goes back into the call", "OpenAI Realtime"),
        ("elevenlabs", "voice", "the caller"),
        ("the caller", "", "TwiML #60;Say#62;"),
        ("TwiML #60;Say#62;", "then the stream", "media_stream"),
    }
    looks = re.findall(r'\[\["([^"]*)"\]\](?::::(\w+))?', text)
    assert {(label.split("<br/>")[0], look) for label, look in looks} == {
        *((name, "") for name in ("deepgram", "elevenlabs", "TwiML #60;Say#62;")),
        *((name, "aside") for name in ("google", "whisper")),
        *((name, "dormant") for name in ("polly", "playht", "lmnt")),
    }
    assert "elevenlabs<br/>another voice<br/>2 places<br/>during the call" in boxes
    kept = map_dot.render(demo_map(speaking_lane(engine_site("stt", "gladia", value="log_only"))))
    assert 'label="gladia\\nspeech-to-text\\nspeech.py:1\\nduring the call"' in kept
    assert 'label="text is only kept"' in kept


def check_dot(text: str) -> None:
    """Accept what Graphviz's grammar does, as far as we use it."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '"s"', text)
    assert bare.count('"s"') * 2 == bare.count('"')
    assert bare.count("{") == bare.count("}")
    attribute = r'\w+=(?:\w+|"s")'
    statement = rf"(?:\w+(?: -> \w+)?(?: \[{attribute}(?:, {attribute})*\])?|{attribute}|\w+ \[{attribute}\]);"
    for line in bare.strip().split("\n"):
        assert re.fullmatch(rf"\s*(?:digraph pipeline {{|subgraph \w+ {{|}}|{statement})", line), line


def check_mermaid(text: str) -> None:
    bare = re.sub(r'"[^"]*"', '"s"', text)
    assert "%%" not in text
    node = r'\w+(?:\[\("s"\)\]|\[\["s"\]\]|\(\["s"\]\)|\["s"\]|\{\{"s"\}\}|\[/"s"/\])(?::::\w+)?'
    for line in bare.strip().split("\n"):
        pattern = rf'\s*(?:flowchart TD|subgraph \w+\["s"\]|end|{node}|\w+ -->(?:\|"s"\|)? \w+|classDef .*)'
        assert re.fullmatch(pattern, line), line


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_name_in_the_scanned_code_breaks_an_output(name: str, symbol: str) -> None:
    lane = demo_lane()
    queue = msgspec.structs.replace(lane.queues[0], name=name)
    sender = msgspec.structs.replace(lane.senders[0], symbol=symbol, queue=name)
    changed = msgspec.structs.replace(lane, name=name + '"]};%%{', queues=(queue,), senders=(sender, lane.senders[1]))
    speech = (
        engine_site("stt", name, symbol=symbol, path=symbol, note=name, flag=name, value="log_only"),
        engine_site("twiml_say", symbol, context="dormant", note=name, symbol=name),
    )
    changed = msgspec.structs.replace(changed, sites=(*changed.sites, *speech))
    pipeline_map = demo_map(changed, outside=speech)
    check_dot(map_dot.render(empty_map(*speech)))
    check_mermaid(map_mermaid.render(empty_map(*speech)))
    without = map_of(empty_map(*speech)) + check_of(empty_map(*speech))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", without)
    check_dot(map_dot.render(pipeline_map))
    check_mermaid(map_mermaid.render(pipeline_map))
    assert json.loads(map_json.render(pipeline_map))["lanes"][0]["queues"][0]["name"] == name
    text = map_of(pipeline_map) + check_of(pipeline_map, finding(symbol=symbol, message=name))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@given(st.text())
def test_cleaned_text_is_one_line_that_a_terminal_does_not_obey(text: str) -> None:
    assert len(clean(text)) == len(text)
    assert not set(clean(text)) & {"\x1b", "\n", "\r", "\x07", "\x9b", "\u202e"}
    assert clean(clean(text)) == clean(text)


def test_the_canonical_sender_decides_what_is_extra() -> None:
    lane = demo_lane()
    path = audio_path(lane)
    assert [sender.symbol for sender in path.extra_senders] == ["CallSession.send_audio_to_openai"]
    other = msgspec.structs.replace(lane.queues[0], name="jitter_buffer")
    assert audio_path(msgspec.structs.replace(lane, queues=(other, *lane.queues))).extra_queues == (other,)
    undecided = tuple(msgspec.structs.replace(sender, canonical=False) for sender in lane.senders)
    assert audio_path(msgspec.structs.replace(lane, senders=undecided)).extra_senders == undecided
    alone = audio_path(msgspec.structs.replace(lane, senders=undecided[:1]))
    assert (alone.senders, alone.extra_senders) == (undecided[:1], ())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("# -*- coding: cp1255 -*-\nname = 'שלום'\n".encode("cp1255"), "name = 'שלום'"),
        ("\ufeffa = 1\r\nname = 'é'\r\n".encode(), "name = 'é'"),
        (b"a = 1\x0c\rname = '\t'\r", "name = '    '"),
        ("a = 1\nname = 2\n".encode("utf-16"), "name = 2"),
        (b"a = 1\nname = '\xff'\n", "name = 'ÿ'"),
    ],
)
def test_a_source_line_is_shown_as_python_counts_it(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "a.py").write_bytes(data)
    lines = ["".join(part[0] for part in line) for line in frame(str(tmp_path), "a.py", 2, 2, "red")]
    marked = [line for line in lines if line.startswith(">")]
    assert marked == [f"> 2 | {expected}"]


def test_a_frame_of_something_that_is_gone_is_empty_and_long_ones_are_cut(tmp_path: Path) -> None:
    assert frame(str(tmp_path), "none.py", 1, 1, "red") == []
    (tmp_path / "a.py").write_text("x\n" * 50 + "y" * 1000, encoding="utf-8")
    assert frame(str(tmp_path), "a.py", 99, 99, "red") == []
    assert len(frame(str(tmp_path), "a.py", 1, 50, "red")) == 7
    assert max(sum(len(part[0]) for part in line) for line in frame(str(tmp_path), "a.py", 51, 51, "red")) < 180


def test_many_findings_of_one_rule_are_no_wall() -> None:
    many = [finding(rule="PG201", line=line, message=f"number {line}") for line in range(1, 41)]
    few = [finding(rule="PG101", line=line, message=f"other {line}") for line in range(1, 6)]
    text = check_of(demo_map(), *many, *few)
    assert text.count("how it gets there:") == 3 + 5
    assert all(f"number {line}\n" in text for line in range(1, 41)), "none is left out"
    assert "37 findings of PG201 told in short: --full shows code and paths of all" in text
    target = console()
    check_text.render([*many, *few], demo_map(), RichPage(target), full=True)
    assert printed(target).count("how it gets there:") == 45


@pytest.mark.parametrize("width", [40, 60, 80])
def test_code_and_steps_do_not_flow_into_one_another(width: int) -> None:
    target = console(width)
    check_text.render([finding()], demo_map(), RichPage(target))
    lines = printed(target).splitlines()
    assert max(map(len, lines)) <= width
    code = [line for line in lines if re.match(r"\s+>? *\d+ \| ", line)]
    assert len(code) == 3, "each line of code has one line"
    start = lines.index("    how it gets there:") + 1
    for line in lines[start : lines.index("", start)]:
        assert re.match(r"      (\d\. |   )\S|    (confidence|fix): ", line), line


def test_a_pipe_gets_what_a_very_wide_terminal_shows() -> None:
    odd = Gap(path="ש.py", line=None, reason="syntax", detail="wide 漢字, ש")
    found = [finding(confidence="low"), finding("PG207", SILENCE_CALL, message="漢字 and\x1b[1m no bold")]
    target, stream = console(2_000), io.StringIO()
    for page in (RichPage(target), PlainPage(stream)):
        check_text.render(found, demo_map(gaps=(*GAPS, odd)), page, elsewhere=2)
        check_text.render_lines(found, page)
        check_text.render([], empty_map(*CASCADE), page)
    assert stream.getvalue().splitlines() == [line.rstrip() for line in printed(target).splitlines()]


def test_colour_that_is_asked_for_goes_into_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert isinstance(make_page(no_color=False), PlainPage)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(make_page(no_color=False), RichPage)
