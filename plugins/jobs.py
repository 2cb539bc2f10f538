"""Jobs as pytest sees them: a file, a collector for each job, an item for each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelcheck.errors import UsageError
from modelcheck.finetune import gate_json, job_file, report
from modelcheck.finetune.messages import message
from modelcheck.finetune.outcome import BLOCKED, EXPECTED, FAILED, WARNED, Outcome
from modelcheck.finetune.run import JobRun
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Guard, Result, Role, Target, Verdict


class StepFailed(Exception):
    """A step of a job that failed. The text is for the user, without a traceback."""


class JobFile(pytest.File):
    """A TOML file with jobs."""

    def collect(self) -> Iterator[JobCollector]:
        try:
            jobs = job_file.read_jobs(self.path)
        except UsageError as wrong:
            raise self.CollectError(str(wrong)) from None
        for name, job in jobs.items():
            yield JobCollector.from_parent(self, name=name, run=runs(self.config).of(job))


class JobCollector(pytest.Collector):
    """One job."""

    def __init__(self, *, run: JobRun, **more: Any) -> None:
        super().__init__(**more)
        self.run = run
        # Steps of one job wait for each other: with xdist's `loadgroup` they stay in one worker.
        self.add_marker(pytest.mark.xdist_group(f"modelcheck-{self.name}"))

    def collect(self) -> Iterator[StepItem]:
        for name in self.run.items:
            yield StepItem.from_parent(self, name=name)


class StepItem(pytest.Item):
    """One step of a job."""

    parent: JobCollector

    def runtest(self) -> None:
        outcome = self.parent.run.outcome(self.name)
        self.user_properties += [(f"modelcheck {name}", value) for name, value in outcome.figures.items()]
        if outcome.details:
            self.add_report_section("call", "modelcheck", outcome.details)
        _raise(outcome, self)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, StepFailed) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.parent.run.job.line - 1, f"{self.parent.name}: {self.name}"


def _raise(outcome: Outcome, item: StepItem) -> None:
    if outcome.verdict == FAILED:
        raise StepFailed(outcome.message)
    if outcome.verdict == BLOCKED:
        pytest.skip(outcome.message)
    if outcome.verdict == EXPECTED:
        pytest.xfail(outcome.message)
    if outcome.verdict == WARNED:
        item.warn(pytest.PytestWarning(f"{item.parent.name} {outcome.item}: {outcome.message}"))


class JobResult:
    """The results of a job, for assertions of one's own."""

    def __init__(self, run: JobRun) -> None:
        self._run = run

    @property
    def base(self) -> Mapping[str, list[Sample]]:
        """{suite: the base's answers}."""
        return {suite.name: self._run.sides(suite)[0].samples() for suite in self._run.job.suites}

    @property
    def tuned(self) -> Mapping[str, list[Sample]]:
        """{suite: the tuned model's answers}, of the first seed."""
        return {suite.name: self._run.sides(suite)[1][0].samples() for suite in self._run.job.suites}

    def outcome(self, step: str) -> Outcome:
        """What a step came to. Raises KeyError for a name that is no step."""
        if step not in self._run.items:
            raise KeyError(f"{step!r} is no step of the job; expected one of {', '.join(self._run.items)}")
        return self._run.outcome(step)

    def paired(self, suite: str, role: Role) -> Result:
        """The comparison of a suite under a demand of one's own: Guard(margin), Target(min_gain), Floor(minimum)."""
        return self._run.compared(suite, role)

    def assert_no_regression(self, suite: str, margin: float) -> None:
        """Fail unless the suite surely lost less than `margin`."""
        self._assert(suite, Guard(margin))

    def assert_gain(self, suite: str, least: float) -> None:
        """Fail unless the suite surely gained at least `least`."""
        self._assert(suite, Target(least))

    def _assert(self, suite: str, role: Role) -> None:
        result = self.paired(suite, role)
        if result.verdict is not Verdict.PASS:
            raise StepFailed(f"{result.verdict}: {message(result)}")


class Runs:
    """The runs of one pytest process, one for each job."""

    def __init__(self) -> None:
        self._runs: dict[tuple[Path, str], JobRun] = {}

    def of(self, job: Any) -> JobRun:
        """The run of a job."""
        return self._runs.setdefault((job.file, job.name), JobRun(job))

    def result(self, name: str, root: Path) -> JobResult:
        """The results of the job of that name, from the files that were collected, else from those under `root`."""
        found = [run for (_, known), run in self._runs.items() if known == name]
        if not found:
            files = [p for p in sorted(root.rglob("*modelcheck.toml")) if job_file.is_job_file(p)]
            found = [self.of(jobs[name]) for path in files if name in (jobs := job_file.read_jobs(path))]
        if not found:
            raise UsageError(f"no job is called {name!r}")
        return JobResult(found[0])

    def reports(self) -> Iterator[str]:
        """The report of every job that has a verdict; gate.json and report.md are written beside."""
        for run in self._runs.values():
            made = run.report()
            if made.results:
                (run.state.folder / "gate.json").write_text(gate_json.render(made), encoding="utf-8")
                (run.state.folder / "report.md").write_text(report.markdown(made), encoding="utf-8")
                yield report.text(made)
                yield f"kept in {run.state.folder}"

    def close(self) -> None:
        """End the workers."""
        for run in self._runs.values():
            run.close()


KEY = pytest.StashKey[Runs]()


def runs(config: pytest.Config) -> Runs:
    """The runs of this process."""
    return config.stash.setdefault(KEY, Runs())
