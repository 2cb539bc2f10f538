"""The gate's statistics beside independent ones (scipy, abeval), and what must hold for any scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import abeval
import numpy as np
import pytest
from gate_simulation import CEILING, CLUSTERED, PLAIN, Cell, simulate, simulate_seeds
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from modelcheck.finetune.distributions import beta_cdf, t_cdf, t_quantile
from modelcheck.finetune.stats import (
    Estimate,
    detectable,
    difference_bounds,
    estimate,
    holm,
    items_needed,
    mcnemar,
    power_at,
    unpaired,
    wilson,
    with_seeds,
)

# Scores of up to three repeats, before and after.
SCORES = st.sampled_from([0.0, 1 / 3, 0.5, 2 / 3, 1.0])
DIFFERENCES = st.lists(st.tuples(SCORES, SCORES).map(lambda pair: pair[1] - pair[0]), min_size=2, max_size=60)


def alone(differences: list[float]) -> Estimate:
    """The estimate of items that are independent."""
    return estimate(differences, range(len(differences)))


class TestDistributions:
    @given(st.floats(0.001, 0.999), st.floats(0.1, 2000), st.floats(0.1, 2000))
    def test_beta(self, x: float, a: float, b: float) -> None:
        assert beta_cdf(x, a, b) == pytest.approx(scipy_stats.beta.cdf(x, a, b), rel=1e-8, abs=1e-12)

    @given(st.floats(-50, 50), st.floats(0.5, 20000))
    def test_t(self, t: float, df: float) -> None:
        assert t_cdf(t, df) == pytest.approx(scipy_stats.t.cdf(t, df), rel=1e-7, abs=1e-13)

    @given(st.floats(0.001, 0.999), st.floats(1, 20000))
    def test_t_quantile(self, p: float, df: float) -> None:
        assert t_quantile(p, df) == pytest.approx(scipy_stats.t.ppf(p, df), rel=1e-7, abs=1e-7)


class TestAgainstOthers:
    @given(st.integers(0, 400), st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.1]))
    def test_wilson(self, right: int, n: int, alpha: float) -> None:
        right = min(right, n)
        interval = scipy_stats.binomtest(right, n).proportion_ci(1 - 2 * alpha, method="wilson")
        assert wilson(right / n, n, alpha) == pytest.approx((interval.low, interval.high), abs=1e-9)

    @given(st.integers(0, 300), st.integers(0, 300))
    def test_mcnemar(self, wins: int, losses: int) -> None:
        expected = scipy_stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-8)

    @pytest.mark.parametrize("seed", range(5))
    def test_paired_t(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        before, after = rng.random(80), rng.random(80) * 0.9
        ours = alone((after - before).tolist())
        theirs = scipy_stats.ttest_rel(after, before, alternative="less")
        assert ours.p_below(0.0) == pytest.approx(theirs.pvalue, rel=1e-8)
        assert ours.bounds(0.05) == pytest.approx(scipy_stats.ttest_rel(after, before).confidence_interval(0.9))
        compared = abeval.paired_compare(before.tolist(), after.tolist(), reps=10)
        assert 2 * min(ours.p_below(0.0), 1 - ours.p_below(0.0)) == pytest.approx(compared.p_t, rel=1e-6)

    @pytest.mark.parametrize("seed", range(5))
    def test_clustered(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        keys = rng.integers(0, 25, 150).tolist()
        values = (rng.choice([-1, 0, 1], 150) * 0.5 + rng.normal(0, 0.1, 30)[keys]).tolist()
        ours, theirs = estimate(values, keys), abeval.clustered_mean_ci(values, keys, level=0.9)
        groups = ours.clusters
        # abeval leaves out the correction G / (G - 1) for the number of clusters.
        assert theirs.se is not None
        assert ours.se == pytest.approx(theirs.se * math.sqrt(groups / (groups - 1)))
        assert ours.df == groups - 1
        assert ours.mean == pytest.approx(theirs.estimate)

    @pytest.mark.parametrize("seed", range(5))
    def test_welch(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        a, b = rng.random(40), rng.random(70) * 0.8
        ours = unpaired(*(estimate(x.tolist(), range(len(x)), floor=False) for x in (a, b)))
        assert ours.bounds(0.05) == pytest.approx(scipy_stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9))

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
    def test_holm_is_bonferroni_or_better(self, p_values: list[float]) -> None:
        adjusted = holm(p_values)
        assert all(p <= a <= min(1.0, p * len(p_values)) for p, a in zip(p_values, adjusted, strict=True))
        order = sorted(range(len(p_values)), key=lambda i: p_values[i])
        assert [adjusted[i] for i in order] == sorted(adjusted)

    def test_holm_by_hand(self) -> None:
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_planning_as_abeval_does(self) -> None:
        of = Estimate(0.0, 0.3 / math.sqrt(200), 199, 200, 200)
        assert detectable(of, 0.025, 0.8) == pytest.approx(abeval.mde(200, 0.3), rel=1e-6)
        assert items_needed(of, 0.05, 0.025, 0.8) == abeval.sample_size(0.05, 0.3)
        assert power_at(detectable(of, 0.05, 0.8), of, 0.05) == pytest.approx(0.8)


class TestPairedDifference:
    @given(DIFFERENCES)
    def test_bounds_hold_the_mean_and_stay_in_range(self, differences: list[float]) -> None:
        of = alone(differences)
        lower, upper = difference_bounds(of, 0.05)
        assert -1 <= lower <= of.mean <= upper <= 1
        assert lower < upper

    @given(DIFFERENCES, st.randoms(use_true_random=False))
    def test_order_never_shows(self, differences: list[float], random: object) -> None:
        rows = [(d, i // 3) for i, d in enumerate(differences)]
        shuffled = rows.copy()
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert estimate(*map(list, zip(*rows, strict=True))) == estimate(*map(list, zip(*shuffled, strict=True)))

    @given(DIFFERENCES)
    def test_before_and_after_exchanged_is_the_mirror_image(self, differences: list[float]) -> None:
        lower, upper = difference_bounds(alone(differences), 0.05)
        assert difference_bounds(alone([-d for d in differences]), 0.05) == pytest.approx((-upper, -lower))

    @given(DIFFERENCES, st.integers(2, 4))
    def test_more_of_the_same_items_narrows_the_bounds(self, differences: list[float], times: int) -> None:
        few, many = (difference_bounds(alone(d), 0.05) for d in (differences, differences * times))
        assert many[1] - many[0] <= few[1] - few[0] + 1e-12

    @given(DIFFERENCES, st.integers(2, 4))
    def test_copies_in_the_same_cluster_are_no_more_items(self, differences: list[float], times: int) -> None:
        few = alone(differences)
        many = estimate(differences * times, list(range(len(differences))) * times)
        assert many.clusters == few.clusters
        assert many.mean == pytest.approx(few.mean)
        assert many.effective == pytest.approx(len(differences))
        assert many.se <= few.se + 1e-12
        if not few.tied and few.se > 1.001 / (len(differences) + 2):
            assert many.se == pytest.approx(few.se)

    def test_one_item_lost_in_few_clusters_does_not_prove_that_clusters_do_not_matter(self) -> None:
        keys = [i // 10 for i in range(400)]
        alone_, together = (estimate([-1.0, *[0.0] * 399], k) for k in (range(400), keys))
        assert alone_.effective == 400
        assert 40 < together.effective < 50
        assert estimate([0.0] * 400, keys).effective == 40

    @pytest.mark.parametrize(("n", "se", "lower"), [(100, 0.0098, -0.027), (32, 0.0294, -0.082)])
    def test_items_that_all_tie_are_no_certainty(self, n: int, se: float, lower: float) -> None:
        of = alone([0.0] * n)
        assert of.se == pytest.approx(se, abs=1e-4)
        assert difference_bounds(of, 0.05)[0] == pytest.approx(lower, abs=1e-3)

    @given(st.integers(20, 500))
    def test_the_bound_of_no_loss_is_near_the_exact_one(self, n: int) -> None:
        exact = 1 - 0.05 ** (1 / n)
        assert -difference_bounds(alone([0.0] * n), 0.05)[0] == pytest.approx(exact, rel=0.15)

    def test_one_item_or_one_cluster_says_nothing(self) -> None:
        assert difference_bounds(estimate([0.0], ["a"]), 0.05) == (-1, 1)
        assert difference_bounds(estimate([0.0, 1.0, 1.0], ["a"] * 3), 0.05) == (-1, 1)


class TestSeeds:
    def test_the_spread_between_runs_is_added(self) -> None:
        items = Estimate(0.59, 0.047, 99, 100, 100)
        of = with_seeds(items, [0.83, 0.59, 0.59])
        assert of.se == pytest.approx(math.sqrt(0.047**2 + np.var([0.83, 0.59, 0.59], ddof=1) / 3))
        assert 2 < of.df < 4

    def test_one_run_changes_nothing(self) -> None:
        items = Estimate(0.1, 0.04, 99, 100, 100)
        assert with_seeds(items, [0.1]) == items

    @pytest.mark.parametrize(("runs", "df"), [(2, 3.9), (3, 24.2), (5, 71.4)])
    def test_runs_that_agree_may_do_so_by_luck(self, runs: int, df: float) -> None:
        items = Estimate(0.1, 0.04, 99, 100, 100)
        of = with_seeds(items, [0.1] * runs)
        assert (of.mean, of.se) == (items.mean, items.se)
        assert of.df == pytest.approx(df, abs=0.1)


SAMPLE = [PLAIN[1], PLAIN[2], PLAIN[15], CEILING[1], CEILING[3], CLUSTERED[2], CLUSTERED[10]]


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
def test_a_sample_of_the_error_rates(cell: Cell, record_property: Callable[[str, object], None]) -> None:
    rates = simulate(cell, 400)
    record_property("figure", f"gate, {cell}: {rates}")
    # 400 draws of a rate of 0.05 have a standard deviation of 0.011; tests/slow has 2,000 draws and all cells.
    assert max(rates.passed_at_edge, rates.failed_at_edge) <= 0.08


def test_a_sample_of_the_error_rates_over_seeds() -> None:
    rates = simulate_seeds(3, 300)
    assert max(rates.passed_at_edge, rates.failed_at_edge) <= 0.09
