"""PG905: a file that is worse than the baseline because it is an old version of itself."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pipeline_guard.checks.report import Draft
from pipeline_guard.findings import Finding
from pipeline_guard.git_history import Repository, Version
from pipeline_guard.pipeline.model import Step
from pipeline_guard.statements import ReadFile

RULE = "PG905"
# Bytes of old versions that are read when no version is equal: a second for a file of 1 MB.
MAX_READ = 64_000_000
# A restored file that was touched up: it differs from the old version by this share of what it differs from the
# version it replaces, which is no small change itself.
NEAR = 0.1
LARGE_CHANGE = 20
_LINE_END = re.compile(rb"\r\n|\r|\n")


def rolled_back(repository: Repository, findings: Sequence[Finding], read: ReadFile) -> Iterator[Draft]:
    """Yield a draft for every file with new findings whose content is that of an older version, or nearly.

    A file that git does not know is not judged, and neither is anything where there is no repository.
    """
    if not repository.exists:
        return
    for path in sorted({finding.path for finding in findings}):
        versions = _distinct(repository.versions(path))
        try:
            data = read(path)
        except OSError:
            continue
        if len(versions) < 2 or (_is_committed(data, versions) and not repository.is_new(versions[0])):
            continue  # what is new in it comes from elsewhere
        found = _equal(data, versions) or _nearly(data, versions, repository)
        if found is not None:
            old, replaced, how = found
            yield _draft(path, [f for f in findings if f.path == path], repository, old, replaced, how)


def _distinct(versions: Iterable[Version]) -> list[Version]:
    """Return versions without repetitions of the one before."""
    found: list[Version] = []
    for version in versions:
        if found and found[-1].blob == version.blob:
            found[-1] = version  # the older commit brought it
        else:
            found.append(version)
    return found


def _is_committed(data: bytes, versions: Sequence[Version]) -> bool:
    return versions[0].blob in _names(data, versions)


def _names(data: bytes, versions: Sequence[Version]) -> set[str]:
    """Return the names git may give a content: as it is, and with the line endings that git stores."""
    return {_blob_name(text, len(versions[0].blob)) for text in (data, data.replace(b"\r\n", b"\n"))}


def _equal(data: bytes, versions: Sequence[Version]) -> tuple[Version, Version, str] | None:
    """Return the older version that has this content, and the version it replaces."""
    names = _names(data, versions)
    for index, version in enumerate(versions):
        if version.blob in names and index > 0:
            return version, versions[1 if versions[0].blob in names else 0], "has the content"
    return None


def _nearly(data: bytes, versions: Sequence[Version], repository: Repository) -> tuple[Version, Version, str] | None:
    """Return the older version that this content is much nearer to than to the version it replaces."""
    lines = _lines(data)
    if _is_committed(data, versions):
        versions = versions[1:]  # the change is committed already
    replaced, older = versions[0], versions[1:]
    budget = MAX_READ // max(len(data), 1)
    if not older or budget < 2:
        return None
    contents = repository.contents([replaced.blob, *(version.blob for version in older[: budget - 1])])
    if replaced.blob not in contents:
        return None
    change = _difference(lines, _lines(contents[replaced.blob]))
    if change < LARGE_CHANGE:
        return None
    best: tuple[int, Version] | None = None
    for version in older:
        if version.blob in contents:
            distance = _difference(lines, _lines(contents[version.blob]))
            if best is None or distance < best[0]:
                best = (distance, version)
    if best is None or best[0] > NEAR * change:
        return None
    return best[1], replaced, f"is, but for {best[0]} of {change} changed lines, at the content"


def _draft(
    path: str, findings: Sequence[Finding], repository: Repository, old: Version, replaced: Version, how: str
) -> Draft:
    rules = ", ".join(f"{rule} ({number})" for rule, number in sorted(Counter(f.rule for f in findings).items()))
    message = (
        f"{path} {how} of commit {repository.describe(old.commit)}, older than {repository.describe(replaced.commit)}, "
        f"and what was mended in between is broken again: {rules}. Take the newer one back: "
        f"git checkout {replaced.commit[:12]} -- {path}"
    )
    steps = tuple(Step(f.path, f.line, f.symbol, f.rule) for f in findings[:20])
    return Draft(path, 1, 1, 1, "<module>", message, steps)


def _blob_name(data: bytes, digits: int) -> str:
    """Return the name git gives a content; repositories count with SHA-1 (40 digits) or SHA-256."""
    whole = b"blob %d\0" % len(data) + data
    return (hashlib.sha1(whole, usedforsecurity=False) if digits == 40 else hashlib.sha256(whole)).hexdigest()


def _lines(data: bytes) -> Counter[bytes]:
    return Counter(line for line in _LINE_END.split(data) if line.strip())


def _difference(one: Counter[bytes], other: Counter[bytes]) -> int:
    return sum((one - other).values()) + sum((other - one).values())
