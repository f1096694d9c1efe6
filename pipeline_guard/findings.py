"""What a check reports: a finding with its evidence, and the fingerprint that survives moved lines."""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline_guard.pipeline.model import Confidence, Step

Severity = Literal["error", "warning", "note"]


class Fix(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``fix`` would do about a finding; ``safety`` as in Ruff, ``after`` what has to come true before it does."""

    kind: str
    safety: Literal["safe", "unsafe", "manual"]
    after: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One broken promise of the contract, at one place, with the path that leads there.

    ``evidence`` goes from the entry point to the sink.  ``fingerprint`` is 16 hexadecimal digits made of rule, path,
    symbol and ``statement``, the key of the statement's syntax, so that inserted lines and formatting do not change
    it; ``code`` is how the statement begins.
    """

    rule: str
    severity: Severity
    path: str
    line: int
    end_line: int
    column: int
    symbol: str
    message: str
    evidence: tuple[Step, ...]
    confidence: Confidence
    fingerprint: str
    lane: str = ""
    fix: Fix | None = None
    suppressed: bool = False
    statement: str = ""
    code: str = ""
