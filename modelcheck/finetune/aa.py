"""The base against itself: what other batches and another seed do to a score is the evaluator's noise, not a model's.

The same base differs by batch (other kernels, other padding) and, where answers are drawn, by the draw. A gate whose
margin is near that difference would judge the evaluator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from modelcheck.finetune.job import Job
from modelcheck.finetune.outcome import FAILED, PASSED, Outcome
from modelcheck.finetune.pairing import mean, pair
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Ceiling, Floor, Guard, Role, Target

# In place of what an engine would take by itself, and neither a part nor a multiple of it.
OTHER_BATCH = 24
ROUNDING = 1e-9


def disturbed(job: Job) -> Job:
    """The job with other batches and another seed, and nothing else changed."""
    evaluation = job.eval
    gen = dataclasses.replace(evaluation.gen, seed=evaluation.gen.seed + 1)
    vllm = dataclasses.replace(evaluation.vllm, max_num_seqs=_other(evaluation.vllm.max_num_seqs))
    other = dataclasses.replace(evaluation, batch_size=_other(evaluation.batch_size), vllm=vllm, gen=gen)
    return dataclasses.replace(job, eval=other)


def _other(size: int | str | None) -> int:
    return size // 2 or 2 if isinstance(size, int) else OTHER_BATCH


def stability(name: str, once: Iterable[Sample], again: Iterable[Sample], role: Role) -> Outcome:
    """Whether two evaluations of one model agree within half of what the suite is asked to see.

    Raises NotComparable where they were not asked the same.
    """
    items = pair(once, again)
    apart = mean(item.difference for item in items)
    changed = mean(item.base[0].answer != item.tuned[0][0].answer for item in items)
    allowed, asked = _allowed(role)
    seen = (
        f"{name}: the base scores {mean(i.before for i in items):.3f}, and {mean(i.after for i in items):.3f} in other "
        f"batches and under another seed; {changed:.0%} of {len(items)} answers differ"
    )
    figures = {"aa": apart, "changed": changed}
    if abs(apart) <= allowed + ROUNDING:
        return Outcome(f"aa-{name}", PASSED, details=seen, figures=figures)
    problem = (
        f"{seen}: expected scores within {allowed:g}, half of {asked}: the evaluator moves the score, not a model; "
        "evaluate in float32, with eval.batch_size = 1 and temperature 0, or take more items or repeats"
    )
    return Outcome(f"aa-{name}", FAILED, problem, seen, figures=figures)


def _allowed(role: Role) -> tuple[float, str]:
    """Half of what must be seen, and its name. A limit leaves room on its far side alone."""
    match role:
        case Guard(margin):
            return margin / 2, f"margin = {margin:g}"
        case Target(gain):
            return gain / 2, f"min_gain = {gain:g}"
        case Floor(least):
            return (1 - least) / 2, f"what min = {least:g} leaves"
        case Ceiling(most):
            return most / 2, f"max = {most:g}"
