"""The gate: is the tuned model as good as it must be? Paired, by item, with three answers.

    from modelcheck.finetune.gate import Guard, compare
    from modelcheck.finetune.samples import read

    result = compare(read(Path("base.jsonl")), read(Path("tuned.jsonl")), role=Guard(margin=0.02))

The mean difference of the same items before and after gets a one-sided bound on each side. A score that went down is
no failure, and one that stayed is no success, as long as the bounds reach over the margin: that is INCONCLUSIVE, and
the result says how many items would decide. Guards form one intersection-union test: a release needs all of them to
pass, so no level is corrected; the list of what got worse (`regressed`) is corrected by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from modelcheck.finetune.judge.effect import as_judged
from modelcheck.finetune.pairing import Item, NotComparable, check_manifests, mean, pair
from modelcheck.finetune.rates import rate
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.scorers.text import references
from modelcheck.finetune.stats import (
    SMALL,
    Estimate,
    detectable,
    difference_bounds,
    enough,
    estimate,
    holm,
    items_needed,
    mcnemar,
    no_change,
    power_at,
    sd,
    too_few,
    with_seeds,
    within,
)
from modelcheck.finetune.verdict import (
    WORST,
    Ceiling,
    Floor,
    Guard,
    Needed,
    Pairs,
    Policy,
    Result,
    Role,
    Target,
    Verdict,
    consequence,
    decide,
)

__all__ = [
    "Ceiling",
    "Floor",
    "Guard",
    "NotComparable",
    "Policy",
    "Result",
    "Target",
    "Verdict",
    "check_manifests",
    "compare",
    "consequence",
    "pair",
    "regressed",
    "together",
]


def compare(
    base: Iterable[Sample],
    *tuned: Iterable[Sample],
    role: Role,
    suite: str = "suite",
    metric: str = "score",
    policy: Policy | None = None,
    same_prompts: bool = True,
) -> Result:
    """Judge the samples of the tuned model, one run for each training seed, by those of the base.

    `role` is what is asked: `Guard(margin)`, `Target(min_gain)`, `Floor(minimum)` or `Ceiling(maximum)`. Raises
    NotComparable, a UsageError, where runs differ in items, prompts, repeats or clusters, or one is not complete;
    without `same_prompts` the prompts may differ.
    """
    policy = policy or Policy()
    if not tuned:
        raise NotComparable("no tuned run was given: pass its samples after those of the base")
    items = pair(base, *tuned, same_prompts=same_prompts)
    if isinstance(role, Guard | Target):
        result = _paired(items, role, suite, metric, policy)
    else:
        low, high = (role.minimum, None) if isinstance(role, Floor) else (None, role.maximum)
        result = rate(items, _score, suite=suite, metric=metric, policy=policy, at_least=low, at_most=high)
    low = isinstance(role, Ceiling)
    lost = tuple(item.first.item for item in items if item.first.critical and item.is_lost(low=low))
    return as_judged(replace(result, verdict=Verdict.FAIL, lost=lost) if lost else result, items)


def _score(sample: Sample) -> float:
    return sample.score


def _paired(items: Sequence[Item], role: Guard | Target, suite: str, metric: str, policy: Policy) -> Result:
    runs = [
        mean(mean(s.score for s in item.tuned[n]) - item.before for item in items) for n in range(len(items[0].tuned))
    ]
    over_items = estimate([item.difference for item in items], [item.cluster for item in items])
    of = with_seeds(over_items, runs)
    lower, upper = difference_bounds(of, policy.alpha)
    goal = -role.margin if isinstance(role, Guard) else role.min_gain
    verdict = decide(lower, upper, goal, None)
    pairs = _pairs(items, runs, of.p_below(0.0), goal, policy)
    result = Result(
        suite=suite,
        metric=metric,
        role="guard" if isinstance(role, Guard) else "target",
        items=of.items,
        clusters=of.clusters,
        repeats=len(items[0].base),
        base=mean(item.before for item in items),
        tuned=mean(item.after for item in items),
        value=of.mean,
        lower=lower,
        upper=upper,
        at_least=goal,
        alpha=policy.alpha,
        verdict=verdict,
        mde=detectable(of, policy.alpha, policy.power) if math.isfinite(of.se) else None,
        needed=None if verdict is not Verdict.INCONCLUSIVE else _needed(of, goal, policy),
        pairs=pairs,
        slices=_slices(items),
        worst=_worst(items),
        notes=_notes(items, over_items, of),
    )
    return _not_too_small(result, of)


def _not_too_small(result: Result, of: Estimate) -> Result:
    """Below fifty items no PASS on less than five items' worth of margin, or of gain above the least gain."""
    if of.effective >= SMALL:
        return result
    note = f"small-n: {of.effective:.0f} independent items"
    result = replace(result, notes=(*result.notes, note))
    goal = result.at_least or 0.0
    worth = -goal if result.role == "guard" else result.value - goal
    if result.verdict is not Verdict.PASS or not too_few(of, worth):
        return result
    return replace(result, verdict=Verdict.INCONCLUSIVE, needed=Needed(enough(of, worth), "at this margin"))


