"""The exact comments of the contract that the codemod leaves behind."""

from __future__ import annotations

AUDIO = "# DEPRECATED: All audio to Realtime must go through realtime_audio_in_queue + audio_sender_loop"
RESPONSE = "# DEPRECATED: All responses must go through trigger_response(reason)"
TRANSCRIPTION = "# DEPRECATED: Live transcription comes ONLY from OpenAI Realtime"
VOICE = "# DEPRECATED: The greeting and all speech come from the same OpenAI Realtime session"
OFFLINE = "# NOTE: This STT is OFFLINE ONLY (post-call). Live behavior uses ONLY OpenAI Realtime transcription."
COMMIT = "# DEPRECATED: The server's turn detection commits the audio buffer"
