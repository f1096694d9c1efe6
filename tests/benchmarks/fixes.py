"""Mends copies of backends and measures what became of them; with --import also whether their modules still import.

usage: python tests/benchmarks/fixes.py TREE... [--copies DIR] [--diffs DIR] [--json FILE] [--import PYTHON]

For each tree: findings before, after the safe fixes, after all fixes; what was refused, by rule, with the reasons; and
what the codemod promises: every file parses, no finding is new, none that was said to be mended is left, a second run
changes nothing, and outside of the edited spans every byte is what it was.

PYTHON is the interpreter of a throwaway environment that holds the dependencies of the one tree given.  The modules
that the fixes changed, and those that import them, are imported there, before and after: that runs the tree's code.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT)]

from pipeline_guard.cli.run import find_files, settings_for  # noqa: E402
from pipeline_guard.cli.target import Target  # noqa: E402
from pipeline_guard.findings import Finding  # noqa: E402
from pipeline_guard.fixes import run  # noqa: E402
from pipeline_guard.fixes.edits import Replacement  # noqa: E402
from pipeline_guard.fixes.journal import write_all  # noqa: E402
from pipeline_guard.fixes.program import Program  # noqa: E402
from pipeline_guard.fixes.source import Source  # noqa: E402
from pipeline_guard.program.sources import read_sources  # noqa: E402
from pipeline_guard.reports.fix_text import unified  # noqa: E402
from tests.benchmarks.importing import importable  # noqa: E402

# Dead code is reported piece by piece: the next piece comes to light when the one before it is gone.
_ONE_PER_PIECE = frozenset({"PG105", "PG215", "PG304", "PG405"})
_IGNORED = shutil.ignore_patterns(".git", "node_modules", ".venv", "venv", "__pycache__")


class Measured(NamedTuple):
    """One tree after one run of the codemod."""

    found: int
    left: int
    mended: int
    changed: list[str]
    refused: dict[str, dict[str, int]]
    broken: list[str]


class _Spans:
    """Checks every rewritten file against the bytes it was made of, on its way through the codemod."""

    def __init__(self) -> None:
        self.files = 0
        self.broken: list[str] = []
        self._content = run._content
        run._content = self._checked

    def _checked(self, source: Source, replacements: list[Replacement]) -> bytes:
        data = self._content(source, replacements)
        self.files += 1
        if not _same_outside(source, replacements, data):
            self.broken.append(f"{source.path}: bytes outside of the edits differ")
        return data

    def close(self) -> None:
        run._content = self._content


def _same_outside(source: Source, replacements: Sequence[Replacement], after: bytes) -> bool:
    """Say whether what lies between the edits is the same, byte for byte, at the place where it has to be."""
    at, begin = 0, 0
    for start, end, new in [*sorted(replacements, key=lambda each: each[:2]), Replacement(len(source.text), 0, "")]:
        stop = len(source.mark) + len(source.text[:start].encode(source.encoding))
        kept = source.data[begin:stop]
        if after[at : at + len(kept)] != kept:
            return False
        at += len(kept) + len(new.encode(source.encoding))
        begin = len(source.mark) + len(source.text[:end].encode(source.encoding))
    return at == len(after)


def read(root: Path) -> Program:
    """Return the program in a folder."""
    target = Target(root)
    config = settings_for(target, None)
    found = find_files(target, config)
    return Program(root, found, read_sources(found.files), config)


def measure(root: Path, *, unsafe: bool) -> Measured:
    """Mend the program in a folder, in place, and return what can be said about it."""
    before = read(root)
    outcome = run.fix(before, lambda _: True, unsafe=unsafe)
    old, new = before.sources.data, outcome.program.sources.data
    changed = [path for path in old if new[path] != old[path]]
    broken = write_all(root, {path: old[path] for path in changed}, {path: new[path] for path in changed})
    after = read(root)
    broken += _broken(before, after, {each for done in outcome.done for each in done.unit.mends})
    again = run.fix(after, lambda _: True, unsafe=unsafe)
    broken += [f"{path}: a second run changes it" for path, data in again.program.sources.data.items()
               if data != after.sources.data[path]]  # fmt: skip
    refused: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for refusal in outcome.refused:
        refused[refusal.rule][refusal.why] += 1
    return Measured(_count(before), _count(after), len(outcome.done), changed,
                    {rule: dict(whys) for rule, whys in sorted(refused.items())}, broken)  # fmt: skip


def _count(program: Program) -> int:
    return sum(finding.severity != "note" for finding in program.findings)


def _broken(before: Program, after: Program, mended: set[str]) -> Iterator[str]:
    """Yield each promise that is not kept."""
    for path, data in after.sources.data.items():
        try:
            ast.parse(data)
        except (SyntaxError, ValueError) as error:
            if _parses(before.sources.data[path]):
                yield f"{path}: does not parse any more ({error})"
    yield from (f"{_place(each)}: is still there" for each in after.findings if each.fingerprint in mended)
    known = Counter((each.rule, each.path, each.fingerprint) for each in before.findings)
    for each in after.findings:
        key = (each.rule, each.path, each.fingerprint)
        if known[key]:
            known[key] -= 1
        elif each.severity != "note" and each.rule not in _ONE_PER_PIECE:
            yield f"{_place(each)}: is new"


def _parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except (SyntaxError, ValueError):
        return False
    return True


def _place(finding: Finding) -> str:
    return f"{finding.rule} {finding.path}:{finding.line}"


def _diff(before: Path, after: Path, changed: Sequence[str]) -> str:
    lines = [
        line for path in changed for line in unified(path, (before / path).read_bytes(), (after / path).read_bytes())
    ]
    return "\n".join(lines) + "\n" if lines else ""


def measure_tree(tree: Path, copies: Path, diffs: Path | None, python: Path | None) -> dict[str, Any]:
    """Measure one tree with safe fixes, then with all, each on a copy of its own; return the figures for JSON."""
    began = time.process_time()
    name = "+".join(tree.resolve().parts[-2:])
    row: dict[str, Any] = {"tree": name}
    for level in ("safe", "unsafe"):
        copy = copies / name / level
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tree, copy, symlinks=True, ignore=_IGNORED)
        spans = _Spans()
        try:
            measured = measure(copy, unsafe=level == "unsafe")
        finally:
            spans.close()
        row[level] = {**measured._asdict(), "broken": measured.broken + spans.broken, "rewrites": spans.files}
        if diffs is not None:
            diffs.mkdir(parents=True, exist_ok=True)
            (diffs / f"{name}.{level}.diff").write_text(_diff(tree, copy, measured.changed), encoding="utf-8")
        if python is not None:
            row[level]["imports"] = importable(python, tree, copy, measured.changed)
    row["seconds"] = round(time.process_time() - began, 1)
    return row


def _line(row: dict[str, Any]) -> str:
    safe, unsafe = row["safe"], row["unsafe"]
    refused = sum(count for whys in unsafe["refused"].values() for count in whys.values())
    text = (
        f"{row['tree']:66} {safe['found']:5} → {safe['left']:5} → {unsafe['left']:5}   refused {refused:4}   "
        f"files {len(safe['changed'])}/{len(unsafe['changed'])}   {row['seconds']} s"
    )
    for level in (safe, unsafe):
        if "imports" in level:
            before, after, tried = level["imports"]
            text += f"\n    {tried} modules: {before} import before, {after} after"
        text += "".join(f"\n    BROKEN {each}" for each in level["broken"])
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=Path)
    parser.add_argument("--copies", type=Path, help="keep the mended copies here")
    parser.add_argument("--diffs", type=Path, help="write the diffs here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--import", dest="python", type=Path, help="interpreter that has the tree's dependencies")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for tree in args.trees:
            row = measure_tree(tree.resolve(), args.copies or Path(scratch), args.diffs, args.python)
            rows.append(row)
            print(_line(row), flush=True)
            if args.json is not None:
                args.json.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    reasons: Counter[str] = Counter()
    for row in rows:
        for rule, whys in row["unsafe"]["refused"].items():
            reasons[rule] += sum(whys.values())
    print("refused by rule:", ", ".join(f"{rule} {count}" for rule, count in sorted(reasons.items())) or "nothing")
    return 1 if any(row[level]["broken"] for row in rows for level in ("safe", "unsafe")) else 0


if __name__ == "__main__":
    sys.exit(main())
