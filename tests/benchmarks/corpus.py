"""Runs the map on every labelled repository and prints recall, precision, context and value per kind of site.

usage: python tests/benchmarks/corpus.py --labels DIR --sources DIR [--kinds KIND,KIND] [--only TEXT] [--verbose]

DIR of labels holds ``owner+name.jsonl``; DIR of sources the repository's files in a folder ``owner+name``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT)]

from pipeline_guard.cli.run import build_map, settings_for  # noqa: E402
from pipeline_guard.cli.target import Target  # noqa: E402
from tests.benchmarks.scoring import KINDS, Scoreboard, read_labels, sites_in_order  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", default="", help="only repositories with this text in their name")
    parser.add_argument("--verbose", action="store_true", help="list every miss")
    args = parser.parse_args()
    board = Scoreboard(kinds=args.kinds.split(","))
    start = time.perf_counter()
    absent = []
    for labels in sorted(args.labels.glob("*.jsonl")):
        folder = args.sources / labels.stem
        if args.only not in labels.stem:
            continue
        if not folder.is_dir():
            absent.append(labels.stem)
            continue
        target = Target(folder.resolve())
        pipeline_map = build_map(target, settings_for(target, None), show_progress=False)
        said = len(board.remarks)
        board.add(read_labels(labels), sites_in_order(pipeline_map))
        if args.verbose:
            print(labels.stem, *(f"  {remark}" for remark in board.remarks[said:]), sep="\n")
    for name in sorted(board.scores):
        print(f"{name:26}{board.scores[name]}")
    print(f"{time.perf_counter() - start:.1f} s" + (f"; no sources for {', '.join(absent)}" if absent else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
