"""What a report says of the state it compared with, beside the findings that are new."""

from __future__ import annotations

from typing import NamedTuple

from pipeline_guard.ratchet.state import Known


class Compared(NamedTuple):
    """``name`` is the baseline's file or the commit; ``update`` the command that takes out ``stale`` entries, if any.

    ``known`` findings are still there and not reported.
    """

    name: str
    known: int
    stale: tuple[Known, ...] = ()
    update: str | None = None

    def sentence(self) -> str:
        """Return how many findings are known."""
        if not self.known:
            return f"compared with {self.name}"
        findings = "finding" if self.known == 1 else "findings"
        return f"compared with {self.name}: {self.known} {findings} there already, not shown"

    def stale_sentence(self) -> str:
        """Return what is gone and how to say so; empty where nothing is, or where nothing keeps it."""
        if not self.stale or self.update is None:
            return ""
        number = len(self.stale)
        those = "1 finding of the baseline is gone" if number == 1 else f"{number} findings of the baseline are gone"
        return f"{those}; take {'it' if number == 1 else 'them'} out, or as many may come back: {self.update}"
