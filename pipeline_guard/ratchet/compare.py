"""Says what is new since a baseline: findings it does not know, and promises of the contract that are broken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline_guard.checks.per_path import PerPath
from pipeline_guard.checks.report import Draft, Reporter, at_site
from pipeline_guard.config import Config
from pipeline_guard.findings import Finding
from pipeline_guard.git_history import Repository
from pipeline_guard.pipeline.model import PipelineMap, Site
from pipeline_guard.ratchet import rollback
from pipeline_guard.ratchet.answers import second_answers
from pipeline_guard.ratchet.contract import losses
from pipeline_guard.ratchet.matching import Pairing, Stage, pair
from pipeline_guard.ratchet.record import ENGINE_KINDS, judged_lanes, marks
from pipeline_guard.ratchet.state import Baseline, Known, Mark
from pipeline_guard.rulebook import RulesById, load_rules
from pipeline_guard.statements import Statements

Watched = Pairing[Mark, tuple[Mark, Site]]
RULE = "PG904"
# What no baseline may know: a file that nobody can read, and what the gate says about itself.
NEVER_KNOWN = frozenset({"PG901", "PG904", "PG905"})
# Rules that say of one place, from different sides, the same thing: code elsewhere decides which of them applies.
_RELATED = (
    frozenset({"PG101", "PG102", "PG103", "PG104", "PG105"}),
    frozenset({"PG201", "PG202", "PG207", "PG208", "PG210", "PG213", "PG215", "PG219", "PG303"}),
    frozenset({"PG301", "PG302", "PG304"}),
    frozenset({"PG401", "PG402", "PG403", "PG404", "PG405"}),
)
# Rules whose findings stand where a cause arises, for all that it leads to.
_ROOTED = frozenset({"PG207", "PG208"})
# What is a smaller fault of a guard than the one a rule names: it cannot be one before that is mended.
_LESS_THAN = {
    "PG203": frozenset({"PG204", "PG205", "PG206", "PG209"}),
    "PG205": frozenset({"PG206"}),
}
# Rules that speak of every function that sends, once there is no one trigger.
_FOLLOWS = frozenset({"PG201", "PG202", "PG203", "PG204", "PG205", "PG206", "PG303"})
# Rules about code that does not run, or runs after one change of a setting.
_DORMANT = frozenset({"PG105", "PG215", "PG304", "PG405"})
_WEIGHT = {"error": 2, "warning": 1, "note": 0}
_WOKEN = {
    "dormant": "When the baseline was recorded, nothing could run this.",
    "flagged": "When the baseline was recorded, a setting kept this from running.",
}
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
    repository: Repository | None = None,
) -> Comparison:
    """Return what is new, known and stale.  Findings that a suppression answers for are none of these.

    The history of ``repository`` tells whether a file is worse because it is an old one; without it nothing is said of
    that.
    """
    comparison = _compare(baseline, pipeline_map, findings, config, statements)
    if repository is None or not comparison.new or not config.is_selected(rollback.RULE):
        return comparison
    reporter = Reporter(pipeline_map, config, RulesById(), statements)
    for draft in rollback.rolled_back(repository, comparison.new, statements.read):
        reporter.add(rollback.RULE, draft, None)
    return comparison._replace(new=sorted([*reporter.findings(), *comparison.new], key=_by_place))


def _compare(
    baseline: Baseline,
    pipeline_map: PipelineMap,
    findings: Sequence[Finding],
    config: Config,
    statements: Statements,
) -> Comparison:
    acting = [finding for finding in findings if not finding.suppressed]
    unreadable = [finding for finding in acting if finding.rule == "PG901"]
    severities = {rule.id: config.severity_of(rule.id, rule.severity) for rule in load_rules()}
    asked = PerPath(config, Path(pipeline_map.root))
    judged = [known for known in baseline.findings if asked.is_selected(known.rule, known.path)]
    sends_itself = frozenset((f.path, f.line) for f in acting if f.rule == "PG201")
    stages = _finding_stages(severities, sends_itself)
    paired = pair(judged, [f for f in acting if f.rule not in NEVER_KNOWN], stages)
    known = [finding for _, finding in paired.pairs]
    if any(finding.path in _paths(baseline) for finding in unreadable):
        # What such a file held is missing everywhere else: code seems dead that is not, and guards seem gone.
        return Comparison(unreadable, known, [])
    watched = pair(list(baseline.sites), marks(pipeline_map, statements), _mark_stages())
    new, moved, stale = _without_old_code(
        _beyond_better_guards(paired.new, paired.gone, pipeline_map), paired.gone, watched
    )
    new = _with_history(new, watched)
    if config.is_selected(RULE):
        lost, new = _losses(baseline, pipeline_map, new, watched, config, statements)
        new = [*lost, *new]
    return Comparison(sorted([*unreadable, *new], key=_by_place), [*known, *moved], stale)


def _paths(baseline: Baseline) -> set[str]:
    """Return the files that a baseline speaks of."""
    places = [place for lane in baseline.lanes for place, _ in lane.sessions]
    places += [place for lane in baseline.lanes for place in (lane.trigger, lane.sender) if place is not None]
    return {
        *(known.path for known in baseline.findings),
        *(mark.path for mark in baseline.sites),
        *(mark.path for mark in baseline.answers),
        *(place.rpartition(":")[0] for place in places),
    }


def _by_place(finding: Finding) -> tuple[str, int, int, str]:
    return (finding.path, finding.line, finding.column, finding.rule)


# -- which finding is which


def _finding_stages(
    severities: Mapping[str, str], sends_itself: Collection[tuple[str, int]]
) -> list[Stage[Known, Finding]]:
    def related(old: Known, new: Finding) -> bool:
        same_side = any(old.rule in group and new.rule in group for group in _RELATED)
        return same_side and _WEIGHT[new.severity] <= _WEIGHT.get(severities.get(old.rule, "error"), 2)

    def rerouted(old: Known, new: Finding) -> bool:
        """Say whether a send went and a call of the trigger came, whose reason tells a retry, or code that is dead."""
        lesser = new.rule == "PG215" or (new.rule in _ROOTED and (new.path, new.line) not in sends_itself)
        return old.rule == "PG201" and lesser

    def same(key: Callable[[Known | Finding], tuple[str, ...]], **more: Any) -> Stage[Known, Finding]:
        return Stage(key, key, **more)

    return [
        same(lambda f: (f.rule, f.path, f.symbol, f.statement)),
        same(lambda f: (f.rule, f.path, f.statement)),
        same(lambda f: (f.rule, _last(f.symbol), f.statement)),
        same(lambda f: (f.rule, f.statement)),
        same(lambda f: (f.path, f.symbol, f.statement), fits=related),
        same(lambda f: (f.rule, f.path, f.symbol), alike=lambda f: f.code),
        same(lambda f: (f.rule, f.path, _last(f.symbol)), alike=lambda f: f.code),
        same(lambda f: (f.path, f.symbol), fits=rerouted),
    ]


def _mark_stages() -> list[Stage[Mark, tuple[Mark, Site]]]:
    def same(key: Callable[[Mark], tuple[str, ...]]) -> Stage[Mark, tuple[Mark, Site]]:
        return Stage(key, lambda marked: key(marked[0]))

    return [
        same(lambda m: (m.kind, m.path, m.symbol, m.statement)),
        same(lambda m: (m.kind, m.path, m.statement)),
        same(lambda m: (m.kind, m.statement)),
        same(lambda m: (m.kind, m.path, m.symbol, m.cause, m.engine)),
    ]


def _last(symbol: str) -> str:
    return symbol.rpartition(".")[2]


# -- what the recorded sites tell of new findings


def _without_old_code(
    new: Sequence[Finding], gone: Sequence[Known], watched: Watched
) -> tuple[list[Finding], list[Finding], list[Known]]:
    """Return new findings, those about code that was there and is no nearer to a call now, and what is gone.

    Code that ran and is dead now is an improvement, though dead code is a finding.  A timer or a retry is reported
    where it arises, once for all the calls between it and the send: where it goes, the next place on the same way is
    named instead, which ran and had the same cause before.
    """
    was = {(site.path, site.line): (old, mark) for old, (mark, site) in watched.pairs}
    stale = list(gone)
    left: list[Finding] = []
    moved: list[Finding] = []
    for finding in new:
        old, mark = was.get((finding.path, finding.line), (None, None))
        partner = None
        if old is None or mark is None:
            pass
        elif finding.rule in _DORMANT and _NEARER[mark.state] <= _NEARER[old.state]:
            moved.append(finding)
            continue
        elif finding.rule in _ROOTED and _unchanged(old, mark):
            partner = next((known for known in stale if known.rule == finding.rule), None)
        if partner is None:
            left.append(finding)
        else:
            stale.remove(partner)
            moved.append(finding)
    return left, moved, stale


def _beyond_better_guards(new: Sequence[Finding], gone: Sequence[Known], pipeline_map: PipelineMap) -> list[Finding]:
    """Return new findings without what is still wrong with a guard that was worse before, or was not there at all."""
    mended: dict[str, set[str]] = {}
    for lane in judged_lanes(pipeline_map):
        homes = {(trigger.path, trigger.symbol) for trigger in lane.triggers}
        for known in gone:
            if known.rule in _LESS_THAN and (known.path, known.symbol) in homes:
                mended.setdefault(lane.name, set()).update(_LESS_THAN[known.rule])
    return [finding for finding in new if finding.rule not in mended.get(finding.lane, ())]


def _unchanged(old: Mark, new: Mark) -> bool:
    return (old.statement, old.state, old.cause) == (new.statement, new.state, new.cause)


def _with_history(new: Iterable[Finding], watched: Watched) -> list[Finding]:
    """Return findings that say so where code that could not run runs now."""
    woken = {
        (site.path, site.line): old
        for old, (mark, site) in watched.pairs
        if _NEARER[mark.state] > _NEARER[old.state] and old.state in ("dormant", "flagged")
    }
    return [
        msgspec.structs.replace(finding, message=f"{finding.message} {_WOKEN[old.state]}")
        if (old := woken.get((finding.path, finding.line))) is not None
        else finding
        for finding in new
    ]


def _losses(
    baseline: Baseline,
    pipeline_map: PipelineMap,
    new: list[Finding],
    watched: Watched,
    config: Config,
    statements: Statements,
) -> tuple[list[Finding], list[Finding]]:
    """Return the findings of PG904, and the new ones that are no mere consequence of them."""
    reporter = Reporter(pipeline_map, config, RulesById(), statements)
    unchanged = {(site.path, site.line) for old, (mark, site) in watched.pairs if _unchanged(old, mark)}
    told_by_rules = {(finding.rule, finding.lane) for finding in new}
    for loss in losses(baseline, list(judged_lanes(pipeline_map)), told_by_rules):
        draft = loss.draft
        if loss.part == "trigger":
            follows = [f for f in new if f.rule in _FOLLOWS and f.lane == loss.lane.name]
            follows = [f for f in follows if f.rule == "PG202" or (f.path, f.line) in unchanged]
            new = [finding for finding in new if finding not in follows]
        reporter.add(RULE, draft, loss.lane)
    told = {(finding.path, finding.line) for finding in new}
    for draft in [*_more_audio(baseline, watched, told), *_woken(watched, told), *_engines(watched)]:
        reporter.add(RULE, draft, None)
    for draft in second_answers(baseline, pipeline_map, statements):
        reporter.add(RULE, draft, None)
    return reporter.findings(), new


def _more_audio(baseline: Baseline, watched: Watched, told: set[tuple[str, int]]) -> Iterable[Draft]:
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


def _woken(watched: Watched, told: set[tuple[str, int]]) -> Iterable[Draft]:
    """Yield dead engines that one setting turns on now; where they run, they are findings of their own."""
    for old, (mark, site) in watched.pairs:
        if old.state == "dormant" and mark.state == "flagged" and (site.path, site.line) not in told:
            yield at_site(
                site,
                f"{site.engine or site.symbol} could not run when the baseline was recorded; now {site.flag} turns it "
                "on.",
            )


def _engines(watched: Watched) -> Iterable[Draft]:
    """Yield speech engines that answer requests outside of every Realtime call and were not there.

    The rules say nothing of these, since no caller need ever hear them; but a pipeline of its own begins like this.
    """
    for mark, site in watched.new:
        if mark.apart and mark.kind in ENGINE_KINDS and (mark.state == "live" or _answers_requests(site)):
            does = "transcribes" if mark.kind == "stt" else "speaks"
            yield at_site(
                site,
                f"{site.engine} {does} here, outside of every Realtime session, and did not when the baseline was "
                "recorded: a second speech pipeline begins like this. Where it has nothing to do with calls, record "
                "the baseline anew.",
                downgrade=True,
            )


def _answers_requests(site: Site) -> bool:
    entry = site.reached_from[0].note if site.reached_from else ""
    return entry.startswith("@") and " /" in entry  # a route with its path
