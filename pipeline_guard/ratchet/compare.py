"""Says what is new since a baseline: findings it does not know, and promises of the contract that are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from pipeline_guard.checks.report import Draft, Reporter, at_site
from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap, Site
from pipeline_guard.ratchet.contract import losses
from pipeline_guard.ratchet.matching import Pairing, Stage, pair
from pipeline_guard.ratchet.record import ENGINE_KINDS, judged_lanes, marks
from pipeline_guard.ratchet.state import Baseline, Known, Mark
from pipeline_guard.rulebook import load_rules
from pipeline_guard.statements import Statements

RULE = "PG904"
# What no baseline may know: a file that nobody can read, and what the gate says about itself.
NEVER_KNOWN = frozenset({"PG901", "PG904", "PG905"})
# Rules that say of one place, from different sides, the same thing: code elsewhere decides which of them applies.
_RELATED = (
    frozenset({"PG101", "PG102", "PG103", "PG104", "PG105"}),
    frozenset({"PG201", "PG202", "PG207", "PG208", "PG210", "PG213", "PG215", "PG303"}),
    frozenset({"PG301", "PG302", "PG304"}),
    frozenset({"PG401", "PG402", "PG403", "PG404", "PG405"}),
)
_WEIGHT = {"error": 2, "warning": 1, "note": 0}
_NEARER = {"dormant": 0, "after": 1, "flagged": 1, "live": 2}


class Comparison(NamedTuple):
    """What a check with a baseline has to say.

    ``new`` are findings that the baseline does not know, those of PG904 among them; ``known`` those it does; ``stale``
    what it knows and is no longer there.
    """

    new: list[Finding]
    known: list[Finding]
    stale: list[Known]


def compare(
    baseline: Baseline,
    pipeline_map: PipelineMap,
    findings: Sequence[Finding],
    config: Config,
    statements: Statements,
) -> Comparison:
    """Return what is new, known and stale.  Findings that a suppression answers for are none of these."""
    acting = [finding for finding in findings if not finding.suppressed]
    unreadable = [finding for finding in acting if finding.rule == "PG901"]
    severities = {rule.id: config.severity_of(rule.id, rule.severity) for rule in load_rules()}
    judged = [known for known in baseline.findings if config.is_selected(known.rule)]
    paired = pair(judged, [f for f in acting if f.rule not in NEVER_KNOWN], _finding_stages(severities))
    known = [finding for _, finding in paired.pairs]
    if unreadable:
        # What such a file held is missing everywhere else: code seems dead that is not, and guards seem gone.
        new = [finding for finding in paired.new if severities.get(finding.rule) == "error"]
        return Comparison([*unreadable, *new], known, [])
    new = paired.new
    if config.is_selected(RULE):
        watched = pair(list(baseline.sites), marks(pipeline_map, statements), _mark_stages())
        new = _with_history(new, watched)
        lost, new = _losses(baseline, pipeline_map, new, watched, config, statements)
        new = [*lost, *new]
    new.sort(key=lambda f: (f.path, f.line, f.column, f.rule))
    return Comparison(new, known, paired.gone)


# -- which finding is which


def _finding_stages(severities: dict[str, str]) -> list[Stage[Known, Finding]]:
    def related(old: Known, new: Finding) -> bool:
        same_side = any(old.rule in group and new.rule in group for group in _RELATED)
        return same_side and _WEIGHT[new.severity] <= _WEIGHT.get(severities.get(old.rule, "error"), 2)

    keys: list[Callable[[Known | Finding], tuple[str, ...]]] = [
        lambda f: (f.rule, f.path, f.symbol, f.statement),
        lambda f: (f.rule, f.path, f.statement),
        lambda f: (f.rule, _last(f.symbol), f.statement),
        lambda f: (f.rule, f.statement),
    ]
    place: Callable[[Known | Finding], tuple[str, ...]] = lambda f: (f.path, f.symbol, f.statement)  # noqa: E731
    where: Callable[[Known | Finding], tuple[str, ...]] = lambda f: (f.rule, f.path, f.symbol)  # noqa: E731
    return [
        *(Stage[Known, Finding](key, key) for key in keys),
        Stage(place, place, fits=related),
        Stage(where, where, alike=lambda f: f.code),
    ]


def _mark_stages() -> list[Stage[Mark, tuple[Mark, Site]]]:
    keys: list[Callable[[Mark], tuple[object, ...]]] = [
        lambda m: (m.kind, m.path, m.symbol, m.statement),
        lambda m: (m.kind, m.path, m.statement),
        lambda m: (m.kind, m.statement),
        lambda m: (m.kind, m.path, m.symbol, m.cause, m.engine),
    ]
    return [Stage(key, lambda pair, key=key: key(pair[0])) for key in keys]  # type: ignore[misc]


def _last(symbol: str) -> str:
    return symbol.rpartition(".")[2]


# -- what the recorded sites tell of new findings


def _with_history(new: Iterable[Finding], watched: Pairing[Mark, tuple[Mark, Site]]) -> list[Finding]:
    """Return findings that say so where code that could not run runs now."""
    woken = {
        (site.path, site.line): old
        for old, (mark, site) in watched.pairs
        if _NEARER[mark.state] > _NEARER[old.state] and old.state in ("dormant", "flagged")
    }
    result = []
    for finding in new:
        old = woken.get((finding.path, finding.line))
        if old is not None:
            was = "nothing could run this" if old.state == "dormant" else "a setting kept this from running"
            message = f"{finding.message} When the baseline was recorded, {was}."
            finding = msgspec.structs.replace(finding, message=message)
        result.append(finding)
    return result


def _losses(
    baseline: Baseline,
    pipeline_map: PipelineMap,
    new: list[Finding],
    watched: Pairing[Mark, tuple[Mark, Site]],
    config: Config,
    statements: Statements,
) -> tuple[list[Finding], list[Finding]]:
    """Return the findings of PG904, and the new ones that are no mere consequence of them."""
    reporter = Reporter(pipeline_map, config, {rule.id: rule for rule in load_rules()}, statements)
    unchanged = {(site.path, site.line) for _, (_, site) in watched.pairs}
    for loss in losses(baseline, list(judged_lanes(pipeline_map))):
        draft = loss.draft
        if loss.part == "trigger":
            follows = [f for f in new if f.rule in ("PG201", "PG202", "PG303") and f.lane == loss.lane.name]
            follows = [f for f in follows if f.rule == "PG202" or (f.path, f.line) in unchanged]
            new = [finding for finding in new if finding not in follows]
        reporter.add(RULE, draft, loss.lane)
    told = {(finding.path, finding.line) for finding in new}
    for draft in [*_more_audio(baseline, watched, told), *_woken(watched, told), *_engines(watched)]:
        reporter.add(RULE, draft, None)
    return reporter.findings(), new


def _more_audio(
    baseline: Baseline, watched: Pairing[Mark, tuple[Mark, Site]], told: set[tuple[str, int]]
) -> Iterable[Draft]:
    """Yield new places that send the caller's audio, where there are more of them than there were."""
    before = sum(mark.kind == "audio_send" and mark.state == "live" for mark in baseline.sites)
    now = [(mark, site) for mark, site in [*(n for _, n in watched.pairs), *watched.new] if mark.kind == "audio_send"]
    if before == 0 or sum(mark.state == "live" for mark, _ in now) <= before:
        return
    for mark, site in watched.new:
        if mark.kind == "audio_send" and mark.state == "live" and (site.path, site.line) not in told:
            yield at_site(
                site,
                f"{site.symbol}() sends caller audio at one more place than when the baseline was recorded: what is "
                "sent here goes past the loop's own order. One place sends; put this on its queue.",
            )


def _woken(watched: Pairing[Mark, tuple[Mark, Site]], told: set[tuple[str, int]]) -> Iterable[Draft]:
    """Yield dead engines that one setting turns on now; where they run, they are findings of their own."""
    for old, (mark, site) in watched.pairs:
        if old.state == "dormant" and mark.state == "flagged" and (site.path, site.line) not in told:
            yield at_site(
                site,
                f"{site.engine or site.symbol} could not run when the baseline was recorded; now {site.flag} turns it "
                "on.",
            )


def _engines(watched: Pairing[Mark, tuple[Mark, Site]]) -> Iterable[Draft]:
    for mark, site in watched.new:
        if mark.apart and mark.kind in ENGINE_KINDS and mark.state in ("live", "flagged"):
            yield at_site(site, f"{site.engine} is a speech engine that was not here when the baseline was recorded.")
