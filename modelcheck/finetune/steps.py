"""The steps of a job, each from what was made to an outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from modelcheck.finding import Finding, Severity
from modelcheck.finetune import baseline, identity, preflight, record, room, training_rules, verdicts
from modelcheck.finetune.aa import stability
from modelcheck.finetune.artifact import disagreements
from modelcheck.finetune.data import mirrored
from modelcheck.finetune.hints import Hint, least_likely, what_is_left
from modelcheck.finetune.job import Arm, Suite
from modelcheck.finetune.job_record import AUDITED
from modelcheck.finetune.judge.notes import notes
from modelcheck.finetune.judge.preflight import tried
from modelcheck.finetune.label_preview import terminal
from modelcheck.finetune.log_evidence import log_evidence
from modelcheck.finetune.outcome import FAILED, PASSED, WARNED, Outcome, judged
from modelcheck.finetune.plan import plan
from modelcheck.finetune.verdict import Policy, in_ci
from modelcheck.finetune.work import Work

Step = Callable[[], Outcome]
# Rows of the label preview that a terminal shows.
SHOWN = 2


class Steps:
    """The steps of a job by name. `explanations` are the findings of the steps that came first, (step, finding).

    `aa` adds steps that evaluate the base twice.
    """

    def __init__(
        self, work: Work, explanations: Callable[[], Iterable[tuple[str, Finding]]], *, aa: bool = False
    ) -> None:
        self._work, self._explanations, self._aa = work, explanations, aa
        self.policy: Policy = verdicts.policy(work.job)

    def by_name(self) -> Mapping[str, Step]:
        """{name: step}, in the order in which they make sense."""
        job = self._work.job
        steps: dict[str, Step] = {"preflight": self._preflight, "data": self._data}
        steps |= {f"base-{suite.name}": self._base(suite) for suite in job.suites}
        steps |= {f"aa-{suite.name}": self._against_itself(suite) for suite in job.suites if self._aa}
        steps |= {arm.item: self._arm(arm) for arm in job.arms}
        steps |= {"rehearse": self._rehearse} if job.train.rehearse else {}
        steps |= {"train": self._train, "artifact": self._artifact}
        steps |= {suite.item: self._verdict(suite) for suite in job.suites}
        if job.gate.baseline:
            steps |= {f"baseline-{suite.name}": self._against_baseline(suite) for suite in job.suites}
        steps |= {"behaviour": self._behaviour}
        held_out = mirrored(job)
        return steps | ({"overfit": self._overfit(held_out)} if held_out else {})

    def _preflight(self) -> Outcome:
        work, job = self._work, self._work.job
        training, evaluating = work.worker(job.train), work.worker(job.eval)
        if not any(room.unusable(work.root)):
            work.state.lock.look()
            work.expect(training, evaluating)
        judges = tried(job, work.cache)
        moving, warnings = (job.moving, job.warnings) if in_ci() else ((), (*job.moving, *job.warnings))
        problems = [
            *moving,
            *preflight.problems(work, training, evaluating),
            *baseline.problems(work),
            *judges.problems,
        ]
        if not problems:
            record.before(work, {"train": training.versions, "eval": evaluating.versions})
        return judged("preflight", [], problems, "\n".join(judges.notes), warnings)

    def _data(self) -> Outcome:
        work = self._work
        findings = training_rules.of_files(work.job, work.data, work.base)
        work.check_arms()
        work.check_lengths()
        if any(found.severity is Severity.ERROR for found in findings):
            # A trainer may well stumble over what is told here in words.
            return judged("data", findings, [], "the labels were not audited: mend this first")
        audit = work.audit()
        findings += training_rules.of_labels(work.base, audit)
        page = record.data(work, audit, findings)
        outcome = judged("data", findings, [], f"what carries loss, more in {page}:\n{self.preview(colour=False)}")
        return dataclasses.replace(outcome, figures={AUDITED: audit["labels"]["audited"]})

    def preview(self, *, colour: bool) -> str:
        """The first rows of the label audit as a terminal shows them."""
        audit = self._work.state.kept("audit")
        return terminal(audit["preview"]["rows"][:SHOWN], colour=colour) if audit else ""

    def _base(self, suite: Suite) -> Step:
        def step() -> Outcome:
            job = self._work.job
            run = self._work.base_run(suite)
            samples = run.samples()
            able = plan(samples, verdicts.role(suite), suite.name, self.policy)
            figures = {"base": able.base, "mde": able.mde, "items": able.items}
            large_enough = able.reachable or job.eval.limit > 0
            fails = job.gate.require_mde_below_margin and not large_enough
            # Of a few items that were picked for a try, none need be answered.
            idle = "" if job.eval.limit else able.warning
            message = "\n".join(filter(None, ["" if large_enough else able.message, idle]))
            verdict = FAILED if fails else WARNED if message else PASSED
            details = [able.message if large_enough else "", *notes(samples), *run.notes]
            return Outcome(f"base-{suite.name}", verdict, message, "\n".join(filter(None, details)), figures=figures)

        return step

    def _against_itself(self, suite: Suite) -> Step:
        def step() -> Outcome:
            once, again = self._work.base_run(suite), self._work.base_again(suite)
            return stability(suite.name, once.samples(), again.samples(), verdicts.role(suite))

        return step

    def _arm(self, arm: Arm) -> Step:
        def step() -> Outcome:
            work = self._work
            sides = [(suite, work.base_run(suite), work.arm_run(arm, suite)) for suite in work.targets]
            outcome = verdicts.of_arm(arm, sides, self.policy)
            notes = dict.fromkeys(note for _, _, run in sides for note in run.notes)
            return dataclasses.replace(outcome, details="\n".join([outcome.details, *notes]))

        return step

    def _rehearse(self) -> Outcome:
        gate, found = self._work.job.gate, self._work.rehearsal(self._in_rehearsal)
        problems = [] if found["saved_is_loaded"] else ["what was saved is not what is loaded from it again"]
        # After two steps a greedy choice may hang on a rounding: the logits decide.
        allowed = dataclasses.replace(gate.merged_vs_adapter, min_greedy_agreement=0.0)
        problems += disagreements(found["artifact"], allowed, must_change=gate.weights_must_change)
        cost = f"{found['steps']} steps of {found['seconds_per_step']:.2f} s, about {found['seconds'] / 60:.1f} min"
        findings = map(training_rules.finding, found["findings"])
        return judged("rehearse", findings, problems, f"{cost}; {found['peak_memory'] / 1e9:.1f} GB at most")

    def _in_rehearsal(self, merged: Path, log: Path) -> list[dict[str, Any]]:
        work, lines = self._work, log.read_text(encoding="utf-8").splitlines()
        findings = training_rules.of_folder(merged, work.base, work.job.data.template)
        return [training_rules.plain(f) for f in [*findings, *training_rules.of_rehearsal(work.base, lines)]]

    def _train(self) -> Outcome:
        work, findings, details, gone = self._work, list[Finding](), [], []
        evaluated = work.base_run(work.job.suites[0]).loaded
        for recipe, found in work.trained().values():
            findings += training_rules.of_training(work.base, found, evaluated, recipe.log)
            details.append(f"seed {recipe.seed}: {found['steps']} steps in {found['seconds']['train']:.0f} s")
            details += filter(None, [identity.unchecked(evaluated, found["loaded"])])
            if not recipe.log.exists():
                gone.append(
                    f"{recipe.log}: is gone, expected every step of the run: its loss and learning rate were not "
                    f"looked at; to train again, delete {recipe.out}"
                )
        return judged("train", findings, [], "\n".join(details), gone)

    def _artifact(self) -> Outcome:
        work, gate = self._work, self._work.job.gate
        findings, problems = list[Finding](), list[str]()
        for recipe, _ in work.trained().values():
            problems += disagreements(
                work.agreement(recipe), gate.merged_vs_adapter, must_change=gate.weights_must_change
            )
            findings += training_rules.of_folder(recipe.merged, work.base, work.job.data.template)
        return judged("artifact", findings, problems)

    def _verdict(self, suite: Suite) -> Step:
        def step() -> Outcome:
            work = self._work
            others = [(arm, work.arm_run(arm, suite)) for arm in work.job.arms if suite in work.targets]
            base, tuned = work.sides(suite)
            found, left = self._explanations(), self.what_is_left(suite)
            outcome = verdicts.of_suite(suite, base, tuned, self.policy, found, left, others)
            more = dict.fromkeys(note for run in tuned for note in run.notes)
            return dataclasses.replace(outcome, details="\n".join(filter(None, [outcome.details, *more])))

        return step

    def what_is_left(self, suite: Suite) -> Hint | None:
        """What the losses of the first seed say where no finding explains a failure; a short run says nothing."""
        work = self._work
        recipe, found = next(iter(work.trained().values()))
        lines = recipe.log.read_text(encoding="utf-8").splitlines() if recipe.log.exists() else []
        if (loss := log_evidence(lines)["loss"]) is None:
            return None
        unlikely = least_likely(found.get("row_losses", ()), work.data.train)
        return what_is_left(suite.role, loss["first"], loss["last"], unlikely, work.data.replayed)

    def _against_baseline(self, suite: Suite) -> Step:
        return lambda: verdicts.of_baseline(
            suite, baseline.samples(self._work, suite), self._work.tuned_runs(suite), self.policy, self._explanations()
        )

    def _behaviour(self) -> Outcome:
        sides = [(suite, self._work.sides(suite)) for suite in self._work.job.suites]
        return verdicts.of_behaviour(sides, self._work.job, self.policy, self._explanations())

    def _overfit(self, held_out: Suite) -> Step:
        def step() -> Outcome:
            work = self._work
            # No suite of a file can have this name: answers are known by it.
            seen = dataclasses.replace(held_out, name=f"{held_out.name} on trained rows", data="mirror")
            mirror, new = work.tuned_runs(seen, work.data.mirror), work.tuned_runs(held_out)
            return verdicts.of_overfit(mirror, new, work.job.gate, self.policy)

        return step
