"""The pipeline map as JSON: stable, versioned, for other programs."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline_guard.pipeline.model import Lane, PipelineMap

VERSION = 1
# The keys and their order are a promise to other programs; more may be added.
SITE_KEYS = (
    "kind",
    "role",
    "path",
    "line",
    "end_line",
    "column",
    "symbol",
    "context",
    "trigger",
    "guard",
    "engine",
    "value",
    "provider",
    "note",
    "leads_to",
    "callee",
    "cause_here",
    "event",
    "effects",
    "beside",
    "flag",
    "marked",
    "dropped",
    "own_loop",
    "per_tool",
    "after_cancel",
    "reached_from",
    "confidence",
)


def render(pipeline_map: PipelineMap) -> str:
    """Return the map as indented JSON that ends in a newline."""
    document = {
        "version": VERSION,
        "root": pipeline_map.root,
        "lanes": [_lane(lane) for lane in pipeline_map.lanes],
        "outside": _sites(msgspec.to_builtins(pipeline_map.outside)),
        "errors": msgspec.to_builtins(pipeline_map.gaps),
        "coverage": msgspec.to_builtins(pipeline_map.coverage),
    }
    return to_json(document)


def to_json(document: dict[str, Any]) -> str:
    """Return a document as indented JSON that ends in a newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _lane(lane: Lane) -> dict[str, Any]:
    table: dict[str, Any] = msgspec.to_builtins(lane)
    return {
        "name": table["name"],
        "app": table["app"],
        "provider": table["provider"],
        "policy": table["policy"],
        "policy_source": table["policy_source"],
        "entry_points": table["entry_points"],
        "frame_handlers": table["frame_handlers"],
        "sites": _sites(table["sites"]),
        "queues": table["queues"],
        "senders": table["senders"],
        "triggers": table["triggers"],
        "sessions": table["sessions"],
        "double_turns": table["double_turns"],
        "endless": table["endless"],
        "misuses": table["misuses"],
        "aids": table["aids"],
    }


def _sites(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: site[key] for key in SITE_KEYS} for site in tables]
