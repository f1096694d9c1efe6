"""Knows other speech services by the host names that an agent asks the network for, from the rules' vocabulary."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

# Hosts that offer language models as well (that of the Realtime session too): their names alone say nothing.
_SEVERAL = (
    *("openai.com", "azure.com", "amazonaws.com", "groq.com", "mistral.ai", "together.ai", "together.xyz"),
    *(
        "fireworks.ai",
        "x.ai",
        "sarvam.ai",
        "fal.run",
        "hume.ai",
        "aliyuncs.com",
        "bland.ai",
        "inworld.ai",
        "google.com",
        "huggingface.co",
    ),
)
# Google's services are called through gRPC, where no address stands in the code.
_GRPC = {"speech.googleapis.com": ("stt", "google"), "texttospeech.googleapis.com": ("tts", "google")}


class SpeechService(NamedTuple):
    """``kind`` is "stt", "tts", or "speech" where one host serves both."""

    kind: str
    name: str


def engine_at(host: str) -> SpeechService | None:
    """Return the speech service that a host belongs to, None for any other host."""
    services = _services()
    name = host.rstrip(".").lower()
    while "." in name:
        if name in services:
            return services[name]
        name = name.partition(".")[2]
    return None


@lru_cache(maxsize=1)
def _services() -> dict[str, SpeechService]:
    from pipeline_guard.config import Config
    from pipeline_guard.rulebook import rules_dir
    from pipeline_guard.vocabulary import load

    found = {host: SpeechService(*service) for host, service in _GRPC.items()}
    for engine in load(Config(), rules_dir() / "vocabulary").engines.engines:
        for part in (*engine.addresses, *engine.sockets):
            host = part.partition("/")[0].partition(":")[0].lower()
            if "." not in host or host.endswith(_SEVERAL):
                continue
            known = found.get(host)
            kind = engine.kind if known is None or known.kind == engine.kind else "speech"
            found[host] = SpeechService(kind, known.name if known is not None else engine.name)
    return found
