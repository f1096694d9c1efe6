"""What is asked of an agent that is not ours beside the call itself, and what is left out because it only follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from pipeline_guard.certify import conduct, virtual_time
from pipeline_guard.certify.conduct import Conduct, conduct_checks, told_apart
from pipeline_guard.certify.contract_call import ContractCall, Outcome
from pipeline_guard.certify.judging.facts import Check
from pipeline_guard.certify.realtime.rest import HttpAsked
from tests.bridge_agents import handler
from tests.telephone_agents import Line, agent


def made(answer: Any = None, **options: Any) -> Outcome:
    async def main() -> Outcome:
        test_call = ContractCall(seed=1)
        async with test_call.openai:
            how = handler(test_call.openai.url, **options) if answer is None else answer(test_call.openai.url)
            async with agent(how) as stream_url:
                return await test_call.run(stream_url=stream_url)

    return virtual_time.run(main())


def checked(outcome: Outcome, seen: Conduct | None = None) -> list[Check]:
    checks = [*conduct_checks(outcome.facts, seen or Conduct()), *outcome.checks]
    return told_apart(checks, outcome.facts)


def codes(checks: list[Check]) -> list[str]:
    return [reason.code for check in checks for reason in check.reasons]


def test_an_agent_that_does_it_right_has_nothing_to_be_told() -> None:
    checks = checked(made(), Conduct([HttpAsked(3.0, "GET", "/v1/models", 200, 0)]))
    assert codes(checks) == []
    assert next(check.detail for check in checks if check.name == conduct.SERVICES) == "also asked: GET /v1/models"


def test_refused_settings_are_the_reason_and_not_what_follows_from_them() -> None:
    checks = checked(made(setting=("voice", "alloy"), greets=False))
    (reason,) = [reason for check in checks for reason in check.reasons]
    assert reason.code == "protocol.settings"
    assert "Unknown parameter: 'session.voice'" in reason.text
    assert reason.events
    assert {check.name for check in checks if not check.shown} > {conduct.GREETING, "every turn answered exactly once"}


def test_silence_at_the_beginning_is_one_reason_and_not_two() -> None:
    outcome = made(greets=False)
    assert "no dead air" in outcome.failed
    assert codes(checked(outcome)) == ["greeting.missing"]


def closes(url: str) -> Any:
    async def handle(line: Line) -> None:
        headers = {"Authorization": "Bearer sk-test"}
        async with connect(url + "?model=m", additional_headers=headers):
            await line.socket.close()

    return handle


def stays_alone(_: str) -> Any:
    async def handle(line: Line) -> None:
        async for event in line:
            if event["event"] == "stop":
                return

    return handle


def test_an_agent_that_closes_at_once_is_told_so_with_what_it_wrote() -> None:
    checks = checked(made(closes), Conduct(last_error="KeyError: 'prompt'"))
    (reason,) = [reason for check in checks for reason in check.reasons]
    assert reason.code == "call.closed"
    assert reason.text.endswith("before it heard a word; it wrote: KeyError: 'prompt'")


def test_an_agent_without_a_session_has_that_reason_alone() -> None:
    checks = checked(made(stays_alone), Conduct(exit_status=3))
    assert codes(checks) == ["protocol.no-session", "agent.ended"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/audio/transcriptions", "stt.http"),
        ("/v1/audio/speech", "tts.http"),
        ("/v1/realtime/sessions", "protocol.beta"),
    ],
)
def test_what_is_asked_of_the_service_during_the_call(path: str, code: str) -> None:
    outcome = made()
    assert codes(checked(outcome, Conduct([HttpAsked(5.0, "POST", path, 403, 9, "m")]))) == [code]
    if code != "protocol.beta":
        late = HttpAsked(outcome.facts.ended_at + 1, "POST", path, 403, 9)
        assert codes(checked(outcome, Conduct([late]))) == []


def test_reasons_can_be_written_as_json() -> None:
    for check in checked(made(stays_alone)):
        json.dumps([[reason.code, reason.text, reason.at, reason.events] for reason in check.reasons])
