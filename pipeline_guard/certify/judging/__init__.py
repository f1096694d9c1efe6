"""Judges one call by what both simulators recorded and the agent logged: a check each, with the place of failure."""
