"""Scores a pipeline map against hand-made labels: plain data in, counts out.

A site meets a label when kind and file agree and the label's line lies no more than two lines outside the site.  Labels
of which their author was not sure do not count for recall, but a site that meets one is right all the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_guard.pipeline.model import PipelineMap, Site

SLACK = 2
KINDS = tuple("audio_send response_create auto_response stt tts twiml_say twiml_gather twiml_transcription".split())
# The labels' word for what the map calls dormant.
_CONTEXT_NAMES = {"dormant": "dead"}
Label = Mapping[str, Any]


@dataclass
class Score:
    """Counts for one kind, or one role of a kind."""

    found: int = 0
    missed: int = 0
    right: int = 0
    traps: int = 0
    unlabelled: int = 0
    context: Counter[bool] = field(default_factory=Counter)
    value: Counter[bool] = field(default_factory=Counter)

    def __str__(self) -> str:
        shares = [
            ("recall", self.found, self.found + self.missed),
            ("precision", self.right, self.right + self.traps + self.unlabelled),
            ("context", self.context[True], self.context.total()),
            ("value", self.value[True], self.value.total()),
        ]
        parts = [f"{name} {part}/{whole} = {part / whole:.3f}" for name, part, whole in shares if whole]
        return "  ".join([*parts, *([f"traps {self.traps}"] if self.traps else [])])


@dataclass
class Scoreboard:
    """The scores of all repositories; ``remarks`` collects one line per miss, in the order of scoring."""

    kinds: Sequence[str] = KINDS
    scores: dict[str, Score] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def row(self, name: str) -> Score:
        return self.scores.setdefault(name, Score())

    def add(self, labels: Iterable[Label], sites: Iterable[Site]) -> None:
        """Count one repository."""
        rows = [label for label in labels if str(label.get("path", "")).endswith(".py")]
        once: dict[tuple[str, int, str], Site] = {}
        for site in sites:
            once.setdefault((site.path, site.line, site.kind), site)
        for kind in self.kinds:
            of_kind = [site for site in once.values() if site.kind == kind]
            for label in rows:
                if label["kind"] == kind and label.get("sure") != "low":
                    self._recall(kind, label, [site for site in of_kind if meets(site, label)])
            for site in of_kind:
                self._precision(site, {label["kind"] for label in rows if meets(site, label)})

    def _recall(self, kind: str, label: Label, hits: Sequence[Site]) -> None:
        role = label.get("role")
        name = f"{kind}.{role}" if role else kind
        place = f"{label['path']}:{label['line']}"
        if not hits:
            self.row(name).missed += 1
            self.remarks.append(f"missed {name}: {place} {str(label.get('why', ''))[:110]}")
            return
        self.row(name).found += 1
        context, wanted = _CONTEXT_NAMES.get(hits[0].context, hits[0].context), label.get("ctx", "unknown")
        if wanted not in (None, "unknown"):
            self.row(kind).context[context == wanted] += 1
            if context != wanted:
                self.remarks.append(f"context {hits[0].context} should be {wanted}: {place} {kind}")
        if kind == "auto_response" and label.get("value"):
            values = [site.value for site in hits]
            self.row(kind).value[label["value"] in values] += 1
            if label["value"] not in values:
                self.remarks.append(f"value {values[0]} should be {label['value']}: {place} {kind}")

    def _precision(self, site: Site, labelled: set[str]) -> None:
        score = self.row(site.kind)
        if site.kind in labelled:
            score.right += 1
            return
        what = "trap" if "trap" in labelled else "unlabelled"
        if what == "trap":
            score.traps += 1
        else:
            score.unlabelled += 1
        place = f"{site.path}:{site.line} {site.symbol}"
        self.remarks.append(f"{what} {site.kind} {site.role or ''}: {place} ({site.note})")


def meets(site: Site, label: Label) -> bool:
    """Say whether a site and a label speak of the same place."""
    line = int(label["line"])
    low, high = site.line - SLACK, max(site.end_line, site.line) + SLACK
    return bool(site.path == label["path"]) and low <= line <= high


def sites_in_order(pipeline_map: PipelineMap) -> Iterator[Site]:
    """Yield the sites lane by lane, then those outside of every lane, as ``map --format json`` prints them."""
    for lane in pipeline_map.lanes:
        yield from lane.sites
    yield from pipeline_map.outside


def read_labels(path: Path) -> list[Label]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
