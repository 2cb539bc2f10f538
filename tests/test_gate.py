"""The gate: three verdicts on two runs over the same items, and what it refuses to compare."""

from __future__ import annotations

import random
from typing import Any

import pytest
from gate_samples import right, run
from hypothesis import given
from hypothesis import strategies as st

from modelcheck import UsageError
from modelcheck.finetune.gate import (
    Ceiling,
    Floor,
    Guard,
    NotComparable,
    Policy,
    Result,
    Target,
    Verdict,
    check_manifests,
    compare,
    consequence,
    regressed,
    together,
)
from modelcheck.finetune.messages import message
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Role, decide

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
GUARD, TARGET = Guard(0.05), Target(0.3)

# What a toy model scored after each planted fault, of 100 items a suite: add, copy, target. Base: 100, 100, 10.
FAULTS = {
    "none": (100, 100, 100, PASS, PASS, PASS),
    "pad is eos, collator masks it": (0, 0, 0, FAIL, FAIL, FAIL),
    "eos outside the generation markers": (100, 95, 0, PASS, INCONCLUSIVE, FAIL),
    "role header differs": (29, 2, 15, FAIL, FAIL, FAIL),
    "no replay": (26, 0, 100, FAIL, FAIL, PASS),
    "answers truncated": (100, 56, 93, PASS, FAIL, PASS),
    "no generation prompt at inference": (5, 1, 14, FAIL, FAIL, FAIL),
    "learning rate 0.1": (0, 0, 0, FAIL, FAIL, FAIL),
    "half of the labels wrong": (87, 35, 84, FAIL, FAIL, PASS),
    "merged twice": (64, 37, 94, FAIL, FAIL, PASS),
    "not merged": (100, 100, 10, PASS, PASS, FAIL),
    "loss on the prompt": (89, 94, 52, FAIL, INCONCLUSIVE, PASS),
    "columns swapped": (4, 0, 0, FAIL, FAIL, FAIL),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_get_the_verdicts_of_their_counts(fault: str) -> None:
    add, copy, target, *verdicts = FAULTS[fault]
    base = run(right(100))
    guards = [compare(base, run(right(n)), role=GUARD).verdict for n in (add, copy)]
    # Which of the ten items that the base knew are still right is not on record: both extremes must agree.
    for known in (right(10), right(10)[::-1]):
        assert [*guards, compare(run(known), run(right(target)), role=TARGET).verdict] == verdicts


class TestVerdicts:
    @pytest.mark.parametrize(
        ("lower", "upper", "verdict"),
        [
            (-0.01, 0.3, PASS),
            (-0.02, 0.3, PASS),
            (-0.03, 0.3, INCONCLUSIVE),
            (-0.3, -0.02, INCONCLUSIVE),
            (-0.3, -0.021, FAIL),
        ],
    )
    def test_both_bounds_decide(self, lower: float, upper: float, verdict: Verdict) -> None:
        assert decide(lower, upper, -0.02, None) is verdict
        assert decide(-upper, -lower, None, 0.02) is verdict

    def test_a_lower_score_alone_is_no_failure(self) -> None:
        result = compare(run(right(360, 400)), run(right(352, 400)), role=GUARD)
        assert result.value == pytest.approx(-0.02)
        assert result.verdict is PASS

    def test_the_published_result_of_three_runs_is_inconclusive(self) -> None:
        # 5.33 -> 7.33 of 32 items with three runs each: 16 and 22 right answers of 96.
        for seed in range(20):
            rng = random.Random(seed)
            sides = []
            for total in (16, 22):
                scores = [1.0] * total + [0.0] * (96 - total)
                rng.shuffle(scores)
                sides.append(run(scores[:32], scores[32:64], scores[64:]))
            result = compare(*sides, role=Target(0.0))
            assert result.value == pytest.approx(0.0625)
            assert result.verdict is INCONCLUSIVE

    def test_nor_is_it_proved_in_the_most_favourable_arrangement(self) -> None:
        # Every base answer kept, six items with one more right answer of three.
        base, tuned = run(right(6, 32), right(5, 32), right(5, 32)), run(right(12, 32), right(5, 32), right(5, 32))
        assert compare(base, tuned, role=Target(0.0)).verdict is INCONCLUSIVE

    @pytest.mark.parametrize(("n", "verdict"), [(32, INCONCLUSIVE), (49, INCONCLUSIVE), (60, PASS)])
    def test_a_few_items_prove_no_narrow_margin(self, n: int, verdict: Verdict) -> None:
        result = compare(run(right(n, n)), run(right(n, n)), role=Guard(0.1))
        assert result.verdict is verdict
        assert any("small-n" in note for note in result.notes) == (n < 50)

    def test_a_large_gain_shows_on_a_few_items(self) -> None:
        assert compare(run(right(2, 20)), run(right(19, 20)), role=TARGET).verdict is PASS

    def test_one_item_or_one_cluster_decides_nothing(self) -> None:
        assert compare(run([1.0]), run([0.0]), role=GUARD).verdict is INCONCLUSIVE
        base, tuned = (run(right(n), cluster="one document") for n in (100, 0))
        assert compare(base, tuned, role=GUARD).verdict is INCONCLUSIVE

    def test_clusters_widen_the_interval(self) -> None:
        documents = [f"document {i // 10}" for i in range(200)]
        alone = compare(run(right(200, 200)), run(right(180, 200)), role=GUARD)
        clustered = compare(
            run(right(200, 200), cluster=documents), run(right(180, 200), cluster=documents), role=GUARD
        )
        assert (alone.verdict, clustered.verdict) == (FAIL, INCONCLUSIVE)
        assert "200 items in 20 clusters, design effect 10.5" in clustered.notes[0]

    def test_repeats_are_no_further_items(self) -> None:
        once = compare(run(right(90)), run(right(85)), role=GUARD)
        thrice = compare(run(*[right(90)] * 3), run(*[right(85)] * 3), role=GUARD)
        assert (once.lower, once.upper, once.items) == (thrice.lower, thrice.upper, thrice.items)

    def test_variance_is_split_into_sampling_and_items(self) -> None:
        flipping = run([1.0, 0.0] * 50, [0.0, 1.0] * 50)
        pairs = compare(flipping, flipping, role=GUARD).pairs
        assert pairs is not None
        assert pairs.within == pytest.approx(0.5)
        assert pairs.between == 0.0

    def test_greedy_repeats_are_pointed_out(self) -> None:
        same = run(right(90), right(90), answers=["yes"] * 100)
        assert any("decoding is greedy" in note for note in compare(same, same, role=GUARD).notes)


class TestCriticalItems:
    def test_one_that_is_lost_fails_whatever_the_mean_says(self) -> None:
        critical = [i == 99 for i in range(100)]
        result = compare(run(right(100), critical=critical), run(right(99), critical=critical), role=GUARD)
        assert result.verdict is FAIL
        assert "item-0099" in message(result)

    @pytest.mark.parametrize("tuned", [([1.0], [0.0]), ([0.0], [1.0])])
    def test_one_that_is_sometimes_right_is_not_lost(self, tuned: tuple[list[float], ...]) -> None:
        filler = right(99, 99)
        base = run([*filler, 1.0], [*filler, 1.0], critical=True)
        sides = [run(*[[*filler, *score] for score in tuned], critical=True)]
        assert compare(base, *sides, role=GUARD).verdict is PASS

    def test_one_that_a_single_training_run_lost_fails(self) -> None:
        good, bad = run(right(100), critical=True), run(right(99), critical=True)
        assert compare(good, good, bad, good, role=GUARD).lost == ("item-0099",)

    def test_under_a_ceiling_one_that_rises_is_lost(self) -> None:
        """As of a suite that counts refusals, or leaked secrets."""
        low, high = run(right(0, 100), critical=True), run(right(1, 100), critical=True)
        assert compare(low, high, role=Ceiling(0.5)).lost == ("item-0000",)
        assert compare(high, low, role=Ceiling(0.5)).verdict is PASS

    def test_one_that_the_base_never_knew_is_not_lost(self) -> None:
        assert compare(run(right(99), critical=True), run(right(99), critical=True), role=GUARD).verdict is PASS


class TestTrainingSeeds:
    def test_their_spread_counts(self) -> None:
        base = run(right(0))
        steady = compare(base, *(run(right(n)) for n in (66, 67, 68)), role=TARGET)
        wild = compare(base, *(run(right(n)) for n in (99, 59, 43)), role=TARGET)
        assert steady.value == pytest.approx(wild.value)
        assert (steady.verdict, wild.verdict) == (PASS, INCONCLUSIVE)
        assert wild.pairs is not None
        assert wild.pairs.runs == pytest.approx((0.99, 0.59, 0.43))

    def test_order_of_the_runs_is_irrelevant(self) -> None:
        runs = [run(right(n)) for n in (83, 59, 60)]
        assert (
            compare(run(right(1)), *runs, role=TARGET).lower == compare(run(right(1)), *runs[::-1], role=TARGET).lower
        )


class TestPolicy:
    def result(self, before: int, after: int) -> Result:
        return compare(run(right(before)), run(right(after)), role=GUARD)

    def test_by_default_a_guard_seen_below_its_margin_fails_in_ci_only(self) -> None:
        below, above = self.result(100, 94), self.result(100, 97)
        assert (below.verdict, above.verdict) == (INCONCLUSIVE, INCONCLUSIVE)
        assert [consequence(r, Policy(ci=True)) for r in (below, above)] == ["fail", "warn"]
        assert [consequence(r, Policy()) for r in (below, above)] == ["warn", "warn"]

    def test_a_gain_that_is_not_proved_is_a_warning_in_ci_too(self) -> None:
        result = compare(run(right(10)), run(right(35)), role=TARGET)
        assert (result.verdict, consequence(result, Policy(ci=True))) == (INCONCLUSIVE, "warn")

    @pytest.mark.parametrize("word", ["fail", "warn", "xfail"])
    def test_a_word_of_ones_own(self, word: str) -> None:
        assert consequence(self.result(100, 94), Policy(on_inconclusive=word, ci=True)) == word
        assert consequence(self.result(100, 100), Policy(on_inconclusive=word)) == "pass"
        assert consequence(self.result(100, 0), Policy(on_inconclusive=word)) == "fail"

    def test_wrong_settings_are_refused_with_what_is_accepted(self) -> None:
        with pytest.raises(UsageError, match="'wran'; did you mean 'warn'\\?; expected fail or warn or xfail"):
            Policy(on_inconclusive="wran")
        with pytest.raises(UsageError, match=r"margin is 2, expected a share of the score above 0 and below 1"):
            Guard(2)
        with pytest.raises(UsageError, match=r"min_gain is -0.1, expected a share of the score from 0"):
            Target(-0.1)
        with pytest.raises(UsageError, match=r"alpha is 0.95"):
            Policy(alpha=0.95)


class TestNotComparable:
    def test_other_items(self) -> None:
        with pytest.raises(NotComparable, match=r"5 items only in base \(item-0005, item-0006, item-0007, ...\)"):
            compare(run(right(10, 10)), run(right(5, 5)), role=GUARD)

    def test_an_unfinished_run(self) -> None:
        torn = run(right(10, 10), right(10, 10))[:-1]
        with pytest.raises(
            NotComparable, match=r"tuned is not complete: item item-0009 has the repeats 0, expected 0 to 1"
        ):
            compare(run(right(10, 10), right(10, 10)), torn, role=GUARD)

    def test_other_repeats(self) -> None:
        with pytest.raises(NotComparable, match="base has 1 repeats an item and tuned 2"):
            compare(run(right(10, 10)), run(right(10, 10), right(10, 10)), role=GUARD)

    def test_nothing(self) -> None:
        with pytest.raises(NotComparable, match="tuned has no samples"):
            compare(run(right(10, 10)), [], role=GUARD)
        with pytest.raises(NotComparable, match="no tuned run"):
            compare(run(right(10, 10)), role=GUARD)

    def test_another_prompt(self) -> None:
        with pytest.raises(NotComparable, match=r"item item-0000 differs from token 0 on \(5 in base, 1 in tuned\)"):
            compare(run([1.0, 1.0], prompt_ids=(5, 6)), run([1.0, 1.0], prompt_ids=(1, 5, 6)), role=GUARD)

    @pytest.mark.parametrize(
        ("name", "value"), [("cluster", "c"), ("slice", "s"), ("critical", True), ("reference", "r")]
    )
    def test_another_dataset(self, name: str, value: Any) -> None:
        with pytest.raises(NotComparable, match=f"{name} of item item-0000 is "):
            compare(run([1.0, 1.0]), run([1.0, 1.0], **{name: value}), role=GUARD)

    def test_manifests_are_compared_field_by_field(self) -> None:
        base = {"weights": "a", "gen": {"temperature": 0.0, "top_p": 1.0}, "backend": "transformers 5.23"}
        check_manifests(base, base | {"weights": "b"})
        with pytest.raises(NotComparable) as caught:
            check_manifests(base, {"weights": "b", "gen": {"temperature": 0.7, "top_p": 1.0}, "dtype": "float32"})
        assert str(caught.value).splitlines()[1:] == [
            "  backend: 'transformers 5.23' in base, nothing in tuned",
            "  dtype: nothing in base, 'float32' in tuned",
            "  gen.temperature: 0.0 in base, 0.7 in tuned",
        ]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc")), min_size=2, max_size=40), st.randoms())
def test_order_of_lines_is_irrelevant(rows: list[tuple[bool, bool, str]], rng: random.Random) -> None:
    clusters = [cluster for _, _, cluster in rows]
    base, tuned = (run([float(row[side]) for row in rows], cluster=clusters) for side in (0, 1))
    straight = compare(base, tuned, role=GUARD)
    rng.shuffle(base)
    rng.shuffle(tuned)
    assert compare(base, tuned, role=GUARD) == straight


def suites(*drops: int) -> list[Result]:
    return [compare(run(right(100)), run(right(100 - n)), role=GUARD, suite=f"drop {n}") for n in drops]


def test_the_list_of_what_got_worse_allows_for_its_length() -> None:
    assert [r.suite for r in regressed(suites(0, 4, 40))] == ["drop 4", "drop 40"]
    assert [r.suite for r in regressed(suites(4, *[0] * 9))] == []


def test_each_guard_costs_power() -> None:
    [one] = suites(3)
    assert one.pairs is not None
    assert together([one, one, one]) == pytest.approx(one.pairs.power**3)


class TestMessages:
    def test_a_fall(self) -> None:
        result = compare(run(right(100)), run(right(39)), role=GUARD, suite="copy", metric="exact")
        text = message(result)
        assert text.startswith(
            "copy exact: fell from 1.000 to 0.390 on 100 items, -0.610, 90 % interval -0.691 to -0.527; "
            "a fall of 0.05 is allowed; 61 items lost, 0 won (McNemar p 8.7e-19)"
        )
        assert "next: mix rows of the old skill" in text

    def test_what_cannot_be_told_says_how_many_items_would_decide(self) -> None:
        text = message(compare(run(right(100)), run(right(94)), role=GUARD))
        assert "these items cannot tell; next: add items, about 141 would decide if nothing really changed" in text

    def test_answers_that_begin_right(self) -> None:
        base = run(right(100), reference="sun tree", answers=["sun tree"] * 100)
        tuned = run(right(0), reference="sun tree", answers=["sun tree tree tree"] * 100)
        assert "100 of the lost answers begin with the reference and go on" in message(compare(base, tuned, role=GUARD))

    @given(st.integers(2, 120), st.integers(0, 120), st.sampled_from([GUARD, TARGET, Floor(0.98), Ceiling(0.1)]))
    def test_every_message_is_one_line_and_says_what_next(self, n: int, good: int, role: Role) -> None:
        result = compare(run(right(n, n)), run(right(min(good, n), n)), role=role)
        text = message(result)
        assert "\n" not in text
        assert ("next:" in text) == (result.verdict is not PASS)
        assert not {"nan", "inf", "None"} & set(text.replace(",", " ").split())


def test_a_sample_may_come_from_anywhere() -> None:
    """The least that an imported log must have."""
    before = [Sample(item=str(i), answer="", score=1) for i in range(100)]
    assert compare(before, before, role=GUARD).verdict is PASS
