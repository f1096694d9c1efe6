"""``init`` writes settings that load, give the same map, say why, and leave every other byte of the file alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline_guard.cli.demo import BACKEND
from pipeline_guard.config import Contract, load_config
from pipeline_guard.settings_file import with_tables
from pipeline_guard.toml_files import read_toml
from tests.two_apps import APP, REALTIME, Runner, make_project, write

DEMO = Contract("realtime_audio_in_queue", "audio_sender_loop", "trigger_response", "active_response_id", "client")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    root = tmp_path / "demo"
    shutil.copytree(BACKEND, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def lanes(run: Runner, root: Path) -> list[dict[str, Any]]:
    """Return the lanes without what is declared on purpose."""
    found: list[dict[str, Any]] = json.loads(run("map", root, "--format", "json").out)["lanes"]
    for lane in found:
        for key in ("name", "app", "policy", "policy_source"):
            del lane[key]
    return sorted(found, key=str)


def findings(run: Runner, root: Path) -> list[tuple[str, str, int]]:
    document = json.loads(run("check", root, "--format", "json").out)
    return sorted((found["rule"], found["path"], found["line"]) for found in document["findings"])


@pytest.mark.parametrize("pyproject", [True, False])
def test_what_is_written_loads_and_changes_no_map(demo: Path, run: Runner, pyproject: bool) -> None:
    before = lanes(run, demo), findings(run, demo)
    if pyproject:
        write(demo, "pyproject.toml", '[project]\nname = "demo"\n')
    result = run("init", demo)
    name = "pyproject.toml" if pyproject else "pipeline-guard.toml"
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        f"pipeline-guard: wrote the contract to {demo / name}; read its comments, then run 'pipeline-guard check'\n"
    )
    assert sorted(path.name for path in demo.glob("*.toml")) == [name]
    assert load_config(demo).contract == DEMO
    assert (lanes(run, demo), findings(run, demo)) == before
    assert "declared, not found" not in run("map", demo).out


def test_comments_say_why_and_where_the_code_differs(demo: Path, run: Runner) -> None:
    text = run("init", "--stdout", demo).out
    assert not list(demo.glob("*.toml"))
    words = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for said in (
        "The one queue of the caller's audio: call_session.py:24 (asyncio.Queue, without a bound).",
        "CallSession.audio_sender_loop (call_session.py:56), the loop that reads the queue. Also sending: media_stream",
        "CallSession.trigger_response (call_session.py:61), the one that is named or guarded as such. Also sending it:",
        "set on response.created (call_session.py:71), asked before the trigger sends.",
        '"client" is recommended. Now the server AND the client create the response of a turn',
        "create_response is not false in: RealtimeClient.configure (realtime_client.py:21).",
    ):
        assert said in words
    assert max(map(len, text.splitlines())) <= 112


@pytest.mark.parametrize(
    "content",
    [
        b'[project]\nname = "x"\n',
        b'[project]\r\nname = "x"\r\n\r\n# the end\r\n',
        b'\xef\xbb\xbf[project]\nname = "x"',
        b'[tool.pipeline-guard]\nexclude = ["/old/"]  # until June\n\n[tool.other]\nx = 1\n',
        b'[tool]\npipeline-guard.ignore = ["PG105"]\n\n\n\n',
        b"",
    ],
)
def test_every_other_byte_stays(demo: Path, run: Runner, content: bytes) -> None:
    path = demo / "pyproject.toml"
    path.write_bytes(content)
    os.chmod(path, 0o640)
    before = load_config(demo)
    assert run("init", demo).code == 0
    data = path.read_bytes()
    assert data.startswith(content)
    added = data.removeprefix(content)
    assert (b"\r\n" in content) == (b"\r\n" in added)
    assert added.count(b"\n") == added.count(b"\r\n") or b"\r\n" not in added
    assert path.stat().st_mode & 0o777 == 0o640
    after = load_config(demo)
    assert (after.contract, after.exclude, after.ignore) == (DEMO, before.exclude, before.ignore)
    assert sorted(os.listdir(demo)) == sorted({*os.listdir(BACKEND), "pyproject.toml"} - {"__pycache__"})


def test_what_is_there_is_replaced_only_when_forced(demo: Path, run: Runner) -> None:
    settings = (
        '# ours\nignore = ["PG105"]\n\n[contract]\ntrigger = "old"\n\n# about severity\n[severity]\nPG215 = "note"\n'
        '\n[[app]]\nname = "a"\npaths = ["a/"]\n[app.contract]\ntrigger = "b"\n# the end\n'
    )
    path = write(demo, "pipeline-guard.toml", settings)
    result = run("init", demo)
    assert result.code == 2
    assert result.err == (
        f"pipeline-guard: {path}: already has contract and app; "
        "--force replaces that, --stdout prints without writing\n"
    )
    assert path.read_text(encoding="utf-8") == settings
    assert run("init", "--force", demo).code == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith('# ours\nignore = ["PG105"]\n\n# about severity\n[severity]\nPG215 = "note"\n')
    assert "# the end\n" in text
    config = load_config(demo)
    assert (config.contract, config.apps, config.severity) == (DEMO, (), {"PG215": "note"})
    assert run("init", "--force", demo).code == 0
    assert path.read_text(encoding="utf-8") == text, "a second time changes nothing"


@pytest.mark.parametrize("form", ['contract = { trigger = "old" }\n', 'contract.trigger = "old"\n'])
def test_a_contract_in_another_form_is_left_to_its_writer(demo: Path, run: Runner, form: str) -> None:
    path = write(demo, "pipeline-guard.toml", form)
    result = run("init", "--force", demo)
    assert result.code == 2
    assert "the contract there is written in a way that cannot be replaced; take it out first" in result.err
    assert path.read_text(encoding="utf-8") == form


def test_several_pipelines_are_apps(tmp_path: Path, run: Runner) -> None:
    for name in ("inbound", "outbound"):
        write(tmp_path, f"{name}/call.py", APP.replace("NAME", name).replace("common.realtime", f"{name}.realtime"))
        write(tmp_path, f"{name}/realtime.py", REALTIME.replace("RealtimeClient", f"RealtimeClient{name}"))
        call = (tmp_path / name / "call.py").read_text(encoding="utf-8")
        write(tmp_path, f"{name}/call.py", call.replace("RealtimeClient", f"RealtimeClient{name}"))
    before = lanes(run, tmp_path)
    assert len(before) == 2
    assert run("init", tmp_path).code == 0
    apps = {app.name: app for app in load_config(tmp_path).apps}
    assert set(apps) == {"inbound", "outbound"}
    for name, app in apps.items():
        assert app.paths == (f"/{name}/",)
        assert app.contract == Contract(f"{name}_queue", f"{name}_loop", f"speak_{name}", None, "client")
    assert lanes(run, tmp_path) == before
    assert run("check", tmp_path, "--select", "PG901").code == 0


def test_pipelines_in_one_file_get_no_names(tmp_path: Path, run: Runner) -> None:
    both = [
        APP.replace("NAME", name).replace("common.realtime", "realtime").replace("media_stream", f"{name}_stream")
        for name in ("inbound", "outbound")
    ]
    clients = [REALTIME.replace("RealtimeClient", f"Client{name}") for name in ("inbound", "outbound")]
    code = "".join(clients) + "".join(
        text.replace("from realtime import RealtimeClient\n", "").replace("RealtimeClient", f"Client{name}")
        for name, text in zip(("inbound", "outbound"), both, strict=True)
    )
    write(tmp_path, "app.py", code)
    before = lanes(run, tmp_path)
    assert len(before) == 2
    assert run("init", tmp_path).code == 0
    assert load_config(tmp_path).contract == Contract()
    assert "2 pipelines share the files" in (tmp_path / "pipeline-guard.toml").read_text(encoding="utf-8")
    assert lanes(run, tmp_path) == before


@pytest.mark.parametrize(
    ("setting", "calls", "expected", "said"),
    [
        ("False", True, "client", '"client" is recommended. Now the client asks for the response of each turn.'),
        ("True", False, "server", '"client" is recommended: with create_response false'),
        ("bool(data)", True, None, "Take out the mark before the next line"),
    ],
)
def test_who_answers_a_turn_is_declared_as_it_is(
    tmp_path: Path, run: Runner, setting: str, calls: bool, expected: str | None, said: str
) -> None:
    client = REALTIME.replace('"create_response": False', f'"create_response": {setting}')
    write(tmp_path, "common/realtime.py", client.replace("async def connect(self)", "async def connect(self, data=1)"))
    app = APP.replace("NAME", "our")
    write(tmp_path, "app.py", app if calls else app.replace("await self.speak_our()", "pass"))
    before = lanes(run, tmp_path), [found for found in findings(run, tmp_path) if found[0] != "PG211"]
    assert run("init", tmp_path).code == 0
    assert load_config(tmp_path).contract.normal_turn == expected
    text = (tmp_path / "pipeline-guard.toml").read_text(encoding="utf-8")
    assert said in " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert (lanes(run, tmp_path), [found for found in findings(run, tmp_path) if found[0] != "PG211"]) == before


def test_without_a_session_there_is_nothing_to_write(tmp_path: Path, run: Runner) -> None:
    write(tmp_path, "app.py", "x = 1\n")
    result = run("init", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "no running OpenAI Realtime session was found" in result.err
    assert os.listdir(tmp_path) == ["app.py"]


def test_a_file_that_cannot_be_written_is_one_sentence(
    demo: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(demo, "pyproject.toml", "[project]\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline_guard.reports.check_output.write_whole", refuse)
    result = run("init", demo)
    assert (result.code, path.read_text(encoding="utf-8")) == (2, "[project]\n")
    assert result.err == f"pipeline-guard: {path}: cannot be written (Permission denied); --stdout prints instead\n"


def test_settings_that_are_wrong_stay_an_error(demo: Path, run: Runner) -> None:
    write(demo, "pyproject.toml", "[tool.pipeline-guard]\nselct = []\n")
    assert "did you mean 'select'?" in run("init", demo).err


def test_tables_are_put_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, "pyproject.toml", '[tool.pipeline-guard.per-path."a"]\nignore = ["PG1"]')
    path.write_bytes(with_tables(path, '[tool.pipeline-guard.contract]\ntrigger = "x"\n'))
    assert read_toml(path)["tool"]["pipeline-guard"] == {
        "per-path": {"a": {"ignore": ["PG1"]}},
        "contract": {"trigger": "x"},
    }


def test_apps_below_the_settings_are_named_from_there(tmp_path: Path, run: Runner) -> None:
    root = make_project(tmp_path / "services")
    write(root, "requirements.txt", "")
    write(tmp_path, "pipeline-guard.toml", 'exclude = ["/docs/"]\n')
    for name in ("inbound", "outbound"):
        write(root, f"{name}/client.py", REALTIME.replace("RealtimeClient", f"Client{name}"))
        app = APP.replace("NAME", name).replace("common.realtime", f"{name}.client")
        write(root, f"{name}/app.py", app.replace("RealtimeClient", f"Client{name}"))
    shutil.rmtree(root / "common")
    assert run("init", root).code == 0
    assert {app.paths for app in load_config(tmp_path).apps} == {("/services/outbound/",), ("/services/inbound/",)}
    assert len(lanes(run, root)) == 2
