"""Finds the Python files of a project, and says which ones it leaves aside and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pipeline_guard.folders import DOCUMENT_SUFFIXES, ENVIRONMENT, IGNORES, LISTED_SUFFIXES, PYTHON_SUFFIXES
from pipeline_guard.git_files import list_git_files
from pipeline_guard.ignores import Ignores, Memory
from pipeline_guard.pipeline.model import Gap

# The size above which a document is no answer to a call.
_MAX_DOCUMENT = 65_536
# Folders that never hold the project's own code, also when somebody committed them.
FOREIGN_FOLDERS = frozenset(
    """
    .git .hg .svn .bzr .jj __pycache__ node_modules bower_components site-packages __pypackages__ .tox .nox .eggs
    .mypy_cache .pytest_cache .ruff_cache .pytype .hypothesis .ipynb_checkpoints
    """.split()
)
_VENV_NAMES = frozenset({"venv", ".venv", "env"})
_SHEBANG_BYTES = 128


# Size, time of the last change of the content and of the file's entry (both in nanoseconds), and number on the disk.
Stamp = tuple[int, int, int, int]


class SourceFile(msgspec.Struct, frozen=True):
    """One Python file: where it is, and its name relative to the root with forward slashes.

    ``named`` says that somebody asked about this very file: then it is parsed, whatever stands in it.  ``stamp`` is
    what the file system said about it when it was found.
    """

    path: str
    rel: str
    named: bool = False
    stamp: Stamp | None = None

    @property
    def size(self) -> int:
        """Bytes of the file when it was found; 0 where that is not known."""
        return self.stamp[0] if self.stamp is not None else 0


class Discovery(msgspec.Struct, frozen=True):
    """What was found, ordered by ``rel``, and what was left aside; ``documents`` are small XML files."""

    files: list[SourceFile]
    gaps: list[Gap]
    documents: list[SourceFile] = []


def discover(
    root: Path,
    exclude: Sequence[str],
    max_file_size: int,
    *,
    exclude_prefix: str = "",
    explicit: Sequence[Path] = (),
    memory: Memory | None = None,
) -> Discovery:
    """Return the Python files below ``root``.

    Where git answers, these are its tracked files and those it would offer to add; else all that no ``.gitignore``
    names.  ``exclude`` holds gitignore-style patterns; ``exclude_prefix`` is the way from the folder they speak of to
    ``root``.  The files in ``explicit`` are taken whatever the ignore rules and their names say.  ``memory`` knows what
    is ignored from earlier runs.
    """
    memory = memory or Memory()
    base = os.path.abspath(root)
    foreign = _ForeignFolders(base)
    names = _names_from_git(base, foreign, memory)
    # A folder that git ignores as a whole has no files for git, and yet somebody asked for it by name.
    if names is None or not any(name.endswith(PYTHON_SUFFIXES) for name in names):
        names = list(_walk(base, foreign, memory))
    if exclude:
        names = _without_excluded(names, exclude, exclude_prefix)
    return _Sieve(base, max_file_size).sift(names, [os.path.abspath(path) for path in explicit])


def is_python_file(path: Path) -> bool:
    """Say whether a file that somebody names is Python: by its suffix, or by the first line of a script without one."""
    if path.name.endswith(PYTHON_SUFFIXES):
        return True
    if path.suffix:
        return False
    try:
        with path.open("rb") as handle:
            first_line = handle.read(_SHEBANG_BYTES).split(b"\n", 1)[0]
    except OSError:
        return False
    return first_line.startswith(b"#!") and b"python" in first_line


class _ForeignFolders:
    """Knows which folders below the root are somebody else's code; each folder is looked at once."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.verdicts: dict[str, bool] = {"": False}

    def covers(self, folder: str) -> bool:
        """Say whether a folder, given relative to the root, is foreign or lies in a foreign one."""
        pending: list[str] = []
        while (verdict := self.verdicts.get(folder)) is None:
            pending.append(folder)
            folder = folder.rpartition("/")[0]
        for inner in reversed(pending):
            parent, _, name = inner.rpartition("/")
            verdict = verdict or self.is_foreign(parent, name)
            self.verdicts[inner] = verdict
        return verdict

    def is_foreign(self, parent: str, name: str) -> bool:
        return self.is_named_so(parent, name) or self.is_environment(f"{parent}/{name}" if parent else name)

    def is_environment(self, folder: str) -> bool:
        """Say whether a folder is a virtual environment."""
        return os.path.exists(os.path.join(self.base, folder, ENVIRONMENT))

    def is_named_so(self, parent: str, name: str) -> bool:
        """Say whether a folder is foreign by what it is called and where it is."""
        if name in FOREIGN_FOLDERS or name.endswith(".egg-info"):
            return True
        if name in _VENV_NAMES:
            return _has_site_packages(os.path.join(self.base, parent, name))
        # setuptools copies the package into build/lib or build/lib.linux-x86_64; elsewhere the name may be real code.
        if parent.endswith("build") and parent.rpartition("/")[2] == "build":
            project = os.path.dirname(os.path.join(self.base, parent))
            is_copy = name.split(".", maxsplit=1)[0] in {"lib", "bdist"}
            return is_copy and any(os.path.exists(os.path.join(project, m)) for m in ("setup.py", "pyproject.toml"))
        return False


