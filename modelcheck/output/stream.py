"""Where a report goes: to a file or to standard output, each target as it is there or all in one document."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

import click

from modelcheck import packs
from modelcheck.errors import UsageError
from modelcheck.output import document, text
from modelcheck.report import TargetReport
from modelcheck.run import Run


@contextmanager
def opened(path: str | None) -> Iterator[IO[str]]:
    """The file, or standard output. Raises UsageError for what cannot be written."""
    try:
        with click.open_file(path or "-", "w", encoding="utf-8") as stream:
            yield stream
    except BrokenPipeError:  # nobody reads any more, which is no fault: click ends the run
        raise
    except OSError as error:
        if not path:  # what is left in its buffer would be tried once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"{f'--output-file {path}' if path else 'standard output'}: {error.strerror}") from None


def write(run: Run, reports: Iterable[TargetReport], form: str | None, stream: IO[str]) -> list[TargetReport]:
    """Write each report as it is there (text), or all in one document; nothing where `form` is None."""
    gathered = []
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    for report in reports:
        gathered.append(report)
        if form == "text":
            click.echo(text.render(report, width), file=stream)
    if form not in ("text", None):
        click.echo(document(form, gathered, packs.load(), run), file=stream)
    return gathered
