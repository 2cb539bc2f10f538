"""The report as one page for people: verdicts first, then what was found, why it matters and what to type."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import TYPE_CHECKING

from modelcheck import __version__
from modelcheck.finding import Finding, Severity
from modelcheck.fixer import Fixer
from modelcheck.manual import sections
from modelcheck.report import TargetReport
from modelcheck.sources.transfer import megabytes

from . import page
from .plot import Plot, plot
from .text import printable

if TYPE_CHECKING:
    from modelcheck.check import Check
    from modelcheck.packs import Catalogue
    from modelcheck.run import Run

# What of a rule's manual stands in the report; `modelcheck explain` has all of it.
SHOWN = ("Why", "Common causes", "Fix safety")
STANDINGS = {Severity.ERROR: "with errors", Severity.WARNING: "with warnings", Severity.INFO: "with notes"}
LIBRARIES = ("numpy", "tokenizers", "huggingface_hub", "transformers")
# Nobody can type a fix for these: a GGUF is mended where it was converted from, an object in its trainer.
NOT_MENDED = ("gguf", "objects")


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule's findings of one severity, with its manual and, where one can be typed, its fix."""

    check: Check
    findings: Sequence[Finding]
    manual: Mapping[str, Sequence[tuple[str, list[str]]]]
    fix: str | None
    command: str | None


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target as the page shows it.

    `state` is what its verdict is coloured by, `standing` the verdict in a word or three, `verdict` in full.
    """

    report: TargetReport
    state: str
    standing: str
    verdict: str
    counts: Sequence[tuple[str, int]]
    severities: Sequence[tuple[str, Sequence[RuleView]]]
    unchecked: Mapping[str, Sequence[str]]
    hub: Sequence[tuple[str, str, str]]
    norms: Plot | None


def render(reports: Iterable[TargetReport], catalogue: Catalogue, run: Run) -> str:
    """One page for all targets of a run."""
    targets = [_target(report, catalogue, run) for report in reports]
    return page.render(
        "lint.html",
        targets=targets,
        headline=_headline(targets),
        settings=list(_settings(run)),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _headline(targets: Sequence[TargetView]) -> str:
    if len(targets) == 1:
        return f"1 target: {targets[0].verdict}"
    standings = Counter(target.standing for target in targets)
    return f"{page.count(len(targets), 'target')}: {', '.join(f'{n} {words}' for words, n in standings.items())}"


def _target(report: TargetReport, catalogue: Catalogue, run: Run) -> TargetView:
    tally = Counter(f.severity for f in report.findings)
    counts = [(page.count(tally[s], str(s)).split()[1], tally[s]) for s in sorted(Severity, reverse=True)]
    counts.append(("not checked", len(report.skipped)))
    unchecked: dict[str, list[str]] = {}
    for item in report.skipped:
        unchecked.setdefault(item.reason, []).append(f"{item.code} {item.slug}")
    state, standing, verdict = _verdict(report, tally)
    return TargetView(
        report,
        state,
        standing,
        verdict,
        # Of a target that could not be read, four noughts would look like a clean one.
        counts if any(n for _, n in counts) or not report.error else [],
        [(str(s), list(_rules(report, s, catalogue, run))) for s in sorted(tally, reverse=True)],
        unchecked,
        [(hub.id, hub.sha, f"{megabytes(hub.read)} of {megabytes(hub.total)}") for hub in report.hub],
        plot(report.norms) if report.norms else None,
    )


def _verdict(report: TargetReport, tally: Counter[Severity]) -> tuple[str, str, str]:
    """(state, standing, verdict). What was not checked in full is never called clean."""
    found = ", ".join(page.count(tally[s], str(s)) for s in sorted(tally, reverse=True))
    many = f"; {page.count(len(report.skipped), 'rule')} could not be checked" if report.skipped else ""
    if report.internal:
        return "broken", "with an error of ours", f"internal error; {found or 'no findings'}{many}"
    if report.error:
        standing = "not read in full" if found or many else "could not be read"
        return "broken", standing, f"{standing}{found and f'; {found}'}{many}"
    if found:
        return str(max(tally)), STANDINGS[max(tally)], f"{found}{many}"
    if report.skipped:
        return "unsure", "not checked in full", f"no findings{many}"
    return "clean", "without findings", "no findings"


def _rules(report: TargetReport, severity: Severity, catalogue: Catalogue, run: Run) -> Iterator[RuleView]:
    checks = {check.code: check for check in catalogue.checks}
    findings = sorted((f for f in report.findings if f.severity is severity), key=lambda f: f.code)
    for code, group in groupby(findings, key=lambda f: f.code):
        check = checks[code]
        manual = {h: list(page.blocks(text)) for h, text in sections(check.manual).items() if h in SHOWN}
        fix = None if report.source in NOT_MENDED else report.mended.get(check.slug)
        command = fix and _command(report.target, check.slug, catalogue.fixers, run, unsafe=fix == "unsafe")
        yield RuleView(check, list(group), manual, fix, command)


def _command(target: str, slug: str, fixers: Iterable[Fixer], run: Run, *, unsafe: bool) -> str:
    """What shows the fix as a diff: the options of this run, and those without which it would be left out."""
    options = run.options
    words = ["modelcheck", "fix", target]
    for name in ("base", "chat_template", "lora", "revision", "weights"):
        if value := getattr(options, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for name in ("target", "select", "ignore", "extend_select"):
        words += [word for value in getattr(options, name) for word in (f"--{name.replace('_', '-')}", value)]
    words += [f"--{name}" for name in ("pedantic", "offline") if getattr(options, name)]
    asked = {fixer.option for fixer in fixers if slug in fixer.slugs}
    words += ["--unsafe"] * unsafe
    words += [f"--{option}" for option in sorted(filter(None, asked)) if None not in asked]
    return shlex.join(words)


def _settings(run: Run) -> Iterator[tuple[str, str]]:
    """What the page says of how it was made, as (name, value)."""
    options = run.options
    yield "Must work with", ", ".join(options.target) or "transformers of today (no --target was named)"
    yield "Rules", " ".join(options.select) or "all"
    if options.ignore:
        yield "Rules left out", " ".join(options.ignore)
    if options.extend_select:
        yield "Rules added", " ".join(options.extend_select)
    yield "Tensor data read", options.weights or "embeddings; of a hub id, the rows in use and a sample"
    yield "Fails from", f"{run.fail_on}{', and where a rule could not be checked' if run.strict else ''}"
    yield "Low confidence", "shown" if options.pedantic else "hidden and counted"
    set_up = {"Base": options.base, "Chat template": options.chat_template, "LoRA": options.lora, "Rows": options.data}
    for name, value in (set_up | {"Revision": options.revision}).items():
        if value:
            yield name, printable(str(value))
    yield "modelcheck", __version__
    yield "Python", sys.version.split()[0]
    for library in LIBRARIES:
        yield library, _version(library)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
