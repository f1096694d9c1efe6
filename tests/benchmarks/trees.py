"""Analyses the trees of a git history, each distinct one once, and keeps their maps in a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT)]

from pipeline_guard.cache import FOLDER_VARIABLE  # noqa: E402
from pipeline_guard.cli.run import build_map, settings_for  # noqa: E402
from pipeline_guard.cli.target import Target  # noqa: E402
from pipeline_guard.git_files import git_environment  # noqa: E402
from pipeline_guard.pipeline.model import PipelineMap  # noqa: E402
from pipeline_guard.statements import Statement, Statements  # noqa: E402

# What a map is made of: nothing else in a tree can change it.
_SUFFIXES = (".py", ".pyw", ".xml")
_NAMES = (".gitignore", "pyproject.toml", "setup.py", "pyvenv.cfg", "pipeline-guard.toml", ".pipeline-guard.toml")


class History:
    """Reads commits and blobs of one repository, the latter through one process that stays open."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self._blobs = subprocess.Popen(
            ["git", "--git-dir", str(git_dir), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=git_environment(),
        )

    def git(self, *arguments: str) -> str:
        """Return what a git command prints."""
        command = ["git", "--git-dir", str(self.git_dir), *arguments]
        return subprocess.run(command, env=git_environment(), check=True, capture_output=True, text=True).stdout

    def first_parents(self, revisions: str) -> list[str]:
        """Return the commits of a range along first parents, oldest first."""
        return self.git("rev-list", "--first-parent", "--reverse", revisions).split()

    def tree(self, commit: str) -> dict[str, str]:
        """Return path and blob of every file of a commit that a map depends on."""
        found = {}
        for line in self.git("ls-tree", "-r", "-z", commit).split("\0"):
            about, _, path = line.partition("\t")
            if about.startswith("100") and (path.endswith(_SUFFIXES) or PurePosixPath(path).name in _NAMES):
                found[path] = about.split()[2]
        return found

    def blob(self, name: str) -> bytes:
        """Return the content of a blob."""
        stdin, stdout = self._blobs.stdin, self._blobs.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{name}\n".encode())
        stdin.flush()
        size = int(stdout.readline().split()[2])
        return stdout.read(size + 1)[:size]

    def close(self) -> None:
        """End the process."""
        self._blobs.communicate()


def tree_key(tree: Mapping[str, str]) -> str:
    """Return the name under which the map of a tree is kept."""
    text = "\0".join(f"{path}\0{blob}" for path, blob in sorted(tree.items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


_Place = tuple[str, int, int]


class MapStore:
    """The maps of trees, each in a file of its own; one folder per version of the analysis."""

    def __init__(self, folder: Path, history: History) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.history = history
        # The facts of a file that most commits leave alone are read once; they are no part of the project's own cache.
        os.environ.setdefault(FOLDER_VARIABLE, str(folder / "facts"))
        self.work = folder / f"tree-{os.getpid()}"
        self._there: dict[str, str] = {}

    def path(self, tree: Mapping[str, str]) -> Path:
        """Return the file in which a tree's map is kept, whether it is there or not."""
        return self.folder / f"{tree_key(tree)}.map"

    def read(self, tree: Mapping[str, str]) -> PipelineMap:
        """Return the map of a tree, from the folder where it is there."""
        path = self.path(tree)
        if not path.exists():
            self._analyse(tree, path)
        return msgspec.msgpack.decode(zlib.decompress(path.read_bytes()), type=PipelineMap)

    def statements(self, tree: Mapping[str, str]) -> Statements:
        """Return the statements of a tree, with those that were looked up before."""

        def read(path: str) -> bytes:
            if path not in tree:
                raise FileNotFoundError(path)
            return self.history.blob(tree[path])

        statements = Statements(read)
        kept = self.folder / f"{tree_key(tree)}.keys"
        if kept.exists():
            rows = msgspec.msgpack.decode(zlib.decompress(kept.read_bytes()), type=list[tuple[_Place, Statement]])
            statements.found.update(rows)
        return statements

    def keep(self, key: str, statements: Statements) -> None:
        """Keep the statements that were looked up: finding them means parsing the files again."""
        data = zlib.compress(msgspec.msgpack.encode(list(statements.found.items())))
        (self.folder / f"{key}.keys").write_bytes(data)

    def close(self) -> None:
        """Remove the exported tree."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _analyse(self, tree: Mapping[str, str], path: Path) -> None:
        self._export(tree)
        # In a process of its own: what one analysis leaves in memory is gone afterwards.
        child = os.fork()
        if child == 0:
            code = 1
            try:
                target = Target(self.work)
                found = build_map(target, settings_for(target, None), show_progress=False, use_cache=True)
                beside = path.with_suffix(".tmp")
                beside.write_bytes(zlib.compress(msgspec.msgpack.encode(found)))
                beside.replace(path)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError(f"the tree {path.stem} could not be analysed")

    def _export(self, tree: Mapping[str, str]) -> None:
        for gone in self._there.keys() - tree.keys():
            (self.work / gone).unlink()
        for name, blob in tree.items():
            if self._there.get(name) != blob:
                target = self.work / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.history.blob(blob))
        self._there = dict(tree)
