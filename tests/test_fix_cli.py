"""``fix`` and ``undo`` as a person runs them: nothing half-written, nothing lost, every answer one sentence."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from pipeline_guard.__main__ import main
from pipeline_guard.fixes import journal

DEMO = Path(__file__).parent.parent / "pipeline_guard" / "demo" / "leaky_backend"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv(journal.FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    folder = tmp_path / "backend"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.py"))}


class Result(NamedTuple):
    exit_code: int
    output: str


def invoke(*words: str | Path, answers: str = "") -> Result:
    """Run a command as the program does, with what a person would type."""
    with CliRunner().isolation(input=answers) as streams:
        code = main([str(word) for word in words])
        sys.stdout.flush()
        sys.stderr.flush()
        output = b"".join(stream.getvalue() for stream in streams[:2] if stream is not None)
    return Result(code, output.decode())


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=folder, check=True, capture_output=True
    )


def test_diff_shows_and_writes_nothing(backend: Path) -> None:
    before = contents(backend)
    result = invoke("fix", backend, "--diff")
    assert result.exit_code == 1
    assert "+++ b/call_session.py" in result.output
    assert "+            self.realtime_audio_in_queue.put_nowait(payload)" in result.output
    assert contents(backend) == before


def test_the_demo_becomes_clean_and_a_second_run_does_nothing(backend: Path) -> None:
    first = invoke("fix", backend, "--unsafe-fixes")
    assert first.exit_code == 0, first.output
    assert "0 findings left" in first.output
    assert invoke("check", backend, "--no-cache").exit_code == 0
    after = contents(backend)
    second = invoke("fix", backend, "--unsafe-fixes")
    assert second.exit_code == 0
    assert "0 fixed" in second.output
    assert contents(backend) == after


def test_safe_fixes_leave_the_others_with_a_word_on_them(backend: Path) -> None:
    result = invoke("fix", backend)
    assert result.exit_code == 1
    assert "with --unsafe-fixes call_session.py" in result.output
    text = (backend / "call_session.py").read_text()
    assert '{"type": "response.create", "response": {"instructions"' in text  # the greeting is not led elsewhere yet


def test_only_the_selected_rules(backend: Path) -> None:
    result = invoke("fix", backend, "--select", "PG207")
    text = (backend / "call_session.py").read_text()
    assert "1 fixed" in result.output
    assert "send_audio_to_openai(payload)" in text
    assert '"(the caller says nothing)"' not in text


def test_undo_puts_every_file_back(backend: Path) -> None:
    before = contents(backend)
    invoke("fix", backend, "--unsafe-fixes")
    assert contents(backend) != before
    result = invoke("undo", backend)
    assert result.exit_code == 0
    assert "restored call_session.py" in result.output
    assert contents(backend) == before
    again = invoke("undo", backend)
    assert again.exit_code == 2
    assert "no run of 'pipeline-guard fix' is on record" in again.output


def test_undo_leaves_what_was_edited_since(backend: Path) -> None:
    before = contents(backend)
    invoke("fix", backend, "--unsafe-fixes")
    edited = (backend / "call_session.py").read_bytes() + b"# mine\n"
    (backend / "call_session.py").write_bytes(edited)
    result = invoke("undo", backend)
    assert result.exit_code == 1
    assert "left as it is, for it was edited since the fix: call_session.py" in result.output
    assert (backend / "call_session.py").read_bytes() == edited
    assert (backend / "realtime_client.py").read_bytes() == before["realtime_client.py"]


def test_uncommitted_changes_are_refused(backend: Path) -> None:
    git(backend, "init", "-q")
    git(backend, "add", ".")
    git(backend, "commit", "-qm", "x")
    (backend / "main.py").write_text((backend / "main.py").read_text() + "# edited\n")
    before = contents(backend)
    result = invoke("fix", backend)
    assert result.exit_code == 2
    assert "main.py" in result.output
    assert "--allow-dirty" in result.output
    assert contents(backend) == before
    assert invoke("fix", backend, "--allow-dirty").exit_code == 1
    assert contents(backend) != before


def test_one_change_at_a_time(backend: Path) -> None:
    result = invoke("fix", backend, "--interactive", "--select", "PG207,PG208", answers="n\ny\n")
    text = (backend / "call_session.py").read_text()
    assert "1 fixed" in result.output
    assert text.count("# DEPRECATED: All responses") == 1
    assert "Make this change?" in result.output


def test_no_more_after_q_and_all_after_a(backend: Path) -> None:
    before = contents(backend)
    invoke("fix", backend, "-i", answers="q\n")
    assert contents(backend) == before
    invoke("fix", backend, "-i", "--unsafe-fixes", answers="a\n")
    assert invoke("check", backend, "--no-cache").exit_code == 0


def test_a_link_stays_a_link_and_its_mode_stays(backend: Path) -> None:
    real = backend / "real_session.py"
    (backend / "call_session.py").rename(real)
    real.chmod(0o640)
    (backend / "call_session.py").symlink_to("real_session.py")
    old = {"call_session.py": real.read_bytes()}
    assert journal.write_all(backend, old, {"call_session.py": b"x = 1\n"}) == []
    assert (backend / "call_session.py").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.read_bytes() == b"x = 1\n"


def test_a_link_out_of_the_folder_is_not_followed(backend: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_bytes((backend / "realtime_client.py").read_bytes())
    (backend / "realtime_client.py").unlink()
    (backend / "realtime_client.py").symlink_to(outside)
    before = outside.read_bytes()
    invoke("fix", backend, "--unsafe-fixes")
    assert outside.read_bytes() == before


def test_a_file_that_changed_meanwhile_leaves_every_file_alone(backend: Path) -> None:
    old = contents(backend)
    (backend / "main.py").write_bytes(old["main.py"] + b"# somebody was faster\n")
    trouble = journal.write_all(backend, old, {name: data + b"# new\n" for name, data in old.items()})
    assert trouble == ["main.py: was changed while the fix was being planned"]
    assert contents(backend) == old | {"main.py": old["main.py"] + b"# somebody was faster\n"}


def test_a_hard_link_leaves_every_file_alone(backend: Path) -> None:
    old = contents(backend)
    os.link(backend / "main.py", backend / "twin.txt")
    trouble = journal.write_all(backend, old, {name: data + b"# new\n" for name, data in old.items()})
    assert len(trouble) == 1
    assert "second name" in trouble[0]
    assert contents(backend) == old


def test_a_folder_without_room_for_the_record_changes_nothing(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(backend)
    (backend / "file").write_text("")
    monkeypatch.setenv(journal.FOLDER_VARIABLE, str(backend / "file"))
    result = invoke("fix", backend)
    assert result.exit_code == 2
    assert "so nothing was changed" in result.output
    assert contents(backend) == before


KILLED = """
import sys
from pathlib import Path
from pipeline_guard.fixes.journal import write_all
root = Path(sys.argv[1])
old = {path.name: path.read_bytes() for path in sorted(root.glob("*.py"))}
print("go", flush=True)
write_all(root, old, {name: data.replace(b"old", b"new") for name, data in old.items()})
"""


def test_killed_at_any_moment_every_file_is_old_or_new(tmp_path: Path) -> None:
    """And 'undo' still finds the old ones."""
    root = tmp_path / "killed"
    root.mkdir()
    body = b"x = 'old'\n" * 5_000
    names = [f"file_{number:02}.py" for number in range(20)]
    seen: set[int] = set()
    moments = random.Random(7)
    whole = 0.0
    for round_number in range(12):
        for name in names:
            (root / name).write_bytes(body)
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        if round_number == 0:
            process.wait()
            whole = time.monotonic() - started
        else:
            time.sleep(moments.uniform(0.0, whole))
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
        new = 0
        for name in names:
            data = (root / name).read_bytes()
            assert data in (body, body.replace(b"old", b"new")), name
            new += data != body
        seen.add(new)
        found = journal.last_run(root)
        if found is not None:
            journal.undo(*found)
        assert all((root / name).read_bytes() == body for name in names)
    assert len(seen) > 1, "the moments were all the same"
