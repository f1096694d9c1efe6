"""Which call a line belongs to: by the ids in it, else by there being only one call at the time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline_guard.calllog.ledger import CallLedger

# Ids are cut short in logs; this much of one is enough to know it again.
# Those of OpenAI begin alike when they are made in the same minute.
_ENOUGH = {"call": 8, "stream": 8, "response": 20, "item": 20, "session": 12}
_NAMES_CALL = ("call", "stream")
# So many ids are remembered; older ones are those of calls long over.
_REMEMBERED = 100_000


@dataclass
class Calls:
    """The calls of a log, in the order in which they began.

    Lines without an id in a stretch where calls overlap belong to one of them, and nobody can say to which: these calls
    are then judged together, as one.
    """

    calls: list[CallLedger] = field(default_factory=list)
    _by_id: dict[tuple[str, str], CallLedger] = field(default_factory=dict)
    _merged: dict[int, CallLedger] = field(default_factory=dict)
    _unended: list[CallLedger] = field(default_factory=list)

    def begins(self, ids: Iterable[tuple[str, str]], line: int) -> CallLedger:
        """Return the call whose beginning a line tells of; it may tell it in several lines."""
        keys = list(ids)
        known = self._known(keys)
        if known is None:
            # "Socket accepted" often comes before the line that names the call.
            unnamed = next((c for c in self._open() if not c.ids), None)
            waiting = unnamed is not None and not unnamed.has_spoken
            known = unnamed if waiting and unnamed is not None else self._new(line)
        self._learn(known, keys)
        return known

    def of(self, ids: Iterable[tuple[str, str]], line: int, *, certain: bool) -> CallLedger | None:
        """Return the call that any other line belongs to; None when it says nothing of a call by itself.

        ``certain`` lines are of a call even where none is known: the log began in the middle of it.
        """
        keys = list(ids)
        known = self._known(keys)
        if known is None and not certain and not self.calls:
            return None
        if known is None and any(kind in _NAMES_CALL for kind, _ in keys):
            # It names a call that nothing is known of.  One that is under way and has no name yet may be the one;
            # otherwise it is of a call that began before the log, or that is being worked on after its end.
            unnamed = [call for call in self._open() if not call.ids]
            if not unnamed and self.calls and not self.calls[-1].ids:
                # What is done after a call often names it where the call itself did not.
                unnamed = [self.calls[-1]]
            known = unnamed[0] if len(unnamed) == 1 else self._new(line, under_way=not self._open())
        if known is None:
            known = self._only_one() or self._new(line)
        self._learn(known, keys)
        return known

    def _known(self, keys: list[tuple[str, str]]) -> CallLedger | None:
        found = [call for key in keys if (call := self._by_id.get(_short(key))) is not None]
        if not found:
            return None
        first = self._resolve(found[0])
        # A line that names the stream of one call and the call of another is one call after all.
        for other in found[1:]:
            first = self._merge(first, self._resolve(other), overlapping=False)
        return first

    def _learn(self, call: CallLedger, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            if key[0] in _NAMES_CALL and key[1] not in call.ids and not any(i.startswith(key[1]) for i in call.ids):
                call.ids.append(key[1])
            self._by_id.setdefault(_short(key), call)
        if len(self._by_id) > _REMEMBERED:
            for old in list(self._by_id)[: _REMEMBERED // 2]:
                del self._by_id[old]

    def _open(self) -> list[CallLedger]:
        self._unended = [call for call in self._unended if call.ended_at is None and call.number not in self._merged]
        return self._unended

    def _only_one(self) -> CallLedger | None:
        still_open = list(self._open())
        if not still_open:
            return self.calls[-1] if self.calls else None
        first = still_open[0]
        for other in still_open[1:]:
            first = self._merge(first, other, overlapping=True)
        return first

    def _new(self, line: int, *, under_way: bool = True) -> CallLedger:
        call = CallLedger(len(self.calls) + len(self._merged) + 1, line)
        self.calls.append(call)
        if under_way:
            self._unended.append(call)
        return call

    def _merge(self, one: CallLedger, other: CallLedger, *, overlapping: bool) -> CallLedger:
        if one is other:
            return one
        one.absorb(other, overlapping=overlapping)
        self.calls.remove(other)
        self._merged[other.number] = one
        return one

    def _resolve(self, call: CallLedger) -> CallLedger:
        while call.number in self._merged:
            call = self._merged[call.number]
        return call


def _short(key: tuple[str, str]) -> tuple[str, str]:
    return key[0], key[1][: _ENOUGH[key[0]]]
