"""One run of `modelcheck lint`: what the settings file and the command line say together, and how it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcheck import baseline, ignores, packs, settings
from modelcheck.engine import Options, lint_targets
from modelcheck.finding import Severity
from modelcheck.ignores import ModelIgnore
from modelcheck.report import TargetReport

CLEAN, FOUND, USAGE, INTERNAL = range(4)


@dataclass(frozen=True, slots=True)
class Run:
    """The options of a run and what makes it fail."""

    options: Options
    fail_on: Severity
    strict: bool
    per_model_ignore: tuple[ModelIgnore, ...]

    @classmethod
    def of(cls, folder: Path, said: dict[str, Any], **set_up: Any) -> Run:
        """What the command line says over what the settings in force in the folder say. Raises UsageError.

        `set_up` is what the targets are checked together with (base, chat_template, lora) and how the hub is asked.
        """
        found = settings.find(folder)
        value: dict[str, Any] = {n: getattr(found, n) if said[n] in (None, ()) else said[n] for n in said}
        fail_on, strict = Severity[value.pop("fail_on").upper()], value.pop("strict")
        return cls(Options(**value, **set_up), fail_on, strict, found.per_model_ignore)

    def lint(self, targets: Iterable[str], known: Counter[str]) -> Iterator[TargetReport]:
        """The reports, without what the settings ignore and what the baseline knows."""
        for report in lint_targets(targets, self.options):
            ignores.apply(report, self.per_model_ignore, packs.load().checks)
            baseline.take_known(report, known)
            yield report

    def exit_code(self, reports: Iterable[TargetReport], *, exit_zero: bool) -> int:
        """The highest code of any target. `exit_zero` forgives findings, not what could not be read."""
        return max((self._code(report, exit_zero) for report in reports), default=CLEAN)

    def _code(self, report: TargetReport, exit_zero: bool) -> int:
        if report.internal:
            return INTERNAL
        if report.error:
            return USAGE
        failed = any(f.severity >= self.fail_on for f in report.findings) or (self.strict and report.skipped)
        return FOUND if failed and not exit_zero else CLEAN
