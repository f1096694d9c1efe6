"""The findings as Markdown for a comment on a pull request: a summary, tables, and the call paths to unfold."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pipeline_guard.findings import Finding
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.reports import other_speech, words
from pipeline_guard.reports.formats import SEVERITY_ORDER, evidence_title, rule_name, shown, worst_first, writable
from pipeline_guard.reports.terminal import clean, count

# GitHub takes no more characters in a comment.
MAX_CHARACTERS = 65_535
# For the headings and the lines that say what was left out.
_RESERVE = 1_000
_MAX_CELL = 1_000
_MAX_STEPS = 50
# As a reference none of these means anything to a Markdown parser; in a word, an underscore never does.
_MEANINGFUL = re.compile(r"[&<>|`*\[\]\\~]|:(?=//)|(?<![^\W_])_|_(?![^\W_])")
# On a forge these are the mention of a user and of an issue, unless something stands in between.
_MENTION = re.compile(r"@|#(?=\d)")
_ZERO_WIDTH = "\u200b"
_HEADINGS = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
_HEAD = "| rule | place | what is wrong |\n|---|---|---|\n"


class _Entry(NamedTuple):
    severity: str
    row: str
    path: str


def render(findings: Sequence[Finding], pipeline_map: PipelineMap) -> str:
    """Return the comment; where not everything fits, the rows of the worst findings come before any call path."""
    acting = worst_first(shown(findings))
    summary = _summary(acting, len(findings) - len(acting), pipeline_map)
    entries = [_Entry(found.severity, _row(found), _call_path(found)) for found in acting]
    room = MAX_CHARACTERS - _RESERVE - len(summary)
    rows = _fitting([entry.row for entry in entries], room)
    room -= sum(len(entry.row) for entry in entries[:rows])
    unfolded = [entry for entry in entries[:rows] if entry.path]
    paths = _fitting([entry.path for entry in unfolded], room)
    with_path = set(map(id, unfolded[:paths]))
    parts = [summary]
    for severity in SEVERITY_ORDER:
        section = [entry for entry in entries[:rows] if entry.severity == severity]
        if section:
            parts.append(f"\n### {_HEADINGS[severity]}\n\n{_HEAD}{''.join(entry.row for entry in section)}")
            parts.extend(entry.path for entry in section if id(entry) in with_path)
    if rows < len(entries):
        parts.append(f"\n… and {count(len(entries) - rows, 'more finding', 'more findings')}\n")
    if paths < len(unfolded):
        parts.append(f"\n… and {len(unfolded) - paths:,} more to unfold; `pipeline-guard check` shows them all\n")
    return "".join(parts)


def escape(text: str) -> str:
    """Return text that stands in a table cell as it is, and that mentions nobody."""
    return _entities(_MENTION.sub(f"\\g<0>{_ZERO_WIDTH}", clean(writable(text))))


def code(text: str) -> str:
    """Return text as code in a table cell; a tag does what backticks do, and can hold backticks and pipes."""
    return f"<code>{_entities(clean(writable(text)))}</code>"


def _entities(plain: str) -> str:
    return _MEANINGFUL.sub(lambda match: f"&#{ord(match[0])};", plain)


def _cut(text: str, length: int = _MAX_CELL) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _row(finding: Finding) -> str:
    where = f"{finding.path}:{finding.line}"
    return f"| {finding.rule} | {code(_cut(where))} | {escape(_cut(finding.message))} |\n"


def _call_path(finding: Finding) -> str:
    """Return the way to the sink as a block to unfold, or nothing where it only repeats the row."""
    if len(finding.evidence) < 2:
        return ""
    steps = [
        f"{number}. " + "  ".join(part for part in (f"{step.path}:{step.line}", step.symbol, step.note) if part)
        for number, step in enumerate(finding.evidence, start=1)
    ]
    if len(steps) > _MAX_STEPS:
        half = _MAX_STEPS // 2
        steps = [*steps[:half], f"… {len(steps) - 2 * half} steps …", *steps[-half:]]
    lines = "\n".join(clean(writable(_cut(step))) for step in steps)
    # A block may hold backticks as long as its fence is longer.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", lines)), default=0))
    where = html.escape(clean(writable(_cut(f"{finding.path}:{finding.line}"))))
    title = html.escape(rule_name(finding.rule))
    head = f"<details><summary>{title}: {evidence_title(finding)} <code>{where}</code></summary>"
    return f"\n{head}\n\n{fence}text\n{lines}\n{fence}\n\n</details>\n"


def _fitting(blocks: Sequence[str], room: int) -> int:
    """Return how many of the first blocks fit."""
    for number, block in enumerate(blocks):
        room -= len(block)
        if room < 0:
            return number
    return len(blocks)


def _summary(acting: Sequence[Finding], hidden: int, pipeline_map: PipelineMap) -> str:
    aside = f" ({hidden:,} suppressed)" if hidden else ""
    if acting:
        numbers = Counter(finding.severity for finding in acting)
        parts = [count(numbers[name], name) for name in ("error", "warning", "note") if numbers[name]]
        files = count(len({finding.path for finding in acting}), "file")
        said = f"{count(len(acting), 'finding')} in {files}: {', '.join(parts)}"
    elif not words.has_session(pipeline_map):
        instead = other_speech.speech_instead(pipeline_map)
        said = "no Realtime session here, nothing to check" + (f" ({escape(_cut(instead))})" if instead else "")
    else:
        said = f"no findings in {count(sum(map(words.is_realtime, pipeline_map.lanes)), 'pipeline')}"
    gaps = f"; {count(len(pipeline_map.gaps), 'place')} not judged" if pipeline_map.gaps else ""
    return f"**pipeline-guard**: {said}{aside}{gaps}\n"
