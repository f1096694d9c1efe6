"""The contract's test call with an unmodified agent: start it, find its webhook, call it, keep all that was seen.

An agent that speaks the retired beta protocol is refused, as the service refuses it.  Then it is called once more by a
simulator that tolerates the beta, so that its pipeline can be judged all the same; that does not change the verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline_guard.certify.child import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    SIMULATED_HOSTS,
    AgentSpec,
    Line,
    Outside,
    RunningAgent,
    running_agent,
)
from pipeline_guard.certify.conduct import BETA, Conduct, call_over_at, conduct_checks, told_apart
from pipeline_guard.certify.contract_call import ContractCall, Outcome
from pipeline_guard.certify.judging.facts import Check, Reason, no_call
from pipeline_guard.certify.openai_simulator import REFUSED_CODE, OpenAISimulator
from pipeline_guard.certify.schedules import Schedule
from pipeline_guard.certify.throwaway_ca import throwaway_tls
from pipeline_guard.certify.twilio.errors import CallFailed
from pipeline_guard.certify.twilio.webhooks import ask_webhook
from pipeline_guard.certify.twilio_simulator import TwilioCall
from pipeline_guard.certify.voice_webhook import Asked, address_hint, find_voice_webhook, judged

PLAIN = Schedule(0)
# What the agent writes and asks for at the end of a call arrives within this time (seconds).
_SETTLES = 0.5
# An agent whose connection was refused may try another one within this time (seconds).
_GIVES_UP = 5.0
_NEVER = 3600.0


@dataclass
class ForeignCall:
    """One call of an agent.

    ``webhook`` is the path that was called, "" where the stream was opened straight away.  ``outcome`` has the checks
    of every call and those of a child; ``in_beta`` is the same call with the beta tolerated, where the agent speaks it.
    """

    webhook: str
    outcome: Outcome
    lines: Sequence[Line] = ()
    outside: Sequence[Outside] = ()
    in_beta: ForeignCall | None = None

    @property
    def passed(self) -> bool:
        """Whether everything asked of the agent was seen."""
        return self.outcome.passed

    @property
    def speaks_beta(self) -> bool:
        """Whether the agent asked for the retired protocol."""
        return any(reason.code == BETA for reason in self.outcome.reasons)

    @property
    def reasons(self) -> list[Reason]:
        """Why the agent is refused, also by what only the call that tolerates the beta can show."""
        own = self.outcome.reasons
        known = {reason.code for reason in own}
        beside = self.in_beta.outcome.reasons if self.in_beta is not None else []
        return [*own, *(reason for reason in beside if reason.code not in known)]


async def certify_agent(spec: AgentSpec, schedule: Schedule = PLAIN, *, speed: float = 1.0) -> ForeignCall:
    """Call an agent, and once more with the beta tolerated when it speaks that.

    Raises AgentFailed when it cannot be started or has no webhook.
    """
    call = await call_agent(spec, schedule, speed=speed)
    if call.speaks_beta:
        call.in_beta = await call_agent(spec, schedule, speed=speed, tolerate_beta=True)
    return call


async def call_agent(
    spec: AgentSpec, schedule: Schedule = PLAIN, *, speed: float = 1.0, tolerate_beta: bool = False
) -> ForeignCall:
    """Start the agent, make one test call, and end the agent.

    Raises AgentFailed when it cannot be started or has no webhook.
    """
    tls = await asyncio.to_thread(throwaway_tls, SIMULATED_HOSTS)
    test_call = ContractCall(speed=speed, **schedule.options())
    openai = test_call.openai
    openai.tls, openai.tolerate_beta = tls.server, tolerate_beta
    async with (
        openai,
        running_agent(spec, openai_port=openai.port, ca=tls.ca, clock=lambda: openai.now, speed=speed) as agent,
    ):
        webhook = await _webhook(agent, spec)
        asked_before = len(openai.http_requests)
        agent.shift(openai.restart_clock())
        failed: list[Check] = []
        try:
            await _until_refused(_make(test_call, agent, webhook), openai)
        except CallFailed as error:
            text = f"{error}{await asyncio.to_thread(address_hint, spec)}"
            failed = [no_call("call.failed", text)]
        await asyncio.sleep(_SETTLES)
        phone = test_call.phone_call
        assert phone is not None
        if not failed and not phone.legs:
            hint = (
                ""
                if any(verb.name == "Gather" for verb in phone.verbs)
                else await asyncio.to_thread(address_hint, spec)
            )
            failed = [_no_stream(phone, hint)]
        over = call_over_at(test_call.record)
        hosts = [each.host for each in agent.outside if each.kind == "refused" and 0 <= each.at <= over]
        outcome = test_call.judge([line.text for line in agent.lines], hosts)
        conduct = Conduct(openai.http_requests[asked_before:], agent.process.returncode, agent.last_error)
        checks = failed or conduct_checks(outcome.facts, conduct)
        outcome = replace(outcome, checks=told_apart([*checks, *outcome.checks], outcome.facts))
    return ForeignCall(webhook, outcome, agent.lines, agent.outside)


async def _until_refused(making: Coroutine[Any, Any, None], openai: OpenAISimulator) -> None:
    """Make a call, and break it off where Realtime refuses the agent's connection: nobody will answer any more."""
    call = asyncio.ensure_future(making)
    refused = asyncio.ensure_future(
        openai.record.wait_for("disconnected", timeout=_NEVER, where=lambda entry: entry.event["code"] == REFUSED_CODE)
    )
    try:
        await asyncio.wait((call, refused), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((call,), timeout=_GIVES_UP if refused.done() else None)
        if call.done():
            call.result()
    finally:
        for task in (call, refused):
            task.cancel()
        await asyncio.gather(call, refused, return_exceptions=True)


def _no_stream(phone: TwilioCall, hint: str) -> Check:
    """Say what the webhook answered instead of a media stream."""
    verbs = ", ".join(f"<{verb.name}>" + (f" «{verb.text}»" if verb.text else "") for verb in phone.verbs)
    text = f"the TwiML opens no media stream: it is {verbs or 'empty'}{hint}"
    return no_call("call.no-stream", text)


async def _webhook(agent: RunningAgent, spec: AgentSpec) -> str:
    if spec.voice_path is not None or spec.stream_path is not None:
        return spec.voice_path or ""

    async def ask(path: str) -> Asked:
        return judged(path, *await ask_webhook(agent.base_url + path, spec.public_host, AUTH_TOKEN, ACCOUNT_SID))

    return await find_voice_webhook(agent, ask)


async def _make(test_call: ContractCall, agent: RunningAgent, webhook: str) -> None:
    stream_path = agent.spec.stream_path
    if stream_path is not None and not webhook:
        await test_call.make(stream_url=f"ws://127.0.0.1:{agent.port}{stream_path}", auth_token=AUTH_TOKEN)
        return
    await test_call.make(
        agent.base_url + webhook,
        auth_token=AUTH_TOKEN,
        account_sid=ACCOUNT_SID,
        public_host=agent.spec.public_host,
        any_host=True,
    )
