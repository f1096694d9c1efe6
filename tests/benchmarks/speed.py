"""Times a cold run on a whole backend, beside the time Python needs for nothing but parsing the same files.

usage: python tests/benchmarks/speed.py DIR [--runs 3]

Both run in a fresh process, one after the other: their ratio means the same on a slow machine and on a fast one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT)]

from pipeline_guard.config import load_config  # noqa: E402
from pipeline_guard.discovery import discover  # noqa: E402

PARSE_ALL = """
import ast, sys, warnings
warnings.simplefilter("ignore")
for path in sys.stdin.read().split("\\0"):
    try:
        with open(path, "rb") as handle:
            ast.parse(handle.read())
    except (SyntaxError, ValueError, RecursionError):
        pass
"""


def seconds(command: Sequence[str], given: str = "") -> float:
    """Return how long a command takes; an exit code that means trouble ends the benchmark."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    start = time.perf_counter()
    done = subprocess.run(command, input=given, capture_output=True, text=True, env=environment, check=False)
    taken = time.perf_counter() - start
    if done.returncode > 1:
        sys.exit(done.stderr or f"{command} ended with {done.returncode}")
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    config = load_config(args.folder)
    files = discover(args.folder, config.exclude, config.max_file_size).files
    given = "\0".join(file.path for file in files)
    parse = [seconds([sys.executable, "-c", PARSE_ALL], given) for _ in range(args.runs)]
    command = [sys.executable, "-m", "pipeline_guard", "map", str(args.folder), "--format", "json"]
    mapped = [seconds(command) for _ in range(args.runs)]
    parsing, mapping = statistics.median(parse), statistics.median(mapped)
    size = sum(os.path.getsize(file.path) for file in files)
    print(f"{len(files)} files, {size / 1e6:.1f} MB; medians of {args.runs} runs")
    print(f"parse every file  {parsing:6.2f} s")
    print(f"map               {mapping:6.2f} s   {mapping / parsing:.2f} times parsing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
