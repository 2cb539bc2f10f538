"""Per-model ignores: a rule switched off for some targets, with the reason that whoever comes next will ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from modelcheck.check import Check
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.report import TargetReport
from modelcheck.selection import matching

KEYS = ("model", "rules", "reason")


@dataclass(frozen=True, slots=True)
class ModelIgnore:
    """`model` is a glob over the target as it is named on the command line, `rules` are selectors."""

    model: str
    rules: tuple[str, ...]
    reason: str

    def covers(self, target: str) -> bool:
        """Whether the ignore is about this target."""
        path = Path(target)
        return fnmatch(path.as_posix(), self.model) or fnmatch(path.absolute().as_posix(), self.model)


def parse(path: Path, entries: Any) -> tuple[ModelIgnore, ...]:
    """The entries of `per-model-ignore` in a settings file. Raises UsageError naming what is wrong."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path}: per-model-ignore is no list of tables; write [[per-model-ignore]]")
    return tuple(_entry(path, entry) for entry in entries)


def _entry(path: Path, entry: dict[str, Any]) -> ModelIgnore:
    for key in entry:
        if key not in KEYS:
            raise UsageError(f"{path}: per-model-ignore: unknown key {key!r}{did_you_mean(key, KEYS)}")
    model, rules, reason = (entry.get(key) for key in KEYS)
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise UsageError(f"{path}: per-model-ignore: rules is {rules!r}, expected a list of codes, families or slugs")
    for key, value in (("model", model), ("reason", reason)):
        if not isinstance(value, str) or not value.strip():
            raise UsageError(
                f"{path}: per-model-ignore: {key} is {value!r}, expected a text; an ignore without a reason is refused"
            )
    return ModelIgnore(str(model), tuple(rules), str(reason))


def apply(report: TargetReport, ignores: Iterable[ModelIgnore], checks: Sequence[Check]) -> None:
    """Take the ignored findings out of a report, keeping count with the reason."""
    for ignore in ignores:
        codes = {check.code for check in matching(checks, ignore.rules)}
        if not ignore.covers(report.target):
            continue
        kept = [f for f in report.findings if f.code not in codes]
        if dropped := len(report.findings) - len(kept):
            report.ignored.append(f"{dropped} ignored: {ignore.reason}")
        report.findings = kept
