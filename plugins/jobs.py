"""Jobs as pytest sees them: a file, a collector for each job, an item for each step."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelcheck.errors import UsageError
from modelcheck.finetune import job_file
from modelcheck.finetune.outcome import BLOCKED, EXPECTED, FAILED, SMOKE, WARNED, Outcome
from modelcheck.finetune.run import JobRun
from modelcheck.plugins.notes import note
from modelcheck.plugins.session import runs


class StepFailed(Exception):
    """A step of a job that failed. The text is for the user, without a traceback."""


class JobFile(pytest.File):
    """A TOML file with jobs."""

    def collect(self) -> Iterator[JobCollector]:
        try:
            importlib.import_module("filelock")
            jobs = job_file.read_jobs(self.path)
            made = {name: runs(self.config).of(job) for name, job in jobs.items()}
        except ImportError as lacking:
            pytest.skip(f"{lacking}: pip install 'modelcheck[finetune]'", allow_module_level=True)
        except UsageError as wrong:
            raise self.CollectError(str(wrong)) from None
        for name, run in made.items():
            yield JobCollector.from_parent(self, name=name, run=run)


class JobCollector(pytest.Collector):
    """One job."""

    def __init__(self, *, run: JobRun, **more: Any) -> None:
        super().__init__(**more)
        self.run = run
        # With xdist's `--dist loadgroup` the steps of a job stay in one worker; else they wait for each other.
        self.add_marker(pytest.mark.xdist_group(f"modelcheck-{self.name}"))

    def collect(self) -> Iterator[StepItem]:
        for name in self.run.items:
            yield StepItem.from_parent(self, name=name)


class StepItem(pytest.Item):
    """One step of a job."""

    parent: JobCollector

    def runtest(self) -> None:
        outcome = self.parent.run.outcome(self.name)
        runs(self.config).done()
        self.user_properties += [(f"modelcheck {name}", value) for name, value in outcome.figures.items()]
        if outcome.details:
            self.add_report_section("call", "modelcheck", outcome.details)
        _tell(outcome, self)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, StepFailed) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.parent.run.job.line - 1, f"{self.parent.name}: {self.name}"


def _tell(outcome: Outcome, item: StepItem) -> None:
    if outcome.verdict == FAILED:
        raise StepFailed(outcome.message)
    if outcome.verdict == BLOCKED:
        # Where the failed step is not asked for itself, nothing else would make the run fail.
        if not any(other.parent is item.parent and other.name == outcome.by for other in item.session.items):
            raise StepFailed(outcome.message)
        pytest.skip(outcome.message)
    if outcome.verdict == SMOKE:
        pytest.skip(f"SMOKE: eval.limit is {item.parent.run.job.eval.limit}, nothing is decided")
    if outcome.verdict == EXPECTED:
        pytest.xfail(outcome.message)
    if outcome.verdict == WARNED:
        note(item, outcome.message)
