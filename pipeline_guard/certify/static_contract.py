"""The part of a certificate that the agent's source shows: one path in, one trigger, one recogniser, one voice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline_guard.certify.certificate.model import Part
from pipeline_guard.certify.judging.facts import Check, Reason, verdict
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import Lane, PipelineMap, Site

NAME = "static contract"
_LIVE = ("live", "unknown")
# A link out of the tree is left aside on purpose.
_HARMLESS_GAPS = frozenset({"symlink"})


def static_part(pipeline_map: PipelineMap, findings: Sequence[Finding], root: Path) -> Part:
    """Judge the map and the findings of an agent's source; ``findings`` are those that fail a check."""
    lanes = [lane for lane in pipeline_map.lanes if lane.provider == "openai" and _is_live(lane)]
    gaps = [gap for gap in pipeline_map.gaps if gap.reason not in _HARMLESS_GAPS]
    broken = [
        Reason(f"static.{finding.rule}", f"{finding.path}:{finding.line} {finding.rule} {finding.message}")
        for finding in findings
        if not finding.suppressed
    ]
    allowed = sum(finding.suppressed for finding in findings)
    checks = [
        verdict("no finding", broken, f"{len(broken)} findings" + (f", {allowed} allowed in the code" * bool(allowed))),
        verdict(
            "nothing left unjudged",
            [Reason("static.gap", f"{gap.path}{f':{gap.line}' if gap.line else ''} {gap.detail}") for gap in gaps],
            f"{pipeline_map.coverage.discovered} Python files, {len(gaps)} gaps",
        ),
    ]
    if not lanes:
        text = f"{root}: holds no pipeline between a telephone and OpenAI Realtime"
        checks.append(Check("one pipeline", False, "none was found", (Reason("static.none", text),)))
    for lane in lanes:
        checks += _lane(lane, several=len(lanes) > 1)
    wrong = sum(not check.passed for check in checks)
    summary = f"{wrong} of {len(checks)} questions to the source" if wrong else "one path in, one trigger, one voice"
    return Part(NAME, checks, summary)


def _is_live(lane: Lane) -> bool:
    return any(site.kind == "audio_send" and site.context in _LIVE for site in lane.sites)


def _lane(lane: Lane, *, several: bool) -> Iterator[Check]:
    where = f" of {lane.name}" if several else ""
    senders = [(s.symbol, f"{s.path}:{s.line}") for s in lane.senders if s.context in _LIVE]
    triggers = [(t.symbol, f"{t.path}:{t.line}") for t in lane.triggers if t.context in _LIVE]
    yield _one(f"one audio path{where}", "static.senders", "sends the caller's audio", senders)
    yield _one(f"one trigger{where}", "static.triggers", "creates responses", triggers)
    yield _none(f"one recogniser{where}", "static.stt", lane, ("stt", "twiml_gather", "twiml_transcription"))
    yield _none(f"one voice{where}", "static.tts", lane, ("tts", "twiml_say", "twiml_play"))


def _one(name: str, code: str, what: str, found: list[tuple[str, str]]) -> Check:
    places = ", ".join(f"{symbol} ({place})" for symbol, place in found) or "nothing"
    reasons = [] if len(found) == 1 else [Reason(code, f"{len(found)} functions {what}: {places}")]
    return verdict(name, reasons, places)


def _none(name: str, code: str, lane: Lane, kinds: tuple[str, ...]) -> Check:
    live = [site for site in lane.sites if site.kind in kinds and _speaks_live(site)]
    reasons = [
        Reason(code, f"{site.engine or site.kind} beside the session, {site.path}:{site.line} in {site.symbol}")
        for site in live
    ]
    return verdict(name, reasons, "the session's own" if not live else f"{len(live)} beside the session's")


def _speaks_live(site: Site) -> bool:
    """Say whether a site is at work while the session is: TwiML that comes after the stream is not."""
    return site.context == "live" and site.beside != "after" and (site.beside is not None or "twiml" not in site.kind)


def digest_of(files: Iterable[tuple[str, Path]]) -> tuple[str, int]:
    """Return the SHA-256 over names and contents of files, in the order of their names, and how many they are."""
    digest, count = hashlib.sha256(), 0
    for name, path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
        count += 1
    return digest.hexdigest(), count
