"""Twilio's side of a phone call: TwiML, signatures, and the media stream as a state machine without I/O."""
