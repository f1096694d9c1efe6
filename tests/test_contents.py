"""What is known of a file holds while it is the same file, and no longer: whatever changes it, and however it hides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline_guard import file_times
from pipeline_guard.__main__ import main
from pipeline_guard.cache import FOLDER_VARIABLE, Cache
from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.program import contents
from pipeline_guard.program import signs as signs_module
from pipeline_guard.program.contents import Contents
from pipeline_guard.program.signs import Signs, common_parts
from pipeline_guard.rulebook import rules_dir
from pipeline_guard.vocabulary import load

BACKENDS = Path(__file__).parent / "fixtures" / "backends"
SESSION = """
import json
import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/media")
async def media(twilio: WebSocket):
    async with websockets.connect("wss://api.openai.com/v1/realtime") as realtime:
        async for text in twilio.iter_text():
            await realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": text}))
"""
CREATE = '            await realtime.send(json.dumps({"type": "response.create"}))\n'
# As long as the above, so that neither size nor name tells them apart.
CANCEL = CREATE.replace("response.create", "response.cancel")

pytestmark = pytest.mark.skipif(not file_times.IS_TRUSTED, reason="here every file is read each time")
Check = Callable[..., str]


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust a file from the moment after it was written: the tests do not wait for seconds."""
    monkeypatch.setattr(file_times, "SETTLED_NS", -10_000_000_000)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "main.py").write_text(SESSION, encoding="utf-8")
    (folder / "helpers.py").write_text("def helper():\n    return 1\n", encoding="utf-8")
    return folder


