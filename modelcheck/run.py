"""One run of `modelcheck lint`: what the settings file and the command line say together, and how it ends."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from modelcheck import baseline, ignores, packs, settings
from modelcheck.engine import Options, lint_targets
from modelcheck.errors import UsageError
from modelcheck.finding import Severity
from modelcheck.ignores import ModelIgnore
from modelcheck.report import TargetReport

CLEAN, FOUND, USAGE, INTERNAL = range(4)
# What shells call a program that Ctrl-C ended.
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Run:
    """The options of a run and what makes it fail."""

    options: Options
    fail_on: Severity
    strict: bool
    per_model_ignore: tuple[ModelIgnore, ...]

    @classmethod
    def of(cls, folder: Path, said: dict[str, Any], **set_up: Any) -> Run:
        """What the command line said over what the settings in force in the folder say. Raises UsageError.

        `set_up` is what the targets are checked together with (base, chat_template, lora) and how the hub is asked.
        """
        refuse_empty(**set_up)
        found = settings.find(folder)
        value = {f.name: getattr(found, f.name) for f in fields(found)}
        value |= {name: word for name, word in said.items() if word not in (None, ())}
        fail_on, strict = Severity[value.pop("fail_on").upper()], value.pop("strict")
        per_model_ignore = value.pop("per_model_ignore")
        return cls(Options(**value, **set_up), fail_on, strict, per_model_ignore)

    def lint(
        self, targets: Sequence[str], known: Counter[str], jobs: int = 1, scheduler: str | None = None
    ) -> Iterator[TargetReport]:
        """The reports, in order, without what the settings ignore and what the baseline knows.

        `jobs` is the number of processes; with the address of a Dask scheduler, its workers do it.
        """
        alone = scheduler is None and (jobs == 1 or len(targets) == 1)
        for report in lint_targets(targets, self.options) if alone else self._fleet(targets, jobs, scheduler):
            ignores.apply(report, self.per_model_ignore, packs.load().checks)
            baseline.take_known(report, known)
            yield report

    def _fleet(self, targets: Sequence[str], jobs: int, scheduler: str | None) -> Iterator[TargetReport]:
        from modelcheck.fleet import lint_many

        return lint_many(targets, self.options, jobs, scheduler)

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


def refuse_empty(**options: Any) -> None:
    """Raises UsageError for an option that was given an empty text, which must not read as if it was not given."""
    for name, value in options.items():
        if value == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty (an unset variable?)")


def targets_of(named: Sequence[str], file: str | None) -> list[str]:
    """The targets on the command line, then those of `--targets-file`: one a line, `-` is stdin.

    Lines that begin with a `#` are comments; further on it may be a part of a name.

    Raises UsageError for a file that cannot be read, and where there is no target at all.
    """
    lines: list[str] = []
    if file is not None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
            lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--targets-file {file}: {getattr(error, 'strerror', None) or error}") from None
    targets = [*named, *(line for line in lines if line and not line.startswith("#"))]
    if not targets:
        raise UsageError("there is nothing to lint: name a target, or a --targets-file that names some")
    return targets
