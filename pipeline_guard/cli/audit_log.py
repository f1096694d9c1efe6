"""``pipeline-guard audit-log``: reads the log of real calls line by line and says whether each shows one pipeline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pipeline_guard.cli.options import no_color_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_guard.calllog.audit import Audit


@click.command("audit-log", short_help="Check the log of a real call.")
@click.argument("log", metavar="FILE|-")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    show_default=True,
    help="How to print the audit.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE instead."
)
@click.option("--summary", is_flag=True, help="Only the account of each call, without the lines (text only).")
@no_color_option
def command(log: str, output_format: str, output: Path | None, summary: bool, no_color: bool) -> int:
    """Check the log of calls in FILE (- is standard input) for exactly one clean pipeline in each.

    Every line is printed with what it means in the margin; then, for each call: sender loops, turns, responses and what
    asked for them, active-response errors, other recognisers and voices, duplicate replies, triggers by timers and
    after the call.  Logs of docker compose, foreman, Heroku, Kubernetes and Replit's console are read, JSON lines, and
    plain text; also compressed with gzip.
    """
    from pipeline_guard.errors import UserError

    source = "standard input" if log == "-" else log
    try:
        with _open(log) as stream:
            out = sys.stdout.buffer if output is None else output.open("wb")
            try:
                audit = _run(stream, out, output_format, source, log, summary=summary, no_color=no_color)
            finally:
                if output is not None:
                    out.close()
    except BrokenPipeError:
        raise
    except OSError as error:
        where = error.filename if error.filename is not None else source
        raise UserError(f"{where}: cannot be read or written: {error.strerror or error}.") from None
    if not audit.calls:
        raise UserError(
            f"{source}: no call was found in {audit.lines:,} lines; the log has to show Realtime's events "
            "(response.created, input_audio_buffer.committed, …) or the contract's lines."
        )
    return 0 if audit.passed else 1


def _open(log: str) -> BinaryIO:
    from pipeline_guard.calllog.reader import open_log

    return sys.stdin.buffer if log == "-" else open_log(log)


def _run(
    stream: BinaryIO, out: BinaryIO, output_format: str, source: str, log: str, *, summary: bool, no_color: bool
) -> Audit:
    import os

    from pipeline_guard.calllog.audit import audit

    colour = out.isatty() and not no_color and not os.environ.get("NO_COLOR")
    report = _report(out, output_format, source, colour=colour, summary=summary)
    with _progress(log, out) as progress:
        result = audit(stream, report, progress=progress)
    report.end(result)
    out.flush()
    return result


def _report(out: BinaryIO, output_format: str, source: str, *, colour: bool, summary: bool) -> Any:
    if output_format == "json":
        from pipeline_guard.calllog.report_json import JsonReport

        return JsonReport(out, source)
    if output_format == "html":
        from pipeline_guard.calllog.report_html import HtmlReport

        return HtmlReport(out)
    from pipeline_guard.calllog.report_text import SummaryReport, TextReport

    return (SummaryReport if summary else TextReport)(out, colour=colour)


class _Silent:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _Bar:
    """A progress bar on standard error, moved once per megabyte."""

    def __init__(self, size: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=size)
        self._read = 0

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _advance(self, size: int) -> None:
        self._read += size
        if self._read >= 1 << 20:
            self._progress.advance(self._task, self._read)
            self._read = 0


def _progress(log: str, out: BinaryIO) -> Any:
    """Return a bar where somebody watches and the log itself is not what they see."""
    if log == "-" or out.isatty() or not sys.stderr.isatty():
        return _Silent()
    return _Bar(Path(log).stat().st_size)
