"""The gate's report as people read it: a table for the terminal, and markdown for a comment on a pull request."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from modelcheck.finetune.gate import regressed, together
from modelcheck.finetune.hints import Hint, explaining, unexplained
from modelcheck.finetune.messages import message
from modelcheck.finetune.pairing import Item
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Policy, Result, Verdict, consequence
from modelcheck.output.text import printable

COLUMNS = ("suite", "metric", "n x R", "base", "tuned", "diff", "CI", "margin/goal", "MDE", "verdict")
SHOWN = 3
LONGEST = 120
ONE_RUN = "one training run: the intervals do not cover what another seed would give"
# Where GitHub's own links are cut: @name, #12, GH-12, www.x and the hash of a commit. Of what it renders it makes them
# anew, so entities alone do not keep it from that.
LINKED = re.compile(r"(?<=[@#])(?=\w)|(?i:(?<=\bGH-)(?=\d)|(?<=\bwww)(?=\.)|(?<=\b[0-9a-f]{6})(?=[0-9a-f]{1,34}\b))")
UNEXPLAINED = "none that a static finding or an audit knows of"


@dataclass(frozen=True, slots=True)
class GateReport:
    """All results of a job, the policy they were judged by, and what may explain them."""

    job: str
    results: tuple[Result, ...]
    policy: Policy
    hints: tuple[Hint, ...] = ()

    @property
    def consequence(self) -> str:
        """The worst of what the results do to the run: fail, xfail, warn, smoke or pass."""
        outcomes = {consequence(result, self.policy) for result in self.results}
        return next((word for word in ("fail", "xfail", "warn", "smoke") if word in outcomes), "pass")


def text(report: GateReport, width: int = 100, more: str = "gate.json") -> str:
    """The report for a terminal: the table, what did not pass, what explains it, the worst items side by side.

    `more` says where the rest of the items is.
    """
    rows = [heading(report), *map(row, report.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = [f" modelcheck: {printable(report.job)} ".center(width, "-"), *table]
    for label, paragraph in paragraphs(report):
        lines += textwrap.wrap(
            f"{label}: {printable(paragraph)}",
            width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    for result, items in _worst(report):
        lines.append(f"worst items of {printable(result.suite)} {result.metric} (more in {more}):")
        for item in items:
            lines.append(f"  {item.first.item[:12]}  {_short(item.first.prompt)}")
            lines += [f"    {label:<9} {answer}" for label, answer in _sides(item, result.against)]
    return "\n".join(lines)


def markdown(report: GateReport) -> str:
    """The report for a comment on a pull request. Whatever a model or a data set wrote is escaped."""
    lines = [f"### modelcheck: {_escaped(report.job)}: {report.consequence}", ""]
    lines += [_line(heading(report)), "|".join(["", *["---"] * len(COLUMNS), ""])]
    lines += [_line([_escaped(cell) for cell in row(result)]) for result in report.results]
    lines += ["", *(f"- **{label}**: {_escaped(paragraph)}" for label, paragraph in paragraphs(report))]
    for result, items in _worst(report):
        lines += ["", f"<details><summary>Worst items of {_escaped(f'{result.suite} {result.metric}')}</summary>", ""]
        heads = ["prompt", "expected", _escaped(result.against), "tuned"]
        lines += [_line(heads), "|---|---|---|---|"]
        for item in items:
            cells = [_short(item.first.prompt), *(answer for _, answer in _sides(item, result.against))]
            lines.append(_line([f"<code>{_escaped(cell)}</code>" for cell in cells]))
        lines += ["", "</details>"]
    return "\n".join([*lines, ""])


def heading(report: GateReport) -> list[str]:
    """The heads of the table's columns."""
    return [f"{100 - 200 * report.policy.alpha:g}% CI" if name == "CI" else name for name in COLUMNS]


def row(result: Result) -> list[str]:
    """A result as the table shows it, a cell for each column."""
    paired = result.role in ("guard", "target", "arm", "overfit")
    sign = "+" if paired else ""
    return [
        (f"{result.role} {result.suite}" if result.role != result.suite else result.suite)
        + " (primary)" * result.primary,
        result.metric,
        f"{result.items}x{result.repeats}",
        "" if result.base is None else f"{result.base:.2f}",
        f"{result.tuned:.2f}",
        f"{result.value:+.3f}" if paired else f"{result.value:.2f}" if result.metric == "length" else "",
        f"[{result.lower:{sign}.3f}, {result.upper:{sign}.3f}]",
        _goal(result),
        "" if result.mde is None else f"{result.mde:.3f}",
        result.verdict,
    ]


def _goal(result: Result) -> str:
    low, high = result.at_least, result.at_most
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is None:
        return f"<= {high:g}"
    return f"{low:g}" if result.role == "guard" else f">= {low:{'+' if result.role in ('target', 'arm') else ''}g}"


def paragraphs(report: GateReport) -> Iterator[tuple[str, str]]:
    """(label, text) of what is to be said beside the table: causes, what did not pass, what holds for all of it."""
    found = explaining(report.results, report.hints)
    for hint in found:
        yield "likely cause", f"{hint.message} ({hint.source})"
    if not found and any(unexplained(result) for result in report.results):
        yield "likely cause", UNEXPLAINED
    for result in report.results:
        if result.verdict not in (Verdict.PASS, Verdict.SMOKE) or result.notes:
            yield result.verdict, message(result, found)
    guards = [result for result in report.results if result.role == "guard"]
    if worse := regressed(guards, report.policy.alpha):
        yield "got worse", f"{', '.join(result.suite for result in worse)} (all guards tested together, Holm)"
    if len(guards) > 1:
        yield (
            "power",
            f"if nothing changed, all {len(guards)} guards pass together with probability {together(guards):.2f}",
        )
    if any(result.pairs is not None and len(result.pairs.runs) == 1 for result in report.results):
        yield "note", ONE_RUN


def _worst(report: GateReport) -> Iterator[tuple[Result, list[Item]]]:
    """The first few of what does badly, each item once."""
    shown: set[str] = set()
    for result in report.results:
        fresh = [item for item in result.worst if item.first.item not in shown][:SHOWN]
        if result.verdict is not Verdict.PASS and fresh:
            shown |= {item.first.item for item in result.worst}
            yield result, fresh


def _sides(item: Item, against: str) -> Iterator[tuple[str, str]]:
    yield "expected", _short(expected(item))
    for label, samples in ((against, item.base), ("tuned", item.tuned[0])):
        sample = lowest(samples)
        cut = "" if sample.stopped else " [cut]"
        yield label, f"{_short(sample.answer) or '(empty)'}{cut} = {sample.score:.2f}"


def expected(item: Item) -> str:
    """The reference as text: that of a list or an object as JSON."""
    reference = item.first.reference
    return reference if isinstance(reference, str) else json.dumps(reference)


def lowest(samples: tuple[Sample, ...]) -> Sample:
    """Of the answers to an item, the one that scored least."""
    return min(samples, key=lambda s: s.score)


def _short(words: str) -> str:
    line = printable(words)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _line(cells: list[str]) -> str:
    return "|".join(["", *cells, ""])


def _escaped(words: str) -> str:
    """Text in which nothing is markup, a mention or a link: all but plain characters as entities, links cut in two."""
    return "<!-- -->".join("".join(map(_entity, piece)) for piece in LINKED.split(printable(words)))


def _entity(character: str) -> str:
    return character if character.isalnum() or character in " .,;()+-=%'" else f"&#{ord(character)};"
