"""Drawn maps, and the severities that one rule gives graver and lesser things."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_guard.checks import run_checks
from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.hygiene.drawing import has_map
from pipeline_guard.rulebook import find_rule, rules_dir
from pipeline_guard.vocabulary import load

WORDS = load(Config(), rules_dir() / "vocabulary").hygiene
CONTRACT = """\
Twilio Media (μ-law base64)
     ↓
media frame handler (single place)
     ↓
enqueue to realtime_audio_in_queue   # exactly one queue
     ↓
audio sender task (single loop)
     ↓
client.send_audio_chunk(...)         # OpenAI Realtime
"""


def draws(text: str) -> bool:
    return has_map(text.encode(), WORDS.arrows, WORDS.map_words)


def as_comment(text: str, indent: str = "    ") -> str:
    return "".join(f"{indent}# {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("arrow", ["↓", "|", "v", "▼", "⬇"])
def test_the_contracts_map_is_found_with_any_arrow(arrow: str) -> None:
    drawing = CONTRACT.replace("↓", arrow)
    assert draws(f"class Call:\n{as_comment(drawing)}    pass\n")
    assert draws(f'"""One pipeline.\n\n{drawing}"""\n')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# one\n#  ↓\n# two\n#  ↓\n# three\n",
        # Words of the code around a drawing are no part of it.
        "realtime_audio_in_queue = twilio\n# idle\n# ↓\n# ringing\n# ↓\n# answered\nopenai = realtime\n",
        'logger.info("[PIPELINE] Twilio → realtime_audio_in_queue → send_audio_chunk")\n',
        "def f(queue: Queue) -> Twilio:  # -> Realtime\n    pass\n",
        "# Twilio -> queue, and from there on to OpenAI Realtime\n",
        "x = a | b\n",
    ],
)
def test_other_arrows_are_no_map(text: str) -> None:
    assert not draws(text)


@given(st.text(), st.text(), st.sampled_from(["", "    ", "\t"]))
def test_a_map_is_found_whatever_stands_around_it(before: str, after: str, indent: str) -> None:
    assert draws(f"{before}\n{as_comment(CONTRACT, indent)}\n{after}")


@given(st.binary())
def test_any_bytes_are_read(data: bytes) -> None:
    assert has_map(data, WORDS.arrows, WORDS.map_words) in (True, False)


def findings(folder: Path, rule_id: str, code: str) -> list[Finding]:
    (folder / "app.py").write_text(code, encoding="utf-8")
    config = Config(select=(rule_id,))
    return run_checks(analyse(folder, discover(folder, (), config.max_file_size).files, config), config)


def example(rule_id: str, title: str) -> str:
    rule = find_rule(rule_id)
    assert rule is not None
    return next(each.files["app.py"] for each in (*rule.bad, *rule.good) if each.title == title)


def test_a_status_line_that_is_missing_is_a_note_and_one_per_frame_a_warning(tmp_path: Path) -> None:
    [missing] = findings(tmp_path, "PG503", example("PG503", "No status line"))
    assert missing.severity == "note"
    [flood] = findings(tmp_path, "PG503", example("PG503", "A status line for every frame that is sent"))
    assert flood.severity == "warning"


def test_a_cancel_without_id_is_graver_where_the_client_asks_for_the_answers(tmp_path: Path) -> None:
    code = example("PG604", "Barge-in that cancels something")
    [server] = findings(tmp_path, "PG604", code)
    assert (server.severity, server.evidence[-1].note) == ("note", "cancels without response_id")
    answer = """\
            elif event["type"] == "input_audio_buffer.committed":
                await self.ws.send(json.dumps({"type": "response.create"}))
"""
    [client] = findings(
        tmp_path,
        "PG604",
        code.replace('            elif event["type"] == "error"', f'{answer}            elif event["type"] == "error"'),
    )
    assert client.severity == "warning"


def test_all_that_a_lane_lacks_is_noted_at_its_frame_handler_with_the_places_where_it_belongs(tmp_path: Path) -> None:
    code = example("PG502", "The loop starts without a word").replace("[PIPELINE STATUS]", "status")
    code = "\n".join(line for line in code.split("\n") if not line.lstrip().startswith("#"))
    noted = findings(tmp_path, "PG5", code)
    assert [(finding.rule, finding.severity) for finding in noted] == [(f"PG50{n}", "note") for n in (1, 2, 3)]
    assert {(finding.line, finding.symbol) for finding in noted} == {(noted[0].line, "Call.listen")}
    assert [finding.evidence[-1].symbol for finding in noted] == ["Call.listen", *["Call.audio_sender_loop"] * 2]
