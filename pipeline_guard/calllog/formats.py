"""The formats that real logs come in: what is before a message is told apart from the message, line by line.

Known: docker compose (``backend-1  | …``), foreman (``12:00:01 web.1  | …``), Heroku, Kubernetes, Python's logging,
JSON lines, the four-line records that Replit's console copies (time, deployment, source, message), and plain text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pipeline_guard.calllog.ids import ids_in

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = r"(?P<time>(?:\d{4}-\d\d-\d\d[T ])?\d{1,2}:\d\d:\d\d(?:[.,]\d+)?)(?:Z|[+-]\d\d:?\d\d)?"
_PREFIXES = (
    ("foreman", re.compile(_TIME + r"\s+(?P<source>[\w-]+\.\d+)\s*\|\s?")),
    ("docker compose", re.compile(r"(?P<source>[A-Za-z][\w.-]{0,60}?)\s{1,20}\|\s?")),
    ("heroku", re.compile(_TIME + r"\s+(?P<source>\w+\[[\w.-]+\]):\s?")),
    ("kubernetes", re.compile(_TIME + r"\s+std(?:out|err)\s+[FP]\s")),
)
# What may follow such a prefix, or stand alone: a time, then perhaps a level and a logger's name.
_LOGGING = re.compile(r"\[?" + _TIME + r"\]?\s*(?:[-|]?\s*\[?(?:DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL)\]?)?[\s:|-]*")
_REPLIT_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{2,6}\Z")
_REPLIT_DEPLOYMENT = re.compile(r"[0-9a-f]{8}\Z")
_REPLIT_SOURCES = ("User", "System")
_MESSAGE_KEYS = ("message", "msg", "event", "text", "log", "body")
_TIME_KEYS = ("time", "timestamp", "ts", "asctime", "@timestamp")
_SOURCE_KEYS = ("container", "service", "source", "logger", "name")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d+))?")


@dataclass(frozen=True)
class Message:
    """What a line says.  ``seconds`` is the time of day, where the line has one; a ``header`` has no words.

    ``ids`` are those of a JSON line's other fields.
    """

    text: str
    format: str = "plain"
    source: str = ""
    seconds: float | None = None
    header: bool = False
    ids: tuple[tuple[str, str], ...] = ()


class LineReader:
    """Reads one line after the other; remembers what Replit's records put on the lines before the message."""

    def __init__(self) -> None:
        self._replit_time: float | None = None
        self._replit_state = 0

    def read(self, line: str) -> Message:
        """Return the message of a line."""
        line = _ANSI.sub("", line).strip("\r\n")
        header = self._replit(line)
        if header is not None:
            return header
        stripped = line.lstrip()
        if stripped.startswith("{") and stripped.rstrip().endswith("}"):
            found = _json_message(stripped)
            if found is not None:
                return found
        return self._prefixed(line)

    def _replit(self, line: str) -> Message | None:
        """Follow the three lines that stand above each message: time, deployment, source."""
        stripped = line.strip()
        if _REPLIT_TIME.match(stripped):
            self._replit_state, self._replit_time = 1, seconds_of(stripped)
        elif self._replit_state == 1 and _REPLIT_DEPLOYMENT.match(stripped):
            self._replit_state = 2
        elif self._replit_state == 2 and stripped in _REPLIT_SOURCES:
            self._replit_state = 3
        else:
            if self._replit_state != 3:
                self._replit_state, self._replit_time = 0, None
            return None
        return Message("", "replit", "", self._replit_time, header=True)

    def _prefixed(self, line: str) -> Message:
        format_name, source, seconds = "plain", "", None
        for name, prefix in _PREFIXES:
            match = prefix.match(line)
            if match is not None:
                groups = match.groupdict()
                format_name, source, line = name, groups.get("source") or "", line[match.end() :]
                seconds = seconds_of(groups["time"]) if groups.get("time") else None
                break
        if line.startswith("{") and line.rstrip().endswith("}"):
            inner = _json_message(line)
            if inner is not None:
                return Message(inner.text, format_name, source or inner.source, inner.seconds or seconds, ids=inner.ids)
        match = _LOGGING.match(line)
        if match is not None:
            seconds, line = seconds_of(match["time"]), line[match.end() :]
        if self._replit_state == 3 and format_name == "plain":
            return Message(line, "replit", "", seconds if seconds is not None else self._replit_time)
        return Message(line, format_name, source, seconds)


def seconds_of(text: str) -> float | None:
    """Return the time of day in a time stamp, in seconds."""
    match = _CLOCK.search(text)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + (float("0." + fraction) if fraction else 0.0)


def _json_message(line: str) -> Message | None:
    """Return the message of a JSON line, None when it is no JSON object.  An event is its own message."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    text = next((record[key] for key in _MESSAGE_KEYS if isinstance(record.get(key), str)), None)
    time = next((record[key] for key in _TIME_KEYS if isinstance(record.get(key), str)), "")
    source = next((record[key] for key in _SOURCE_KEYS if isinstance(record.get(key), str)), "")
    if "type" in record or text is None or "streamSid" in record:
        # An event of Realtime or Twilio, logged as it is; ids stand in it by name.
        return Message(line, "json lines", source, seconds_of(time))
    rest = " ".join(value for value in record.values() if isinstance(value, str) and value != text)
    return Message(text, "json lines", source, seconds_of(time), ids=tuple(ids_in(rest)))
