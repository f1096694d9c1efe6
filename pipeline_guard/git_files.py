"""Asks git, and only git, which files belong to a folder; a scanned repository gets no chance to run anything."""

from __future__ import annotations

import os

TIMEOUT_SECONDS = 60.0
# A repository's own configuration may name programs for git to start; these settings take that away.
HARMLESS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def git_environment() -> dict[str, str]:
    """Return the environment without the variables by which a hook or a caller points git at another repository."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    environment["GIT_TERMINAL_PROMPT"] = "0"
    # A clone without all objects would fetch what is missing, by way of programs that its configuration may name.
    environment["GIT_NO_LAZY_FETCH"] = "1"
    environment["GIT_ALLOW_PROTOCOL"] = "none"
    return environment


def list_git_files(folder: str) -> list[str] | None:
    """Return tracked and not-ignored untracked files, relative to ``folder``, or ``None`` where git has no answer.

    A repository inside the repository comes as one name, with a slash at its end when it is not tracked.
    """
    answer = _ask(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return None if answer is None else [os.fsdecode(name) for name in answer.split(b"\0") if name]


def list_uncommitted(folder: str) -> list[str]:
    """Return the tracked files below a folder that differ from the last commit, none where git has no answer."""
    answer = _ask(folder, "status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--", ".")
    return [os.fsdecode(entry[3:]) for entry in (answer or b"").split(b"\0") if entry]


def _ask(folder: str, *words: str) -> bytes | None:
    """Return what git prints for a command in a folder, or ``None`` where it cannot answer."""
    if not _is_in_repository(folder):
        return None
    import subprocess

    command = ["git", *HARMLESS, "-C", folder, *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=git_environment(),
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _is_in_repository(folder: str) -> bool:
    """Say whether a folder lies below one with a ".git": without, git has no answer, and need not be started."""
    path = os.path.realpath(folder)
    while True:
        if os.path.lexists(os.path.join(path, ".git")):
            return True
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above
