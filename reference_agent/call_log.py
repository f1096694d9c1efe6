"""The log of a call, twice: a line for people, and a JSON object for programs, with the same words and the same ids.

Which call a line belongs to is known wherever it is written: it travels with the call's tasks.
"""

from __future__ import annotations

import json
import logging
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

logger = logging.getLogger("reference_agent")

CALL: ContextVar[str] = ContextVar("call", default="-")


class CallIds(logging.Filter):
    """Gives every log record its ``call``, for the format."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id; keep every record."""
        record.call = CALL.get()
        return True


class CallLog:
    """Writes the events of all calls; without a path only for people."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = path.open("a", encoding="utf-8", buffering=1) if path is not None else None

    def write(self, event: str, **fields: Any) -> None:
        """Write one event of the current call, with its time (seconds since the epoch)."""
        logger.info("%s%s", event, "".join(f" {name}={value}" for name, value in fields.items() if value is not None))
        if self._file is not None:
            line = {"at": round(time.time(), 3), "call": CALL.get(), "event": event, **fields}
            self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
