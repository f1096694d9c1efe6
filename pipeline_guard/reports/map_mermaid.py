"""The pipeline map as a Mermaid flowchart, which code hosts draw inside Markdown."""

from __future__ import annotations

from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.reports import other_speech
from pipeline_guard.reports.map_graph import Node, clusters

_SHAPES = {
    "entry": ("([", "])"),
    "function": ("[", "]"),
    "queue": ("[(", ")]"),
    "service": ("{{", "}}"),
    "session": ("[/", "/]"),
    "engine": ("[[", "]]"),
}
# Mermaid reads these inside quoted text as its own syntax, or as HTML; it knows them as numbered entities.
_ESCAPES = {ord(character): f"#{ord(character)};" for character in '"#<>&`\\%'}


def render(pipeline_map: PipelineMap) -> str:
    """Return a flowchart with one frame per lane."""
    lines = ["flowchart TD"]
    for cluster in clusters(pipeline_map):
        lines.append(f"  subgraph {cluster.id}[{_quoted(cluster.title)}]")
        lines.extend(f"    {_node(node)}" for node in cluster.nodes.values())
        for edge in cluster.edges:
            label = f"|{_quoted(edge.label)}|" if edge.label else ""
            lines.append(f"    {edge.source} -->{label} {edge.target}")
        lines.append("  end")
    if not pipeline_map.lanes:
        lines.append(f"  empty[{_quoted(other_speech.no_session(pipeline_map))}]")
    lines.append("  classDef duplicate fill:#fdd,stroke:#c00,stroke-width:2px,color:#600")
    lines.append("  classDef dormant fill:#ffd,stroke:#a80,stroke-dasharray:4,color:#640")
    lines.append("  classDef aside fill:#eee,stroke:#888,color:#555")
    return "\n".join(lines) + "\n"


def _node(node: Node) -> str:
    opening, closing = _SHAPES[node.shape]
    text = "<br/>".join(_escaped(line) for line in node.lines)
    mark = "" if node.look == "plain" else f":::{node.look}"
    return f'{node.id}{opening}"{text}"{closing}{mark}'


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'
