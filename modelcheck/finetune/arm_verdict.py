"""Whether training bought anything: the tuned model against every arm, on the same items.

The claim is that the tuned model is better than the best arm. Which arm that is is not known, only seen, and the one
that is seen to be best was in part lucky. So the tuned model must be better than each of them: an intersection-union
test, which needs no correction, as with guards. That an arm is better than the tuned model is told of one among
several, so that is corrected by Holm's method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from modelcheck.finetune.gate import Result, Target, compare, regressed
from modelcheck.finetune.job import Arm
from modelcheck.finetune.pairing import mean
from modelcheck.finetune.samples import COUNTED, Sample
from modelcheck.finetune.verdict import Policy, Verdict


def against(
    arms: Mapping[str, Sequence[Sample]],
    base: Sequence[Sample],
    tuned: Sequence[Sequence[Sample]],
    suite: str,
    policy: Policy,
) -> list[Result]:
    """The tuned runs of a suite against {arm: samples}, the best arm first. `role` is `arm`, the metric `vs ARM`.

    PASS: the tuned model is surely better. INCONCLUSIVE: nothing measurable was bought. FAIL: the arm is surely better.
    """
    demand, results = Target(0.0), list[Result]()
    for name, answers in sorted(arms.items(), key=lambda arm: (-mean(s.score for s in arm[1]), arm[0])):
        result = compare(
            answers, *tuned, role=demand, suite=suite, metric=f"vs {name}", policy=policy, same_prompts=False
        )
        costs = cost({"with the arm": answers, "tuned": tuned[0], "base": base})
        results.append(replace(result, role="arm", notes=(*result.notes, *_cut(answers), costs)))
    return list(_corrected(results, policy.alpha))


def _corrected(results: Sequence[Result], alpha: float) -> Iterator[Result]:
    surely = {result.metric for result in regressed(results, alpha)}
    for result in results:
        if result.verdict is Verdict.FAIL and not result.lost and result.metric not in surely:
            note = f"the arm is better by its own interval, but not among {len(results)} arms looked at together (Holm)"
            yield replace(result, verdict=Verdict.INCONCLUSIVE, notes=(*result.notes, note))
        else:
            yield result


def gained(arm: Arm, gain: Result, base: Sequence[Sample], answers: Sequence[Sample]) -> str:
    """What an arm gains over the base, and what it costs."""
    seen = f"{gain.value:+.3f} ({gain.base:.3f} to {gain.tuned:.3f} on {gain.items} items"
    sure = f"{100 - 200 * gain.alpha:g} % interval {gain.lower:+.3f} to {gain.upper:+.3f})"
    line = f"{gain.suite}: the arm {arm.name} gains {seen}, {sure}, {gain.at_least or 0.0:g} is asked"
    return "; ".join([line, *_cut(answers), cost({"with the arm": answers, "base": base})])


def _cut(answers: Sequence[Sample]) -> Iterator[str]:
    """An arm whose answers go on until they are cut is judged by less than it can do."""
    if cut := sum(not sample.stopped for sample in answers):
        yield f"{cut} of {len(answers)} answers with the arm were cut: raise max_tokens, or name a stop in eval.gen"


def cost(of: Mapping[str, Iterable[Sample]]) -> str:
    """What an answer costs for {who: samples}: the mean tokens read, which are the prompt's, and written."""
    told = (f"{_tokens([*samples])} {who}" for who, samples in of.items())
    return f"tokens read + written for an answer: {', '.join(told)}"


def _tokens(samples: Sequence[Sample]) -> str:
    """Another model's tokens are other ones: they are only known by the count of its server, if that tells."""
    counts = [s.metadata.get(COUNTED) or {"read": len(s.prompt_ids), "written": s.tokens} for s in samples]
    if any(None in count.values() for count in counts):
        return "not told by the server"
    read, written = (mean(count[name] for count in counts) for name in ("read", "written"))
    whose = " by its server's count" if any(COUNTED in s.metadata for s in samples) else ""
    return f"{read:.0f} + {written:.0f}{whose}"
