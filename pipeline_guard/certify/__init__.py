"""Proof at run time: simulators of both peers with real WebSockets, the test call, and what a run of it shows."""
