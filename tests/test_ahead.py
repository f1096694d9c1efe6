"""Files that two processes read together: the facts are those of one, what cannot be read is told, and all is kept."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline_guard.cache import Cache
from pipeline_guard.facts.extract import Unreadable, extract
from pipeline_guard.facts.store import FactStore
from pipeline_guard.program import ahead, halves


def _files() -> list[bytes]:
    text = "def step_{n}(call):\n    call.send({{'type': 'response.create', 'number': {n}}})\n"
    return ["".join(text.format(n=n) for n in range(first, first + 40)).encode() for first in range(0, 400, 40)]


def read_ahead(store: FactStore, files: list[bytes]) -> None:
    ahead.read_ahead(store, [(data, None) for data in files])
    ahead.ahead_of(store).end()


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    monkeypatch.setattr(ahead, "WORTHWHILE", 1)
    monkeypatch.setattr(ahead, "may_split", lambda: True)


@pytest.mark.usefixtures("two_processors")
def test_facts_are_those_that_one_process_reads() -> None:
    store, files = FactStore(None), _files()
    read_ahead(store, files)
    assert [store.facts(data) for data in files] == [extract(data) for data in files]


@pytest.mark.usefixtures("two_processors")
def test_a_file_that_does_not_parse_says_why_whoever_read_it() -> None:
    store = FactStore(None)
    broken = [b"def one(:\n" + b"# %d\n" % n for n in range(6)]
    read_ahead(store, [*_files(), *broken])
    for data in broken:
        with pytest.raises(Unreadable) as caught:
            store.facts(data)
        assert (caught.value.reason, caught.value.line) == ("syntax", 1)


@pytest.mark.usefixtures("two_processors")
def test_what_the_child_read_is_cached_and_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _files()
    first = FactStore(Cache(tmp_path))
    read_ahead(first, files)
    assert all(first.knows(data) for data in files)
    forks: list[int] = []
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or 1)
    second = FactStore(Cache(tmp_path))
    read_ahead(second, files)
    assert not forks
    assert [second.facts(data) for data in files] == [extract(data) for data in files]


@pytest.mark.usefixtures("two_processors")
def test_a_child_that_comes_to_grief_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FactStore, "entry", lambda _self, _data: os._exit(9))
    store, files = FactStore(None), _files()
    read_ahead(store, files)
    assert [store.facts(data) for data in files] == [extract(data) for data in files]


@pytest.mark.usefixtures("two_processors")
def test_a_child_that_runs_is_told_of_files_by_their_paths(tmp_path: Path) -> None:
    store, files = FactStore(Cache(tmp_path / "cache")), _files()
    changed, untold = files[-3], files[-1]
    first = ahead.Ahead(store)
    first.add([(files[0], None)])
    first.start()
    try:
        told = [(data, tmp_path / f"{number}.py") for number, data in enumerate(files[1:-1])]
        for data, path in told:
            path.write_bytes(data if data is not changed else b"another = 'file'\n")
        told[-1][1].unlink()
        first.add([(data, str(path)) for data, path in told])
        first.add([(untold, None), (untold, "/" + "x" * 9_000)])  # a child that runs cannot be told of these
        deadline = time.monotonic() + 30
        while not all(map(store.knows, [*files[:-3], b""])):  # of what is not there it reads nothing
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [first.entry(data) for data in files] == [*map(store.entry, files[:-3]), None, None, None]
        assert first.entry(files[0]) is None  # nobody asks twice
    finally:
        first.end()


@pytest.mark.usefixtures("two_processors")
def test_what_is_not_asked_for_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []
    fork = os.fork

    def forked() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", forked)
    store = FactStore(Cache(tmp_path))
    first = ahead.Ahead(store)
    first.add([(data, None) for data in _files() * 3])
    first.start()
    first.end()
    with pytest.raises(ChildProcessError):  # it is gone, and was taken notice of
        os.waitpid(children[0], os.WNOHANG)
    assert first.entry(_files()[0]) is None


def _refuse() -> int:
    raise BlockingIOError(11, "Resource temporarily unavailable")


@pytest.mark.usefixtures("two_processors")
def test_where_there_can_be_no_more_processes_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", _refuse)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    store, files = FactStore(None), _files()
    read_ahead(store, files)
    assert [store.facts(data) for data in files] == [extract(data) for data in files]
    assert halves.start(lambda: [1], list[int])() is None
    assert not before or len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("two_processors")
def test_a_process_that_is_told_of_no_child_reads_all_the_same() -> None:
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        store, files = FactStore(None), _files()
        read_ahead(store, files)
        assert [store.facts(data) for data in files] == [extract(data) for data in files]
        assert halves.start(lambda: [1, 2], list[int])() == [1, 2]
        assert halves.start(lambda: os._exit(3), list[int])() is None
    finally:
        signal.signal(signal.SIGCHLD, ignored)
