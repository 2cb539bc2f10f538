"""The jobs of one pytest process, and what xdist's workers tell of theirs."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
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
        self.blessed: list[str] = []

    def of(self, job: Job) -> JobRun:
        """The run of a job. Raises UsageError where another file in its folder has a job of that name."""
        key = job.file, job.name
        for other in (run.job for run in self._runs.values()):
            if other.name == job.name and other.file.parent == job.file.parent and other.file != job.file:
                raise UsageError(
                    f"{job.file}:{job.line}: job.{job.name} is in {other.file}:{other.line} too, and both would keep "
                    f"their results in .modelcheck/{job.name}: give one of them another name, or name one file"
                )
        if key not in self._runs:
            aa = self._config.getoption("modelcheck_aa")
            self._runs[key] = JobRun(job, self._workers, self._say, self._tell, aa=aa)
        return self._runs[key]

    def named(self, name: str) -> JobRun:
        """The run of the job of that name, from what was collected, else from the job files below the root folder.

        Raises UsageError where there is none, or more than one.
        """
        found = [run.job for (_, known), run in self._runs.items() if known == name]
        unread: list[str] = []
        if not found:
            for path in filter(job_file.is_job_file, sorted(self._config.rootpath.rglob("*modelcheck.toml"))):
                try:
                    found += [job for known, job in job_file.read_jobs(path).items() if known == name]
                except UsageError as wrong:  # it matters only where the job is in no other
                    unread.append(str(wrong))
        if not found:
            raise UsageError("\n".join([f"no job is called {name!r}", *unread]))
        if len(found) > 1:
            files = " and ".join(str(job.file) for job in found)
            raise UsageError(
                f"{len(found)} jobs are called {name!r}, in {files}, expected one: give each a name of its own, or "
                "name one of the files to pytest: --finetune-eval FILE TESTS"
            )
        return self.of(found[0])

    def _say(self, line: str) -> None:
        """Where a step is, behind its name on a terminal; the next line, or what it came to, is written over it."""
        writer = self._config.get_terminal_writer()
        if writer.hasmarkup:
            room = writer.fullwidth - writer.width_of_current_line - 1
            with self._uncaptured():
                # Past the writer, which counts what stands in the line: the cursor is put back where it was.
                sys.stdout.write(f"\x1b7{line[: max(0, room)]}\x1b[K\x1b8")
                sys.stdout.flush()

    def _tell(self, line: str) -> None:
        """A line that stays, also where nobody sees a terminal; a worker of xdist has only its standard error."""
        with self._uncaptured():
            if hasattr(self._config, "workerinput"):
                sys.stderr.write(f"{line}\n")
            elif reporter := self._config.pluginmanager.get_plugin("terminalreporter"):
                reporter.write_line(line, flush=True)

    def _uncaptured(self) -> AbstractContextManager[None]:
        """Items run while pytest keeps what is printed to itself."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def done(self) -> None:
        """A step came to its end: what was said of it is no longer so."""
        self._say("")

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

    def previews(self, *, colour: bool) -> Iterator[tuple[str, str]]:
        """(job, its first rows with what of them carries loss) of every job whose labels were audited."""
        shown = ((run.job.name, run.preview(colour=colour)) for run in self._runs.values())
        yield from ((name, rows) for name, rows in shown if rows)

    @property
    def none(self) -> bool:
        """Whether no job was found."""
        return not self._runs

    def bless(self, name: str) -> bool:
        """Keep the answers of every job that ran as a baseline; whether all were. `blessed` says so, or why not."""
        kept = True
        for run in self._runs.values():
            try:
                self.blessed.append(f"{run.job.name} is kept as {name} in {run.bless(name)}")
            except UsageError as reason:
                self.blessed.append(str(reason))
                kept = False
        return kept

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
