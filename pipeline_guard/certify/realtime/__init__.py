"""The OpenAI Realtime API as a state machine: sessions, turns, responses and errors, without a socket in sight."""