def _has_site_packages(folder: str) -> bool:
    if os.path.isdir(os.path.join(folder, "Lib", "site-packages")):
        return True
    lib = os.path.join(folder, "lib")
    try:
        versions = os.listdir(lib)
    except OSError:
        return False
    return any(
        name.startswith(("python", "pypy")) and os.path.isdir(os.path.join(lib, name, "site-packages"))
        for name in versions
    )


def _names_from_git(base: str, foreign: _ForeignFolders, memory: Memory) -> list[str] | None:
    listed = list_git_files(base)
    # For a folder that only looks like a repository, git may name the folder itself; that is no answer.
    if listed is None or any(not name.strip("./") for name in listed):
        return None
    names: list[str] = []
    for name in dict.fromkeys(listed):
        if foreign.covers(name.rpartition("/")[0]):
            continue
        if name.endswith("/") or not name.endswith(LISTED_SUFFIXES):
            # A repository inside this one is a single entry for git, and so is a link to a folder.
            names.extend(_names_in_entry(base, name.rstrip("/"), foreign, memory))
        else:
            names.append(name)
    return names


def _names_in_entry(base: str, name: str, foreign: _ForeignFolders, memory: Memory) -> Iterator[str]:
    path = os.path.join(base, name)
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode):
        yield name
    elif stat.S_ISDIR(mode) and not foreign.covers(name):
        inner = _ForeignFolders(path)
        below = _names_from_git(path, inner, memory)
        yield from (f"{name}/{part}" for part in (list(_walk(path, inner, memory)) if below is None else below))


def _walk(base: str, foreign: _ForeignFolders, memory: Memory) -> Iterator[str]:
    """Yield the files and links below a folder that no ``.gitignore`` on the way names."""
    pending: list[tuple[str, Ignores]] = [("", Ignores(memory))]
    listings = memory.folders
    while pending:
        folder, ignores = pending.pop()
        try:
            held = listings.held(os.path.join(base, folder) if folder else base)
        except OSError:
            # An unreadable folder is reported by the sieve, which looks at every name it is given.
            yield folder
            continue
        if folder and ENVIRONMENT in held.marks and foreign.is_environment(folder):
            continue
        prefix = f"{folder}/" if folder else ""
        if IGNORES in held.marks:
            ignores = ignores.below(prefix, _text_of(os.path.join(base, prefix, IGNORES)))
        for name in held.folders:
            if not foreign.is_named_so(folder, name) and not ignores.name(f"{prefix}{name}/"):
                pending.append((prefix + name, ignores))
        for name in held.files:
            if not ignores.name(prefix + name):
                yield prefix + name


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as handle:
            return handle.read()
    except OSError:
        return ""


