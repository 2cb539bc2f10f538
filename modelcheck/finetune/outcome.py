"""What one step of a job came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelcheck.finding import Finding, Severity
from modelcheck.finetune.verdict import Result

PASSED, WARNED, FAILED, EXPECTED, BLOCKED = "pass", "warn", "fail", "xfail", "blocked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict` is pass, warn, fail, xfail, or blocked by an earlier step that failed.

    `message` says what is wrong and what to do, `details` what else a person may want to read; `findings` and `results`
    are what both are made of.
    """

    item: str
    verdict: str
    message: str = ""
    details: str = ""
    findings: tuple[Finding, ...] = ()
    results: tuple[Result, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether nothing after it makes sense."""
        return self.verdict in (FAILED, BLOCKED)


def judged(item: str, findings: list[Finding], problems: list[str], details: str = "") -> Outcome:
    """The outcome of findings and of problems that are no rule's: an error or a problem fails, a warning warns."""
    lines = [*problems, *(_line(f) for f in findings if f.severity >= Severity.WARNING)]
    failed = problems or any(f.severity is Severity.ERROR for f in findings)
    verdict = FAILED if failed else WARNED if lines else PASSED
    return Outcome(item, verdict, "\n".join(lines), details, tuple(findings))


def _line(finding: Finding) -> str:
    place = ":".join(part for part in (finding.file, finding.at) if part)
    return f"{finding.severity} {finding.code} {finding.slug}: {finding.message}{f' ({place})' if place else ''}"
