"""Turns a pipeline map and its findings into a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Gate, Lane, PipelineMap, Site
from pipeline_guard.ratchet.answers import answer_marks
from pipeline_guard.ratchet.state import VERSION, AnswerMark, Baseline, Known, LaneState, Mark, Nearness
from pipeline_guard.statements import Statements

ABOUT = (
    "Known findings and the state of the contract, for 'pipeline-guard check --baseline'. Only ever to shrink: "
    "'pipeline-guard baseline --update' takes out what is mended."
)
ENGINE_KINDS = frozenset({"stt", "tts"})
_KINDS = frozenset({"audio_send", "response_create", *ENGINE_KINDS})


def record(pipeline_map: PipelineMap, findings: Iterable[Finding], statements: Statements) -> Baseline:
    """Return the baseline of a backend as it is; what a suppression answers for is not part of it."""
    known = [known_of(finding) for finding in findings if not finding.suppressed]
    answers = sorted((mark for mark, _ in answer_marks(pipeline_map, statements)), key=_answer_order)
    return Baseline(
        version=VERSION if answers else 1,
        about=ABOUT,
        counts=dict(sorted(Counter(each.rule for each in known).items())),
        lanes=tuple(sorted((lane_state(lane) for lane in judged_lanes(pipeline_map)), key=lambda lane: lane.name)),
        sites=tuple(
            sorted(
                (mark for mark, _ in marks(pipeline_map, statements)),
                key=lambda m: (m.path, m.kind, m.symbol, m.statement, m.state),
            )
        ),
        findings=tuple(sorted(known, key=lambda k: (k.path, k.rule, k.symbol, k.statement, k.fingerprint))),
        answers=tuple(answers),
    )


def _answer_order(mark: AnswerMark) -> tuple[str, str, str, str, str]:
    return (mark.lane, mark.path, mark.symbol, mark.what, mark.statement)


def known_of(finding: Finding) -> Known:
    """Return what a baseline keeps of a finding."""
    return Known(
        rule=finding.rule,
        path=finding.path,
        symbol=finding.symbol,
        statement=finding.statement,
        fingerprint=finding.fingerprint,
        code=finding.code,
    )


def judged_lanes(pipeline_map: PipelineMap) -> Iterator[Lane]:
    """Yield the lanes that the contract is about."""
    return (lane for lane in pipeline_map.lanes if lane.provider == "openai")


def lane_state(lane: Lane) -> LaneState:
    """Return what a lane has that it must not lose."""
    trigger = next((each for each in lane.triggers if each.canonical), None)
    sender = next((each for each in lane.senders if each.canonical), None)
    return LaneState(
        name=lane.name,
        policy=lane.policy,
        trigger=_place(trigger.path, trigger.symbol) if trigger is not None else None,
        guard=guard_of(trigger.gate) if trigger is not None else (),
        sender=_place(sender.path, sender.symbol) if sender is not None else None,
        queue=sender.queue if sender is not None else None,
        sessions=tuple(
            sorted(
                (_place(each.path, each.symbol), each.value)
                for each in lane.sessions
                if each.context not in QUIET_CONTEXTS
            )
        ),
    )


def guard_of(gate: Gate) -> tuple[str, ...]:
    """Return the promises that a trigger's gate keeps: none where it lets a second response pass."""
    if not gate.checked:
        return ()
    kept = {
        "checked": True,
        "pending": gate.pending,
        "released_on_failure": gate.pending and gate.released_on_failure,
        "set_on_created": gate.set_on_created,
        "cleared_on_done": gate.cleared_on_done,
        "same_id": gate.same_id,
        "no_bypass": gate.bypass is None,
    }
    return tuple(promise for promise, is_kept in kept.items() if is_kept)


def marks(pipeline_map: PipelineMap, statements: Statements) -> list[tuple[Mark, Site]]:
    """Return the places that a ratchet watches, each once, with their sites."""
    found: dict[tuple[str, int, int, str], tuple[Mark, Site]] = {}
    for apart, sites in [*((False, lane.sites) for lane in judged_lanes(pipeline_map)), (True, pipeline_map.outside)]:
        for site in sites:
            if site.kind not in _KINDS or site.context in ("example", "test"):
                continue
            if site.kind in ENGINE_KINDS and site.role != "primitive":
                continue
            found.setdefault((site.path, site.line, site.column, site.kind), (_mark(site, apart, statements), site))
    return list(found.values())


def _mark(site: Site, apart: bool, statements: Statements) -> Mark:
    return Mark(
        kind=site.kind,
        path=site.path,
        symbol=site.symbol,
        statement=statements.at(site.path, site.line, site.column, site.end_line).key,
        state=_nearness(site),
        cause=site.trigger or "",
        engine=site.engine or "",
        apart=apart,
    )


def _nearness(site: Site) -> Nearness:
    if site.context == "dormant":
        return "dormant"
    if site.flag is not None:
        return "flagged"
    return "after" if site.context in ("post_call", "offline") else "live"


def _place(path: str, symbol: str) -> str:
    return f"{path}:{symbol}"


def shrunk(baseline: Baseline, now: Baseline, known: Iterable[Finding], *, worse: bool) -> Baseline:
    """Return a baseline without what is mended.

    What is new does not get in.  The state of the contract follows what there is ``now``, unless something is ``worse``
    than it was: then it stays, so that nothing recorded is given up.
    """
    kept = sorted((known_of(each) for each in known), key=lambda k: (k.path, k.rule, k.symbol, k.statement))
    answers = baseline.answers if worse else now.answers
    return Baseline(
        version=VERSION if answers else 1,
        about=ABOUT,
        counts=dict(sorted(Counter(each.rule for each in kept).items())),
        lanes=baseline.lanes if worse else now.lanes,
        sites=baseline.sites if worse else now.sites,
        findings=tuple(kept),
        answers=answers,
    )
