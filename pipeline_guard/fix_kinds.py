"""What ``fix`` does about a rule's findings, in a word; read by reports, which load nothing of the codemod."""

from __future__ import annotations

FIX_KINDS = {
    "PG101": "enqueue",
    "PG102": "enqueue",
    "PG103": "enqueue",
    "PG105": "no-op",
    "PG106": "bound",
    "PG201": "re-route",
    "PG202": "insert-trigger",
    "PG203": "insert-trigger",
    "PG204": "insert-mark",
    "PG206": "compare-id",
    "PG207": "no-op",
    "PG208": "no-op",
    "PG211": "setting",
    "PG215": "no-op",
    "PG218": "await",
    "PG302": "no-op",
    "PG303": "re-route",
    "PG304": "no-op",
    "PG401": "no-op",
    "PG404": "comment",
    "PG405": "no-op",
    "PG501": "comment",
    "PG502": "log",
    "PG503": "log",
    "PG504": "log",
    "PG505": "log",
}
