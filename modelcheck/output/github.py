"""The report as GitHub workflow commands, which annotate the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from modelcheck.finding import Severity
from modelcheck.report import TargetReport

from .places import line_and_column, path_of
from .text import printable

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(reports: Iterable[TargetReport]) -> str:
    """One line for each finding, and one for what could not be read; commits of the hub are lines of the log alone."""
    return "\n".join(line for report in reports for line in _lines(report))


def _lines(report: TargetReport) -> Iterator[str]:
    folder = Path(report.target)
    for one in report.hub:
        yield f"{one.id} at {one.sha}"
    for text in (*([report.error] if report.error else []), *report.internal):
        yield f"::error file={_property(report.target)},title=modelcheck::{_data(text)}"
    for finding in report.findings:
        properties = f"file={_property(path_of(folder, finding).as_posix())}"
        if place := line_and_column(folder, finding):
            properties += f",line={place[0]},col={place[1]}"
        title = _property(f"{finding.code} {finding.slug}")
        message = finding.message if finding.at is None else f"{finding.at}: {finding.message}"
        yield f"::{COMMANDS[finding.severity]} {properties},title={title}::{_data(message)}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
