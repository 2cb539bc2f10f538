"""A job carried out: steps asked for by name, each with those before it, and the report of all."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finding import Finding
from modelcheck.finetune import baseline, record, verdicts
from modelcheck.finetune.evaluation import Evaluated
from modelcheck.finetune.gate import compare
from modelcheck.finetune.hints import explaining
from modelcheck.finetune.job import Job, Suite
from modelcheck.finetune.job_record import AUDITED
from modelcheck.finetune.outcome import BLOCKED, FAILED, Outcome, judged
from modelcheck.finetune.refusals import StageFailed
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.steps import Step, Steps
from modelcheck.finetune.verdict import Result, Role, Verdict
from modelcheck.finetune.work import Say, Work
from modelcheck.finetune.workers import Workers

# What the user mends, not we.
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class JobRun:
    """A job and its outcomes: those that this process came to, and those that it was told (`outcomes`)."""

    def __init__(
        self, job: Job, workers: Workers, say: Say = lambda _: None, tell: Say = lambda _: None, *, aa: bool = False
    ) -> None:
        self.job, self.outcomes = job, dict[str, Outcome]()
        self._work = Work(job, workers, say, tell)
        self._steps = Steps(self._work, self._explanations, aa=aa)

    def close(self) -> None:
        """End what was started for this job alone."""
        self._work.close()

    @cached_property
    def items(self) -> Mapping[str, Step]:
        """{name: step}, in the order in which they make sense."""
        return self._steps.by_name()

    def outcome(self, item: str) -> Outcome:
        """Carry out a step and all that it needs. What the user can mend is an outcome, never an exception."""
        if item not in self.outcomes:
            blocking = next((o for o in map(self.outcome, self._before(item)) if o.stops), None)
            if blocking:
                self.outcomes[item] = _blocked(item, blocking)
            else:
                self.outcomes[item] = self._carried_out(item)
        return self.outcomes[item]

    def _carried_out(self, item: str) -> Outcome:
        try:
            return self.items[item]()
        except StageFailed as failure:
            return judged(item, failure.findings, [str(failure)])
        except UsageError as reason:
            return Outcome(item, FAILED, str(reason))
        except OSError as error:
            if error.errno not in OF_THE_DISK:
                return Outcome(item, FAILED, _internal())
            where = f"{error.filename}: " if error.filename else ""
            return Outcome(item, FAILED, f"{where}{error.strerror}: make room or give access, and run again to go on")
        except Exception:
            return Outcome(item, FAILED, _internal())

    def _before(self, item: str) -> list[str]:
        """The steps without which this one makes no sense. Verdicts do not wait for each other."""
        names = list(self.items)
        return names[: min(names.index(item), names.index("artifact") + 1)]

    def _explanations(self) -> Iterator[tuple[str, Finding]]:
        for item in self._before("behaviour"):
            yield from ((item, finding) for finding in self.outcome(item).findings)

    # Results.

    def suite(self, name: str) -> Suite:
        """A suite by name. Raises UsageError for one that the job does not have."""
        found = next((s for s in self.job.suites if s.name == name), None)
        if found is None:
            raise UsageError(f"the job has no suite {name!r}{did_you_mean(name, [s.name for s in self.job.suites])}")
        return found

    def sides(self, suite: str) -> tuple[Evaluated, list[Evaluated]]:
        """Base and tuned answers to a suite. Raises UsageError where a step before them failed."""
        self._results()
        return self._work.sides(self.suite(suite))

    def tuned(self) -> Path:
        """The folder of the tuned model, of the first seed. Raises UsageError where a step before it failed."""
        self._results()
        recipe, _ = next(iter(self._work.trained().values()))
        return recipe.merged

    def generate(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
        """What the tuned model answers to conversations, as evaluation would ask it."""
        return self._work.generate(self.tuned(), conversations)

    def _results(self) -> None:
        artifact = self.outcome("artifact")
        if artifact.stops:
            raise UsageError(f"{self.job.name} has no results: {artifact.message or 'artifact failed'}")

    def compared(self, suite: str, role: Role) -> Result:
        """A suite under another demand than the job's."""
        base, tuned = self.sides(suite)
        runs = [run.samples() for run in tuned]
        policy = self._steps.policy
        return verdicts.as_seen(compare(base.samples(), *runs, role=role, suite=suite, policy=policy), policy)

    def report(self) -> GateReport:
        """Every verdict that was asked for, and what may explain it."""
        known = [self.outcomes[name] for name in self.items if name in self.outcomes]
        results = tuple(result for outcome in known for result in outcome.results)
        found = ((outcome.item, finding) for outcome in known for finding in outcome.findings)
        hints = tuple(verdicts.hints_of(found))
        missed = [suite for suite in self.job.suites if _missed(suite, results)]
        if missed and not explaining(results, hints):
            hints += tuple(dict.fromkeys(filter(None, map(self._steps.what_is_left, missed))))
        return GateReport(self.job.name, results, self._steps.policy, hints)

    def preview(self, *, colour: bool) -> str:
        """The first rows with what of them carries loss, where their labels were audited; else nothing."""
        data = self.outcomes.get("data")
        return self._steps.preview(colour=colour) if data and AUDITED in data.figures else ""

    def keep(self, made: GateReport) -> str:
        """Write the report and what belongs to it; its page for people."""
        return str(record.after(self._work, made, list(self.items), self.outcomes))

    @property
    def stopped(self) -> bool:
        """Whether a step failed without which nothing after it makes sense."""
        return any(outcome.stops for outcome in self.outcomes.values())

    def bless(self, name: str) -> str:
        """Keep the tuned answers as the baseline of that name. Raises UsageError where the job did not pass whole."""
        if missing := [item for item in self.items if item not in self.outcomes]:
            raise UsageError(f"{self.job.name} is not blessed: {', '.join(missing)} did not run")
        if bad := [o.item for o in self.outcomes.values() if o.verdict not in baseline.GOOD]:
            raise UsageError(f"{self.job.name} is not blessed: {', '.join(bad)} did not pass")
        return str(baseline.bless(self._work, name))


def _internal() -> str:
    return f"internal error in modelcheck, please report it:\n{traceback.format_exc()}"


def _missed(suite: Suite, results: Iterable[Result]) -> bool:
    return any((r.suite, r.role) == (suite.name, suite.role) and r.verdict is Verdict.FAIL for r in results)


def _blocked(item: str, blocking: Outcome) -> Outcome:
    if blocking.verdict == BLOCKED:
        return Outcome(item, BLOCKED, blocking.message, by=blocking.by)
    cause = next(iter(blocking.message.splitlines()), "")
    return Outcome(item, BLOCKED, f"{blocking.item} failed: {cause}", by=blocking.item)
