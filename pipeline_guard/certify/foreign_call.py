"""The contract's test call with an unmodified agent: start it, find its webhook, call it, keep all that was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

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
from pipeline_guard.certify.contract_call import ContractCall, Outcome
from pipeline_guard.certify.faults import Fault
from pipeline_guard.certify.realtime.rest import BETA_IS_OFF, HttpAsked
from pipeline_guard.certify.throwaway_ca import throwaway_tls
from pipeline_guard.certify.twilio.errors import CallFailed
from pipeline_guard.certify.twilio.twiml import Verb
from pipeline_guard.certify.twilio.webhooks import ask_webhook
from pipeline_guard.certify.voice_webhook import Asked, find_voice_webhook, judged


@dataclass
class ForeignCall:
    """One call of an agent.

    ``outcome`` is None when no media stream came about; ``failure`` says why then.  ``webhook`` is the path that was
    called, "" where the stream was opened straight away.  ``during`` are the HTTP requests that the agent made to the
    simulated service while the call was on.
    """

    webhook: str
    outcome: Outcome | None = None
    failure: str = ""
    verbs: list[Verb] = field(default_factory=list)
    during: list[HttpAsked] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    outside: list[Outside] = field(default_factory=list)
    exit_status: int | None = None
    speaks_beta: bool = False

    @property
    def log(self) -> str:
        """What the agent wrote, as one text."""
        return "".join(line.text + "\n" for line in self.lines)


async def call_agent(
    spec: AgentSpec, *, seed: int = 0, speed: float = 1.0, faults: Sequence[Fault] = ()
) -> ForeignCall:
    """Start the agent, make the contract's test call, and end the agent.

    Raises AgentFailed when it cannot be started or called.
    """
    tls = await asyncio.to_thread(throwaway_tls, SIMULATED_HOSTS)
    test_call = ContractCall(seed=seed, speed=speed, faults=faults)
    test_call.openai.tls = tls.server
    async with (
        test_call.openai,
        running_agent(spec, openai_port=test_call.openai.port, ca=tls.ca, clock=lambda: test_call.openai.now) as agent,
    ):
        call = ForeignCall(await _webhook(agent, spec))
        asked_before = len(test_call.openai.http_requests)
        try:
            call.outcome = await _make(test_call, agent, call.webhook)
        except CallFailed as error:
            call.failure = str(error)
        call.during = test_call.openai.http_requests[asked_before:]
        if test_call.phone_call is not None:
            call.verbs = test_call.phone_call.verbs
        call.speaks_beta = any(error["code"] == BETA_IS_OFF.code for error in test_call.openai.errors)
    call.lines, call.outside, call.exit_status = agent.lines, agent.outside, agent.exit_status
    return call


async def _webhook(agent: RunningAgent, spec: AgentSpec) -> str:
    if spec.voice_path is not None or spec.stream_path is not None:
        return spec.voice_path or ""

    async def ask(path: str) -> Asked:
        return judged(path, *await ask_webhook(agent.base_url + path, spec.public_host, AUTH_TOKEN, ACCOUNT_SID))

    return await find_voice_webhook(agent, ask)


async def _make(test_call: ContractCall, agent: RunningAgent, webhook: str) -> Outcome:
    stream_path = agent.spec.stream_path
    if stream_path is not None and not webhook:
        return await test_call.run(stream_url=f"ws://127.0.0.1:{agent.port}{stream_path}", auth_token=AUTH_TOKEN)
    return await test_call.run(
        agent.base_url + webhook,
        auth_token=AUTH_TOKEN,
        account_sid=ACCOUNT_SID,
        public_host=agent.spec.public_host,
        any_host=True,
    )
