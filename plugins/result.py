"""The results of a job for one's own assertions: what the fixture `modelcheck_job` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelcheck.finetune.messages import message
from modelcheck.finetune.outcome import Outcome
from modelcheck.finetune.run import JobRun
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Guard, Result, Role, Target, Verdict


class JobResult:
    """The results of a job. Asking carries out whatever is not there yet.

    Raises UsageError where a step that results need has failed, or for a suite that the job does not have.
    """

    def __init__(self, run: JobRun) -> None:
        self._run = run

    @property
    def base(self) -> Mapping[str, list[Sample]]:
        """{suite: the base's answers}."""
        return {suite.name: self._run.sides(suite.name)[0].samples() for suite in self._run.job.suites}

    @property
    def tuned(self) -> Mapping[str, list[Sample]]:
        """{suite: the tuned model's answers}, of the first seed."""
        return {suite.name: self._run.sides(suite.name)[1][0].samples() for suite in self._run.job.suites}

    @property
    def samples(self) -> list[Sample]:
        """Every answer of the tuned model, over all suites."""
        return [sample for found in self.tuned.values() for sample in found]

    @property
    def tokenizer(self) -> Any:
        """The tuned model's tokenizer, as transformers loads it."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._run.tuned())

    def generate(self, prompts: Sequence[str | Sequence[Mapping[str, Any]]]) -> list[str]:
        """The tuned model's answers, of the first seed, by the job's engine, template and sampling; nothing is kept.

        A prompt is a user's text, or a conversation of messages.
        """
        return self._run.generate([[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts])

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
            raise AssertionError(f"{result.verdict}: {message(result)}")
