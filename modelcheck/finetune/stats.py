"""The statistics of the gate: an interval for a mean of items in clusters, for a rate, and how many items it takes.

Sources: clustered standard error of a mean, Miller 2024 (arXiv 2411.00640), appendix A; Wilson 1927; the half-weight
pseudo-pairs, Agresti and Min 2005; Satterthwaite 1946; Holm 1979. Sums are exact (`math.fsum`), so the order of the
items never shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from modelcheck.finetune.distributions import beta_cdf, normal_cdf, t_cdf, t_quantile, z

MANY = 1_000_000
PRIOR = 10
LUCK = 0.5
SMALL = 50
FEWEST = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over items and how sure it is.

    `se` is its standard error with `df` degrees of freedom, `deff` the square of `se` over what it would be if the
    items were independent, `clusters` the number of independent units, of which `telling` hold an item that is not as
    most are. With one unit nothing is known: `se` is infinite. `tied` says that no item differed from another, so that
    `se` is only the floor's.
    """

    mean: float
    se: float
    df: float
    items: int
    clusters: int
    deff: float = 1.0
    telling: int = 0
    tied: bool = False

    @property
    def effective(self) -> float:
        """The number of independent items that would say as much.

        A design effect shows only in clusters with something in them that differs. Seen in few of those it says little,
        and is weighed against ten clusters of items that all go together: a loss may strike whole clusters, and happen
        to strike none that was asked.
        """
        size = self.items / self.clusters
        return self.items / min(size, (self.telling * max(self.deff, 1) + PRIOR * size) / (self.telling + PRIOR))

    def bounds(self, alpha: float) -> tuple[float, float]:
        """The lower and the upper one-sided bound, each at level 1 - alpha: together an interval of 1 - 2 alpha."""
        if math.isinf(self.se):
            return -math.inf, math.inf
        half = t_quantile(1 - alpha, self.df) * self.se
        return self.mean - half, self.mean + half

    def p_below(self, value: float) -> float:
        """The one-sided p of the hypothesis that the true mean is at least `value`: small means it lies below."""
        return 1.0 if math.isinf(self.se) else t_cdf((self.mean - value) / self.se, self.df)


def estimate(values: Sequence[float], clusters: Sequence[Hashable], *, floor: bool = True) -> Estimate:
    """The mean of `values`, one an item, and its standard error clustered by the key of each item.

    With `floor`, values are differences of scores in [-1, 1], and items that all agree are not certainty: two
    pseudo-pairs of half a weight, one lost and one won, are added (to the clusters, the units that agree), and the
    error is never less than that of n ties.
    """
    n = len(values)
    mean = math.fsum(values) / n
    parts: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        parts.setdefault(cluster, []).append(value - mean)
    units = len(parts)
    if units < 2:
        return Estimate(mean, math.inf, 0, n, units)
    independent = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    squares = math.fsum(math.fsum(part) ** 2 for part in parts.values())
    se = math.sqrt(units / (units - 1) * squares) / n
    deff = (se / independent) ** 2 if independent else 1.0
    tied = min(values) == max(values)
    usual = min(Counter(values).items(), key=lambda pair: (-pair[1], abs(pair[0]), pair[0]))[0]
    telling = len({cluster for value, cluster in zip(values, clusters, strict=True) if value != usual})
    if floor:
        se = _agreeing(mean, units) if tied else max(se, _agreeing(0.0, n))
    return Estimate(mean, se, units - 1, n, units, deff, telling, tied)


def _agreeing(difference: float, units: int) -> float:
    """The standard error where all units show the same difference, after adding the pseudo-pairs."""
    rows = units + 2
    return math.sqrt(((units * difference**2 + 1) / rows - (units * difference / rows) ** 2) / rows)


