"""Starts the transcription of recordings, each in a process of its own that knows nothing of live calls."""

from __future__ import annotations

import asyncio
import os
import re
import sys

from reference_agent.settings import Settings

AT_ONCE = 2
_CALL = re.compile(r"CA[0-9a-fA-F]{32}")
_RECORDING = re.compile(r"https://api\.twilio\.com/2010-04-01/Accounts/AC[0-9a-fA-F]{32}/Recordings/RE[0-9a-fA-F]{32}")


class Jobs:
    """The transcriptions under way, a few at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, call_sid: str, recording_url: str) -> bool:
        """Start a transcription; say whether it was, for only Twilio's own addresses are fetched."""
        if not _CALL.fullmatch(call_sid) or not _RECORDING.fullmatch(recording_url):
            return False
        task = asyncio.create_task(self._run(call_sid, recording_url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Stop waiting; a process that runs finishes by itself."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, call_sid: str, recording_url: str) -> None:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "OPENAI_API_KEY": self._settings.openai_api_key,
            "TWILIO_AUTH_TOKEN": self._settings.twilio_auth_token,
            "OPENAI_TRANSCRIPTION_MODEL": self._settings.transcription_model,
        }
        output = str(self._settings.recordings / f"{call_sid}.json")
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "reference_agent",
                "transcribe",
                recording_url,
                "--output",
                output,
                env=environment,
            )
            await process.wait()
