"""Walks a git history and says which commits ``check --baseline`` stops, each judged by the baseline of the one before.

usage: python tests/benchmarks/history.py --git-dir DIR --range A..B --cache DIR --output FILE [--only COMMIT,COMMIT]

Along first parents, oldest first.  A commit that cannot be parsed leaves the baseline as it was, as it would in a
project: nobody records what nobody can read.  One JSON line per commit that changes what a map depends on: commit,
date, subject, whether it is stopped, by which rules, and the findings.  ``--only`` judges single commits by the
baseline of their first parent.  The maps are kept in the cache folder (one per version of the analysis: empty it when
that changes), so that a second run compares only; ``--cached`` passes over commits whose map is not there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT)]

from pipeline_guard.checks import run_checks  # noqa: E402
from pipeline_guard.config import Config  # noqa: E402
from pipeline_guard.findings import Finding  # noqa: E402
from pipeline_guard.git_history import Repository  # noqa: E402
from pipeline_guard.pipeline.model import PipelineMap  # noqa: E402
from pipeline_guard.ratchet.compare import Comparison, compare  # noqa: E402
from pipeline_guard.ratchet.record import record  # noqa: E402
from pipeline_guard.ratchet.state import Baseline  # noqa: E402
from pipeline_guard.statements import Statements  # noqa: E402
from tests.benchmarks.trees import History, MapStore, tree_key  # noqa: E402

CONFIG = Config()


class State(NamedTuple):
    """A commit's tree, analysed and checked."""

    key: str
    pipeline_map: PipelineMap
    findings: list[Finding]
    statements: Statements

    @property
    def readable(self) -> bool:
        return all(finding.rule != "PG901" for finding in self.findings)

    def baseline(self) -> Baseline:
        return record(self.pipeline_map, self.findings, self.statements)


class Judge:
    """Judges commits by baselines, with what has been worked out before."""

    def __init__(self, history: History, store: MapStore) -> None:
        self.history = history
        self.store = store

    def state(self, commit: str) -> State:
        """Return the state of a commit."""
        tree = self.history.tree(commit)
        pipeline_map = self.store.read(tree)
        statements = self.store.statements(tree)
        findings = run_checks(pipeline_map, CONFIG, statements)
        return State(tree_key(tree), pipeline_map, findings, statements)

    def compare(self, baseline: Baseline, state: State, commit: str) -> Comparison:
        """Return what a check of a commit's state with the baseline says."""
        repository = Repository(str(self.history.git_dir), commit)
        comparison = compare(baseline, state.pipeline_map, state.findings, CONFIG, state.statements, repository)
        self.store.keep(state.key, state.statements)
        return comparison

    def row(self, commit: str, comparison: Comparison) -> dict[str, Any]:
        """Return what is written about a commit."""
        date, _, subject = self.history.git("show", "-s", "--format=%cI %s", commit).strip().partition(" ")
        return {
            "commit": commit,
            "date": date,
            "subject": subject,
            "stopped": any(CONFIG.fails(finding.severity) for finding in comparison.new),
            "rules": dict(sorted(Counter(finding.rule for finding in comparison.new).items())),
            "known": len(comparison.known),
            "stale": len(comparison.stale),
            "new": [
                {
                    "rule": f.rule,
                    "severity": f.severity,
                    "path": f.path,
                    "line": f.line,
                    "symbol": f.symbol,
                    "code": f.code,
                    "message": f.message,
                }
                for f in comparison.new
            ],
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--git-dir", type=Path, required=True)
    parser.add_argument("--range", default="HEAD")
    parser.add_argument("--only", default="", help="commits to judge by their first parents, instead of a range")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cached", action="store_true", help="judge only what the cache holds the map of")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    history = History(args.git_dir)
    store = MapStore(args.cache, history)
    judge = Judge(history, store)
    with args.output.open("w", encoding="utf-8") as output:
        if args.only:
            stopped, total = judge_pairs(judge, args.only.split(","), output)
        else:
            stopped, total = judge_range(judge, args.range, output, cached=args.cached)
    store.close()
    history.close()
    print(f"{total} commits judged, {sum(stopped.values())} stopped: {dict(stopped)}")
    return 0


def judge_pairs(judge: Judge, commits: list[str], output: Any) -> tuple[Counter[str], int]:
    """Judge commits by the baseline of their first parents, which must pass with it themselves."""
    stopped: Counter[str] = Counter()
    for commit in commits:
        before = judge.state(f"{commit}^")
        baseline = before.baseline()
        if before.readable and judge.compare(baseline, before, f"{commit}^").new:
            raise RuntimeError(f"{commit}: its parent does not pass with its own baseline")
        row = judge.row(commit, judge.compare(baseline, judge.state(commit), commit))
        write(output, row, stopped)
    return stopped, len(commits)


def judge_range(judge: Judge, revisions: str, output: Any, *, cached: bool) -> tuple[Counter[str], int]:
    """Judge a range, each commit by the last one before it that could be read."""
    commits = judge.history.first_parents(revisions)
    if cached:
        commits = [commit for commit in commits if judge.store.path(judge.history.tree(commit)).exists()]
        before = judge.state(commits.pop(0))
    else:
        before = judge.state(f"{commits[0]}^")
    baseline, key = before.baseline(), before.key
    stopped: Counter[str] = Counter()
    total = 0
    for commit in commits:
        if tree_key(judge.history.tree(commit)) == key:
            continue
        total += 1
        state = judge.state(commit)
        key = state.key
        write(output, judge.row(commit, judge.compare(baseline, state, commit)), stopped)
        if state.readable:
            baseline = state.baseline()
    return stopped, total


def write(output: Any, row: dict[str, Any], stopped: Counter[str]) -> None:
    """Write a row and count it."""
    output.write(json.dumps(row, ensure_ascii=False) + "\n")
    output.flush()
    if row["stopped"]:
        stopped["does not parse" if "PG901" in row["rules"] else "+".join(row["rules"])] += 1


if __name__ == "__main__":
    sys.exit(main())
