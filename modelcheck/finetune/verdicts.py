"""From the answers of both models to the outcome of a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from modelcheck import packs
from modelcheck.finding import Finding, Severity
from modelcheck.finetune import arm_verdict, rates
from modelcheck.finetune.evaluation import Evaluated
from modelcheck.finetune.gate import compare, pair
from modelcheck.finetune.hints import Hint, explaining, unexplained
from modelcheck.finetune.job import Arm, Gate, Job, Suite
from modelcheck.finetune.messages import NEXT, message
from modelcheck.finetune.outcome import EXPECTED, FAILED, PASSED, SMOKE, WARNED, Outcome
from modelcheck.finetune.report import UNEXPLAINED
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import (
    Ceiling,
    Floor,
    Guard,
    Policy,
    Result,
    Role,
    Target,
    Verdict,
    consequence,
    in_ci,
)
from modelcheck.manual import symptoms

Sides = tuple[Evaluated, list[Evaluated]]
Arms = Iterable[tuple[Arm, Evaluated]]
Found = Iterable[tuple[str, Finding]]
WORST_FIRST = (FAILED, EXPECTED, WARNED, SMOKE)
# What a suite that names no margin may lose against a blessed model.
BASELINE_MARGIN = 0.05
KEPT = "a high score is bad here (max): what is compared is 1 - score, the share that keeps to it"


def policy(job: Job) -> Policy:
    """How sure the gate of a job must be."""
    return Policy(
        alpha=job.gate.alpha,
        power=job.gate.power,
        on_inconclusive=job.gate.on_inconclusive,
        must_beat_arms=job.gate.must_beat_arms,
        ci=in_ci(),
        smoke=job.eval.limit > 0,
    )


def role(suite: Suite) -> Role:
    """What is asked of a suite. The reader of job files has seen to it that it says so."""
    if suite.margin is not None:
        return Guard(suite.margin)
    if suite.min_gain is not None:
        return Target(suite.min_gain)
    return Floor(suite.min) if suite.min is not None else Ceiling(suite.max or 0.0)


def of_suite(
    suite: Suite,
    base: Evaluated,
    tuned: Sequence[Evaluated],
    by: Policy,
    found: Found,
    left: Hint | None = None,
    arms: Arms = (),
) -> Outcome:
    """The verdict of one suite: against the base, and then against every arm that answered it.

    `left` is what may explain a failure where nothing that was found does.
    """
    before, after = base.samples(), _samples(tuned)
    result = replace(compare(before, *after, role=role(suite), suite=suite.name, policy=by), primary=suite.primary)
    others = {arm.name: run.samples() for arm, run in arms}
    results = [result, *arm_verdict.against(others, before, after, suite.name, by)]
    return _outcome(suite.item, results, by, found, left)


def of_arm(arm: Arm, sides: Iterable[tuple[Suite, Evaluated, Evaluated]], by: Policy) -> Outcome:
    """What an arm reaches before anything is trained: a warning where it is as much as training is to reach.

    `sides` are (suite, the base's answers, the arm's). They are no results: nothing is asked of an arm.
    """
    told, reached, figures = [], [], {}
    for suite, base, other in sides:
        before, after = base.samples(), other.samples()
        gain = compare(before, after, role=role(suite), suite=suite.name, policy=by, same_prompts=False)
        line = arm_verdict.gained(arm, gain, before, after)
        told.append(line)
        figures[f"{suite.name} gain"] = gain.value
        if gain.value >= (suite.min_gain or 0.0) and not by.smoke:
            reached.append(
                f"training may not be needed: {line}; next: {NEXT['arm']}, or ask more of training (min_gain)"
            )
    return Outcome(arm.item, WARNED if reached else PASSED, "\n".join(reached), "\n".join(told), figures=figures)


def of_baseline(
    suite: Suite, blessed: Iterable[Sample], tuned: Sequence[Evaluated], by: Policy, found: Found
) -> Outcome:
    """Whether a suite is answered as well as by the model that was blessed."""
    demand = Guard(suite.margin if suite.margin is not None else BASELINE_MARGIN)
    runs = [list(blessed), *_samples(tuned)]
    before, *after = runs if suite.max is None else [_kept(run) for run in runs]
    result = compare(before, *after, role=demand, suite=suite.name, metric="vs baseline", policy=by)
    if suite.max is not None:
        result = replace(result, notes=(KEPT, *result.notes))
    return _outcome(f"baseline-{suite.name}", [result], by, found)


def _kept(run: Iterable[Sample]) -> list[Sample]:
    """A run whose answers are good where their score is low. What begins with the reference is not right for it."""
    return [replace(sample, score=1 - sample.score, reference=None) for sample in run]


def _samples(runs: Sequence[Evaluated]) -> list[list[Sample]]:
    return [run.samples() for run in runs]


def of_behaviour(sides: Sequence[tuple[Suite, Sides]], job: Job, by: Policy, found: Found) -> Outcome:
    """Whether the tuned model stops and is not cut off, over all suites, and on old skills writes what it used to.

    Suites that share their items count once.
    """
    pairs = [(suite, pair(base.samples(), *_samples(tuned))) for suite, (base, tuned) in sides]
    items = list({item.first.item: item for _, of_suite in pairs for item in of_suite}.values())
    # Where tokens are not those that were written, an answer that was cut is known by that alone.
    room = 0 if any(run.retokenised for _, (_, tuned) in sides for run in tuned) else job.eval.gen.max_tokens
    results = [
        rates.stop(items, job.gate.stop_rate_min, by),
        rates.truncation(items, job.gate.truncation_max, by, room),
    ]
    if guarded := [item for suite, of_suite in pairs if suite.role == "guard" for item in of_suite]:
        results.append(rates.length(guarded, job.gate.length_ratio, by))
    return _outcome("behaviour", results, by, found)


def of_overfit(mirror: Sequence[Evaluated], held_out: Sequence[Evaluated], gate: Gate, by: Policy) -> Outcome:
    """Whether the tuned model, in the worst training run, does better on rows that it was trained on than on others."""
    result = rates.overfit(_samples(mirror), _samples(held_out), gate.max_overfit_gap, by)
    return _outcome("overfit", [result], by, ())


def as_seen(result: Result, by: Policy) -> Result:
    """The result; with only some of the items it decides nothing."""
    return replace(result, verdict=Verdict.SMOKE) if by.smoke else result


def _outcome(item: str, judged: Iterable[Result], by: Policy, found: Found, left: Hint | None = None) -> Outcome:
    results = [as_seen(result, by) for result in judged]
    outcomes = [consequence(result, by) for result in results]
    verdict = next((word for word in WORST_FIRST if word in outcomes), PASSED)
    hints = list(hints_of(found))
    if left and not explaining(results, hints):
        hints = [left]
    lines = [f"{r.verdict}: {message(r, hints)}" for r in results if r.verdict is not Verdict.PASS]
    if any(map(unexplained, results)):
        lines += [f"hint: {hint.message} ({hint.source})" for hint in explaining(results, hints)] or [
            f"hint: {UNEXPLAINED}"
        ]
    figures = {f"{r.suite} {r.metric}": r.value for r in results}
    details = "\n".join(message(result) for result in results)
    return Outcome(item, verdict, "\n".join(lines), details, results=tuple(results), figures=figures)


def hints_of(found: Found) -> Iterable[Hint]:
    """What may explain a failure: warnings and errors of the steps before, with the symptoms that their rules name."""
    manuals = {check.code: check.manual for check in packs.load().checks}
    for item, finding in found:
        if finding.severity < Severity.WARNING:
            continue
        signs = tuple(symptoms(manuals.get(finding.code, "")))
        yield Hint(finding.message, f"{finding.code} {finding.slug}, item {item}", signs)
