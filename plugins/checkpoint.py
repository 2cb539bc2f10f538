"""Checkpoint folders as pytest sees them: a file, and an item for each rule."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from modelcheck import ignores, packs
from modelcheck.check import Check
from modelcheck.engine import lint_facts
from modelcheck.errors import UsageError
from modelcheck.finding import Severity
from modelcheck.output.text import printable
from modelcheck.plugins.notes import note
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.resolver import Resolver
from modelcheck.run import Run
from modelcheck.sources.local import LocalFolder

# What the command line could say, and pytest leaves to the settings file.
UNSAID = dict.fromkeys(("select", "ignore", "extend_select", "target", "weights", "pedantic", "strict", "fail_on"))


class RuleFailed(Exception):
    """A rule that found something. The text is for the user, without a traceback."""


class CheckpointFile(pytest.File):
    """config.json (or adapter_config.json) of a checkpoint folder."""

    @cached_property
    def run(self) -> Run:
        """The settings in force where pytest was started."""
        return Run.of(self.config.rootpath, UNSAID)

    @cached_property
    def facts(self) -> tuple[Any, Resolver]:
        """Source and facts of the folder, shared by all rules."""
        renderer = Renderer()
        self.config.add_cleanup(renderer.close)
        source = self.run.options.set_up(LocalFolder(self.path.parent), self.path.parent)
        given = self.run.options.given() | {"renderer": renderer, "source": source}
        return source, Resolver(packs.load().facts, given)

    def collect(self) -> Iterator[RuleItem]:
        for check in self.run.options.checks():
            yield RuleItem.from_parent(self, name=check.slug, check=check)

    def lint(self, check: Check) -> TargetReport:
        """The report of one rule."""
        source, facts = self.facts
        report = lint_facts(str(self.path.parent), source, [check], facts, self.run.options.pedantic)
        ignores.apply(report, self.run.per_model_ignore, packs.load().checks)
        return report


class RuleItem(pytest.Item):
    """One rule on one checkpoint."""

    parent: CheckpointFile

    def __init__(self, *, check: Check, **more: Any) -> None:
        super().__init__(**more)
        self.check = check

    def runtest(self) -> None:
        try:
            report = self.parent.lint(self.check)
        except UsageError as unreadable:
            raise RuleFailed(str(unreadable)) from None
        if report.internal:
            raise RuleFailed("\n".join(report.internal))
        lines = [
            f"{f.severity} {f.code}: {printable(f.message)} ({f.file or ''}:{f.at or ''})" for f in report.findings
        ]
        if any(f.severity >= self.parent.run.fail_on for f in report.findings):
            raise RuleFailed("\n".join(lines))
        if report.skipped:
            reason = f"could not check: {printable(report.skipped[0].reason)}"
            if self.parent.run.strict:
                raise RuleFailed(reason)
            pytest.skip(reason)
        if any(f.severity is Severity.WARNING for f in report.findings):
            note(self, "\n".join(lines))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, RuleFailed) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.check.code} {self.check.slug}"