def no_change(scores: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """What the estimate of a model that did not change would be, guessed from the scores of the base alone.

    Differences are taken to spread as the base's item means do, which is so where the scores before and after
    correlate by a half; with no correlation they spread 1.4 times as much.
    """
    centre = math.fsum(scores) / len(scores)
    return estimate([score - centre for score in scores], clusters)


def too_few(of: Estimate, worth: float) -> bool:
    """Whether the items are fewer than fifty and `worth`, a share of the score, is less than five of them.

    Bounds by the central limit theorem are too narrow there (Bowyer et al. 2025, arXiv 2503.01747).
    """
    return of.effective < SMALL and worth < FEWEST / of.effective


def enough(of: Estimate, worth: float) -> int:
    """The number of items, clustered as these are, that are not `too_few`."""
    return math.ceil((SMALL if worth <= 0 else min(SMALL, FEWEST / worth)) * of.items / of.effective)


def difference_bounds(of: Estimate, alpha: float) -> tuple[float, float]:
    """The one-sided bounds of a mean of paired differences of scores.

    Those of t, or those of a rare total loss (or gain), whichever are wider: if the truth were a loss of p, the
    differences would vary by p (1 - p) at least, however little they do here. Where the base is nearly always right,
    the bounds of t alone pass a model that loses the whole margin in 10 to 16 % of runs instead of 5.
    """
    if math.isinf(of.se):
        return -1.0, 1.0
    lower, upper = of.bounds(alpha)
    k = t_quantile(1 - alpha, of.df) ** 2 / of.effective
    return max(-1.0, min(lower, _rare(of.mean, k))), min(1.0, max(upper, -_rare(-of.mean, k)))


def _rare(mean: float, k: float) -> float:
    """The lowest p with (mean - p)^2 <= k |p| (1 - |p|): Wilson's bound, for a rate with a sign."""
    for sign in (-1, 1):
        b = k + 2 * sign * mean
        discriminant = b * b - 4 * (1 + k) * mean * mean
        if b > 0 and discriminant >= 0:
            return sign * (b - sign * math.sqrt(discriminant)) / (2 * (1 + k))
    return mean


def with_seeds(items: Estimate, means: Sequence[float]) -> Estimate:
    """The estimate with the spread between the means of the training runs added; the df are Satterthwaite's.

    Two runs that happen to agree would leave the df of the items alone. So that such luck does not count, the df are
    those of a spread that has half of the items' variance added, divided among the degrees of freedom of the runs.
    """
    runs = len(means)
    if runs < 2 or math.isinf(items.se):
        return items
    between = sd(means) ** 2 / runs
    total = items.se**2 + between
    doubted = between + LUCK * items.se**2 / (runs - 1)
    df = total**2 / (items.se**4 / items.df + doubted**2 / (runs - 1)) if total else items.df
    return replace(items, se=math.sqrt(total), df=df)


def unpaired(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two means over different items (Welch)."""
    se = math.hypot(first.se, second.se)
    df = se**4 / (first.se**4 / first.df + second.se**4 / second.df) if 0 < se < math.inf else 0.0
    items, clusters, telling = (getattr(first, n) + getattr(second, n) for n in ("items", "clusters", "telling"))
    return Estimate(first.mean - second.mean, se, df, items, clusters, telling=telling)


def sd(values: Sequence[float]) -> float:
    """The sample standard deviation of two or more values."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def within(repeats: Iterable[Sequence[float]]) -> float:
    """The mean over items of the variance between an item's repeats; 0 where there is one repeat."""
    variances = [sd(scores) ** 2 if len(scores) > 1 else 0.0 for scores in repeats]
    return math.fsum(variances) / len(variances)


def wilson(rate: float, n: float, alpha: float) -> tuple[float, float]:
    """The one-sided bounds, each at level 1 - alpha, of a rate seen on n items; n need not be whole.

    For scores between 0 and 1 it is conservative: no variable of that range varies more than a 0/1 one.
    """
    k = z(1 - alpha) ** 2 / n
    centre, half = rate + k / 2, math.sqrt(k * (rate * (1 - rate) + k / 4))
    return max(0.0, (centre - half) / (1 + k)), min(1.0, (centre + half) / (1 + k))


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided p of McNemar's test: as many items won as lost, ties not counted."""
    few = min(wins, losses)
    return 1.0 if wins == losses else min(1.0, 2 * beta_cdf(0.5, wins + losses - few, few + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being several (Holm's step-down), in the same order."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def detectable(of: Estimate, alpha: float, power: float) -> float:
    """The minimum detectable effect: the difference that a test at `alpha` finds with that power."""
    k = t_quantile(1 - alpha, of.df) ** 2 / of.effective
    return min(1.0, max((z(1 - alpha) + z(power)) * of.se, k / (1 + k)))


def power_at(distance: float, of: Estimate, alpha: float) -> float:
    """The probability of proving a bound that lies `distance` from the truth."""
    if distance <= -_rare(0.0, t_quantile(1 - alpha, of.df) ** 2 / of.effective):
        return 0.0
    return normal_cdf(distance / of.se - z(1 - alpha))


def items_needed(of: Estimate, distance: float, alpha: float, power: float) -> int | None:
    """The items that would prove a bound at `distance` from the truth, with this spread and this clustering.

    None where no number would do, or none below a million.
    """
    if distance <= 0 or math.isinf(of.se):
        return None
    spread = 0.0 if of.tied else of.items * ((z(1 - alpha) + z(power)) * of.se / distance) ** 2
    odds = (1 - distance) / distance
    rare = t_quantile(1 - alpha, max(1.0, z(1 - alpha) ** 2 * odds - 1)) ** 2 * odds * of.items / of.effective
    needed = math.ceil(max(spread, rare, 2))
    return needed if needed < MANY else None
