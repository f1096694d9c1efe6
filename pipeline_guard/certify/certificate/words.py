"""The sentences of a certificate that every output for people shares."""

from __future__ import annotations

from pipeline_guard.certify.certificate.model import FULL, CallResult, Certificate


def title(certificate: Certificate) -> str:
    """Return who the certificate is about."""
    return f"Certificate for {certificate.agent.name}"


def verdict(certificate: Certificate) -> str:
    """Return the verdict in one sentence."""
    if not certificate.passed:
        wrong = [part.name for part in certificate.parts if not part.passed]
        failed = len(certificate.failed_calls)
        if failed:
            wrong.append(f"{failed} of {_count(len(certificate.calls), 'call')}")
        return f"Refused: {', '.join(wrong)}"
    if certificate.live:
        return "Certified: the call with the real service"
    if not certificate.is_full:
        return f"Certified for {_count(len(certificate.calls), 'call')}: a quick look; the full one has {FULL}"
    return f"Certified over {len(certificate.calls)} calls"


def identity(certificate: Certificate) -> list[str]:
    """Return what was looked at, when, and by what."""
    agent = certificate.agent
    sources = f"{_count(agent.files, 'Python file')}, SHA-256 {agent.digest}" if agent.digest else "sources not given"
    return [
        f"Agent: {agent.name} ({agent.started})",
        f"Sources: {sources}",
        f"Issued: {certificate.issued} by pipeline-guard {certificate.tool}",
    ]


def calls_summary(certificate: Certificate) -> str:
    """Return what the calls came to, in one sentence."""
    calls = certificate.calls
    turns, once = sum(call.turns for call in calls), sum(call.answered_once for call in calls)
    errors, frames = sum(call.active_errors for call in calls), sum(call.frames for call in calls)
    return (
        f"{_count(len(calls), 'call')}: {_count(turns, 'turn')}, {once} of the caller's answers answered once, "
        f"{_count(errors, 'active-response error')}, {frames:,} frames of the caller accounted for"
    )


def call_title(call: CallResult) -> str:
    """Return which call it is."""
    return f"seed {call.schedule.seed}: {call.schedule}"


def reasons(call: CallResult) -> list[str]:
    """Return why a call did not pass, a sentence each."""
    return [str(reason) for reason in call.reasons] or [c.name for c in call.checks if not c.passed]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
