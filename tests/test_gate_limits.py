"""What is asked of the tuned model alone, and what a suite can show before anything was trained."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from finetuning import TINY
from gate_samples import right, run

from modelcheck.dataset.example import Example
from modelcheck.finetune.engines.answer import RETOKENISED
from modelcheck.finetune.evaluation import Evaluated
from modelcheck.finetune.gate import Ceiling, Floor, Guard, Policy, Target, Verdict, compare, pair
from modelcheck.finetune.job import Scorer, Suite
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.messages import message
from modelcheck.finetune.outcome import Outcome
from modelcheck.finetune.plan import plan
from modelcheck.finetune.rates import length, overfit, stop, truncation
from modelcheck.finetune.samples import append
from modelcheck.finetune.verdict import Role
from modelcheck.finetune.verdicts import of_baseline, of_behaviour

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
GUARD, TARGET = Guard(0.05), Target(0.3)


class TestFloors:
    @pytest.mark.parametrize(
        ("good", "of", "verdict"),
        [(300, 300, PASS), (9, 300, FAIL), (100, 100, INCONCLUSIVE), (292, 300, INCONCLUSIVE)],
    )
    def test_a_rate_must_be_proved(self, good: int, of: int, verdict: Verdict) -> None:
        samples = run(right(good, of))
        assert compare(samples, samples, role=Floor(0.98)).verdict is verdict

    def test_a_ceiling_is_a_floor_upside_down(self) -> None:
        never, always = run(right(0, 300)), run(right(300, 300))
        assert compare(never, never, role=Ceiling(0.02)).verdict is PASS
        result = compare(always, always, role=Ceiling(0.02))
        assert (result.verdict, result.role) == (FAIL, "ceiling")
        assert "at most 0.02 is asked" in message(result)

    def test_what_would_decide(self) -> None:
        perfect = run(right(100))
        result = compare(perfect, perfect, role=Floor(0.98))
        assert result.needed is not None
        assert result.needed.items == 133
        enough = run(right(133, 133))
        assert compare(enough, enough, role=Floor(0.98)).verdict is PASS

    def test_clusters_count_as_what_they_are_worth(self) -> None:
        clustered = run(right(300, 300), cluster=[f"document {i // 10}" for i in range(300)])
        assert compare(clustered, clustered, role=Floor(0.98)).verdict is INCONCLUSIVE

    def test_the_worst_training_run_decides(self) -> None:
        good, bad = run(right(300, 300)), run(right(200, 300))
        assert compare(good, good, bad, good, role=Floor(0.98)).verdict is FAIL


class TestBehaviour:
    def test_stop_and_truncation(self) -> None:
        base = run(right(300, 300), tokens=5)
        never = [replace(s, stopped=i < 9, tokens=64) for i, s in enumerate(base)]
        items = pair(base, never)
        stopped, cut = stop(items, 0.98, Policy()), truncation(items, 0.02, Policy(), max_tokens=64)
        assert (stopped.verdict, cut.verdict) == (FAIL, FAIL)
        assert (stopped.base, cut.base) == (1.0, 0.0)
        assert stopped.value == pytest.approx(0.03)
        assert cut.value == pytest.approx(0.97)
        assert truncation(items, 0.02, Policy(), max_tokens=128).verdict is PASS
        assert truncation(pair(base, base), 0.02, Policy()).verdict is PASS

    @pytest.mark.parametrize(
        ("loaded", "verdict"),
        [
            ({"answer_ids": RETOKENISED}, "FAIL"),
            ({"answer_ids": "the server's"}, "PASS"),  # cut by something else than max_tokens
            ({}, "PASS"),  # an engine of our own
        ],
        ids=["texts", "ids", "no server"],
    )
    def test_answers_whose_tokens_were_not_told_are_cut_where_they_did_not_stop(
        self, tmp_path: Path, loaded: dict[str, str], verdict: str
    ) -> None:
        [job] = read_jobs(TINY / "modelcheck.toml").values()
        base = run(right(300, 300), tokens=5)
        items = [Example(({"role": "user", "content": s.item},), i, "rows.jsonl", "a") for i, s in enumerate(base)]
        for name, stopped in (("base", True), ("tuned", False)):
            samples = [replace(s, item=item.id, stopped=stopped) for s, item in zip(base, items, strict=True)]
            append(tmp_path / name, samples)
        before, after = (Evaluated(tmp_path / name, {}, loaded, items) for name in ("base", "tuned"))
        outcome = of_behaviour([(job.suites[0], (before, [after]))], job, Policy(), ())
        [cut] = [result for result in outcome.results if result.metric == "truncation"]
        assert str(cut.verdict) == verdict

    @pytest.mark.parametrize(
        ("tokens", "jitter", "verdict"), [(10, 9, PASS), (19, 15, INCONCLUSIVE), (64, 15, FAIL), (2, 2, FAIL)]
    )
    def test_length(self, tokens: int, jitter: int, verdict: Verdict) -> None:
        rng = random.Random(0)
        base = [replace(s, tokens=10) for s in run(right(100))]
        tuned = [replace(s, tokens=max(0, tokens + rng.randint(-jitter, jitter))) for s in base]
        assert length(pair(base, tuned), (0.5, 2.0), Policy()).verdict is verdict

    def test_lengths_that_were_not_counted_are_not_fine(self) -> None:
        samples = run(right(100))
        assert length(pair(samples, samples), (0.5, 2.0), Policy()).verdict is INCONCLUSIVE

    @pytest.mark.parametrize(
        ("mirror", "unseen", "verdict"), [(100, 98, PASS), (100, 60, FAIL), (95, 80, INCONCLUSIVE), (55, 100, PASS)]
    )
    def test_overfit(self, mirror: int, unseen: int, verdict: Verdict) -> None:
        result = overfit([run(right(mirror))], [run(right(unseen))], 0.15, Policy())
        assert result.verdict is verdict
        assert any("labels themselves are likely wrong" in note for note in result.notes) == (mirror == 55)

    def test_the_worst_seed_counts(self) -> None:
        mirror, unseen = [run(right(n)) for n in (97, 100, 98)], [run(right(n)) for n in (96, 60, 97)]
        result = overfit(mirror, unseen, 0.15, Policy())
        assert (result.verdict, result.tuned, result.base) == (FAIL, 1.0, 0.6)
        assert result.notes == ("the widest gap of 3 training runs",)


class TestBaselines:
    """A blessed model's scores, and those of the model that is held against it."""

    @pytest.mark.parametrize(
        ("blessed", "tuned", "passes"),
        [((60, 300), (0, 300), True), ((0, 300), (75, 300), False), ((60, 300), (60, 300), True)],
    )
    def test_of_a_ceiling_the_lower_score_is_the_better_one(
        self, tmp_path: Path, blessed: tuple[int, int], tuned: tuple[int, int], passes: bool
    ) -> None:
        suite = Suite("refuses", "floor", "eval", Scorer("contains"), max=0.3)
        outcome = held_against(suite, right(*blessed), right(*tuned), tmp_path)
        assert (outcome.verdict == "pass") is passes
        assert "what is compared is 1 - score, the share that keeps to it" in outcome.details
        if not passes:
            assert "refuses vs baseline: fell from 1.000 to 0.750 on 300 items" in outcome.message
            assert "a fall of 0.05 is allowed; 75 items lost, 0 won" in outcome.message
            assert "begin with the reference" not in outcome.message

    @pytest.mark.parametrize(
        ("blessed", "tuned", "passes"), [((60, 300), (0, 300), False), ((0, 300), (75, 300), True)]
    )
    def test_of_any_other_suite_the_higher(
        self, tmp_path: Path, blessed: tuple[int, int], tuned: tuple[int, int], passes: bool
    ) -> None:
        suite = Suite("knows", "floor", "eval", Scorer("contains"), min=0.1)
        assert (held_against(suite, right(*blessed), right(*tuned), tmp_path).verdict == "pass") is passes


