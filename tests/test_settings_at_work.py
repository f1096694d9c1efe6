"""Settings at work on real code: sibling apps, some paths, names that are not there, and what is asked about."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.two_apps import Runner, make_project, write

SETTINGS = """
[[app]]
name = "in"
paths = ["/inbound/"]
contract = { queue = "inbound_queue", sender = "inbound_loop", trigger = "speak_inbound", \
active-response = "inbound_response_id" }

[[app]]
name = "out"
paths = ["/outbound/"]

[app.contract]
sender = "outboundCall.outbound_loop"
trigger = "speak_outbound"
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def lanes(run: Runner, project: Path) -> list[dict[str, Any]]:
    result = run("map", project, "--format", "json")
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)["lanes"]
    return found


def rules(run: Runner, *arguments: object) -> list[str]:
    result = run("check", *arguments, "--format", "json")
    assert result.code in (0, 1), result.err
    return [found["rule"] for found in json.loads(result.out)["findings"]]


# -- apps


def test_apps_that_share_code_are_one_lane_until_they_are_declared(project: Path, run: Runner) -> None:
    assert len(lanes(run, project)) == 1
    assert "PG202" in rules(run, project, "--select", "PG2")
    write(project, "pipeline-guard.toml", SETTINGS)
    first, second = lanes(run, project)
    assert [lane["app"] for lane in (first, second)] == ["in", "out"]
    for lane, own, other in ((first, "inbound", "outbound"), (second, "outbound", "inbound")):
        assert [trigger["symbol"] for trigger in lane["triggers"]] == [f"{own}Call.speak_{own}"]
        assert [sender["symbol"] for sender in lane["senders"]] == [f"{own}Call.{own}_loop"]
        assert [step["path"] for step in lane["entry_points"]] == [f"{own}/app.py"]
        paths = {site["path"] for site in lane["sites"]}
        assert (f"{own}/app.py" in paths, "common/realtime.py" in paths) == (True, True)
        assert f"{other}/app.py" not in paths
    assert "PG202" not in rules(run, project, "--select", "PG2")
    assert "PG101" not in rules(run, project, "--select", "PG1")


def test_each_app_has_its_own_contract(project: Path, run: Runner) -> None:
    settings = SETTINGS.replace('sender = "outboundCall', 'normal-turn = "server"\nsender = "outboundCall')
    write(project, "pipeline-guard.toml", settings)
    first, second = lanes(run, project)
    assert (first["policy"], first["policy_source"]) == ("client", "inferred")
    assert (second["policy"], second["policy_source"]) == ("server", "declared")
    result = run("check", project, "--select", "PG211", "--format", "json")
    assert {found["path"] for found in json.loads(result.out)["findings"]} == {"outbound/app.py"}


def test_an_app_is_found_from_below_the_settings_too(project: Path, run: Runner) -> None:
    inner = project / "services"
    inner.mkdir()
    for name in ("common", "inbound", "outbound"):
        (project / name).rename(inner / name)
    write(inner, "requirements.txt", "")
    write(project, "pipeline-guard.toml", SETTINGS.replace('"/', '"/services/'))
    assert [lane["app"] for lane in lanes(run, inner)] == ["in", "out"]


def test_code_of_two_apps_is_a_mistake(project: Path, run: Runner) -> None:
    write(project, "pipeline-guard.toml", SETTINGS.replace('"/outbound/"', '"*.py"'))
    result = run("check", project)
    assert result.code == 2
    assert "belongs to two apps, 'in' and 'out'; make their paths disjoint" in result.err


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"/outbound/"', '"/outbond/"', "app 'out' has no file: its paths name none that was read"),
        ('"/outbound/"', '"/docs/"', "app 'out' has no OpenAI Realtime session: its files lead to none"),
        (
            '"speak_outbound"',
            '"speak_outbond"',
            "app 'out': contract.trigger names 'speak_outbond', which is no function that sends response.create; "
            "did you mean 'speak_outbound'?",
        ),
    ],
)
def test_what_an_app_declares_has_to_be_there(project: Path, run: Runner, old: str, new: str, expected: str) -> None:
    write(project, "docs/conf.py", "x = 1\n")
    write(project, "pipeline-guard.toml", SETTINGS.replace(old, new))
    result = run("check", project, "--select", "PG901")
    assert result.code == 2
    assert expected in result.out
    assert f"pipeline-guard.toml: {expected}" in result.err


# -- names in the contract


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (
            'trigger = "send_response"',
            "contract.trigger names 'send_response', which is no function that sends response.create; "
            "there is 'speak_inbound'",
        ),
        (
            'sender = "inbound_lop"',
            "contract.sender names 'inbound_lop', which is no function that sends caller audio to the session; "
            "did you mean 'inbound_loop'?",
        ),
        (
            'queue = "inbound_que"',
            "contract.queue names 'inbound_que', which is no queue of caller audio; did you mean 'inbound_queue'?",
        ),
        (
            'active-response = "inbound_respons_id"',
            "contract.active-response names 'inbound_respons_id', which stands nowhere in the code around the session; "
            "did you mean 'inbound_response_id'?",
        ),
        ('trigger = "speak_inbound"', ""),
        ('trigger = "inboundCall.speak_inbound"', ""),
        ('sender = "inbound_loop"\nqueue = "inbound_queue"\nactive-response = "inbound_response_id"', ""),
    ],
)
def test_a_contract_that_speaks_of_nothing_is_never_green(
    project: Path, run: Runner, contract: str, expected: str
) -> None:
    (project / "outbound" / "app.py").unlink()
    write(project, "pipeline-guard.toml", f"[contract]\n{contract}\n")
    result = run("check", project, "--select", "PG901", "--no-cache")
    assert result.code == (2 if expected else 0)
    assert expected in result.out
    gaps = json.loads(run("map", project, "--format", "json").out)["errors"]
    assert [gap["detail"] for gap in gaps if gap["reason"] == "contract"] == ([expected] if expected else [])
    assert all(gap["path"] == "pipeline-guard.toml" for gap in gaps)


