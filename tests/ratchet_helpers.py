"""Small backends in temporary folders, as a ratchet meets them: recorded, changed, and checked again."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline_guard.checks import run_checks
from pipeline_guard.config import Config
from pipeline_guard.discovery import discover
from pipeline_guard.findings import Finding
from pipeline_guard.git_files import git_environment
from pipeline_guard.git_history import Repository
from pipeline_guard.pipeline.build import analyse
from pipeline_guard.pipeline.model import PipelineMap
from pipeline_guard.ratchet.compare import Comparison, compare
from pipeline_guard.ratchet.record import record
from pipeline_guard.ratchet.state import Baseline
from pipeline_guard.statements import Statements, read_below

HEAD = """
import asyncio
import json

import websockets
from fastapi import FastAPI, WebSocket

app = FastAPI()
REALTIME_URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"

"""
TAIL = """

@app.websocket("/media-stream")
async def media_stream(twilio: WebSocket) -> None:
    await twilio.accept()
    async with websockets.connect(REALTIME_URL) as realtime:
        await CallSession(realtime).read_events()
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Put files into a folder; Python files that were there before are gone."""
    for old in folder.rglob("*.py"):
        old.unlink()
    for name, code in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code, encoding="utf-8")


def baseline_of(folder: Path, config: Config | None = None) -> Baseline:
    """Return the baseline of what is in a folder."""
    pipeline_map, findings, statements = checked(folder, config or Config())
    return record(pipeline_map, findings, statements)


def compare_with(baseline: Baseline, folder: Path, config: Config | None = None) -> Comparison:
    """Return what is new in a folder."""
    config = config or Config()
    pipeline_map, findings, statements = checked(folder, config)
    return compare(baseline, pipeline_map, findings, config, statements, Repository(str(folder)))


def checked(folder: Path, config: Config) -> tuple[PipelineMap, list[Finding], Statements]:
    """Return map, findings and statements of what is in a folder."""
    files = discover(folder, config.exclude, config.max_file_size)
    pipeline_map = analyse(folder, files.files, config, None, files.documents)
    statements = Statements(read_below(str(folder)))
    return pipeline_map, run_checks(pipeline_map, config, statements), statements


def change(folder: Path, before: Mapping[str, str], after: Mapping[str, str]) -> Comparison:
    """Return what a change adds to what was there."""
    write(folder, before)
    baseline = baseline_of(folder)
    write(folder, after)
    return compare_with(baseline, folder)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, as somebody with a name."""
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *identity, "-C", str(folder), *arguments]
    environment = {key: value for key, value in git_environment().items() if key != "GIT_ALLOW_PROTOCOL"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def commit(folder: Path, message: str) -> str:
    """Commit everything in a folder and return the commit."""
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD").strip()
