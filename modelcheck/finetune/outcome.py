"""What one step of a job came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelcheck.finding import Finding, Severity
from modelcheck.finetune.verdict import Result

PASSED, WARNED, FAILED, EXPECTED, SMOKE, BLOCKED = "pass", "warn", "fail", "xfail", "smoke", "blocked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict` is pass, warn, fail, xfail, smoke (only some items were asked), or blocked by an earlier failure.

    `message` says what is wrong and what to do, `details` what else a person may want to read; `findings` and `results`
    are what both are made of. `by` is the step that failed, where one did before this.
    """

    item: str
    verdict: str
    message: str = ""
    details: str = ""
    findings: tuple[Finding, ...] = ()
    results: tuple[Result, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)
    by: str = ""

    @property
    def stops(self) -> bool:
        """Whether nothing after it makes sense."""
        return self.verdict in (FAILED, BLOCKED)


def judged(
    item: str,
    findings: Iterable[Finding],
    problems: Iterable[str],
    details: str = "",
    warnings: Iterable[str] = (),
) -> Outcome:
    """The outcome of findings and of what is no rule's: an error or a problem fails, a warning warns."""
    found, wrong = tuple(dict.fromkeys(findings)), list(dict.fromkeys(problems))
    lines = [*wrong, *(_line(f) for f in found if f.severity >= Severity.WARNING), *warnings]
    failed = wrong or any(f.severity is Severity.ERROR for f in found)
    verdict = FAILED if failed else WARNED if lines else PASSED
    return Outcome(item, verdict, "\n".join(lines), details, found)


def _line(finding: Finding) -> str:
    place = ":".join(part for part in (finding.file, finding.at) if part)
    return f"{finding.severity} {finding.code} {finding.slug}: {finding.message}{f' ({place})' if place else ''}"
