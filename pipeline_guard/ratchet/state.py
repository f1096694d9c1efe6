"""The nouns of a baseline: the findings that are known, and the state of the contract they were found in."""

from __future__ import annotations

from typing import Literal

import msgspec

# The newest layout that is read; what it adds is written only where there is any of it.
VERSION = 2
# How near to a call some code is: "flagged" code runs once a setting is changed, "after" is after the call.
Nearness = Literal["live", "flagged", "after", "dormant"]


class Known(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding that was there when the baseline was recorded.

    ``statement`` is the key of its statement's syntax, ``code`` how the statement begins; ``fingerprint`` is made of
    rule, path, symbol and statement.
    """

    rule: str
    path: str
    symbol: str
    statement: str
    fingerprint: str
    code: str = ""


class Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A place that puts audio or responses into a session, or runs a speech engine, whether it is a finding or not.

    ``cause`` says what makes a response be created, ``engine`` names the speech engine; ``apart`` marks an engine
    that runs in no call of a Realtime session.
    """

    kind: str
    path: str
    symbol: str
    statement: str
    state: Nearness
    cause: str = ""
    engine: str = ""
    apart: bool = False


class AnswerMark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A place that makes a speech-to-speech service other than OpenAI Realtime answer.

    ``what`` is the method or message that it sends, or the function that it calls; ``again`` says that the same way
    through the function has made the service answer before.
    """

    lane: str
    path: str
    symbol: str
    what: str
    statement: str
    state: Nearness
    again: bool = False


class LaneState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one pipeline had that it must not lose.

    ``trigger`` and ``sender`` are "path:symbol" of the canonical ones, ``guard`` the promises that the trigger's guard
    keeps; ``sessions`` holds "path:symbol" and how each says who creates responses.
    """

    name: str
    policy: str
    trigger: str | None = None
    guard: tuple[str, ...] = ()
    sender: str | None = None
    queue: str | None = None
    sessions: tuple[tuple[str, str], ...] = ()


class Baseline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was known of a backend at one moment.

    ``answers`` came with version 2: an older baseline holds none, which is the same as knowing of no other service.
    """

    version: int = 1
    about: str = ""
    counts: dict[str, int] = {}
    lanes: tuple[LaneState, ...] = ()
    sites: tuple[Mark, ...] = ()
    findings: tuple[Known, ...] = ()
    answers: tuple[AnswerMark, ...] = ()
