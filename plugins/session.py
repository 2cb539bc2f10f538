"""The jobs of one pytest process, and what xdist's workers tell of theirs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelcheck.errors import UsageError
from modelcheck.finetune import job_file, report
from modelcheck.finetune.job import Job
from modelcheck.finetune.run import JobRun
from modelcheck.finetune.workers import Workers


class Runs:
    """The runs of this process, one for each job, and the workers that they share."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._workers = Workers(ahead=not hasattr(config, "workerinput"))
        self._runs: dict[tuple[Path, str], JobRun] = {}

    def of(self, job: Job) -> JobRun:
        """The run of a job."""
        key = job.file, job.name
        if key not in self._runs:
            self._runs[key] = JobRun(job, self._workers, self._say, aa=self._config.getoption("modelcheck_aa"))
        return self._runs[key]

    def named(self, name: str) -> JobRun:
        """The run of the job of that name, from what was collected, else from the job files below the root folder."""
        found = [run for (_, known), run in self._runs.items() if known == name]
        if not found:
            files = [p for p in sorted(self._config.rootpath.rglob("*modelcheck.toml")) if job_file.is_job_file(p)]
            found = [self.of(jobs[name]) for path in files if name in (jobs := job_file.read_jobs(path))]
        if not found:
            raise UsageError(f"no job is called {name!r}")
        return found[0]

    def _say(self, line: str) -> None:
        """Where a step is, on one line of a terminal that is written over."""
        writer = self._config.get_terminal_writer()
        if writer.hasmarkup:
            writer.write(f"\r\x1b[K{line[: writer.fullwidth - 1]}\r", flush=True)

    def reports(self) -> Iterator[str]:
        """The report of every job that has a verdict, or stopped before it had one; its page is kept in its folder."""
        for run in self._runs.values():
            made = run.report()
            if made.results:
                yield report.text(made)
            if made.results or run.stopped:
                try:
                    yield f"kept in {run.keep(made)}"
                except OSError as reason:
                    yield f"{run.job.name}: its report cannot be written: {reason}"

    def bless(self, name: str) -> Iterator[str]:
        """Keep the answers of every job that ran as a baseline, or say why not."""
        for run in self._runs.values():
            try:
                yield f"{run.job.name} is kept as {name} in {run.bless(name)}"
            except UsageError as reason:
                yield str(reason)

    def told(self) -> bytes:
        """The outcomes of this process, for the one that started it."""
        return pickle.dumps([(path, name, run.outcomes) for (path, name), run in self._runs.items()])

    def hear(self, told: bytes) -> None:
        """Take over the outcomes of a process that this one started."""
        for path, name, outcomes in pickle.loads(told):  # noqa: S301  from our own xdist worker
            run = self._runs.get((path, name)) or self.of(job_file.read_jobs(path)[name])
            run.outcomes.update(outcomes)

    def close(self) -> None:
        """End what was started."""
        for run in self._runs.values():
            run.close()
        self._workers.close()


KEY = pytest.StashKey[Runs]()


def runs(config: pytest.Config) -> Runs:
    """The runs of this process."""
    return config.stash.setdefault(KEY, Runs(config))


class Xdist:
    """Hooks that only exist with xdist: workers tell their outcomes, and the process that started them listens."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get("modelcheck")
        if told:
            runs(node.config).hear(told)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["modelcheck"] = runs(session.config).told()
