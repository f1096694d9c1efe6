"""The one kind of error that is the user's to mend: its message is the whole story."""

from __future__ import annotations


class UserError(Exception):
    """Something wrong with the command line, the settings or the scanned folder; says what, where, and what to do."""
