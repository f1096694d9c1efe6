"""The map's short values said in words, for readers who have never seen the protocol."""

from __future__ import annotations

from pipeline_guard.pipeline.model import Lane, PipelineMap, Site

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
    "tts": "speech synthesis",
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
    "unresolved-receiver": "receiver unknown",
    "unresolved-configuration": "configuration unknown",
}
CONTEXTS = {
    "live": "",
    "post_call": "after the call",
    "offline": "offline",
    "startup": "at start-up",
    "test": "in a test",
    "example": "example",
    "dormant": "dormant: nothing calls it",
    "unknown": "",
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


def sites_of(lane: Lane, *kinds: str) -> list[Site]:
    """Return a lane's sites of some kinds, ordered by place."""
    return sorted((site for site in lane.sites if site.kind in kinds), key=lambda site: (site.path, site.line))


def no_session(pipeline_map: PipelineMap) -> str:
    """Return the sentence for a project that has no session at all."""
    coverage = pipeline_map.coverage
    return (
        f"No Realtime session here: {coverage.discovered:,} Python file(s) found, {coverage.analysed:,} read in depth, "
        "and none of them sends audio to a speech-to-speech session, creates a response or configures a session."
    )
