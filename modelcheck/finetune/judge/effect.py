"""What a judge does to a result: its notes, and a wider interval where it left answers without a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from modelcheck.finetune.judge.notes import notes
from modelcheck.finetune.pairing import Item
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Result, Verdict, decide

# Of either side. With more of them, what is left may be another kind of item.
MOST_UNJUDGED = 0.05


def as_judged(result: Result, items: Sequence[Item]) -> Result:
    """The result with what is to be said of its judge; unchanged where none was asked.

    An answer without verdict counts as a half, and may be worth 0 or 1: both bounds make room for either.
    """
    sides = {"tuned": [sample for item in items for run in item.tuned for sample in run]}
    if result.role in ("guard", "target"):
        sides["base"] = [sample for item in items for sample in item.base]
    said = [f"{name}, {note}" for name, samples in sides.items() for note in notes(samples)]
    result = replace(result, notes=(*result.notes, *said))
    shares = [_unjudged(samples) for samples in sides.values()]
    if not any(shares):
        return result
    slack = sum(shares) / 2
    lower, upper = result.lower - slack, result.upper + slack
    decided = decide(lower, upper, result.at_least, result.at_most)
    verdict = result.verdict if decided is result.verdict or result.lost else Verdict.INCONCLUSIVE
    note = f"answers without verdict count as a half and widen the interval by {slack:.3f} on each side"
    if max(shares) > MOST_UNJUDGED:
        verdict, note = Verdict.FAIL, f"{note}; more than {MOST_UNJUDGED:.0%} of a side have none: mend the judge first"
    return replace(result, lower=lower, upper=upper, verdict=verdict, notes=(*result.notes, note))


def _unjudged(side: Sequence[Sample]) -> float:
    return fmean(bool(sample.metadata.get("unjudged")) for sample in side)
