"""A large program in which no file touches a Realtime session: nothing there can be judged, so nothing is parsed.

Whether it may is asked of the bytes of its files.  In a small program all files are read in depth all the same, and a
map of it shows what else listens and speaks there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline_guard.cache import Cache
from pipeline_guard.config import Config
from pipeline_guard.discovery import SourceFile
from pipeline_guard.facts.hints import may_hold_remarks
from pipeline_guard.pipeline.model import Coverage, Gap, PipelineMap, Remark
from pipeline_guard.program import signs
from pipeline_guard.program.contents import REMARK, SIGN, Contents


def is_large(files: Sequence[SourceFile]) -> bool:
    """Say whether a program is so large that it is not read for nothing."""
    return sum(file.size for file in files) > signs.LARGE


def look_for_sessions(config: Config, cache: Cache | None) -> Callable[[str, bytes], int]:
    """Return what says of the bytes of a file whether they may touch a session, and whether they speak to this tool."""
    looks: list[Callable[[bytes], bool]] = []

    def look(rel: str, data: bytes) -> int:
        if not looks:
            # Where no file changed nobody asks.
            from pipeline_guard.rulebook import rules_dir
            from pipeline_guard.vocabulary import load

            looks.append(signs.Signs(load(config, rules_dir() / "vocabulary", cache)).are_in)
        shown = SIGN if looks[0](data) and not _is_test(rel, data) else 0
        return shown | (REMARK if may_hold_remarks(data) else 0)

    return look


def may_hold_sessions(contents: Contents) -> bool:
    """Say whether any file of a program may touch a session; ``contents`` were looked at for that."""
    return bool(contents.with_flag(SIGN))


def map_without_sessions(root: Path, contents: Contents, config: Config) -> PipelineMap:
    """Return the map of a program in which no file touches a session: no lane, and what could not be read.

    The files that somebody named are parsed: they have to be such that they can be judged.
    """
    gaps = [*contents.gaps, *_broken(contents)]
    remarks: tuple[Remark, ...] = ()
    if speaking := contents.with_flag(REMARK):
        from pipeline_guard.facts.remarks import read_remarks

        remarks = read_remarks(contents.sources(speaking).data)
    if config.source is not None:
        from pipeline_guard.pipeline.apps import Apps
        from pipeline_guard.pipeline.declared import unmet_declarations

        gaps += unmet_declarations((), [file.rel for file in contents.files], (), config, Apps(config, root), root)
    number = len(contents.files)
    coverage = Coverage(discovered=number, analysed=0, set_aside=number - len({gap.path for gap in contents.gaps}))
    return PipelineMap(root=str(root), lanes=(), gaps=tuple(gaps), coverage=coverage, remarks=remarks)


def _broken(contents: Contents) -> list[Gap]:
    named = [file.rel for file in contents.files if file.named]
    if not named:
        return []
    from pipeline_guard.facts.extract import Unreadable
    from pipeline_guard.facts.store import FactStore

    store = FactStore(contents.cache)
    gaps: list[Gap] = []
    for rel, data in contents.sources(named).data.items():
        try:
            store.check_syntax(data)
        except Unreadable as error:
            gaps.append(Gap(path=rel, reason=error.reason, detail=error.detail, line=error.line))
    return gaps


def _is_test(rel: str, data: bytes) -> bool:
    from pipeline_guard.program.places import is_test_file

    return is_test_file(rel, data)