def held_against(suite: Suite, blessed: list[float], tuned: list[float], folder: Path) -> Outcome:
    """A suite against its baseline; every answer begins with the reference."""
    items = [Example(({"role": "user", "content": str(i)},), i, "rows.jsonl", "answer") for i in range(len(tuned))]
    runs = [
        [replace(sample, item=item.id, reference="answer") for sample, item in zip(run(scores), items, strict=True)]
        for scores in (blessed, tuned)
    ]
    append(folder / "samples.jsonl", runs[1])
    return of_baseline(suite, runs[0], [Evaluated(folder / "samples.jsonl", {}, {}, items)], Policy(), ())


class TestPlan:
    @pytest.mark.parametrize(
        ("base", "role", "reachable", "words"),
        [
            (right(90), Guard(0.02), False, "100 items can show a drop of 0.075 at best, margin is 0.02"),
            (right(1800, 2000), Guard(0.02), True, "2000 items can show a difference of 0.017"),
            (right(100), Guard(0.02), False, "it takes about 135 items"),
            (right(100), GUARD, True, "can show a difference of 0.027"),
            (right(32, 32), Guard(0.1), False, "and under 50 items five must fit in it"),
            (right(95), Target(0.1), False, "the base scores 0.950 already, min_gain is 0.1: no model can pass"),
            (right(65), TARGET, False, "even a perfect model gains 0.350"),
            (right(10), TARGET, True, "can show"),
            (right(100), Floor(0.98), False, "even without one failure that takes 133 items"),
            (right(300, 300), Floor(0.98), True, "300 items"),
            (right(0), Ceiling(0.02), False, "even without one failure that takes 133 items"),
            ([1.0], GUARD, False, "no number of items would do"),
        ],
    )
    def test_says_whether_the_suite_is_large_enough(
        self, base: list[float], role: Role, reachable: bool, words: str
    ) -> None:
        planned = plan(run(base), role, "general")
        assert planned.reachable is reachable
        assert words in planned.message

    def test_a_guard_of_what_the_base_cannot_do_is_warned_of(self) -> None:
        assert "the base scores 0 on all 300 items" in plan(run(right(0, 300)), GUARD, "copy").warning
        assert plan(run(right(1, 300)), GUARD).warning == ""
        for role in (TARGET, Floor(0.98), Ceiling(0.02)):
            assert plan(run(right(0, 300)), role).warning == ""

    def test_what_is_planned_is_enough(self) -> None:
        planned = plan(run(right(90)), Guard(0.02))
        assert planned.needed is not None
        more = run(right(round(planned.needed * 0.9), planned.needed))
        assert plan(more, Guard(0.02)).reachable

    @pytest.mark.parametrize("margin", [0.01, 0.02, 0.05, 0.1])
    def test_where_nothing_is_lost_what_is_planned_is_just_enough(self, margin: float) -> None:
        needed = plan(run(right(50, 50)), Guard(margin)).needed
        assert needed is not None
        for n, verdict in ((needed, PASS), (needed - 2, INCONCLUSIVE)):
            assert compare(run(right(n, n)), run(right(n, n)), role=Guard(margin)).verdict is verdict
