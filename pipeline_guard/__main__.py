"""The command line's front door: runs a command and turns whatever happens into one of four exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

CLEAN, FINDINGS, USAGE, INTERNAL = 0, 1, 2, 3
# What shells report for a program that was stopped by SIGINT or SIGPIPE.
INTERRUPTED, PIPE_CLOSED = 130, 141
# New objects after which unused ones are looked for.
GARBAGE_EVERY = 50_000
DEBUG_VARIABLE = "PIPELINE_GUARD_DEBUG"


def run() -> NoReturn:
    """Run the command line as a program of its own."""
    from pipeline_guard import leaving

    leaving.expect_the_end()
    leaving.leave(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: one of those above, or what a shell reports for a signal."""
    import gc

    # Imports and tables of files make many objects that live to the end; looking through them ever again is in vain.
    gc.set_threshold(GARBAGE_EVERY, *gc.get_threshold()[1:])
    import click

    from pipeline_guard.cli.group import cli
    from pipeline_guard.errors import UserError

    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="pipeline-guard", standalone_mode=False
        )
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return USAGE
    except UserError as error:
        _say(str(error))
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # the reader has what it wanted (`… | head`)
        return PIPE_CLOSED
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return _no_room(error)
        return _internal_error(error)
    return result if isinstance(result, int) else CLEAN


def _no_room(error: OSError) -> int:
    where = error.filename or "the output"
    _say(f"{where} could not be written: {error.strerror}; make room and run the command again")
    if error.filename is None:
        _drop_output()
    return INTERNAL


def _drop_output() -> None:
    """Let what could not be written go nowhere: Python would try once more when it flushes at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _internal_error(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__)
    what = " ".join(str(error).split()) or "no message"
    _say(
        f"internal error ({type(error).__name__}: {what}); this is a defect of pipeline-guard, not of your code: "
        f"please report it with the command you ran and what it prints under {DEBUG_VARIABLE}=1"
    )
    return INTERNAL


def _say(sentence: str) -> None:
    text = f"pipeline-guard: {sentence}\n"
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding))


if __name__ == "__main__":
    run()
