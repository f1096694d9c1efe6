"""The certificate for programs: one JSON object, version 1."""

from __future__ import annotations

import json
from typing import Any

from pipeline_guard.certify.certificate.model import CallResult, Certificate, Part
from pipeline_guard.certify.judging.facts import Check, Reason


def render(certificate: Certificate) -> str:
    """Return the JSON text."""
    return json.dumps(as_json(certificate), ensure_ascii=False, indent=2) + "\n"


def as_json(certificate: Certificate) -> dict[str, Any]:
    """Return the certificate as an object; ``checks`` sums each check over all calls."""
    agent = certificate.agent
    return {
        "version": 1,
        "verdict": _word(certificate.passed),
        "tool": {"name": "pipeline-guard", "version": certificate.tool},
        "issued": certificate.issued,
        "agent": {"name": agent.name, "started": agent.started, "sha256": agent.digest, "files": agent.files},
        "service": "live" if certificate.live else "simulated",
        "full": certificate.is_full,
        "schedules": len(certificate.calls),
        "seeds": [call.schedule.seed for call in certificate.calls],
        "totals": {
            "turns": sum(call.turns for call in certificate.calls),
            "responses": sum(call.responses for call in certificate.calls),
            "active_response_errors": sum(call.active_errors for call in certificate.calls),
            "frames": sum(call.frames for call in certificate.calls),
            "seconds": round(sum(call.seconds for call in certificate.calls), 1),
        },
        "checks": [
            {"name": name, "verdict": _word(not failed), "passed": passed, "failed": failed, "not_shown": unshown}
            for name, passed, failed, unshown in certificate.tally()
        ],
        "parts": [_part(part) for part in certificate.parts],
        "calls": [_call(call) for call in certificate.calls],
        "does_not_show": list(certificate.unshown),
    }


def check_as_json(check: Check) -> dict[str, Any]:
    """Return one check."""
    outcome = _word(check.passed) if check.shown else "not shown"
    return {
        "name": check.name,
        "outcome": outcome,
        "detail": check.detail,
        "reasons": [_reason(reason) for reason in check.reasons],
    }


def _reason(reason: Reason) -> dict[str, Any]:
    at = None if reason.at is None else round(reason.at, 3)
    return {
        "code": reason.code,
        "text": reason.text,
        "at": at,
        "events": list(reason.events),
        "log_line": reason.line,
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "verdict": _word(part.passed),
        "summary": part.summary,
        "checks": [check_as_json(check) for check in part.checks],
        "table": [dict(zip(part.head, row, strict=True)) for row in part.rows],
    }


def _call(call: CallResult) -> dict[str, Any]:
    return {
        "seed": call.schedule.seed,
        "schedule": str(call.schedule),
        "caller": call.schedule.manner,
        "delay": call.schedule.delay,
        "faults": [str(fault) for fault in call.schedule.faults],
        "verdict": _word(call.passed),
        "turns": call.turns,
        "answered_once": call.answered_once,
        "responses": call.responses,
        "frames": call.frames,
        "seconds": round(call.seconds, 2),
        "errors": list(call.errors),
        "checks": [check_as_json(check) for check in call.checks],
        "reasons": [_reason(reason) for reason in call.reasons],
        "rerun": call.rerun,
    }


def _word(passed: bool) -> str:
    return "pass" if passed else "fail"
