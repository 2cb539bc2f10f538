"""The base against itself: half of what a suite is asked to see is all that the evaluator may move its score by."""

from __future__ import annotations

import dataclasses

import pytest
from finetuning import TINY
from gate_samples import right, run

from modelcheck.finetune.aa import OTHER_BATCH, disturbed, stability
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.outcome import FAILED, PASSED
from modelcheck.finetune.verdict import Ceiling, Floor, Guard, Role, Target


@pytest.mark.parametrize("role", [Guard(0.1), Target(0.1), Floor(0.9), Ceiling(0.1)])
@pytest.mark.parametrize(("again", "verdict"), [(90, PASSED), (85, PASSED), (95, PASSED), (84, FAILED), (96, FAILED)])
def test_half_of_what_is_asked_is_allowed(role: Role, again: int, verdict: str) -> None:
    assert stability("copy", run(right(90)), run(right(again)), role).verdict == verdict


def test_the_message_says_what_was_seen_and_what_to_do() -> None:
    outcome = stability("copy", run(right(98), answers=["a"] * 100), run(right(88)), Guard(0.1))
    assert outcome.message == (
        "copy: the base scores 0.980, and 0.880 in other batches and under another seed; 100% of 100 answers differ: "
        "expected scores within 0.05, half of margin = 0.1: the evaluator moves the score, not a model; evaluate in "
        "float32, with eval.batch_size = 1 and temperature 0, or take more items or repeats"
    )
    assert outcome.figures == {"aa": pytest.approx(-0.1), "changed": 1.0}


@pytest.mark.parametrize(("size", "other"), [("auto", OTHER_BATCH), (1, 2), (2, 1), (64, 32)])
def test_only_batch_and_seed_are_others(size: int | str, other: int) -> None:
    [plain] = read_jobs(TINY / "modelcheck.toml").values()
    job = dataclasses.replace(plain, eval=dataclasses.replace(plain.eval, batch_size=size))
    made = disturbed(job)
    assert (made.eval.batch_size, made.eval.gen.seed) == (other, 1)
    gen = dataclasses.replace(made.eval.gen, seed=0)
    assert dataclasses.replace(made, eval=dataclasses.replace(made.eval, batch_size=size, gen=gen)) == job
