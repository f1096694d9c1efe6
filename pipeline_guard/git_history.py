"""Reads old versions of files out of git: objects only, never the work tree, and nothing a repository can run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from pipeline_guard.errors import UserError
from pipeline_guard.git_files import HARMLESS, TIMEOUT_SECONDS, git_environment

# How many versions of one file are looked at: a restore goes back days or weeks, hardly further.
MAX_VERSIONS = 400


class Version(NamedTuple):
    """A content that a file had: the commit that brought it and the blob it is."""

    commit: str
    blob: str


class Entry(NamedTuple):
    """A file of an old tree: its path relative to the folder that was asked about, its blob and its size in bytes."""

    path: str
    blob: str
    size: int


class Repository:
    """The repository around a folder, or none: then every question has an empty answer.

    ``head`` is where the history of files begins; ``since`` the commit behind which a change counts as made before, by
    default all but the newest.
    """

    def __init__(self, folder: str, head: str = "HEAD", since: str | None = None) -> None:
        self.folder = folder
        self.head = head
        self.since = since
        prefix = self._git("rev-parse", "--show-prefix")
        self.exists = prefix is not None
        self.prefix = os.fsdecode(prefix or b"").rstrip("\n")

    def commit(self, revision: str) -> str:
        """Return the commit a revision names, or say why there is none."""
        if not self.exists:
            raise UserError(f"{self.folder}: is in no git repository, so there is no {revision!r} to compare with")
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found:
            return found.decode().strip()
        if (self._git("rev-parse", "--is-shallow-repository") or b"").strip() == b"true":
            raise UserError(
                f"{revision!r} is not in this clone, which holds only part of the history; fetch more of it first "
                "(git fetch --unshallow; on GitHub: fetch-depth: 0 for actions/checkout)"
            )
        raise UserError(f"{revision!r} names no commit of this repository; 'git log' lists them")

    def files(self, commit: str) -> list[Entry]:
        """Return the regular files of a commit below the folder."""
        below = (self.prefix,) if self.prefix else ()
        listed = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", *below)
        if listed is None:
            raise UserError(f"{self.folder}: git cannot read the files of {commit}")
        found = []
        for row in listed.split(b"\0"):
            about, _, path = row.partition(b"\t")
            parts = about.split()
            # Links (mode 120000) and submodules are no files of this tree.
            if len(parts) == 4 and parts[0].startswith(b"100"):
                name = os.fsdecode(path)[len(self.prefix) :]
                found.append(Entry(name, parts[2].decode(), int(parts[3]) if parts[3].isdigit() else 0))
        return found

    def contents(self, blobs: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of blobs by name; those that are not in this clone are missing."""
        given = "".join(f"{blob}\n" for blob in blobs).encode()
        answer = self._git("cat-file", "--batch", given=given) or b""
        found: dict[str, bytes] = {}
        start = 0
        while start < len(answer):
            end = answer.index(b"\n", start)
            head = answer[start:end].split()
            start = end + 1
            if len(head) == 3:
                size = int(head[2])
                found[head[0].decode()] = answer[start : start + size]
                start += size + 1
        return found

    def versions(self, path: str) -> list[Version]:
        """Return the contents a file had on this branch, newest first, the committed one included."""
        where = f":(top,literal){self.prefix}{path}"
        commits = self._git("rev-list", "--first-parent", f"--max-count={MAX_VERSIONS}", self.head, "--", where)
        names = (commits or b"").decode().split()
        if not names:
            return []
        given = b"".join(f"{name}:".encode() + os.fsencode(f"{self.prefix}{path}") + b"\n" for name in names)
        answers = (self._git("cat-file", "--batch-check", given=given) or b"").splitlines()
        found = []
        for commit, answer in zip(names, answers, strict=False):
            parts = answer.split()
            if len(parts) == 3 and parts[1] == b"blob":
                found.append(Version(commit, parts[0].decode()))
        return found

    def is_new(self, version: Version) -> bool:
        """Say whether a version was committed by what is looked at, and not before."""
        if self.since is not None:
            return self._git("merge-base", "--is-ancestor", version.commit, self.since) is None
        newest = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self.head}^{{commit}}")
        return (newest or b"").decode().strip() == version.commit

    def describe(self, commit: str) -> str:
        """Return a commit's short name and day."""
        said = self._git("-c", "log.showSignature=false", "show", "-s", "--no-patch", "--format=%h of %cs", commit)
        return (said or b"").decode("utf-8", "replace").strip() or commit[:9]

    def _git(self, *arguments: str, given: bytes = b"") -> bytes | None:
        command = ["git", *HARMLESS, "-C", self.folder, *arguments]
        try:
            done = subprocess.run(
                command,
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=git_environment(),
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None
