"""What is not a paired difference of scores: floors, stop rate, truncation, length ratio and the overfit gap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from modelcheck.finetune.distributions import z
from modelcheck.finetune.pairing import Item, by_item, mean, unit
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.stats import Estimate, estimate, items_needed, unpaired, wilson
from modelcheck.finetune.verdict import WORST, Needed, Policy, Result, Verdict, decide

LABEL_NOISE = (
    "the tuned model does worse on rows that it was trained on than on new ones: the training labels themselves are "
    "likely wrong, look at the worst of the mirror's answers beside their references"
)
AS_SEEN = "if it really is as seen"


def rate(
    items: Sequence[Item],
    of: Callable[[Sample], float],
    *,
    suite: str,
    metric: str,
    policy: Policy,
    role: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Result:
    """Judge the mean of `of`, in [0, 1], over the tuned samples by Wilson's bounds: of the worst training run.

    Repeats of an item are one observation, and clusters count as the independent items that they are worth.
    """
    clusters = [item.cluster for item in items]
    runs = [[mean(of(s) for s in item.tuned[n]) for item in items] for n in range(len(items[0].tuned))]
    sign = 1 if at_most is None else -1
    values = min(runs, key=lambda run: sign * mean(run))
    wrong = [(sign * value, item.first.item, item) for value, item in zip(values, items, strict=True)]
    worst = sorted((row for row in wrong if row[0] < 0.5 * sign), key=lambda row: row[:2])[:WORST]
    seen = estimate(values, clusters, floor=False)
    lower, upper = wilson(seen.mean, seen.effective, policy.alpha)
    verdict = decide(lower, upper, at_least, at_most)
    # A ceiling is a floor for the share that keeps it.
    p, limit = (seen.mean, at_least) if at_most is None else (1 - seen.mean, 1 - at_most)
    return Result(
        suite=suite,
        metric=metric,
        role=role or ("floor" if at_most is None else "ceiling"),
        items=seen.items,
        clusters=seen.clusters,
        repeats=len(items[0].base),
        base=mean(mean(of(s) for s in item.base) for item in items),
        tuned=seen.mean,
        value=seen.mean,
        lower=lower,
        upper=upper,
        at_least=at_least,
        at_most=at_most,
        alpha=policy.alpha,
        verdict=verdict,
        needed=_needed(p, limit, seen, policy) if verdict is Verdict.INCONCLUSIVE and limit is not None else None,
        slices={},
        worst=tuple(item for _, _, item in worst),
    )


def _needed(share: float, limit: float, seen: Estimate, policy: Policy) -> Needed | None:
    """The items that would decide a rate that really is what was seen."""
    if share == limit:
        return None
    spread = z(1 - policy.alpha) * math.sqrt(limit * (1 - limit)) + z(policy.power) * math.sqrt(share * (1 - share))
    return Needed(math.ceil((spread / (share - limit)) ** 2 * seen.items / seen.effective), AS_SEEN)


def stop(items: Sequence[Item], at_least: float, policy: Policy, suite: str = "behaviour") -> Result:
    """The share of tuned answers that ended by a stop token, at least `at_least` (`stop_rate_min`)."""
    return rate(
        items, lambda s: s.stopped, suite=suite, metric="stop", role="behaviour", at_least=at_least, policy=policy
    )


def truncation(
    items: Sequence[Item], at_most: float, policy: Policy, max_tokens: int = 0, suite: str = "behaviour"
) -> Result:
    """The share of tuned answers cut at `max_tokens`, at most `at_most` (`truncation_max`).

    Without `max_tokens` every answer that did not stop counts as cut.
    """
    return rate(
        items,
        lambda s: not s.stopped and s.tokens >= max_tokens,
        suite=suite,
        metric="truncation",
        role="behaviour",
        at_most=at_most,
        policy=policy,
    )


def length(items: Sequence[Item], limits: tuple[float, float], policy: Policy, suite: str = "behaviour") -> Result:
    """Tokens written after over tokens written before, within `limits` (`length_ratio`): for suites of old skills.

    The error of the ratio is that of `after - ratio * before`, clustered as everywhere (delta method).
    """
    clusters = [item.cluster for item in items]
    before = [mean(s.tokens for s in item.base) for item in items]
    after = [mean(s.tokens for run in item.tuned for s in run) for item in items]
    wrote = mean(before)
    notes: tuple[str, ...] = ()
    if wrote:
        ratio = mean(after) / wrote
        rest = estimate([a - ratio * b for a, b in zip(after, before, strict=True)], clusters, floor=False)
        lower, upper = (ratio + bound / wrote for bound in rest.bounds(policy.alpha))
    else:
        ratio, lower, upper = math.inf, 0.0, math.inf
        notes = ("the base wrote no tokens, or they were not counted: there is no ratio",)
    return Result(
        suite=suite,
        metric="length",
        role="behaviour",
        items=len(items),
        clusters=len(set(clusters)),
        repeats=len(items[0].base),
        base=wrote,
        tuned=mean(after),
        value=ratio,
        lower=lower,
        upper=upper,
        at_least=limits[0],
        at_most=limits[1],
        alpha=policy.alpha,
        verdict=decide(lower, upper, *limits) if wrote else Verdict.INCONCLUSIVE,
        slices={},
        notes=notes,
    )


def overfit(
    mirror: Sequence[Iterable[Sample]],
    unseen: Sequence[Iterable[Sample]],
    at_most: float,
    policy: Policy,
    suite: str = "mirror",
) -> Result:
    """How much better the tuned model does on rows it was trained on: at most `at_most` (`max_overfit_gap`).

    Both sides hold the samples of each training run, and the run of the widest gap is judged.
    """
    runs = [_gap(*sides, at_most, policy, suite) for sides in zip(mirror, unseen, strict=True)]
    worst = max(runs, key=lambda result: result.value)
    return replace(worst, notes=(*worst.notes, f"the widest gap of {len(runs)} training runs")) if runs[1:] else worst


def _gap(mirror: Iterable[Sample], unseen: Iterable[Sample], at_most: float, policy: Policy, suite: str) -> Result:
    """The gap of one run.

    Other items on each side, so the errors of both add up. A gap that is surely negative is noted: wrong labels.
    """
    trained, others = by_item(mirror, "mirror"), by_item(unseen, "eval")
    seen, new = _mean_of(trained), _mean_of(others)
    gap = unpaired(seen, new)
    lower, upper = (-1.0, 1.0) if math.isinf(gap.se) else gap.bounds(policy.alpha)
    verdict = decide(lower, upper, None, at_most)
    needed = items_needed(gap, abs(at_most - gap.mean), policy.alpha, policy.power)
    return Result(
        suite=suite,
        metric="score",
        role="overfit",
        items=gap.items,
        clusters=gap.clusters,
        repeats=len(next(iter(trained.values()))),
        base=new.mean,
        tuned=seen.mean,
        value=gap.mean,
        lower=max(-1.0, lower),
        upper=min(1.0, upper),
        at_most=at_most,
        alpha=policy.alpha,
        verdict=verdict,
        needed=Needed(needed, AS_SEEN) if needed and verdict is Verdict.INCONCLUSIVE else None,
        slices={},
        notes=(LABEL_NOISE,) if upper < 0 else (),
    )


def _mean_of(items: Mapping[str, Sequence[Sample]]) -> Estimate:
    return estimate([mean(s.score for s in found) for found in items.values()], [unit(f[0]) for f in items.values()])
