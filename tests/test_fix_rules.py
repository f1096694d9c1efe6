"""The examples in the rule files through the codemod: what it mends, and what it leaves with a reason."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pipeline_guard.fixes import comments
from pipeline_guard.fixes.run import Outcome, fix
from pipeline_guard.rulebook import find_rule
from tests.fix_helpers import program_of, text_of


def fixed(folder: Path, rule_id: str, number: int) -> tuple[Outcome, str]:
    """Return what comes of fixing the n-th bad example of a rule, and its app.py."""
    rule = find_rule(rule_id)
    assert rule is not None
    example = rule.bad[number]
    for name, text in (example.files or {"app.py": example.code}).items():
        (folder / name).write_text(text, encoding="utf-8")
    outcome = fix(
        program_of(folder),
        lambda finding: not finding.rule.startswith("PG5"),
        unsafe=True,
    )
    assert not fix(outcome.program, lambda finding: not finding.rule.startswith("PG5"), unsafe=True).done
    return outcome, text_of(outcome)


MENDED = {
    "PG104": (0,),
    "PG107": (0, 1),
    "PG205": (0, 1, 2),
    "PG209": (0, 5),
    "PG210": (0, 1, 2),
    "PG213": (0, 1, 2),
    "PG214": (0, 1),
    "PG217": (0,),
    "PG219": (0, 1),
}
LEFT = {
    ("PG108", 0): "put there twice",
    ("PG205", 3): "holds no id",
    ("PG209", 1): "in a way that cannot be taken out",
    ("PG209", 2): "no argument of its own",
    ("PG209", 4): "no argument of its own",
    ("PG214", 2): "asks for no active response",
    ("PG217", 1): "would bring a new PG204",
    ("PG219", 2): "asks once for each of them",
}


@pytest.mark.parametrize(("rule", "number"), [(rule, number) for rule, numbers in MENDED.items() for number in numbers])
def test_what_is_mended(tmp_path: Path, rule: str, number: int) -> None:
    outcome, _ = fixed(tmp_path, rule, number)
    assert outcome.done
    assert rule not in {finding.rule for finding in outcome.program.findings}


@pytest.mark.parametrize(("rule", "number"), LEFT)
def test_what_is_left_says_why_and_what_to_do(tmp_path: Path, rule: str, number: int) -> None:
    outcome, _ = fixed(tmp_path, rule, number)
    refusal = next(each for each in outcome.refused if each.rule == rule)
    assert LEFT[rule, number] in refusal.why
    assert refusal.by_hand


def between(text: str, first: str, last: str) -> str:
    return textwrap.dedent(text.partition(first)[2].partition(last)[0])


def test_a_second_start_of_the_loop_goes_and_the_first_stays(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG104", 0)
    assert text.count("asyncio.create_task(call.audio_sender_loop())") == 1
    assert text.index("create_task(call.audio_sender_loop())") < text.index("async for text")


def test_a_forced_response_comes_once_after_the_active_one(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG209", 0)
    assert "force=True" not in text
    assert "if self.active_response_id is not None or self.response_pending:" in text
    done = between(text, 'event["type"] == "response.done":', "elif")
    assert done.index("self.active_response_id = None") < done.index("await self.trigger_response(*waiting)")


def test_a_request_that_has_not_begun_yet_answers_what_came_meanwhile(tmp_path: Path) -> None:
    """Kept behind a pending request, one turn would be answered by that request and once more afterwards."""
    _, text = fixed(tmp_path, "PG209", 0)
    guard = between(text, "or self.response_pending:", "return")
    assert "if self.active_response_id is not None:\n    self.deferred_response = (reason,)" in guard


def test_the_other_event_of_a_turn_keeps_what_else_it_does(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG210", 1)
    handler = between(text, "def on_transcript(self, event: dict) -> None:", "async def read_events")
    assert 'logger.info("caller: %s", event["transcript"])' in handler
    assert comments.RESPONSE in handler
    assert "trigger_response(reason)" in handler
    assert "await" not in handler


def test_a_cancelled_response_is_followed_by_the_next_one_when_it_is_over(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG214", 0)
    barge_in = between(text, '"input_audio_buffer.speech_started"', "@app.websocket")
    assert "response.cancel" in barge_in
    assert "self.active_response_id = None" not in barge_in
    assert 'await self.trigger_response("barge_in")' in barge_in
    assert "self.deferred_response = (reason,)" in text


def test_a_trigger_that_replaces_the_active_response_waits_for_its_end(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG214", 1)
    trigger = between(text, "async def trigger_response(self, reason: str) -> None:", "async def read_events")
    assert "sleep" not in trigger
    assert trigger.index("response.cancel") < trigger.index("self.deferred_response = (reason,)")
    assert trigger.index("return") < trigger.index("response.create")


def test_the_trigger_sends_again(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG217", 0)
    trigger = between(text, "async def trigger_response(self, reason: str) -> None:", "async def send_audio_chunk")
    assert 'await self.realtime.send(json.dumps({"type": "response.create"' in trigger
    assert "self.trigger_response(" not in trigger


def test_a_worker_thread_posts_to_the_sessions_loop(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG213", 0)
    assert 'asyncio.run_coroutine_threadsafe(self.trigger_response("tool_result"), self.loop)' in text
    reader = between(text, "async def read_events(self) -> None:", "async for")
    assert reader.strip().startswith("self.loop = asyncio.get_running_loop()")


def test_plain_threads_share_a_lock_from_the_check_to_the_send(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG213", 2)
    trigger = between(text, "def trigger_response(self, reason: str) -> None:", "def look_up")
    assert trigger.strip().startswith("with self.response_lock:")
    assert all(line.startswith("    ") for line in trigger.strip().split("\n")[1:] if line)


def test_a_commit_goes_with_the_loop_that_only_made_it(tmp_path: Path) -> None:
    _, text = fixed(tmp_path, "PG107", 0)
    assert f"async def watch_silence(self):\n        {comments.COMMIT}\n        return" in text
    assert "gather(call.listen())" in text
