"""How a call can fail before there is a media stream."""

from __future__ import annotations


class CallFailed(Exception):
    """The call did not come to a media stream; the message says what Twilio would report."""
