"""What a run says: for each target its findings, what could not be checked, and what broke in us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelcheck.finding import Confidence, Finding, Severity
from modelcheck.sources import Pinned

if TYPE_CHECKING:
    from modelcheck.facts.norm_histogram import NormHistogram


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check that could not be run, and why."""

    code: str
    slug: str
    reason: str


@dataclass(slots=True)
class TargetReport:
    """The result for one target.

    `error` is set where nothing of it could be read, or the network failed on the way; then the rest is what could be
    said all the same. `hub` names the repositories that were read, at which commits.
    `mended` says of which rules `modelcheck fix` mends findings: {slug: `safe` or `unsafe`}.
    `norms` is there where figures were asked for and a rule looked at the rows of the embedding.
    """

    target: str
    source: str
    error: str | None = None
    findings: list[Finding] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    internal: list[str] = field(default_factory=list)
    not_applicable: int = 0
    hidden: int = 0
    known: int = 0
    ignored: list[str] = field(default_factory=list)
    mended: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    hub: list[Pinned] = field(default_factory=list)
    norms: NormHistogram | None = None

    def hide_below(self, confidence: Confidence) -> None:
        """Take out findings of less confidence, counting them in `hidden`."""
        kept = [f for f in self.findings if f.confidence >= confidence]
        self.hidden += len(self.findings) - len(kept)
        self.findings = kept


class FindingsError(Exception):
    """Raised by `Report.raise_for_errors`: one line for each finding of severity error."""


@dataclass(frozen=True, slots=True)
class Report:
    """The results for all targets of a run, in the order they were named."""

    targets: tuple[TargetReport, ...]

    def __iter__(self) -> Iterator[TargetReport]:
        return iter(self.targets)

    @property
    def findings(self) -> list[Finding]:
        """All findings of all targets."""
        return [f for t in self.targets for f in t.findings]

    @property
    def errors(self) -> list[Finding]:
        """The findings of severity error."""
        return [f for f in self.findings if f.severity is Severity.ERROR]

    def raise_for_errors(self) -> None:
        """Raise FindingsError if there is an error, an unreadable target or an internal error."""
        lines = [f"{f.code} {f.slug}: {f.message}" for f in self.errors]
        lines += [f"{t.target}: {t.error}" for t in self.targets if t.error]
        lines += [f"{t.target}: {text}" for t in self.targets for text in t.internal]
        if lines:
            raise FindingsError("\n".join(lines))
