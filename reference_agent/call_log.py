"""The structured log of a call beside the human lines: one JSON object a line, in order, with the ids to join on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TextIO


class CallLog:
    """Writes to one file for all calls; without a path it keeps silent."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = path.open("a", encoding="utf-8", buffering=1) if path is not None else None

    def write(self, event: str, **fields: Any) -> None:
        """Write one event with its time (seconds since the epoch)."""
        if self._file is not None:
            line = {"at": round(time.time(), 3), "event": event, **fields}
            self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
