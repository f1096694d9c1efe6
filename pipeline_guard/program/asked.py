"""Notes what an analysis asks of the bytes of files, so that a later one knows which changes cannot alter an answer."""

from __future__ import annotations


class Asked:
    """The words that were looked for in all files, and the files in which one was found.

    A file outside ``found_in`` that holds none of ``words`` after a change had no part in any answer and has none now.
    ``wants_start`` says that some file was looked for in which a program starts, and that there was none.
    """

    def __init__(self) -> None:
        self.words: set[bytes] = set()
        self.found_in: set[str] = set()
        self.wants_start = False
