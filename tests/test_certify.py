"""``pipeline-guard certify``: what it says, in every format, of an agent that is right and of one that is not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import reference_agent
from pipeline_guard.__main__ import main
from pipeline_guard.certify import virtual_time
from pipeline_guard.certify.certificate.model import DOES_NOT_SHOW
from pipeline_guard.certify.faults import KINDS, NO_CLIENT_S_FAULT
from pipeline_guard.certify.judging.engines import engine_at
from pipeline_guard.certify.judging.facts import Reason
from pipeline_guard.certify.live_call import key_of, make_live_call
from pipeline_guard.certify.openai_simulator import OpenAISimulator
from pipeline_guard.certify.relayed_session import closest
from pipeline_guard.certify.schedules import schedule_of
from pipeline_guard.certify.static_contract import static_part
from pipeline_guard.cli.run import build_map, find_problems, settings_for
from pipeline_guard.cli.target import Target
from pipeline_guard.errors import UserError
from reference_agent import app
from tests.mutated_agents import SecondSender

SOURCE = Path(reference_agent.__file__).parent


def test_the_reference_agent_is_certified(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["certify", "--seeds", "3", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["verdict"], found["schedules"], found["full"]) == (1, "pass", 3, False)
    assert [part["verdict"] for part in found["parts"]] == ["pass", "pass"]
    assert sum(int(row["states"].replace(",", "")) for row in found["parts"][1]["table"]) > 10_000
    assert re.fullmatch(r"[0-9a-f]{64}", found["agent"]["sha256"])
    assert found["agent"]["files"] == len(list(SOURCE.glob("*.py")))
    assert found["totals"]["active_response_errors"] == 0
    assert found["totals"]["turns"] == sum(call["answered_once"] for call in found["calls"]) == 9
    assert [call["seed"] for call in found["calls"]] == [0, 1, 2]
    assert found["calls"][0]["faults"] == []
    assert found["calls"][2]["rerun"] == "pipeline-guard certify --seed 2"
    assert all(check["verdict"] == "pass" and check["passed"] == 3 for check in found["checks"])
    assert found["does_not_show"] == list(DOES_NOT_SHOW)


def test_one_call_is_made_again_with_all_its_messages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = tmp_path / "call.jsonl"
    assert main(["certify", "--seed", "7", "--fault", "drop-done@2", "--record", str(record)]) == 0
    text = capsys.readouterr().out
    assert "calls: 1 call: 3 turns, 3 of the caller's answers answered once, 0 active-response errors" in text
    assert "model check" not in text
    entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [e["event"]["fault"] for e in entries if e["type"] == "fault"] == ["drop-done@2"]


def test_a_wrong_agent_is_refused_with_the_place_and_the_command_that_shows_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(app, "CallSession", SecondSender)
    assert main(["certify", "--seed", "0"]) == 1
    text = capsys.readouterr().out
    assert re.search(
        r"^    \d+ of the caller's frames arrived twice, the first one of .* \(at \d+\.\d\d s\)$", text, re.M
    )
    assert "again, alone: pipeline-guard certify --seed 0" in text
    assert text.splitlines()[-1] == "Refused: 1 of 1 call"
    page = tmp_path / "certificate.html"
    assert main(["certify", "--seed", "0", "--format", "html", "--output", str(page)]) == 1
    html = page.read_text(encoding="utf-8")
    assert "arrived twice" in html
    assert "pipeline-guard certify --seed 0" in html


def test_the_page_needs_nothing_from_elsewhere_and_draws_the_call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "certificate.html"
    assert main(["certify", "--seed", "0", "--format", "html", "--output", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert not re.search(r"(?:src|href)\s*=|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html
    (svg,) = re.findall(r"<svg.*?</svg>", html, re.S)
    drawing = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    names = [text.text for text in drawing.iter(f"{space}text") if text.get("class") == "name"]
    assert names[:3] == ["caller's frames", "caller speaks", "audio to Realtime"]
    kinds = [group.get("class") for group in drawing.iter(f"{space}g")]
    assert kinds.count("response") == 4
    assert kinds.count("speech") == kinds.count("turn") == 3
    assert kinds.count("voice") == 4
    assert kinds.count("mark") > 4
    assert all(group.find(f"{space}title") is not None for group in drawing.iter(f"{space}g"))


def test_markdown_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "--seed", "0", "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Certificate for reference_agent\n\n**Certified for 1 call: a quick look")
    assert "| ✓ | no duplicate reply | 1 | 0 | 0 |" in text
    assert DOES_NOT_SHOW[0] in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--app", "main:app", "--command", "run"], "--app and --command both say how to start the agent"),
        (["--webhook", "/voice"], "--webhook is about an agent that has to be started"),
        (["--env", "A=1"], "--env is about an agent that has to be started"),
        (["{empty}"], "is not the installed reference agent; say how to start the agent there"),
        (["{empty}/nothing", "--app", "main:app"], "there is no such folder"),
        (["{empty}", "--app", "main:app", "--env", "A B=1"], "write NAME=VALUE"),
        (["--record", "x"], "name it with --seed"),
        (["--fault", "drop-dome"], "did you mean drop-done?"),
        (["--live"], "put a key of OpenAI's platform into OPENAI_API_KEY first"),
        (["--live", "--seed", "1"], "--live makes one call of the reference agent"),
        (["--seeds", "0"], "Invalid value for '--seeds'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["certify", *(argument.format(empty=tmp_path) for argument in arguments)]) == 2
    assert sentence in capsys.readouterr().err


def test_the_source_of_a_wrong_agent_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "reference_agent"
    shutil.copytree(SOURCE, root, ignore=shutil.ignore_patterns("__pycache__"))
    call = root / "call.py"
    queued = "        self.realtime_audio_in_queue.put_nowait(payload)\n"
    stray = '        asyncio.ensure_future(self._send({"type": "response.create"}))\n'
    text = call.read_text(encoding="utf-8")
    assert queued in text
    call.write_text(text.replace(queued, queued + stray), encoding="utf-8")
    config = settings_for(Target(root), None)
    pipeline_map = build_map(Target(root), config, show_progress=False)
    part = static_part(pipeline_map, find_problems(pipeline_map, config), root)
    assert not part.passed
    codes = {reason.code for check in part.checks for reason in check.reasons}
    assert "static.PG201" in codes


def test_seed_0_is_the_plain_call_and_every_kind_of_fault_comes_alone_before_several_come_together() -> None:
    assert (schedule_of(0).manner, schedule_of(0).faults, schedule_of(0).delay) == ("patient", (), 0.0)
    kinds = set(KINDS) - NO_CLIENT_S_FAULT - {"refuse-connect"}
    assert {schedule_of(seed).faults[0].name for seed in range(8, 8 + len(kinds))} == kinds
    assert all(len(schedule_of(seed).faults) <= 1 for seed in range(8 + len(kinds)))
    assert schedule_of(150) == schedule_of(150)
    assert {schedule_of(seed).manner for seed in range(60)} == {"patient", "interrupting", "hurried"}


def test_a_live_call_is_judged_by_what_passes_through_the_relay() -> None:
    from pipeline_guard.certify.contract_call import model
    from pipeline_guard.certify.ear import Ear
    from pipeline_guard.certify.utterances import load_utterances

    async def call() -> None:
        ear = Ear(None, [(each.text, each.audio) for each in load_utterances()])
        async with OpenAISimulator(script=model, transcriber=ear) as service:
            outcome = await make_live_call("a key", upstream=service.websocket_base_url)
            assert outcome.failed == []
            assert (outcome.turns, outcome.responses, outcome.errors) == (3, 4, [])
            assert [response.covers for response in outcome.facts.responses] == [
                response.covers for response in service.responses
            ]

    virtual_time.run(call())


def test_a_service_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"no call came about: ws://127\.0\.0\.1:9/v1/realtime.* cannot be reached"):
        virtual_time.run(make_live_call("a key", upstream="ws://127.0.0.1:9/v1"))


def test_a_key_of_blanks_is_none() -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        key_of({"OPENAI_API_KEY": "  "})
    assert key_of({"OPENAI_API_KEY": " k "}) == "k"


@pytest.mark.parametrize(
    ("transcript", "meant"),
    [
        ("התקנת מנעול חכם.", "התקנת מנעול חכם"),
        ("תקנת מנעול חכם", "התקנת מנעול חכם"),
        ("בתל-אביב", "בתל אביב"),
        ("כן!", "כן"),
        ("לא", None),
        ("", None),
    ],
)
def test_a_recogniser_may_spell_as_it_likes(transcript: str, meant: str | None) -> None:
    assert closest(transcript) == meant


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("api.deepgram.com", "speech"),
        ("eu-speech.googleapis.com", None),
        ("speech.googleapis.com", "stt"),
        ("api.openai.com", None),
        ("example.com", None),
    ],
)
def test_speech_services_are_known_by_their_hosts(host: str, kind: str | None) -> None:
    service = engine_at(host)
    assert (service.kind if service else None) == kind


def test_a_reason_says_where() -> None:
    assert str(Reason("a", "It broke", 1.234, (5, 6))) == "It broke (at 1.23 s, events 5, 6)"
    assert str(Reason("a", "It broke", line=3)) == "It broke (line 3 of the agent's log)"
    assert str(Reason("a", "It broke")) == "It broke"