def _pairs(items: Sequence[Item], runs: Sequence[float], p_regressed: float, goal: float, policy: Policy) -> Pairs:
    losses = [item for item in items if item.difference < 0]
    wins = sum(item.difference > 0 for item in items)
    single = len(runs) == 1 and len(items[0].base) == 1
    binary = single and all(item.before in (0, 1) and item.after in (0, 1) for item in items)
    sampling = _sampling(items)
    unchanged = no_change([item.before for item in items], [item.cluster for item in items])
    total = sd([item.difference for item in items]) ** 2 if len(items) > 1 else 0.0
    return Pairs(
        wins=wins,
        losses=len(losses),
        mcnemar=mcnemar(wins, len(losses)) if binary else None,
        between=max(0.0, total - sampling),
        within=sampling,
        runs=tuple(runs),
        p_regressed=p_regressed,
        power=power_at(-goal, unchanged, policy.alpha) if goal < 0 and math.isfinite(unchanged.se) else 0.0,
        starts_right=sum(map(_starts_right, losses)),
    )


def _worst(items: Sequence[Item]) -> tuple[Item, ...]:
    wrong = [item for item in items if item.difference < 0 or item.after < 0.5]
    return tuple(sorted(wrong, key=lambda item: (item.difference, item.after, item.first.item))[:WORST])


def _sampling(items: Sequence[Item]) -> float:
    """The variance of an item's difference that comes of sampling: that of each side over its repeats."""
    repeats, runs = len(items[0].base), len(items[0].tuned)
    before = within([s.score for s in item.base] for item in items)
    after = mean(within([s.score for s in item.tuned[n]] for item in items) for n in range(runs))
    return (before + after / runs) / repeats


def _starts_right(item: Item) -> bool:
    answers = [s.answer.lstrip() for run in item.tuned for s in run if s.score < 0.5]
    wanted = [r.strip() for r in references(item.first.reference) if r.strip()]
    return bool(answers) and all(any(a.startswith(w) for w in wanted) for a in answers)


def _needed(of: Estimate, goal: float, policy: Policy) -> Needed | None:
    """The items that would decide: a guard's if nothing really changed; else, or if there are as many, as is seen."""
    assumptions = ((-goal, "if nothing really changed"), (abs(of.mean - goal), "if the difference is as seen"))
    for distance, assumption in assumptions:
        needed = items_needed(of, distance, policy.alpha, policy.power)
        if needed is not None and (needed := max(needed, enough(of, distance))) > of.items:
            return Needed(needed, assumption)
    return None


def _slices(items: Sequence[Item]) -> dict[str, tuple[float, float, int]]:
    """{slice: mean before, mean after, number of items}."""
    names = sorted({item.first.slice for item in items if item.first.slice is not None})
    groups = ((name, [item for item in items if item.first.slice == name]) for name in names)
    return {name: (mean(i.before for i in group), mean(i.after for i in group), len(group)) for name, group in groups}


def _notes(items: Sequence[Item], over_items: Estimate, of: Estimate) -> tuple[str, ...]:
    notes = []
    if over_items.clusters < over_items.items:
        notes.append(f"{over_items.items} items in {over_items.clusters} clusters, design effect {over_items.deff:.1f}")
    runs = len(items[0].tuned)
    if runs > 1:
        notes.append(f"{runs} training runs widen the standard error from {over_items.se:.3f} to {of.se:.3f}")
    samples = [list(item.base) for item in items] + [list(run) for item in items for run in item.tuned]
    if len(items[0].base) > 1 and all(len({s.raw or s.answer for s in found}) == 1 for found in samples):
        notes.append("all repeats are the same: decoding is greedy, one repeat says as much")
    return tuple(notes)


def regressed(results: Iterable[Result], alpha: float = 0.05) -> list[Result]:
    """The suites that got worse, for diagnosis: one-sided tests of all of them together, corrected by Holm's method."""
    tested = [(result, result.pairs.p_regressed) for result in results if result.pairs is not None]
    adjusted = holm([p for _, p in tested])
    return [result for (result, _), p in zip(tested, adjusted, strict=True) if p <= alpha]


def together(results: Iterable[Result]) -> float:
    """The probability that all guards pass if nothing changed and they are independent: each guard costs power."""
    return math.prod(r.pairs.power for r in results if r.role == "guard" and r.pairs is not None)
