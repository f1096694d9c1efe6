"""Times ``pipeline-guard check`` beside other tools, in one run and as ratios, on trees given on the command line.

usage: python -m tests.benchmarks.compare TREE... [--peers DIR] [--runs 5] [--generate 50000] [--json FILE]

Peers are ruff (its default rules), ast-grep and semgrep (a rule for sends to OpenAI Realtime that is written here), and
ripgrep, or grep, as the floor.  They are looked for in ``--peers`` (the ``bin`` folder of a virtual environment, as
made by ``python -m venv P && P/bin/pip install ruff ast-grep-cli semgrep``) and then on the PATH; what is not there is
reported as absent.  Every tree is copied first, since one step changes a file.  All tools take turns, so that whatever
else the machine does falls on each of them; the numbers are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.measuring import Figures, Sample, measure
from tests.benchmarks.peers import Peer, find_peers, write_rules

CACHE = "PIPELINE_GUARD_CACHE_DIR"
# A tool that takes longer is not run again and again.
SLOW_SECONDS = 30.0
# File stamps younger than this are not trusted by a cache.
SETTLING_SECONDS = 3.0
SMALL = """\
import json


async def say(realtime, text):
    await realtime.send(json.dumps({"type": "response.create", "response": {"instructions": text}}))
"""


class Task(NamedTuple):
    """Something to be timed: ``before`` is done before each run and is not timed."""

    name: str
    command: Sequence[str]
    cwd: Path
    before: Callable[[], None] | None = None


def own_command() -> list[str]:
    """Return the command line of this checkout's tool: its script where it is installed, as users run it."""
    script = Path(sys.executable).with_name("pipeline-guard")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "pipeline_guard"]


class Bench:
    """Runs tasks in turn with a cache of their own."""

    def __init__(self, work: Path, runs: int) -> None:
        self.work = work
        self.runs = runs
        self.cache = work / "cache"
        self.environment = {**os.environ, CACHE: str(self.cache), "SEMGREP_SETTINGS_FILE": str(work / "semgrep.yml")}
        # Bytecode is what every installed tool starts from.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def drop_cache(self) -> None:
        """Make the next check a cold one."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def run(self, task: Task) -> Sample:
        """Run a task once."""
        if task.before is not None:
            task.before()
        return measure(task.command, task.cwd, self.environment)

    def take_turns(self, tasks: Sequence[Task]) -> dict[str, Figures]:
        """Return the medians of some tasks, each run once unmeasured first."""
        samples: dict[str, list[Sample]] = {task.name: [] for task in tasks}
        slow = {task.name for task in tasks if self.run(task).wall > SLOW_SECONDS}
        for turn in range(self.runs):
            for task in tasks:
                if turn == 0 or task.name not in slow:
                    samples[task.name].append(self.run(task))
                    show(f"  {task.name} {turn + 1}/{self.runs}")
        show("")
        return {name: Figures.of(taken) for name, taken in samples.items()}


def show(text: str) -> None:
    """Say on a terminal what is being run."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def python_files(tree: Path) -> list[Path]:
    """Return the Python files of a tree, ordered by name."""
    return sorted(path for path in tree.rglob("*.py") if path.is_file() and not path.is_symlink())


