"""What is known from an earlier run is not read again, never stale, never trusted from the wrong hands."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from pipeline_guard.__main__ import main
from pipeline_guard.cache import FOLDER_VARIABLE, MAX_AGE_DAYS, Cache, content_key, open_cache
from pipeline_guard.facts.extract import Unreadable, extract
from pipeline_guard.facts.store import FactStore

BACKEND = """
import json
import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/media")
async def media(twilio: WebSocket):
    async with websockets.connect("wss://api.openai.com/v1/realtime") as realtime:
        session = {"turn_detection": {"type": "server_vad"}}
        await realtime.send(json.dumps({"type": "session.update", "session": session}))
        async for text in twilio.iter_text():
            await realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": text}))
"""
SECOND_TRIGGER = '            await realtime.send(json.dumps({"type": "response.create"}))\n'


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(BACKEND, encoding="utf-8")
    return tmp_path


def check(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    main(["check", str(folder), "--format", "json", *options])
    return capsys.readouterr().out


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "pruned"]


def test_a_second_run_says_the_same_without_reading_the_code(
    backend: Path, own_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(backend, capsys)
    assert entries(own_cache)

    def refuse(*_code: object) -> None:
        raise AssertionError("the code was read again")

    monkeypatch.setattr("pipeline_guard.facts.store.extract", refuse)
    monkeypatch.setattr("pipeline_guard.statements.Statements._tree", refuse)
    assert check(backend, capsys) == first
    assert '"PG102"' in first


def test_a_changed_file_is_read_again(backend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = check(backend, capsys)
    source = backend / "main.py"
    status = source.stat()
    source.write_text(BACKEND + SECOND_TRIGGER, encoding="utf-8")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))  # a restored time stamp hides nothing
    after = check(backend, capsys)
    assert after != before
    assert after == check(backend, capsys, "--no-cache")


def test_changed_settings_are_obeyed(backend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(backend, capsys)
    (backend / "pipeline-guard.toml").write_text('ignore = ["PG1"]\n[contract]\nnormal-turn = "server"\n', "utf-8")
    assert '"PG102"' not in check(backend, capsys)


def test_no_cache_keeps_nothing(backend: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(backend, capsys, "--no-cache")
    assert entries(own_cache) == []


def test_a_file_that_does_not_parse_stays_a_finding(backend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (backend / "broken.py").write_text("def broken(:\n", encoding="utf-8")
    first = check(backend, capsys)
    assert '"PG901"' in first
    (backend / "main.py").write_text(BACKEND + "\n", encoding="utf-8")  # another program with the same broken file
    assert '"PG901"' in check(backend, capsys)


@pytest.mark.parametrize("damage", [b"", b"PGC1", b"rubbish" * 50], ids=["empty", "cut", "rubbish"])
def test_a_damaged_entry_is_no_entry(
    backend: Path, own_cache: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    first = check(backend, capsys)
    for path in entries(own_cache):
        path.write_bytes(damage)
    assert check(backend, capsys) == first


def test_an_entry_of_another_tool_is_no_entry(own_cache: Path) -> None:
    cache = Cache(own_cache)
    store = FactStore(cache)
    data = b"a = 1\n"
    facts = store.facts(data)
    (path,) = entries(own_cache)
    cache.put("facts", path.parent.name + path.name, b"+\xc1not what was stored")
    assert store.facts(data) == facts == extract(data)


def test_why_a_file_cannot_be_read_is_kept_as_well(own_cache: Path) -> None:
    store = FactStore(Cache(own_cache))
    said = []
    for _ in range(2):
        for read in (store.facts, store.check_syntax):
            with pytest.raises(Unreadable) as caught:
                read(b"def broken(:\n")
            said.append((caught.value.reason, caught.value.detail, caught.value.line))
    assert said[:2] == said[2:]
    assert said[0][0] == "syntax"


def test_what_a_repository_brings_along_is_not_used(
    backend: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = backend / ".cache"
    monkeypatch.setenv(FOLDER_VARIABLE, str(inside))
    assert open_cache(backend) is None
    assert '"PG102"' in check(backend, capsys)
    assert entries(inside) == []


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs the permissions of POSIX")
def test_a_folder_that_others_may_write_to_is_not_used(own_cache: Path, tmp_path: Path) -> None:
    assert open_cache(tmp_path) is not None
    own_cache.chmod(0o777)
    assert open_cache(tmp_path) is None


def test_a_place_where_nothing_can_be_written_is_no_error(
    backend: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    blocked = tmp_path_factory.mktemp("blocked") / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv(FOLDER_VARIABLE, str(blocked))
    assert '"PG102"' in check(backend, capsys)


def test_old_entries_go(own_cache: Path) -> None:
    cache = Cache(own_cache)
    old, young = content_key(b"old"), content_key(b"young")
    cache.put("facts", old, b"1")
    long_ago = time.time() - (MAX_AGE_DAYS + 1) * 86_400
    os.utime(entries(own_cache)[0], (long_ago, long_ago))
    cache.put("facts", young, b"2")
    assert cache.prune() == 1
    assert (cache.get("facts", old), cache.get("facts", young)) == (None, b"2")
    assert cache.prune() == 0


def test_keys_tell_apart_what_is_split_differently() -> None:
    assert content_key(b"ab", b"c") != content_key(b"a", b"bc")


def _write_often(folder: str) -> None:
    cache = Cache(Path(folder))
    for number in range(200):
        cache.put("facts", content_key(b"%d" % (number % 5)), b"x" * 10_000)


def test_parallel_runs_share_it(own_cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(str(own_cache),)) for _ in range(3)]
    for writer in writers:
        writer.start()
    cache = Cache(own_cache)
    while any(writer.is_alive() for writer in writers):
        for number in range(5):
            assert cache.get("facts", content_key(b"%d" % number)) in (None, b"x" * 10_000)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(entries(own_cache)) == 5
