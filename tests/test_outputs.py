"""The formats for other programs: what they escape, how they are ordered, where they are cut, that they are valid."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline_guard import __version__
from pipeline_guard.__main__ import main
from pipeline_guard.cli.demo import BACKEND
from pipeline_guard.cli.group import cli
from pipeline_guard.errors import UserError
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import Gap, PipelineMap, Step
from pipeline_guard.reports import (
    check_concise,
    check_github,
    check_gitlab,
    check_junit,
    check_markdown,
    check_prompt,
    check_prompt_contract,
    check_sarif,
)
from pipeline_guard.reports.check_output import deliver
from pipeline_guard.reports.formats import repository_prefix
from pipeline_guard.reports.terminal import clean
from pipeline_guard.rulebook import load_rules
from tests.sample_maps import FAST_PATH, ROUTE, SILENCE_CALL, demo_map, empty_map, finding

Render = Callable[[list[Finding], PipelineMap], str]
RENDERERS: dict[str, Render] = {
    "concise": lambda findings, _map: check_concise.render(findings),
    "sarif": check_sarif.render,
    "github": lambda findings, _map: check_github.render(findings),
    "gitlab": lambda findings, _map: check_gitlab.render(findings),
    "junit": check_junit.render,
    "markdown": check_markdown.render,
    "prompt": check_prompt.render,
}
EVERY_FORMAT = pytest.mark.parametrize("name", RENDERERS)
HOSTILE = "a|b`c`` <b>&amp; \x1b[31m\x00 [x](y) 100%\r\n::error::התקנה \u202e\ud800 ]]> {0} @team #12 *_x_* \\|"
# Names of files and functions, as unkind as a file system and a parser let them be.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
ROUTE_WITH_NOTE = Step("main.py", 3, "media_stream", "@app.websocket /media-stream/{sid}")


def many(number: int, **changes: object) -> list[Finding]:
    return [finding(line=line, end_line=line, fingerprint=f"{line:016x}", **changes) for line in range(1, number + 1)]


def mixed() -> list[Finding]:
    return [
        finding("PG404", severity="note", path="a.py", line=3, end_line=3, fingerprint="1" * 16),
        finding("PG215", severity="warning", path="a.py", line=9, end_line=9, fingerprint="2" * 16),
        finding("PG101", path="b.py", line=2, end_line=4, fingerprint="3" * 16),
        finding("PG201", SILENCE_CALL, path="a.py", line=5, end_line=5, fingerprint="4" * 16),
    ]


def hostile() -> Finding:
    step = Step(f"dir {HOSTILE}.py", 0, HOSTILE, HOSTILE)
    return finding(path=step.path, line=0, end_line=0, column=0, symbol=HOSTILE, message=HOSTILE, evidence=(step, step))


def sarif(findings: list[Finding], pipeline_map: PipelineMap | None = None, **options: Any) -> dict[str, Any]:
    (run,) = json.loads(check_sarif.render(findings, pipeline_map or demo_map(), **options))["runs"]
    return dict(run)


# What holds for every format.


@EVERY_FORMAT
def test_a_report_is_the_same_twice_and_whatever_the_order(name: str) -> None:
    render = RENDERERS[name]
    assert render(mixed(), demo_map()) == render(mixed(), demo_map())
    if name not in {"concise", "gitlab"}:  # these keep the order they are given
        assert render(mixed()[::-1], demo_map()) == render(mixed(), demo_map())


@EVERY_FORMAT
def test_a_report_is_plain_utf8_that_ends_in_one_newline(name: str) -> None:
    gaps = (Gap(path=HOSTILE, reason="syntax", detail=HOSTILE, line=0),)
    text = RENDERERS[name]([hostile()], demo_map(gaps=gaps))
    assert text.encode().decode() == text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\x1b" not in text or name == "github"  # a workflow command carries its message as it is
    assert "\x00" not in text or name == "github"


@EVERY_FORMAT
def test_suppressed_findings_are_nothing_to_act_on(name: str) -> None:
    text = RENDERERS[name]([finding(suppressed=True, message="not to be acted on")], demo_map())
    if name == "sarif":
        assert json.loads(text)["runs"][0]["results"][0]["suppressions"] == [{"kind": "inSource"}]
    elif name == "junit":
        assert '<skipped message="suppressed: not to be acted on"' in text
        assert 'failures="0"' in text
    else:
        assert "not to be acted on" not in text


@EVERY_FORMAT
def test_names_in_other_scripts_stay_readable(name: str) -> None:
    at = finding(path="שיחה/מאזין.py", symbol="שיחה.שלח", message="שולח פעמיים")
    text = RENDERERS[name]([at], demo_map())
    assert "שולח פעמיים" in text
    assert "שיחה/מאזין.py" in unquote(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("concise", ""),
        ("github", ""),
        ("gitlab", "[]\n"),
        ("markdown", "**pipeline-guard**: no findings in 1 pipeline\n"),
        ("prompt", "Nothing to do: the check has no findings.\n"),
    ],
)
def test_without_findings(name: str, expected: str) -> None:
    assert RENDERERS[name]([], demo_map()) == expected


def test_without_a_session_nobody_says_that_all_is_well() -> None:
    assert "no Realtime session" in check_markdown.render([], empty_map())
    assert "no Realtime session" in check_prompt.render([], empty_map())
    top = ElementTree.fromstring(check_junit.render([], empty_map()))
    # Files were read, so that the rules about those were asked and kept.
    asked = [suite.get("name", "")[:3] for suite in top if suite.get("skipped") == "0"]
    assert set(asked) == {"PG9"}


# concise


def test_concise_is_one_line_per_finding() -> None:
    lines = check_concise.render([finding(), hostile()]).splitlines()
    assert lines[0] == f"{FAST_PATH.path}:{FAST_PATH.line}:9: PG101 error {finding().message}"
    assert len(lines) == 2


# github


def test_github_command() -> None:
    found = finding(severity="note", path="a,b:c.py", end_line=99, message="50% of\r\nit, so: all")
    assert check_github.render([found], prefix="back end/") == (
        f"::notice file=back end/a%2Cb%3Ac.py,line={FAST_PATH.line},endLine=99,col=9,"
        "title=PG101 second-audio-sender::50%25 of%0D%0Ait, so: all\n"
    )


def test_github_shows_the_worst_first() -> None:
    commands = [line.split()[0] for line in check_github.render(mixed()).splitlines()]
    assert commands == ["::error", "::error", "::warning", "::notice"]


@given(TEXTS, TEXTS)
def test_github_escaping_can_be_undone_and_leaves_no_command(path: str, message: str) -> None:
    found = finding(path=path, message=message)
    text = check_github.render([found])
    assert text.count("\n") == 1
    assert "\r" not in text
    head, said = text.removesuffix("\n").removeprefix("::error ").split("::", 1)
    properties = dict(part.split("=", 1) for part in head.split(","))
    assert list(properties) == ["file", "line", "endLine", "col", "title"]
    assert _undone(properties["file"], {"%3A": ":", "%2C": ","}) == path
    assert _undone(said, {}) == message


def _undone(text: str, more: dict[str, str]) -> str:
    known = {"%0D": "\r", "%0A": "\n", "%25": "%", **more}
    return re.sub("%[0-9A-F]{2}", lambda match: known[match[0]], text)


# gitlab


def test_gitlab_issue() -> None:
    (issue,) = json.loads(check_gitlab.render([finding(line=0)], prefix="backend/"))
    assert issue == {
        "description": f"PG101 {finding().message}",
        "check_name": "PG101",
        "fingerprint": "0123456789abcdef",
        "severity": "critical",
        "location": {"path": f"backend/{FAST_PATH.path}", "lines": {"begin": 1}},
    }


def test_gitlab_fingerprints_are_unique_even_where_ours_are_not() -> None:
    issues = json.loads(check_gitlab.render([finding(), finding(line=7), finding(line=8)]))
    assert len({issue["fingerprint"] for issue in issues}) == 3
    assert issues[0]["fingerprint"] == finding().fingerprint


def test_gitlab_severities_are_those_it_knows() -> None:
    severities = {issue["severity"] for issue in json.loads(check_gitlab.render(mixed()))}
    assert severities == {"critical", "major", "info"}


# junit


def test_junit_has_a_suite_per_rule_that_was_checked() -> None:
    findings = [finding(), finding(line=7), finding("PG404", severity="note", suppressed=True)]
    top = ElementTree.fromstring(check_junit.render(findings, demo_map(), rule_ids=["PG101", "PG201", "PG404"]))
    suites = {suite.get("name", "").split()[0]: suite for suite in top}
    assert list(suites) == ["PG101", "PG201", "PG404"]
    assert [suite.get("failures") for suite in suites.values()] == ["2", "0", "0"]
    (kept,) = suites["PG201"]
    assert (kept.get("name"), list(kept)) == ("response.create is sent somewhere else than in the one trigger", [])
    assert (top.get("tests"), top.get("failures"), top.get("skipped"), top.get("errors")) == ("5", "2", "1", "0")
    failure = suites["PG101"].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == finding().message
    assert f"{ROUTE.path}:{ROUTE.line}" in str(failure.text)


def test_junit_shows_a_rule_with_findings_even_when_nobody_selected_it() -> None:
    top = ElementTree.fromstring(check_junit.render([finding("PG999")], demo_map(), rule_ids=[]))
    assert [suite.get("name") for suite in top] == ["PG999"]


@given(st.text(max_size=40))
def test_junit_is_well_formed_whatever_the_code_is_called(text: str) -> None:
    at = Step(f"{text}.py", 1, text, text)
    found = finding(path=at.path, symbol=text, message=text, evidence=(at, at))
    top = ElementTree.fromstring(check_junit.render([found], demo_map(), rule_ids=["PG101"]).encode())
    assert top.get("failures") == "1"


# markdown

_PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")


def cells(markdown: str) -> list[list[str]]:
    """Return the rows of the tables as a reader sees them."""
    rows: list[list[str]] = []
    for token in _PARSER.parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.level >= 3:
            rows[-1].append("".join(_seen(child.type, child.content) for child in token.children or ()))
    return rows


def _seen(kind: str, content: str) -> str:
    if kind == "html_inline":
        assert content in {"<code>", "</code>"}
        return ""
    assert kind in {"text", "text_special"}, (kind, content)
    return content


@given(TEXTS, TEXTS)
def test_markdown_tables_show_text_as_it_is(path: str, message: str) -> None:
    found = finding(path=path, line=5, message=message, evidence=())
    head, row = cells(check_markdown.render([found], demo_map()))
    assert head == ["rule", "place", "what is wrong"]
    assert row[0] == "PG101"
    assert row[1].split() == clean(f"{path}:5").split()
    assert row[2].replace("\u200b", "").split() == clean(message).replace("\u200b", "").split()


def test_markdown_escapes_pipes_and_backticks_and_mentions_nobody() -> None:
    row = check_markdown.render([finding(message="a|b `c` @team <img>", evidence=())], demo_map()).splitlines()[-1]
    assert row.count("|") == 4
    assert "`" not in row
    assert "@team" not in row
    assert "<img" not in row
    assert "&#60;img&#62;" in row


def test_markdown_has_a_table_per_severity_the_worst_first() -> None:
    text = check_markdown.render(mixed(), demo_map())
    assert text.startswith("**pipeline-guard**: 4 findings in 2 files: 2 errors, 1 warning, 1 note\n")
    assert re.findall("^### .*", text, re.MULTILINE) == ["### Errors", "### Warnings", "### Notes"]
    assert [row[0] for row in cells(text) if row[0] != "rule"] == ["PG201", "PG101", "PG215", "PG404"]


def test_markdown_call_paths_cannot_break_out_of_their_block() -> None:
    step = Step("a.py", 1, "f", "````\n</details> @team")
    text = check_markdown.render([finding(evidence=(step, step))], demo_map())
    (fence,) = [token for token in _PARSER.parse(text) if token.type == "fence"]
    assert fence.markup == "`````"
    assert "</details> @team" in fence.content


@pytest.mark.parametrize("number", [200, 2_000])
def test_markdown_fits_into_a_comment(number: int) -> None:
    text = check_markdown.render(many(number, message="m|" * 60), demo_map())
    assert len(text) < 65_536
    shown = len([row for row in cells(text) if row[0] == "PG101"])
    left = number - shown
    assert (f"… and {left:,} more findings" in text) == bool(left)
    assert re.search(r"… and [\d,]+ more to unfold", text)


def test_markdown_fits_even_when_one_finding_does_not() -> None:
    text = check_markdown.render([finding(message="|" * 100_000, path="`" * 100_000)], demo_map())
    assert len(text) < 65_536


# sarif


def test_sarif_names_the_tool_and_its_rules() -> None:
    driver = sarif([finding()], rule_ids=["PG201"])["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("pipeline-guard", __version__)
    assert [rule["id"] for rule in driver["rules"]] == ["PG101", "PG201"]
    rule = driver["rules"][0]
    assert rule["name"] == "SecondAudioSender"
    assert rule["defaultConfiguration"] == {"level": "error"}
    assert rule["help"]["text"]
    assert rule["help"]["markdown"]
    assert rule["properties"]["tags"] == ["phone-agent", "realtime", "audio"]


def test_sarif_describes_every_rule_within_the_length_that_is_shown() -> None:
    rules = sarif([])["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in load_rules()]
    for rule in rules:
        assert 0 < len(rule["shortDescription"]["text"]) <= 1_024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1_024
        assert len(rule["properties"]["tags"]) <= 10


def test_sarif_result() -> None:
    (result,) = sarif([finding(evidence=(ROUTE_WITH_NOTE, FAST_PATH))])["results"]
    assert (result["ruleId"], result["ruleIndex"] >= 0, result["level"]) == ("PG101", True, "error")
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": FAST_PATH.path, "uriBaseId": "%SRCROOT%"}
    assert physical["region"] == {"startLine": FAST_PATH.line, "startColumn": 9, "endLine": FAST_PATH.line}
    assert result["partialFingerprints"] == {"pipelineGuard/v1": "0123456789abcdef"}
    assert result["properties"]["confidence"] == "high"
    assert "suppressions" not in result
    first, last = result["codeFlows"][0]["threadFlows"][0]["locations"]
    # Braces would be placeholders.
    assert first["location"]["message"]["text"] == "media_stream: @app.websocket /media-stream/{{sid}}"
    assert last["location"]["physicalLocation"]["region"]["startLine"] == FAST_PATH.line


def test_sarif_indices_and_regions_are_consistent() -> None:
    run = sarif([*mixed(), hostile(), finding("PG999")], rule_ids=["PG302"])
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({rule["id"] for rule in rules})
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["message"]["text"]
    regions = list(_regions(run))
    assert regions
    for region in regions:
        assert region["startLine"] >= 1
        assert region.get("startColumn", 1) >= 1
        assert region.get("endLine", region["startLine"]) >= region["startLine"]


def _regions(value: Any) -> list[dict[str, int]]:
    if isinstance(value, list):
        return [region for item in value for region in _regions(item)]
    if not isinstance(value, dict):
        return []
    own = [value["region"]] if "region" in value else []
    return own + [region for item in value.values() for region in _regions(item)]


def test_sarif_paths_are_uri_references() -> None:
    (result,) = sarif([finding(path="a:b/ç ü#?%.py")], prefix="back end/")["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch("[A-Za-z0-9%/._~-]+", uri)
    assert unquote(uri) == "back end/a:b/ç ü#?%.py"


def test_sarif_root_is_the_folder_that_paths_count_from(tmp_path: Path) -> None:
    (tmp_path / "my backend").mkdir()
    inside = msgspec.structs.replace(demo_map(), root=str(tmp_path / "my backend"))
    assert sarif([], inside)["originalUriBaseIds"]["%SRCROOT%"]["uri"] == tmp_path.as_uri() + "/my%20backend/"
    assert sarif([], inside, prefix="my backend/")["originalUriBaseIds"]["%SRCROOT%"]["uri"] == tmp_path.as_uri() + "/"


def test_sarif_tells_what_was_not_judged() -> None:
    gaps = (
        Gap(path="old.py", reason="syntax", detail="line 3 does not parse", line=3),
        Gap(path="x.py", reason="unresolved-receiver", detail="who is {x}?"),
    )
    run = sarif([], demo_map(gaps=gaps))
    (invocation,) = run["invocations"]
    first, second = invocation["toolExecutionNotifications"]
    assert invocation["executionSuccessful"] is True
    assert (first["level"], first["message"]["text"]) == ("warning", "line 3 does not parse")
    assert first["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}
    assert (second["level"], second["message"]["text"]) == ("note", "who is {{x}}?")
    kinds = {kind["id"] for kind in run["tool"]["driver"]["notifications"]}
    assert kinds == {first["descriptor"]["id"], second["descriptor"]["id"]}


def test_sarif_says_of_all_results_whether_they_are_suppressed_or_of_none() -> None:
    results = sarif([finding(), finding(line=7, suppressed=True)])["results"]
    assert sorted(len(result["suppressions"]) for result in results) == [0, 1]


def test_sarif_keeps_the_worst_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_sarif, "MAX_RESULTS", 2)
    run = sarif(mixed())
    assert [result["level"] for result in run["results"]] == ["error", "error"]
    (notice,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"].startswith("2 findings left out")
    assert len(sarif(many(3), rule_ids=[])["results"]) == 2


def test_sarif_stays_within_the_documented_limits() -> None:
    found = many(6_000, evidence=(), message="x" * 4_000)
    text = check_sarif.render(found, demo_map())
    assert 8_000_000 < len(text.encode()) <= 10_000_000
    (run,) = json.loads(text)["runs"]
    (notice,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"].startswith(f"{6_000 - len(run['results']):,} findings left out")


def test_sarif_keeps_both_ends_of_an_endless_flow() -> None:
    steps = tuple(Step("a.py", line, "f", "calls") for line in range(1, 12_001))
    (result,) = sarif([finding(evidence=steps)])["results"]
    locations = result["codeFlows"][0]["threadFlows"][0]["locations"]
    assert len(locations) == 1_000
    lines = [each["location"]["physicalLocation"]["region"]["startLine"] for each in locations]
    assert (lines[0], lines[-1]) == (1, 12_000)


# prompt


def test_prompt_is_a_task_list_that_stands_alone() -> None:
    text = check_prompt.render([finding(), finding("PG201", SILENCE_CALL)], demo_map(), check_command="check it")
    assert [line for line in text.splitlines() if re.match("#+ (?!DEPRECATED)", line)] == [
        "# Task: one realtime audio pipeline",
        "## The contract",
        "## The pipeline of this backend",
        "## Tasks",
        "### 1. `CallSession.send_audio_to_openai` in `call_session.py`",
        "### 2. `CallSession.silence_monitor` in `call_session.py`",
        "## How to verify",
    ]
    assert f"- `call_session.py:{FAST_PATH.line}` PG101 error: {finding().message}" in text
    assert f"  1. `main.py:{ROUTE.line}` `media_stream`" in text
    assert "```\ncheck it\n```" in text
    assert "realtime_audio_in_queue" in text
    assert "also sends `response.create`: `RealtimeClient.send_user_message`" in text


def test_prompt_states_only_the_steps_concerned_with_their_exact_strings() -> None:
    audio = check_prompt.render([finding()], demo_map())
    assert "# DEPRECATED: All audio to Realtime must go through realtime_audio_in_queue + audio_sender_loop" in audio
    assert "[RESPONSE GUARD]" not in audio
    responses = check_prompt.render([finding("PG201")], demo_map())
    assert "Step 2" not in responses
    # The guard needs the bookkeeping.
    assert "Step 5" in responses
    assert "Step 6" in responses


@pytest.mark.parametrize(
    ("step", "exact"),
    [
        (
            1,
            'logger.info("[PIPELINE] LIVE AUDIO PIPELINE ACTIVE: Twilio → realtime_audio_in_queue → send_audio_chunk '
            '(single path)")',
        ),
        (3, 'logger.info("[GREETING] Using OpenAI Realtime for greeting (same session, same pipeline)")'),
        (
            4,
            "# NOTE: This STT is OFFLINE ONLY (post-call). Live behavior uses ONLY OpenAI Realtime transcription.",
        ),
        (4, "# DEPRECATED: Live transcription comes ONLY from OpenAI Realtime"),
        (
            5,
            '    logger.warning("[RESPONSE GUARD] Active response in progress (%s) – skipping new response (%s)", '
            "self.active_response_id, reason)",
        ),
        (5, "# DEPRECATED: All responses must go through trigger_response(reason)"),
        (7, '"[PIPELINE STATUS] sent=%d blocked=%d | active_response=%s | ai_speaking=%s | user_has_spoken=%s",'),
    ],
)
def test_prompt_copies_the_contracts_strings(step: int, exact: str) -> None:
    assert exact in [line.strip("\n") for line in check_prompt_contract.STEPS[step].splitlines()] or exact in (
        line.strip() for line in check_prompt_contract.STEPS[step].splitlines()
    )


def test_prompt_has_one_task_per_place_and_says_what_to_do_once() -> None:
    here = [finding(), finding("PG201"), finding("PG201", line=FAST_PATH.line + 1)]
    text = check_prompt.render([*here, finding("PG201", SILENCE_CALL)], demo_map())
    assert len(re.findall("^### ", text, re.MULTILINE)) == 2
    assert text.count("What to do about PG201") == 2
    assert text.count("- What to do about PG201: as in task 1.") == 1


def test_prompt_begins_with_what_others_build_on() -> None:
    found = [finding("PG101", path="a.py"), finding("PG202", path="z.py"), finding("PG901", path="zz.py", symbol="")]
    places = re.findall(r"^### \d+\. .*`(\w+\.py)`$", check_prompt.render(found, demo_map()), re.MULTILINE)
    assert places == ["zz.py", "z.py", "a.py"]


def test_prompt_names_what_the_check_could_not_judge() -> None:
    gaps = tuple(Gap(path=f"g{n}.py", reason="size", detail="larger than it may be") for n in range(15))
    text = check_prompt.render([finding()], demo_map(gaps=gaps))
    assert "- `g0.py`: too large; larger than it may be" in text
    assert "- … and 5 more" in text


def test_prompt_keeps_code_of_others_in_its_marks() -> None:
    text = check_prompt.render([hostile()], demo_map())
    assert not [line for line in text.splitlines() if line.startswith("::error")]
    assert "```" not in clean(HOSTILE)
    assert "### 1. ```a|b`c`` " in text


# The command line.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("x = 1\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch, project: Path) -> list[Finding]:
    """What the analysis, which is replaced, will find."""
    found = mixed()
    the_map = msgspec.structs.replace(demo_map(), root=str(project))
    for name, function, answer in (
        ("pipeline.build", "analyse", lambda *_args, **_options: the_map),
        ("checks", "run_checks", lambda *_args, **_options: found),
    ):
        module = ModuleType(f"pipeline_guard.{name}")
        setattr(module, function, answer)
        monkeypatch.setitem(sys.modules, f"pipeline_guard.{name}", module)
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


ALL = ["text", "json", *RENDERERS]


@pytest.mark.parametrize("name", ALL)
def test_a_file_gets_the_bytes_that_would_be_printed(name: str, findings: list[Finding], project: Path) -> None:
    if name in RENDERERS:  # the other two take names as discovery writes them
        findings.append(hostile())
    printed = run("check", project, "--format", name)
    file = project / "out" / "report"
    file.parent.mkdir()
    written = run("check", project, "--format", name, "--output", file)
    assert (printed.return_value, written.return_value) == (1, 1)
    assert file.read_bytes() == printed.stdout_bytes
    assert "\x1b[0m" not in printed.stdout
    assert written.stdout == ""
    assert written.stderr == f"pipeline-guard: wrote the {name} report to {file} ({file.stat().st_size:,} bytes)\n"
    assert os.listdir(file.parent) == ["report"]


@pytest.mark.parametrize("name", ALL)
def test_exit_codes_do_not_depend_on_the_format(name: str, findings: list[Finding], project: Path) -> None:
    findings[:] = [finding(suppressed=True)]
    assert run("check", project, "--format", name).return_value == 0
    findings[:] = [finding(severity="note")]
    assert run("check", project, "--format", name).return_value == 0
    assert run("check", project, "--format", name, "--fail-on", "note").return_value == 1
    findings[:] = [finding(severity="warning")]
    assert run("check", project, "--format", name).return_value == 1


def test_only_rules_that_were_selected_are_suites(findings: list[Finding], project: Path) -> None:
    findings.clear()
    top = ElementTree.fromstring(
        run("check", project, "--format", "junit", "--select", "PG2", "--ignore", "PG201").stdout
    )
    ids = [suite.get("name", "").split()[0] for suite in top]
    assert ids == [rule.id for rule in load_rules() if rule.id.startswith("PG2") and rule.id != "PG201"]


def test_the_prompt_verifies_what_was_checked(findings: list[Finding], project: Path) -> None:
    said = run("check", project, "--format", "prompt", "--select", "PG1,PG2").stdout
    assert "\npipeline-guard check . --select PG1,PG2\n" in said


def test_paths_count_from_the_top_of_the_repository(findings: list[Finding], tmp_path: Path) -> None:
    # The map's root is the folder that was scanned.
    (tmp_path.parent / ".git").mkdir()
    try:
        assert repository_prefix(str(tmp_path)) == f"{tmp_path.name}/"
        assert f"file={tmp_path.name}/a.py," in run("check", tmp_path, "--format", "github").stdout
    finally:
        (tmp_path.parent / ".git").rmdir()


def test_a_file_that_cannot_be_written_is_one_sentence_and_exit_2(
    findings: list[Finding], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (project / "missing" / "report", project):
        code = main(["check", str(project), "--format", "sarif", "--output", str(file)])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith(f"pipeline-guard: {file}: the sarif report cannot be written there (")
        assert err.count("\n") == 1
    assert os.listdir(project) == ["app.py"]


def test_a_report_that_fails_half_way_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report"
    file.write_text("old", encoding="utf-8")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        deliver("new", file, "the report")
    assert (os.listdir(tmp_path), file.read_text(encoding="utf-8")) == (["report"], "old")


@pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
def test_a_report_keeps_mode_and_link_of_the_one_it_replaces(tmp_path: Path) -> None:
    file, link = tmp_path / "report", tmp_path / "link"
    file.write_text("old", encoding="utf-8")
    file.chmod(0o640)
    link.symlink_to(file)
    deliver("new", link, "the report")
    assert (link.is_symlink(), file.read_text(encoding="utf-8"), file.stat().st_mode & 0o777) == (True, "new", 0o640)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no such device")
def test_a_device_is_written_to_and_not_replaced() -> None:
    before = os.stat("/dev/null")
    deliver("new", Path("/dev/null"), "the report")
    assert os.stat("/dev/null").st_ino == before.st_ino


def test_a_dash_is_standard_output(findings: list[Finding], project: Path) -> None:
    result = run("check", project, "--format", "concise", "--output", "-")
    assert (result.stdout, result.stderr) == (check_concise.render(findings), "")


def test_quiet_text_goes_to_a_file_as_well(findings: list[Finding], project: Path) -> None:
    run("check", "-q", project, "--output", project / "lines")
    assert len((project / "lines").read_text(encoding="utf-8").splitlines()) == len(findings)


def test_a_format_costs_nothing_until_it_is_asked_for() -> None:
    script = (
        "import sys\nfrom pipeline_guard.__main__ import main\nmain(['--version'])\n"
        "import pipeline_guard.cli.check\nprint(sorted(name for name in sys.modules if '.reports' in name))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_the_demo_backend_in_every_format(project: Path) -> None:
    for name in ("main.py", "call_session.py", "realtime_client.py"):
        (project / name).write_text((BACKEND / name).read_text(encoding="utf-8"), encoding="utf-8")
    for name in RENDERERS:
        result = run("check", project, "--format", name)
        assert (result.return_value, result.exception) == (1, None)
        assert "PG201" in result.stdout
