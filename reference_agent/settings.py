"""The agent's settings: from the environment, or a ``.env`` file beside it; all problems are told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class SettingsError(Exception):
    """What is wrong with the settings, one sentence a line."""


@dataclass(frozen=True)
class Settings:
    """Everything that differs from one installation to the next; times are seconds."""

    openai_api_key: str
    twilio_auth_token: str
    websocket_base_url: str | None = None  # None: OpenAI's own
    model: str = "gpt-realtime-2.1"
    transcription_model: str = "gpt-transcribe"
    voice: str = "marin"
    public_host: str | None = None  # None: the Host header, as Twilio sent it
    host: str = "127.0.0.1"
    port: int = 8000
    transfer_to: str | None = None  # a phone number
    record_calls: bool = False
    recordings: Path = Path("recordings")
    call_log: Path | None = None
    max_calls: int = 50
    drain_within: float = 120.0
    rotate_after: float = 50 * 60.0  # a Realtime session ends after 60 minutes, without a warning


def load_settings(environment: Mapping[str, str], env_file: Path | None = Path(".env")) -> Settings:
    """Read the settings; the environment wins over the file.  Raises SettingsError that names every problem."""
    values = {**(_read_env_file(env_file) if env_file is not None and env_file.is_file() else {}), **environment}
    problems: list[str] = []

    def take(name: str, default: T, read: Callable[[str], T]) -> T:
        text = values.get(name, "").strip()
        if not text:
            return default
        try:
            return read(text)
        except ValueError as error:
            problems.append(f"{name}={text!r}: {error}.")
            return default

    for name, where in (("OPENAI_API_KEY", "OpenAI's platform"), ("TWILIO_AUTH_TOKEN", "Twilio's console")):
        if not values.get(name, "").strip():
            problems.append(f"{name} is not set; put the one from {where} into the environment or into .env.")
    settings = Settings(
        openai_api_key=take("OPENAI_API_KEY", "", str),
        twilio_auth_token=take("TWILIO_AUTH_TOKEN", "", str),
        websocket_base_url=take("OPENAI_WEBSOCKET_BASE_URL", None, _websocket_url),
        model=take("OPENAI_REALTIME_MODEL", Settings.model, str),
        transcription_model=take("OPENAI_TRANSCRIPTION_MODEL", Settings.transcription_model, str),
        voice=take("OPENAI_VOICE", Settings.voice, str),
        public_host=take("PUBLIC_HOST", None, _host),
        host=take("HOST", Settings.host, str),
        port=take("PORT", Settings.port, _whole(0, 65535)),
        transfer_to=take("TRANSFER_TO", None, _phone_number),
        record_calls=take("RECORD_CALLS", False, _yes_or_no),
        recordings=take("RECORDINGS", Settings.recordings, Path),
        call_log=take("CALL_LOG", None, Path),
        max_calls=take("MAX_CALLS", Settings.max_calls, _whole(1, 10_000)),
        drain_within=take("DRAIN_WITHIN", Settings.drain_within, _whole(0, 3600)),
        rotate_after=take("ROTATE_AFTER", Settings.rotate_after, _whole(60, 58 * 60)),
    )
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _read_env_file(path: Path) -> dict[str, str]:
    values = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SettingsError(f"{path}:{number}: expected NAME=value.")
        value = value.strip()
        quoted = re.fullmatch(r"""(["'])(.*)\1\s*(#.*)?""", value)
        values[name.strip()] = quoted[2] if quoted else re.sub(r"\s+#.*\Z", "", value)
    return values


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return read


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
        raise ValueError("expected yes or no")
    return text.lower() in ("1", "true", "yes")


def _websocket_url(text: str) -> str:
    if not re.fullmatch(r"wss?://[^/\s]+(/\S*)?", text):
        raise ValueError("expected an address like wss://host/v1")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", text):
        raise ValueError("expected a host name, without https:// and without a path")
    return text


def _phone_number(text: str) -> str:
    if not re.fullmatch(r"\+\d{6,15}", text):
        raise ValueError("expected a phone number like +97231234567")
    return text
