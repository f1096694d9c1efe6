"""The ids in a log by which lines of different calls are told apart: those of Twilio, of Realtime, of a session."""

from __future__ import annotations

import re
from collections.abc import Iterator

_IDS = re.compile(
    r"(?P<call>\bCA[0-9a-f]{6,32})|(?P<stream>\bMZ[0-9a-f]{6,32})|(?P<response>\bresp_\w{4,})|(?P<item>\bitem_\w{4,})"
    r"|(?P<session>\bsess_\w{4,}|\bSES-\w{4,})"
)


def ids_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the ids of a line as (kind, id); an id may be cut short ("resp_CkNp12...")."""
    for match in _IDS.finditer(text):
        kind = match.lastgroup
        assert kind is not None
        yield kind, match.group(kind)
