"""Names of the retired protocol, of the SDK's reconnect and of the required log lines, read from vocabulary files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

KEYS: dict[str, frozenset[str]] = {
    "beta": frozenset({"header", "session", "response", "renewed", "client", "address", "preview"}),
    "renamed": frozenset({"old", "new"}),
    "reconnect": frozenset({"calls", "argument", "queue"}),
    "proof": frozenset({"pipeline_log", "status_log", "greeting_log"}),
    "map": frozenset({"arrows", "words"}),
    "manual_turns": frozenset({"names"}),
}


class HygieneWords(msgspec.Struct):
    """What the checks of protocol hygiene and of proof look for; ``rules/vocabulary`` explains the keys.

    ``renamed`` maps the server events of the beta to today's names, ``proof`` the kind of a log line to how it begins.
    """

    header: str = ""
    session: frozenset[str] = frozenset()
    response: frozenset[str] = frozenset()
    renewed: frozenset[str] = frozenset()
    client: str = ""
    address: tuple[str, ...] = ()
    preview: tuple[str, ...] = ()
    renamed: dict[str, str] = msgspec.field(default_factory=dict)
    reconnects: tuple[str, ...] = ()
    reconnect_argument: str = ""
    reconnect_queue: str = ""
    proof: dict[str, str] = msgspec.field(default_factory=dict)
    arrows: frozenset[str] = frozenset()
    map_words: tuple[tuple[str, ...], ...] = ()
    manual_turns: tuple[re.Pattern[str], ...] = ()

    def add(self, table: str, entry: Mapping[str, Any]) -> None:
        """Take in one table.  Raises KeyError or TypeError for one that lacks a key or holds another type."""
        if table == "beta":
            self.header, self.client = str(entry["header"]), str(entry["client"])
            self.session, self.response = frozenset(entry["session"]), frozenset(entry["response"])
            self.renewed = frozenset(entry["renewed"])
            self.address, self.preview = tuple(entry["address"]), tuple(entry["preview"])
        elif table == "renamed":
            self.renamed[entry["old"]] = entry["new"]
        elif table == "reconnect":
            self.reconnects = tuple(entry["calls"])
            self.reconnect_argument, self.reconnect_queue = entry["argument"], entry["queue"]
        elif table == "proof":
            self.proof.update(entry)
        elif table == "map":
            self.arrows = frozenset(entry["arrows"])
            self.map_words = tuple(tuple(words) for words in entry["words"])
        else:
            self.manual_turns = tuple(re.compile(name) for name in entry["names"])