def test_findings_come_before_complaints_about_the_settings(project: Path, run: Runner) -> None:
    write(project, "pipeline-guard.toml", '[contract]\ntrigger = "nobody"\n')
    result = run("check", project)
    assert result.code == 1
    assert "contract.trigger names 'nobody'" in result.out


def test_a_contract_without_any_session_is_said(tmp_path: Path, run: Runner) -> None:
    write(tmp_path, "app.py", "x = 1\n")
    write(tmp_path, "pipeline-guard.toml", '[contract]\ntrigger = "speak"\n')
    result = run("check", tmp_path)
    assert result.code == 2
    assert "contract.trigger names 'speak', but no OpenAI Realtime session was found" in result.err


# -- some paths


def test_settings_for_some_paths(project: Path, run: Runner) -> None:
    def severities() -> dict[str, set[str]]:
        result = run("check", project, "--select", "PG201", "--format", "json")
        found: dict[str, set[str]] = {}
        for each in json.loads(result.out)["findings"]:
            found.setdefault(each["path"], set()).add(each["severity"])
        return found

    assert severities() == {"inbound/app.py": {"error"}, "outbound/app.py": {"error"}}
    write(
        project,
        "pipeline-guard.toml",
        '[severity]\nPG201 = "warning"\n[per-path."outbound/**"]\nseverity = { PG201 = "note" }\n',
    )
    assert severities() == {"inbound/app.py": {"warning"}, "outbound/app.py": {"note"}}
    write(project, "pipeline-guard.toml", '[per-path]\n"in*/" = { ignore = ["PG20"] }\n')
    assert severities() == {"outbound/app.py": {"error"}}


def test_a_suppression_of_a_rule_that_does_not_count_there_is_not_unused(project: Path, run: Runner) -> None:
    path = project / "inbound" / "app.py"
    text = path.read_text(encoding="utf-8").replace(
        "self.events())", "self.events())  # pipeline-guard: ignore[PG101] until OPS-41"
    )
    write(project, "inbound/app.py", text)
    assert "PG902" in rules(run, project)
    write(project, "pipeline-guard.toml", '[per-path."inbound/"]\nignore = ["PG1"]\n')
    assert "PG902" not in rules(run, project)


# -- what is asked about


def set_aside(project: Path) -> None:
    """More code without a telltale word than is parsed for its syntax alone."""
    write(project, "big.py", "x = [\n" + "    'nothing',\n" * 90_000 + "]\n")


def test_a_broken_file_that_is_named_is_always_found(project: Path, run: Runner) -> None:
    set_aside(project)
    (project / ".git").mkdir()
    broken = write(project, "tools/broken.py", "def helper(:\n    pass\n")
    assert "PG901" not in rules(run, project), "this test is about code that is not parsed otherwise"
    for paths in ([broken], [project / "inbound" / "app.py", broken]):
        result = run("check", *paths, "-q")
        assert result.code == 1
        assert "tools/broken.py:1:1: PG901 error" in result.out


def test_a_broken_file_is_found_from_everywhere(project: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    set_aside(project)
    (project / ".git").mkdir()
    write(project, "tools/broken.py", "def helper(:\n    pass\n")
    os.symlink(project / "tools" / "broken.py", project / "link.py")
    away = project.parent / "away"
    away.mkdir(exist_ok=True)
    os.symlink(project / "tools" / "broken.py", away / "outside.py")
    os.symlink(project, away / "current")
    for folder, path in (
        (project / "tools", "broken.py"),
        (project / "inbound", "../tools/broken.py"),
        (away, str(project / "tools" / "broken.py")),
        (project, "link.py"),
        (away, "outside.py"),
        (away, "current/tools/broken.py"),
        (away, "current/link.py"),
    ):
        monkeypatch.chdir(folder)
        result = run("check", path, "-q")
        assert (result.code, result.out.partition(" error")[0]) == (1, "tools/broken.py:1:1: PG901"), path


def test_a_folder_is_judged_on_its_own(project: Path, run: Runner) -> None:
    (project / ".git").mkdir()
    assert json.loads(run("check", project / "inbound", "--format", "json").out)["root"] == str(project / "inbound")


def test_a_folder_without_any_file_that_counts_is_not_clean(project: Path, run: Runner) -> None:
    (project / "docs").mkdir()
    write(project, "pipeline-guard.toml", 'exclude = ["/inbound/*.py"]\n')
    for name in ("inbound", "docs"):
        result = run("check", project / name)
        assert (result.code, "holds no Python files" in result.err) == (2, True)


def test_paths_are_what_a_check_without_any_is_about(
    project: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    write(project, "pipeline-guard.toml", 'paths = ["inbound", "common"]\n')
    document = json.loads(run("check", "--format", "json", "--select", "PG201").out)
    assert document["root"] == str(project)
    assert {found["path"] for found in document["findings"]} == {"inbound/app.py"}
    other = write(project / "settings", "strict.toml", 'paths = ["../outbound"]\n')
    document = json.loads(run("check", "--config", other, "--format", "json", "--select", "PG201").out)
    assert {found["path"] for found in document["findings"]} == {"outbound/app.py"}
    document = json.loads(run("check", ".", "--format", "json", "--select", "PG201").out)
    assert {found["path"] for found in document["findings"]} == {"inbound/app.py", "outbound/app.py"}
