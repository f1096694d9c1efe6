"""Static checker and codemod for phone agents that bridge Twilio Media Streams and OpenAI Realtime."""

__version__ = "0.1.0"
