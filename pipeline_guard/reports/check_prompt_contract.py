"""The contract's steps as a coding assistant has to be told them, with the exact strings that they demand."""

from __future__ import annotations

# A rule names its step.  Step 5 cannot be kept without step 6: the guard reads what the bookkeeping writes.
NEEDS = {5: (6,)}
STEPS: dict[int, str] = {
    1: """\
**One map.** The main call handler carries this comment, and no other pipeline exists:
```
Twilio Media (μ-law base64)
     ↓
media frame handler (single place)
     ↓
enqueue to realtime_audio_in_queue   # exactly one queue
     ↓
audio sender task (single loop)
     ↓
client.send_audio_chunk(...)         # OpenAI Realtime
```
The sender loop starts with
```python
logger.info("[PIPELINE] LIVE AUDIO PIPELINE ACTIVE: Twilio → realtime_audio_in_queue → send_audio_chunk (single path)")
```
""",
    2: """\
**One audio path in.** The media frame handler puts the caller's audio into `realtime_audio_in_queue`; one loop reads
that queue and is the only code that sends audio to Realtime. One queue, one consumer task or thread; no second queue,
fast path or debug path. Anything else is deleted or becomes a no-op:
```python
# DEPRECATED: All audio to Realtime must go through realtime_audio_in_queue + audio_sender_loop
return
```
""",
    3: """\
**Greeting in the same session.** The greeting is a response of the Realtime session, its audio is what Twilio plays,
and no other text-to-speech engine speaks. It is logged with
```python
logger.info("[GREETING] Using OpenAI Realtime for greeting (same session, same pipeline)")
```
What becomes a no-op instead of being deleted carries
```python
# DEPRECATED: The greeting and all speech come from the same OpenAI Realtime session
```
""",
    4: """\
**One live speech-to-text: Realtime's transcription.** Any other recogniser that runs during the call is removed. One
that runs only after the call may stay; it sends nothing to Realtime, changes no state that the live agent reads, and
carries
```python
# NOTE: This STT is OFFLINE ONLY (post-call). Live behavior uses ONLY OpenAI Realtime transcription.
```
What becomes a no-op instead of being deleted carries
```python
# DEPRECATED: Live transcription comes ONLY from OpenAI Realtime
```
""",
    5: """\
**One trigger.** `async def trigger_response(reason: str)` is the only place that sends `response.create`; every other
path calls it. It may be called at the end of the caller's speech (`input_audio_buffer.speech_stopped` or
`input_audio_buffer.committed`), for the greeting and for a tool result; never by a timer, a loop, a recovery or a
fallback. It starts with this guard:
```python
if self.active_response_id is not None:
    logger.warning("[RESPONSE GUARD] Active response in progress (%s) – skipping new response (%s)", \
self.active_response_id, reason)
    return
```
The guard alone lets two triggers inside one round trip pass, so the trigger also marks its own request as pending
before it sends. A trigger that was skipped is answered once after `response.done`, if no later response covered it. One
party creates the response of a normal turn: when the client does, `turn_detection.create_response` is present and
false. What becomes a no-op instead of being deleted carries
```python
# DEPRECATED: All responses must go through trigger_response(reason)
```
""",
    6: """\
**Active-response bookkeeping.** `self.active_response_id: Optional[str]` is set from `response.created`
(`event.response.id`), set to None on `response.done` (completed or cancelled), and checked before every send.
""",
    7: """\
**One compact status line** every 2–3 seconds, never per frame:
```python
logger.info(
    "[PIPELINE STATUS] sent=%d blocked=%d | active_response=%s | ai_speaking=%s | user_has_spoken=%s",
    self.stats_audio_sent, self.stats_audio_blocked, self.active_response_id, self.is_ai_speaking, self.user_has_spoken,
)
```
""",
}


def steps_of(concerned: set[int]) -> list[tuple[int, str]]:
    """Return the text of some steps and of what they need, in the contract's order."""
    wanted = concerned | {needed for step in concerned for needed in NEEDS.get(step, ())}
    return [(number, text) for number, text in STEPS.items() if number in wanted]
