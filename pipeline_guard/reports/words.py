"""The map's short values said in words, for readers who have never seen the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_guard.pipeline.model import Lane, PipelineMap

GUARDS = {
    "none": "no guard: sends whether or not a response is active",
    "active_checked": "checks for an active response; two triggers at once still pass",
    "pending_set": "checks for an active response and marks its own before sending",
}
SESSION_VALUES = {
    "default_on": "create_response is not given, so the server answers every turn by itself",
    "on": "create_response is true: the server answers every turn by itself",
    "off": "create_response is false: the server waits, the client asks for each response",
    "dynamic": "create_response is computed at run time: it cannot be told who answers",
    "no_vad": "turn detection is off: the client says when a turn ends and asks for each response",
}
POLICIES = {
    "client": "the client asks for the response of each turn",
    "server": "the server creates the response of each turn",
    "both": "the server AND the client create the response of a turn: the caller hears double replies",
    "nobody": "nobody creates the response of a turn: the caller hears nothing",
    "unknown": "it could not be told who creates the response of a turn",
}
BAD_POLICIES = frozenset({"both", "nobody"})
CAUSES = {
    "greeting": "greeting",
    "user_turn": "the caller's turn",
    "tool_result": "tool result",
    "text_input": "typed text",
    "dtmf": "keypad",
    "timer": "timer",
    "silence": "silence timer",
    "recovery": "recovery",
    "error_retry": "retry after an error",
    "barge_in": "barge-in",
    "operator_http": "operator (HTTP)",
    "end_call": "end of call",
    "other": "other",
}
PROVIDERS = {"openai": "OpenAI Realtime"}
ENGINE_KINDS = {
    "stt": "speech-to-text",
    "tts": "another voice",
    "twiml_say": "TwiML <Say>",
    "twiml_play": "TwiML <Play>",
    "twiml_gather": "TwiML <Gather>",
    "twiml_transcription": "TwiML <Transcription>",
}
GAP_REASONS = {
    "syntax": "cannot be parsed",
    "encoding": "cannot be decoded",
    "size": "too large",
    "unreadable": "cannot be read",
    "recursion": "nested too deeply",
    "symlink": "link not followed",
    "contract": "declared, not found",
    "unfollowed": "callers not looked up",
    "unresolved-receiver": "receiver unknown",
    "unresolved-configuration": "configuration unknown",
}
NEVER_CALLED = "nothing calls it"
CONTEXTS = {
    "live": "",
    "post_call": "after the call",
    "offline": "offline",
    "startup": "at start-up",
    "test": "in a test",
    "example": "example",
    "dormant": f"dormant: {NEVER_CALLED}",
    "unknown": "",
}
# Beside the session it is worth a word that something runs in the call; what is about the session itself mostly does.
ENGINE_CONTEXTS = {"live": "during the call", "unknown": "unclear when"}
TEXT_GOES = {
    "feeds_back": "text goes back into the call",
    "log_only": "text is only kept",
    "unknown": "unclear where the text goes",
}
TWIML_VALUES = {
    "greeting": "greeting",
    "error_message": "error message",
    "ivr": "menu",
    "transfer": "transfer",
    "voicemail": "voicemail",
    "dtmf": "keypad",
}
BESIDE = {
    "before": "before the stream",
    "after": "after the stream",
    "update": "sent to a running call",
}


def provider(lane: Lane) -> str:
    """Return the name of the service a lane speaks to."""
    return PROVIDERS.get(lane.provider, lane.provider)


def causes(values: tuple[str, ...]) -> str:
    """Return what makes a trigger fire, in words and without repetition."""
    return ", ".join(dict.fromkeys(CAUSES.get(value, value) for value in values))


def is_realtime(lane: Lane) -> bool:
    """Say whether a lane is one the contract speaks of, as opposed to another provider's."""
    return lane.provider == "openai"


def has_session(pipeline_map: PipelineMap) -> bool:
    """Say whether a project has a Realtime session at all."""
    return any(is_realtime(lane) for lane in pipeline_map.lanes)


def one_setting_away(flag: str) -> str:
    """Return the words for code that runs as soon as a setting is changed."""
    return f"one setting away: {flag}"


def joined(parts: Sequence[str]) -> str:
    """Return parts as a sentence lists them: ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
