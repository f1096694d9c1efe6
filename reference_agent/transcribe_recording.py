"""Transcribes the recording of a finished call: in a process of its own, run for one recording.

It imports nothing of the agent, so it cannot reach a live call.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path

MOST_BYTES = 200 * 1024 * 1024


def fetch(url: str, auth_token: str) -> bytes:
    """Return the recording as WAV; Twilio asks for the account, which is in the address, and its token."""
    account = url.partition("/Accounts/")[2].partition("/")[0]
    credentials = base64.b64encode(f"{account}:{auth_token}".encode()).decode()
    request = urllib.request.Request(f"{url}.wav", headers={"Authorization": f"Basic {credentials}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        audio: bytes = answer.read(MOST_BYTES)
    return audio


def transcribe(audio: bytes, model: str) -> str:
    """Return what is said in the recording."""
    from openai import OpenAI

    # NOTE: This STT is OFFLINE ONLY (post-call). Live behavior uses ONLY OpenAI Realtime transcription.
    return OpenAI().audio.transcriptions.create(model=model, file=("recording.wav", audio)).text


def transcribe_recording(url: str, output: Path, auth_token: str, model: str) -> None:
    """Write the text of a recording to a JSON file.  Raises whatever the network or the service does."""
    text = transcribe(fetch(url, auth_token), model)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"recording": url, "text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
