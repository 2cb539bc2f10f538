"""Worlds in which the truth is known, to count how often the gate's bounds are wrong in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelcheck.finetune.stats import difference_bounds, estimate, with_seeds

Array = NDArray[np.float64]
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A suite: `clusters` x `size` items, answered `repeats` times, by a base that is right with probability `base`.

    Item difficulties are beta distributed; half of the units keep theirs in the tuned model, half draw a new one. With
    a size above one the unit is the cluster. A base of 1 is always right, and the tuned model's losses strike whole
    clusters with the share `together`, single items otherwise.
    """

    base: float
    clusters: int
    margin: float
    size: int = 1
    repeats: int = 1
    together: float = 1.0

    def __str__(self) -> str:
        of = f"x{self.size}" * (self.size > 1) + f" together {self.together:g}" * (self.base == 1 and self.size > 1)
        return f"base {self.base:g}, n {self.clusters}{of}, margin {self.margin:g}, R {self.repeats}"


@dataclass(frozen=True)
class Rates:
    """Shares of draws: passed and failed at the very edge of the margin, passed where nothing changed."""

    passed_at_edge: float
    failed_at_edge: float
    power: float

    def __str__(self) -> str:
        return f"PASS at the edge {self.passed_at_edge:.3f}, FAIL {self.failed_at_edge:.3f}, power {self.power:.2f}"


# Every size and margin that a suite has in practice, at two levels of the base, greedy and with three repeats.
PLAIN = [
    Cell(base=base, clusters=n, margin=margin, repeats=repeats)
    for base in (0.9, 0.6)
    for n, margin in ((32, 0.10), (100, 0.05), (300, 0.05), (300, 0.02), (1000, 0.02))
    for repeats in (1, 3)
]
CEILING = [
    Cell(base=1.0, clusters=n, margin=margin)
    for n, margin in ((60, 0.1), (100, 0.05), (100, 0.1), (300, 0.05), (300, 0.02))
]
CLUSTERED = [
    Cell(base=base, clusters=clusters, size=size, margin=margin)
    for base in (0.9, 0.6)
    for clusters, size in ((20, 10), (40, 10), (100, 5))
    for margin in (0.05, 0.1)
]
CLUSTERED_CEILING = [
    Cell(base=1.0, clusters=clusters, size=size, margin=0.05, together=together)
    for clusters, size in ((40, 10), (100, 5), (200, 3))
    for together in (0.0, 0.5, 0.8, 1.0)
]


def simulate(cell: Cell, draws: int, seed: int = 0) -> Rates:
    """Count the verdicts of the bounds over `draws` suites at the edge and `draws` suites where nothing changed."""
    rng = np.random.default_rng(seed)
    keys = [i // cell.size for i in range(cell.clusters * cell.size)]
    passed, failed, power = 0, 0, 0
    for _ in range(draws):
        lower, upper = difference_bounds(estimate(_differences(cell, cell.margin, rng).tolist(), keys), ALPHA)
        passed += lower >= -cell.margin
        failed += upper < -cell.margin
        lower, _upper = difference_bounds(estimate(_differences(cell, 0.0, rng).tolist(), keys), ALPHA)
        power += lower >= -cell.margin
    return Rates(passed / draws, failed / draws, power / draws)


def simulate_seeds(runs: int, draws: int, seed: int = 0) -> Rates:
    """The same for several training runs, each of which is better or worse than the recipe by N(0, 0.05)."""
    rng = np.random.default_rng(seed)
    margin, n = 0.1, 300
    counts = np.zeros(3)
    for _ in range(draws):
        for edge in (True, False):
            truth = rng.normal(-margin if edge else 0.0, 0.05, (runs, 1))
            differences = truth + rng.choice([-1.0, 0.0, 1.0], (runs, n), p=[0.05, 0.9, 0.05])
            items = estimate(differences.mean(axis=0).tolist(), range(n))
            lower, upper = difference_bounds(with_seeds(items, differences.mean(axis=1).tolist()), ALPHA)
            counts += (edge and lower >= -margin, edge and upper < -margin, not edge and lower >= -margin)
    return Rates(*(counts / draws).tolist())


def _differences(cell: Cell, loss: float, rng: np.random.Generator) -> Array:
    n = cell.clusters * cell.size
    if cell.base == 1:
        whole = np.repeat(rng.random(cell.clusters) < loss * cell.together, cell.size)
        # What is left to lose once whole clusters have been: the mean loss is exactly `loss`.
        single = rng.random(n) < loss * (1 - cell.together) / (1 - loss * cell.together)
        return -(whole | single).astype(np.float64)
    before = _difficulty(cell, rng)
    kept = np.repeat(rng.random(cell.clusters) < 0.5, cell.size)
    after = np.where(kept, before, _difficulty(cell, rng)) * (1 - loss / cell.base)
    return (rng.binomial(cell.repeats, after) - rng.binomial(cell.repeats, before)) / cell.repeats


def _difficulty(cell: Cell, rng: np.random.Generator) -> Array:
    # Of single items a beta with a + b = 1, nearly all or nothing; of clusters a + b = 4, an ICC of 0.2.
    spread = 1.0 if cell.size == 1 else 4.0
    return np.repeat(rng.beta(cell.base * spread, (1 - cell.base) * spread, cell.clusters), cell.size)