def _without_excluded(names: list[str], exclude: Sequence[str], prefix: str) -> list[str]:
    from pathspec import GitIgnoreSpec

    spec = GitIgnoreSpec.from_lines(exclude)
    start = prefix.strip("/")
    start = f"{start}/" if start else ""
    matches: Callable[[str], bool] = spec.match_file
    return [name for name in names if not matches(start + name)]


class _Sieve:
    """Looks at each name on disk: regular files of a sensible size pass, links are followed with care."""

    def __init__(self, base: str, max_file_size: int) -> None:
        self.base = base
        self.start = os.path.join(base, "")
        self.real_base = os.path.realpath(base)
        self.max_file_size = max_file_size
        self.files: list[SourceFile] = []
        self.documents: list[SourceFile] = []
        self.gaps: list[Gap] = []
        self.links: list[tuple[str, str]] = []
        self.named: set[str] = set()

    def sift(self, names: list[str], explicit: list[str]) -> Discovery:
        for name in names:
            self.look(name)
        present = {file.path for file in self.files}
        for path in explicit:
            if path not in present:
                name = path[len(self.start) :].replace(os.sep, "/")
                self.named.add(name)
                self.look(name)
        if self.links:
            self.follow_links()
        if explicit:
            asked = set(explicit)
            self.files = [replace(file, named=True) if file.path in asked else file for file in self.files]
        self.files.sort(key=lambda file: file.rel)
        self.documents.sort(key=lambda file: file.rel)
        self.gaps.sort(key=lambda gap: (gap.path, gap.reason))
        return Discovery(self.files, self.gaps, self.documents)

    def look(self, name: str) -> None:
        path = self.start + name
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.leave_out(name, "unreadable", f"cannot be read: {error.strerror or error}")
            return
        if stat.S_ISREG(status.st_mode):
            self.take(name, path, status)
        elif stat.S_ISLNK(status.st_mode):
            self.links.append((name, path))
        elif stat.S_ISDIR(status.st_mode):
            self.leave_out(name or ".", "unreadable", "this folder cannot be opened")
        else:
            self.leave_out(name, "unreadable", "is not a regular file")

    def take(self, name: str, path: str, status: os.stat_result) -> None:
        size = status.st_size
        found = SourceFile(
            path,
            name if name.isascii() else _printable(name),
            False,
            (size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino),
        )
        if name.endswith(DOCUMENT_SUFFIXES) and name not in self.named:
            if size <= _MAX_DOCUMENT:
                self.documents.append(found)
        elif size > self.max_file_size:
            detail = (
                f"{size:,} bytes are more than max-file-size ({self.max_file_size:,}); raise it to have the file read"
            )
            self.leave_out(name, "size", detail)
        else:
            self.files.append(found)

    def follow_links(self) -> None:
        """Take what links lead to, each real file once, and nothing that lies outside the root."""
        # No name so far went through a link to a folder, so the real path needs no look at the disk.
        seen = {os.path.join(self.real_base, os.path.relpath(file.path, self.base)) for file in self.files}
        for name, path in sorted(set(self.links)):
            is_python = name.endswith(PYTHON_SUFFIXES) or name in self.named
            try:
                target = os.path.realpath(path)
                status = os.stat(path)
            except FileNotFoundError:
                # Editors keep locks as dangling links named ".#file.py"; they are nobody's code.
                if is_python and not os.path.basename(name).startswith(".#"):
                    self.leave_out(name, "symlink", "the file this link points to does not exist")
                continue
            except OSError as error:
                if is_python:
                    self.leave_out(name, "symlink", f"the link leads nowhere: {error.strerror or error}")
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if not is_folder and not (is_python and stat.S_ISREG(status.st_mode)):
                continue
            if not _is_below(target, self.real_base):
                detail = f"the link leaves the scanned folder: it points to {_printable(target)}"
                self.leave_out(name, "symlink", detail)
            elif not is_folder and target not in seen:
                seen.add(target)
                self.take(name, path, status)

    def leave_out(self, name: str, reason: str, detail: str) -> None:
        self.gaps.append(Gap(path=_printable(name), reason=reason, detail=detail))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


def _printable(name: str) -> str:
    """Return a name that any report can hold: bytes that are no text become escapes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name
