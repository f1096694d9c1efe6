"""The pipeline map as a Graphviz graph."""

from __future__ import annotations

from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.reports import other_speech
from pipeline_guard.reports.map_graph import Node, clusters

_SHAPES = {
    "entry": "shape=oval",
    "function": "shape=box",
    "queue": "shape=cylinder",
    "service": "shape=hexagon",
    "session": "shape=note",
    "engine": "shape=component",
}
_LOOKS = {
    "plain": "",
    "duplicate": ', style=filled, fillcolor="#ffdddd", color="#cc0000", fontcolor="#660000"',
    "dormant": ', style="filled,dashed", fillcolor="#ffffdd", color="#aa8800", fontcolor="#664400"',
    "aside": ', style=filled, fillcolor="#eeeeee", color="#888888", fontcolor="#555555"',
}


def render(pipeline_map: PipelineMap) -> str:
    """Return a directed graph with one cluster per lane."""
    lines = ["digraph pipeline {", "  rankdir=TB;", '  node [fontname="Helvetica"];', '  edge [fontname="Helvetica"];']
    for cluster in clusters(pipeline_map):
        lines.append(f"  subgraph cluster_{cluster.id} {{")
        lines.append(f"    label={_quoted(cluster.title)};")
        lines.extend(f"    {_node(node)}" for node in cluster.nodes.values())
        for edge in cluster.edges:
            label = f" [label={_quoted(edge.label)}]" if edge.label else ""
            lines.append(f"    {edge.source} -> {edge.target}{label};")
        lines.append("  }")
    if not pipeline_map.lanes:
        lines.append(f"  empty [shape=plaintext, label={_quoted(other_speech.no_session(pipeline_map))}];")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _node(node: Node) -> str:
    text = "\\n".join(_escaped(line) for line in node.lines)
    return f'{node.id} [{_SHAPES[node.shape]}, label="{text}"{_LOOKS[node.look]}];'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'