class Toucher:
    """Appends one more comment to a file each time, so that each check meets a change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.original = path.read_bytes()
        self.number = 0

    def __call__(self) -> None:
        self.number += 1
        self.path.write_bytes(self.original + b"\n# change %d\n" % self.number)

    def restore(self) -> None:
        self.path.write_bytes(self.original)


def about_the_start(bench: Bench) -> dict[str, Figures]:
    """Return what starting costs, beside Python with click alone."""
    small = bench.work / "small"
    small.mkdir()
    (small / "main.py").write_text(SMALL, encoding="utf-8")
    own = own_command()
    return bench.take_turns([
        Task("python -c 'import click'", [sys.executable, "-c", "import click"], small),
        Task("--version", [*own, "--version"], small),
        Task("one small file, cold", [*own, "check", "main.py"], small, bench.drop_cache),
        Task("one small file, changed", [*own, "check", "main.py"], small, Toucher(small / "main.py")),
        Task("one small file, warm", [*own, "check", "main.py"], small),
    ])  # fmt: skip


def forbidden_imports() -> list[str]:
    """Return the heavy packages that ``--version`` imports, of which there should be none."""
    program = (
        "import sys\nfrom pipeline_guard.__main__ import main\nmain(['--version'])\n"
        "print([name for name in ('libcst', 'rich', 'msgspec', 'pathspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [str(name) for name in json.loads(done.stdout.splitlines()[-1].replace("'", '"'))]


def about_a_tree(bench: Bench, tree: Path, peers: Sequence[Peer], rules: Path) -> dict[str, Any]:
    """Return the figures of every tool on a copy of a tree."""
    copy = bench.work / "tree"
    shutil.copytree(tree, copy, symlinks=True)
    try:
        files = python_files(copy)
        largest = max(files, key=lambda path: path.stat().st_size)
        changed = Toucher(_unrelated(files))
        own = [*own_command(), "check", "."]
        time.sleep(SETTLING_SECONDS)
        tasks = [
            Task("pipeline-guard, cold", own, copy, bench.drop_cache),
            Task("pipeline-guard, warm", own, copy),
            Task("pipeline-guard, one file changed", own, copy, changed),
        ]
        tasks += [Task(peer.name, peer.command(rules), copy) for peer in peers if peer.path is not None]
        figures = bench.take_turns(tasks)
        changed.restore()
        name = largest.relative_to(copy).as_posix()
        return {
            "tree": str(tree),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "largest": {"path": name, "bytes": largest.stat().st_size},
            "changed": changed.path.relative_to(copy).as_posix(),
            "tools": {task: found.as_row(name) for task, found in figures.items()},
        }
    finally:
        shutil.rmtree(copy)


def _unrelated(files: Sequence[Path]) -> Path:
    """Return a file from the middle of the tree that has nothing to do with Realtime."""
    middle = len(files) // 2
    for path in [*files[middle:], *files[:middle]]:
        data = path.read_bytes()
        if data.isascii() and not any(word in data.lower() for word in (b"realtime", b"response.create", b"audio")):
            return path
    return files[middle]


def generate(folder: Path, count: int) -> None:
    """Write a tree of ordinary modules, 50 in a package, with one small backend among them."""
    demo = Path(__file__).resolve().parents[2] / "pipeline_guard" / "demo" / "leaky_backend"
    shutil.copytree(demo, folder / "voice")
    body = "".join(
        f"\n\ndef step_{n}(items, limit={n}):\n    found = [item for item in items if item.size > limit]\n"
        f"    return {{'count': len(found), 'first': found[0] if found else None, 'step': {n}}}\n"
        for n in range(8)
    )
    for number in range(count):
        package = folder / f"area_{number // 2500:03}" / f"package_{number // 50:04}"
        if number % 50 == 0:
            package.mkdir(parents=True)
        head = f'"""Module {number}."""\n\nimport json\nimport os\n\nNAME = "module {number}"\n'
        (package / f"module_{number:05}.py").write_text(head + body, encoding="utf-8")


def table(found: dict[str, Any], peers: Iterable[Peer]) -> str:
    """Return the figures of a tree as text; ratios are those of wall times."""
    rows = found["tools"]
    ruff = rows.get("ruff")
    size = f"{found['files']:,} Python files, {found['bytes'] / 1e6:.1f} MB"
    largest = found["largest"]
    lines = [f"{found['tree']}: {size}", f"{'':34}{'wall s':>9}{'cpu s':>9}{'MB':>7}{'x ruff':>9}  in the largest file"]
    for name, row in rows.items():
        ratio = f"{row['wall'] / ruff['wall']:9.2f}" if ruff else f"{'':9}"
        runs = "" if row["runs"] > 1 else "  (one run)"
        said = "named" if row["names_largest"] else "not named"
        lines.append(f"{name:34}{row['wall']:9.3f}{row['cpu']:9.3f}{row['peak_mb']:7.0f}{ratio}  {said}{runs}")
    lines += [f"{peer.name:34}   absent" for peer in peers if peer.path is None]
    lines.append(f"largest file: {largest['path']}, {largest['bytes']:,} bytes; changed: {found['changed']}")
    return "\n".join(lines)


def start_table(figures: dict[str, Figures]) -> str:
    """Return the figures of starting as text."""
    floor = figures["python -c 'import click'"]
    lines = [f"{'start':34}{'wall s':>9}{'cpu s':>9}{'MB':>7}{'x click':>9}"]
    for name, each in figures.items():
        row = f"{name:34}{each.wall:9.3f}{each.cpu:9.3f}{each.peak_mb:7.0f}{each.wall / floor.wall:9.2f}"
        lines.append(row)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path)
    parser.add_argument("--peers", type=Path, help="the bin folder of a virtual environment that holds the peers")
    parser.add_argument("--without", default="", help="peers not to run, as in semgrep,ast-grep")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--generate", type=int, default=0, metavar="N", help="a tree of N generated files as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    args = parser.parse_args()
    for tree in args.trees:
        if not tree.is_dir():
            parser.error(f"{tree}: is no folder")
    peers = [peer for peer in find_peers(args.peers) if peer.name not in args.without.split(",")]
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        work = Path(name).resolve()
        bench = Bench(work, args.runs)
        rules = write_rules(work / "rules")
        start = about_the_start(bench)
        heavy = forbidden_imports()
        print(start_table(start))
        print(f"heavy imports of --version: {', '.join(heavy) or 'none'}\n", flush=True)
        trees = [tree.resolve() for tree in args.trees]
        if args.generate:
            generate(work / "generated", args.generate)
            trees.append(work / "generated")
        results = []
        for tree in trees:
            results.append(about_a_tree(bench, tree, peers, rules))
            print(table(results[-1], peers) + "\n", flush=True)
    if args.json is not None:
        report = {
            "python": sys.version.split()[0],
            "cores": os.cpu_count(),
            "runs": args.runs,
            "peers": {peer.name: peer.version for peer in peers},
            "start": {name: each.as_row(None) for name, each in start.items()},
            "heavy_imports": heavy,
            "trees": results,
        }
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
