"""``reference-agent``: its commands, their exit codes, and one sentence for what cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reference_agent import gate as gate_module
from reference_agent import gate_events as ev
from reference_agent.__main__ import main
from reference_agent.gate import Phase


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=env)


def test_prove_prints_what_was_searched() -> None:
    result = run("prove", "--quick")
    assert result.exit_code == 0, result.output
    *setups, last = result.output.splitlines()
    assert len(setups) >= 10
    assert last.startswith("kept ")
    worlds = [int(line[33:].split()[0].replace(",", "")) for line in setups]
    assert sum(worlds) == int(last[33:].split()[0].replace(",", ""))


def test_prove_shows_the_way_to_a_broken_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(gate_module.TRANSITIONS, (Phase.ACTIVE, ev.Done))
    result = run("prove", "--quick", "--setup", "lost connections")
    assert result.exit_code == 1
    assert " 1. session ready  → sends create trigger_1" in result.output
    assert result.output.splitlines()[-1].startswith("BROKEN ")


def test_prove_knows_its_setups() -> None:
    result = run("prove", "--setup", "nonsense")
    assert result.exit_code == 2
    assert "there is no setup 'nonsense'; known are turns and tools" in result.output


def test_call_makes_the_contracts_test_call() -> None:
    result = run("call", "--format", "json", "--seed", "5")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["passed"] is True
    assert (document["turns"], document["responses"], document["errors"]) == (3, 4, [])
    assert all(check["passed"] for check in document["checks"])


def test_transcribe_says_what_went_wrong_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "text.json"
    url = "http://127.0.0.1:9/2010-04-01/Accounts/AC1/Recordings/RE1"
    result = run("transcribe", url, "--output", str(output), env={"OPENAI_API_KEY": "k", "no_proxy": "*"})
    assert result.exit_code == 3
    assert result.stderr.startswith(f"reference-agent: {url} was not transcribed: ")
    assert "Traceback" not in result.stderr
    assert not output.exists()