@pytest.fixture
def check(tree: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(*options: str) -> str:
        main(["check", str(tree), "--format", "json", *options])
        return capsys.readouterr().out

    return run


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the files that are read from here on."""
    seen: list[str] = []
    real = contents.read_source

    def remember(file: contents.SourceFile, gaps: list[contents.Gap]) -> bytes | None:
        seen.append(file.rel)
        return real(file, gaps)

    monkeypatch.setattr(contents, "read_source", remember)
    return seen


def test_only_what_changed_is_read(tree: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check()
    seen = reads(monkeypatch)
    assert check() == first
    assert seen == []
    (tree / "helpers.py").write_text("def helper():\n    return 2\n", encoding="utf-8")
    check()
    assert sorted(set(seen)) == ["helpers.py", "main.py"]  # another program: all of it is needed


def test_times_that_are_set_back_hide_nothing(tree: Path, check: Check) -> None:
    source = tree / "main.py"
    source.write_text(SESSION + CREATE, encoding="utf-8")
    check()
    before = source.stat()
    for text in (CANCEL, CREATE):
        source.write_text(SESSION + text, encoding="utf-8")
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert source.stat().st_size == before.st_size
        assert check() == check("--no-cache")


def test_another_file_of_the_same_size_and_time_is_another_file(tree: Path, check: Check) -> None:
    source, beside = tree / "main.py", tree / "main.new"
    source.write_text(SESSION + CREATE, encoding="utf-8")
    check()
    before = source.stat()
    beside.write_text(SESSION + CANCEL, encoding="utf-8")
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.replace(source)
    assert check() == check("--no-cache")


def test_files_that_come_go_and_change_names(tree: Path, check: Check) -> None:
    check()
    steps: list[Callable[[], object]] = [
        lambda: (tree / "second.py").write_text(SESSION + CREATE, encoding="utf-8"),
        lambda: (tree / "second.py").rename(tree / "third.py"),
        lambda: os.utime(tree / "third.py"),
        lambda: (tree / "third.py").write_text("def broken(:\n", encoding="utf-8"),
        (tree / "third.py").unlink,
        lambda: (tree / "main.py").rename(tree / "server.py"),
        lambda: (tree / ".gitignore").write_text("server.py\n", encoding="utf-8"),
        lambda: (tree / ".gitignore").write_text("helpers.py\n", encoding="utf-8"),
    ]
    for step in steps:
        step()
        assert check() == check("--no-cache")
        assert check() == check("--no-cache")


def test_branches_whose_files_bear_the_same_times(tree: Path, check: Check) -> None:
    def git(*words: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tree), *words]
        subprocess.run(command, check=True, capture_output=True)

    git("init", "-q", "-b", "one")
    (tree / "main.py").write_text(SESSION + CREATE, encoding="utf-8")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "two")
    (tree / "main.py").write_text(SESSION + CANCEL, encoding="utf-8")
    git("commit", "-qam", "two")
    answers = set()
    for branch in ("one", "two", "one", "two"):
        git("checkout", "-q", branch)
        for path in tree.glob("*.py"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        answer = check()
        assert answer == check("--no-cache")
        answers.add(answer)
    assert len(answers) == 2


def test_a_file_that_changed_just_before_it_was_read_is_read_again(
    tree: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_times, "SETTLED_NS", 2_000_000_000)
    file = discover(tree, (), 10**6).files[0]
    assert file.stamp is not None
    young = replace(file, stamp=(file.stamp[0], *([contents.time.time_ns()] * 2), file.stamp[3]))
    seen = reads(monkeypatch)
    for each in (young, young):  # a second change within one tick of the clock would show in no stamp
        Contents([each], [], Cache(own_cache), "a" * 40, lambda _rel, _data: 0)
    assert len(seen) == 2
    old = replace(file, stamp=(file.stamp[0], 10**18, 10**18, file.stamp[3]))
    for each in (old, old):
        Contents([each], [], Cache(own_cache), "a" * 40, lambda _rel, _data: 0)
    assert len(seen) == 3


def run_elsewhere(tree: Path, cache: Path, program: str = "") -> subprocess.Popen[bytes]:
    code = f"{program}\nimport sys\nfrom pipeline_guard.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, "check", str(tree), "--format", "json"],
        env={**os.environ, FOLDER_VARIABLE: str(cache)},
        stdout=subprocess.PIPE,
    )


def test_two_runs_at_once_say_the_same(tree: Path, check: Check, tmp_path: Path) -> None:
    expected = check("--no-cache")
    for _ in range(2):
        runs = [run_elsewhere(tree, tmp_path / "shared") for _ in range(2)]
        assert [run.communicate()[0].decode() for run in runs] == [expected, expected]


def test_a_full_disk_changes_no_answer(tree: Path, check: Check, tmp_path: Path) -> None:
    full = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))"
    expected = check("--no-cache")
    for _ in range(2):
        assert run_elsewhere(tree, tmp_path / "full", full).communicate()[0].decode() == expected
    left = [path for path in (tmp_path / "full").rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []


# -- two processes


@pytest.mark.parametrize("killed", [False, True])
def test_two_processes_see_what_one_sees(
    tree: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    for number in range(7):
        (tree / f"module_{number}.py").write_text(f"x = {number}\n", encoding="utf-8")
    files = discover(tree, (), 10**6).files
    (tree / "module_3.py").unlink()  # between finding and reading
    parent = os.getpid()

    def look(_rel: str, data: bytes) -> int:
        if killed and os.getpid() != parent:
            os._exit(3)
        return len(data) << 3

    alone = Contents(files, [], None, "", look)
    monkeypatch.setattr("pipeline_guard.program.halves.is_worthwhile", lambda _files: True)
    together = Contents(files, [], None, "", look)
    assert (together.digests, together.flags) == (alone.digests, alone.flags)
    assert [gap.path for gap in together.gaps] == [gap.path for gap in alone.gaps] == ["module_3.py"]
    assert together.sources().data == alone.sources().data


def test_nothing_is_asked_once_a_file_shows_the_sign_until_none_does(tree: Path, own_cache: Path) -> None:
    asked: list[str] = []

    def look(rel: str, data: bytes) -> int:
        asked.append(rel)
        return contents.SIGN if b"SIGN" in data else 0

    def see() -> list[str]:
        asked.clear()
        found = Contents(discover(tree, (), 10**6).files, [], cache, "k" * 40, look)
        return [rel for rel, flags in found.flags.items() if flags & contents.SIGN]

    cache = Cache(own_cache)
    for name in "abc":
        (tree / f"{name}.py").write_text(f"{name} = 1\n", encoding="utf-8")
    (tree / "b.py").write_text("b = 'SIGN'\n", encoding="utf-8")
    assert (see(), asked) == (["b.py"], ["a.py", "b.py"])
    assert (see(), asked) == (["b.py"], [])
    (tree / "b.py").write_text("b = 'SIGN, too'\n", encoding="utf-8")
    assert (see(), asked) == (["b.py"], ["b.py"])
    (tree / "c.py").write_text("c = 'SIGN'\n", encoding="utf-8")
    (tree / "b.py").write_text("b = 'no more'\n", encoding="utf-8")
    assert (see(), asked[:2]) == (["c.py"], ["b.py", "c.py"])
    (tree / "c.py").unlink()
    assert see() == []
    assert set(asked) == {path.name for path in tree.glob("*.py")} - {"a.py", "b.py"}


# -- large programs in which there is nothing to judge


@pytest.fixture
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs_module, "LARGE", -1)


@pytest.mark.usefixtures("_everything_is_large")
def test_a_large_program_without_a_session_is_not_parsed(
    tree: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_session = check()
    assert with_session == check("--no-cache")
    assert '"rule": "PG' in with_session
    (tree / "main.py").write_text("async def go(session):\n    session.update_title()\n", encoding="utf-8")

    def refuse(*_arguments: object) -> None:
        raise AssertionError("a file was parsed")

    monkeypatch.setattr("pipeline_guard.facts.store.extract", refuse)
    without = check()
    assert '"findings": []' in without
    assert without == check() == check("--no-cache")
    monkeypatch.undo()


ENGINE = """
import vosk


def hear(data):
    recogniser = vosk.KaldiRecognizer(vosk.Model("he"), 8000)
    recogniser.AcceptWaveform(data)
    return recogniser.Result()
"""


@pytest.mark.usefixtures("_everything_is_large")
def test_a_map_of_a_large_program_without_a_session_says_what_was_not_looked_up(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "main.py").write_text(
        "from helpers import hear\n\n\ndef on_upload(data):\n    return hear(data)\n", "utf-8"
    )
    (tree / "helpers.py").write_text(ENGINE, encoding="utf-8")
    assert main(["map", str(tree), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(site["path"], site["context"]) for site in found["outside"]} == {("helpers.py", "unknown")}
    assert [error["reason"] for error in found["errors"]] == ["unfollowed"]


@pytest.mark.usefixtures("_everything_is_large")
def test_what_speaks_to_the_tool_counts_without_a_session_too(tree: Path, check: Check) -> None:
    (tree / "main.py").write_text("x = 1  # pipeline-guard: ignore[PG201]\n", encoding="utf-8")
    first = check()
    assert '"PG903"' in first
    assert first == check() == check("--no-cache")


@pytest.mark.usefixtures("_everything_is_large")
def test_a_file_that_somebody_names_is_parsed(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "main.py").write_text("def broken(:\n", encoding="utf-8")
    assert main(["check", str(tree / "main.py"), "--format", "json"]) == 1
    assert '"PG901"' in capsys.readouterr().out


@pytest.mark.usefixtures("_everything_is_large")
def test_a_contract_without_a_session_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "main.py").write_text("x = 1\n", encoding="utf-8")
    (tree / "pipeline-guard.toml").write_text('[contract]\ntrigger = "speak"\n', encoding="utf-8")
    assert main(["check", str(tree)]) == 2
    assert "no OpenAI Realtime session was found" in capsys.readouterr().err


def judged_backends() -> list[Path]:
    """Return the fixtures with a finding about a session."""
    return [
        folder
        for folder in sorted(BACKENDS.iterdir())
        if any(
            f"expect: PG{n}" in path.read_text("utf-8", "replace") for path in folder.rglob("*.py") for n in "123456"
        )
    ]


def test_every_backend_with_a_finding_shows_signs_of_a_session() -> None:
    signs = Signs(load(Config(), rules_dir() / "vocabulary"))
    folders = judged_backends()
    assert len(folders) > 50
    blind = [
        folder.name
        for folder in folders
        if not list(folder.rglob("*pipeline-guard.toml"))
        and not any(signs.are_in(path.read_bytes()) for path in folder.rglob("*.py"))
    ]
    assert blind == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text("abcde._", min_size=1, max_size=30), max_size=20), st.integers(1, 10))
def test_one_of_the_parts_stands_in_every_word(words: list[str], length: int) -> None:
    parts = common_parts(words, length)
    assert all(any(part in word for part in parts) for word in words)
    assert len(parts) <= len(set(words))
