"""Extracts the facts of every Python file below some folders and reports whatever is not a clean answer.

usage: python tests/benchmarks/crash.py DIR...
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from pipeline_guard.facts.extract import Unreadable, decode_facts, encode_facts, extract  # noqa: E402

SLOW_SECONDS = 2.0


def python_files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*.py") if path.is_file())


def try_file(path: Path) -> tuple[str, str]:
    """Return the outcome ("extracted", "truncated", "CRASH" or a Gap reason) and, where there is one, its text."""
    step = "extracting"
    try:
        facts = extract(path.read_bytes())
        step = "writing and reading the facts of"
        if decode_facts(encode_facts(facts)) != facts:
            return "CRASH", "facts differ after a round trip"
    except Unreadable as error:
        return error.reason, f"line {error.line}: {error.detail}"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "CRASH", f"{step} it: {type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    return ("truncated" if facts.truncated else "extracted"), ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--quiet", action="store_true", help="only crashes and slow files")
    args = parser.parse_args()
    outcomes: Counter[str] = Counter()
    start = time.perf_counter()
    for path in python_files(args.folders):
        before = time.perf_counter()
        outcome, detail = try_file(path)
        seconds = time.perf_counter() - before
        outcomes[outcome] += 1
        if outcome == "CRASH" or (outcome != "extracted" and not args.quiet):
            print(f"{outcome}: {path}  {detail}")
        if seconds > SLOW_SECONDS:
            print(f"slow: {path}  {seconds:.1f} s")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    print(f"{sum(outcomes.values())} files in {time.perf_counter() - start:.1f} s: {counts}")
    return 1 if outcomes["CRASH"] else 0


if __name__ == "__main__":
    sys.exit(main())
