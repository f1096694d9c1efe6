"""Keeps a backend from getting worse: records what is known of it, and says what a change adds."""
