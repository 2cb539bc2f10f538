"""The report as a person reads it."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Iterator

import click

from modelcheck.finding import Finding, Severity
from modelcheck.report import Skipped, TargetReport
from modelcheck.sources import Pinned
from modelcheck.sources.transfer import megabytes

INDENT = " " * 10
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}


def render(report: TargetReport, width: int | None = None) -> str:
    """One target: its findings, then what is hidden, what could not be checked, and the count.

    Messages are wrapped to `width` columns, the terminal's; None leaves each on one line, for files and pipes.
    """
    lines = [click.style(printable(report.target), bold=True), *map(_pinned, report.hub)]
    unread = [click.style(f"  cannot be read: {printable(report.error)}", fg="red")] if report.error else []
    if unread and not (report.findings or report.skipped):
        return "\n".join([*lines, *unread, ""])
    for finding in report.findings:
        lines += _finding(finding, width)
    lines += [click.style(f"  {printable(text)}; please report it", fg="magenta") for text in report.internal]
    lines += _skipped(report.skipped)
    return "\n".join([*lines, *unread, f"  {_summary(report)}", ""])


def _pinned(hub: Pinned) -> str:
    return click.style(f"  {hub.id} at {hub.sha}: read {megabytes(hub.read)} of {megabytes(hub.total)}", dim=True)


def _finding(finding: Finding, width: int | None) -> Iterator[str]:
    severity = click.style(f"{finding.severity!s:<7}", fg=COLOURS[finding.severity], bold=True)
    place = ":".join(part for part in (finding.file, finding.at) if part) or "checkpoint"
    rule = f"{finding.code} {click.style(finding.slug, bold=True)}"
    yield f"  {severity} {rule}  {click.style(printable(place), dim=True)}"
    yield textwrap.fill(
        printable(finding.message),
        width or sys.maxsize,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _skipped(skipped: list[Skipped]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for item in skipped:
        reasons.setdefault(item.reason, []).append(item.slug)
    for reason, slugs in reasons.items():
        yield click.style(f"  could not check {', '.join(slugs)}: {printable(reason)}", dim=True)


def _summary(report: TargetReport) -> str:
    counts = Counter(f.severity for f in report.findings)
    parts = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in sorted(Severity, reverse=True) if counts[s]]
    if ours := len(report.internal):
        parts.append(f"{ours} error{'s' * (ours != 1)} of ours")
    text = ", ".join(parts) if parts else "no findings"
    if report.skipped:
        text += f"; {len(report.skipped)} rule{'s' * (len(report.skipped) != 1)} could not be checked"
    if report.hidden:
        text += f"; {report.hidden} of low confidence hidden (--pedantic shows them)"
    if report.known:
        text += f"; {report.known} known from the baseline"
    if can := sum(f.slug in report.mended for f in report.findings):
        text += f"; {can} that `modelcheck fix` may mend"
    return "; ".join([text, *map(printable, report.ignored), f"{report.seconds:.2f} s"])


def printable(text: str) -> str:
    """Text from a checkpoint with everything escaped that would act on a terminal or could not be encoded."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
