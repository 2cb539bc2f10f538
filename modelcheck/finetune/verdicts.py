"""From the answers of both models to the outcome of a step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from modelcheck import packs
from modelcheck.finding import Finding
from modelcheck.finetune import rates
from modelcheck.finetune.evaluation import Evaluated
from modelcheck.finetune.gate import compare, pair
from modelcheck.finetune.hints import Hint, explaining
from modelcheck.finetune.job import Gate, Job, Suite
from modelcheck.finetune.messages import message
from modelcheck.finetune.outcome import EXPECTED, FAILED, PASSED, WARNED, Outcome
from modelcheck.finetune.report import UNEXPLAINED
from modelcheck.finetune.verdict import Floor, Guard, Policy, Result, Role, Target, Verdict, consequence
from modelcheck.manual import symptoms

Sides = tuple[Evaluated, list[Evaluated]]
Found = Iterable[tuple[str, Finding]]
OUTCOMES = {"pass": PASSED, "warn": WARNED, "fail": FAILED, "xfail": EXPECTED}


def policy(gate: Gate) -> Policy:
    """How sure the gate of a job must be."""
    return Policy(
        alpha=gate.alpha,
        power=gate.power,
        on_inconclusive=gate.on_inconclusive,
        ci=os.environ.get("CI", "").lower() not in ("", "0", "false"),
    )


def role(suite: Suite) -> Role:
    """What is asked of a suite, with the defaults of EVAL's schema."""
    if suite.role == "guard":
        return Guard(suite.margin if suite.margin is not None else 0.02)
    if suite.role == "target":
        return Target(suite.min_gain or 0.0)
    # A ceiling of the score is planned for as the floor of what is left.
    return Floor(suite.min if suite.min is not None else 1 - (suite.max or 0.0))


def of_suite(suite: Suite, base: Evaluated, tuned: Sequence[Evaluated], by: Policy, found: Found) -> Outcome:
    """The verdict of one suite."""
    before, after = base.samples(), [run.samples() for run in tuned]
    if suite.role == "floor" and suite.max is not None:
        result = rates.rate(
            pair(before, *after), lambda s: s.score, suite=suite.name, metric="score", policy=by, at_most=suite.max
        )
    else:
        result = compare(before, *after, role=role(suite), suite=suite.name, policy=by)
    return _outcome(suite.item, [result], by, found)


def of_behaviour(sides: Sequence[tuple[Suite, Sides]], job: Job, by: Policy, found: Found) -> Outcome:
    """Whether the tuned model stops and is not cut off, over all suites, and on old skills writes what it used to."""
    pairs = [(suite, pair(base.samples(), *(run.samples() for run in tuned))) for suite, (base, tuned) in sides]
    items = [item for _, of_suite in pairs for item in of_suite]
    results = [
        rates.stop(items, job.gate.stop_rate_min, by),
        rates.truncation(items, job.gate.truncation_max, by, job.eval.gen.max_tokens),
    ]
    if guarded := [item for suite, of_suite in pairs if suite.role == "guard" for item in of_suite]:
        results.append(rates.length(guarded, job.gate.length_ratio, by))
    return _outcome("behaviour", results, by, found)


def of_overfit(mirror: Sequence[Evaluated], held_out: Sequence[Evaluated], gate: Gate, by: Policy) -> Outcome:
    """Whether the tuned model does better on rows that it was trained on than on others."""
    result = rates.overfit(mirror[0].samples(), held_out[0].samples(), gate.max_overfit_gap, by)
    return _outcome("overfit", [result], by, ())


def _outcome(item: str, results: list[Result], by: Policy, found: Found) -> Outcome:
    outcomes = [OUTCOMES[consequence(result, by)] for result in results]
    verdict = next((word for word in (FAILED, EXPECTED, WARNED) if word in outcomes), PASSED)
    lines = [f"{r.verdict}: {message(r)}" for r in results if r.verdict is not Verdict.PASS]
    if any(result.verdict is Verdict.FAIL for result in results):
        hints = explaining(results, list(hints_of(found)))
        lines += [f"hint: {hint.message} ({hint.source})" for hint in hints] or [f"hint: {UNEXPLAINED}"]
    figures = {f"{r.suite} {r.metric}": r.value for r in results}
    details = "\n".join(message(result) for result in results)
    return Outcome(item, verdict, "\n".join(lines), details, results=tuple(results), figures=figures)


def hints_of(found: Found) -> Iterable[Hint]:
    """What may explain a failure: every finding of the steps before, with the symptoms that its rule names."""
    manuals = {check.code: check.manual for check in packs.load().checks}
    for item, finding in found:
        signs = tuple(symptoms(manuals.get(finding.code, "")))
        yield Hint(finding.message, f"{finding.code} {finding.slug}, item {item}", signs)
