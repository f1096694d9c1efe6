"""Draws a timeline as inline SVG; its colours come from the page's style sheet, for light and dark grounds."""

from __future__ import annotations

import math
from html import escape

from pipeline_guard.certify.certificate.timeline import Point, Span, Timeline

_SECOND = 44  # pixels
_ROW, _BAR, _LEFT, _TOP = 30, 16, 150, 26
_STEPS = (1, 2, 5, 10, 30, 60)
# A label is drawn into a bar that has room for it.
_CHARACTER = 7


def draw(timeline: Timeline, title: str) -> str:
    """Return the picture.  What a mark is, its tooltip says, and its shape as well as its colour."""
    scale = _SECOND if timeline.seconds < 90 else _SECOND * 90 / timeline.seconds
    width = _LEFT + math.ceil(timeline.seconds * scale) + 20
    height = _TOP + _ROW * len(timeline.tracks) + 8
    parts = [
        f'<svg class="timeline" role="img" aria-label="{escape(title)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">',
        *_axis(timeline.seconds, scale, height),
    ]
    for number, track in enumerate(timeline.tracks):
        y = _TOP + number * _ROW
        parts.append(f'<text class="name" x="{_LEFT - 10}" y="{y + _BAR - 3}">{escape(track.name)}</text>')
        parts += [_span(span, y, scale) for span in track.spans]
        parts += [_point(point, y, scale) for point in track.points]
    return "\n".join([*parts, "</svg>"])


def _axis(seconds: float, scale: float, height: int) -> list[str]:
    step = next((step for step in _STEPS if step * scale >= 40), _STEPS[-1])
    parts = []
    for second in range(0, int(seconds) + 1, step):
        x = _LEFT + second * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height - 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="14">{second} s</text>')
    return parts


def _span(span: Span, y: int, scale: float) -> str:
    x, width = _LEFT + span.begin * scale, max(1.5, (span.end - span.begin) * scale)
    label = span.text if span.kind.startswith("speech") else ""
    inside = (
        f'<text class="label" x="{x + 4:.1f}" y="{y + _BAR - 4}">{escape(label)}</text>'
        if label and len(label) * _CHARACTER < width
        else ""
    )
    return (
        f'<g class="{span.kind}"><title>{escape(span.text)}</title>'
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>{inside}</g>'
    )


def _point(point: Point, y: int, scale: float) -> str:
    x = _LEFT + point.at * scale
    said = escape(f"{point.at:.2f} s: {point.text}")
    return f'<g class="{point.kind}"><title>{said}</title>{_shape(point.kind, x, y)}</g>'


def _shape(kind: str, x: float, y: int) -> str:
    middle = y + _BAR / 2
    if kind in ("turn", "mark"):
        return f'<line x1="{x:.1f}" y1="{y - 2}" x2="{x:.1f}" y2="{y + _BAR + 2}"/>'
    if kind == "clear":
        return f'<circle cx="{x:.1f}" cy="{middle}" r="5"/>'
    if kind == "fault":
        return f'<path d="M{x - 6:.1f} {y + _BAR} L{x + 6:.1f} {y + _BAR} L{x:.1f} {y + 3} Z"/>'
    if kind == "reason":
        return f'<path d="M{x - 6:.1f} {y} L{x + 6:.1f} {y} L{x:.1f} {y + _BAR} Z"/>'
    return (
        f'<path d="M{x - 5:.1f} {middle - 5} L{x + 5:.1f} {middle + 5} '
        f'M{x - 5:.1f} {middle + 5} L{x + 5:.1f} {middle - 5}"/>'
    )
