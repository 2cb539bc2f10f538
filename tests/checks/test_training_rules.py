"""The rules on what a trainer does: their traps, and the way from a log to a finding."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from support import found, severities

from modelcheck.finetune.identity import differences
from modelcheck.finetune.job import Schedule
from modelcheck.finetune.log_evidence import log_evidence
from modelcheck.finetune.schedule import factor, warmup_steps
from modelcheck.testing import lint_overlay

LABELS = {
    "rows": 100, "audited": 100, "tokens": 2600, "supervised": 400, "end_tokens": ["<|im_end|>"],
    "ends_supervised": 100, "prompt_rows": 100, "prompt_tokens": 2200,
}  # fmt: skip


def on_labels(slug: str, **changes: Any) -> list[Any]:
    return found(slug, training_evidence={"labels": LABELS | changes})


def test_a_few_rows_without_their_end_are_a_warning() -> None:
    [finding] = on_labels("label-without-end", rows_without_end=3, ends_supervised=97)
    assert severities([finding]) == ["warning"]
    assert finding.message.startswith("3 of 100 rows have no supervised '<|im_end|>', expected one in each")


def test_no_end_at_all_names_the_token_and_the_consequence() -> None:
    [finding] = on_labels("label-without-end", rows_without_end=100, ends_supervised=0)
    assert (finding.file, finding.at) == ("training_evidence.json", "/labels/ends_supervised")
    assert finding.message.startswith("0 of 400 supervised labels are '<|im_end|>', expected one in each answer")
    assert "never taught to end a turn" in finding.message


def test_loss_on_the_prompt_is_left_alone_where_it_was_asked_for() -> None:
    assert on_labels("prompt-in-loss", prompt_supervised=2200, loss_on="all") == []
    assert severities(on_labels("prompt-in-loss", prompt_supervised=2200)) == ["warning"]


def test_a_newline_behind_the_turn_is_no_prompt_in_loss() -> None:
    assert on_labels("prompt-in-loss", prompt_supervised=100) == []


@pytest.mark.parametrize(("silent", "severity"), [(2, "warning"), (10, "error")])
def test_rows_that_teach_nothing_weigh_by_their_share(silent: int, severity: str) -> None:
    assert severities(on_labels("no-supervised-tokens", rows_without_loss=silent)) == [severity]
    assert severities(on_labels("no-supervised-tokens", dropped=silent, audited=100 - silent)) == [severity]


def test_a_file_of_another_shape_is_named_not_guessed() -> None:
    [report] = lint_overlay({"training_evidence.json": '{"labels": {"rows": "many"}}'})
    assert [f.message for f in report.findings if f.slug == "malformed-file"] == [
        "rows is a string ('many'), expected a whole number"
    ]
    assert report.internal == []


# ------------------------------------------------------------------ from a log to a finding

STEPS = 40
SCHEDULE = Schedule(warmup=0.05)
ASKED = {
    "rows": 320, "steps_expected": STEPS, "steps": STEPS, "lr": 1e-3, "warmup_steps": warmup_steps(SCHEDULE, STEPS),
    "schedule": {"type": "constant_then_linear", "warmup": 0.05, "anneal_last": 0.5},
}  # fmt: skip


def steps(**changes: Any) -> list[dict[str, Any]]:
    """The lines of a healthy run; `changes` are functions of (step, value) by key."""
    made = []
    for step in range(1, STEPS + 1):
        line = {"step": step, "loss": 1 / step, "grad_norm": 0.5, "lr": [1e-3 * factor(SCHEDULE, step - 1, STEPS)]}
        made.append({key: changes[key](step, value) if key in changes else value for key, value in line.items()})
    return made


def slugs(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    evidence = {"log": log_evidence(json.dumps(line) for line in [{"asked": ASKED}, *lines])}
    [report] = lint_overlay({"training_evidence.json": json.dumps(evidence)})
    assert report.internal == []
    return [f.slug for f in report.findings]


def test_a_healthy_log_is_silent() -> None:
    assert slugs([*steps()]) == []


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the scheduler was dropped": ({"lr": lambda step, _: [1e-3]}, ["learning-rate-not-applied", "warmup-zero"]),
    "the rate is another": ({"lr": lambda step, lr: [lr[0] * 10]}, ["learning-rate-not-applied", "warmup-zero"]),
    "a loss is no number": ({"loss": lambda step, v: float("nan") if step > 9 else v}, ["non-finite-loss"]),
    "a gradient is infinite": ({"grad_norm": lambda step, v: float("inf") if step > 9 else v}, ["non-finite-loss"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_log_tells(fault: str) -> None:
    changes, expected = FAULTS[fault]
    assert slugs([*steps(**changes)]) == expected


def test_a_log_that_ends_early_tells() -> None:
    assert slugs(steps()[:20]) == ["fewer-steps"]


def test_of_a_resumed_run_the_later_line_of_a_step_counts() -> None:
    undone = [{**line, "loss": float("nan")} for line in steps()[10:20]]
    assert slugs([*steps()[:10], *undone, *steps()[10:]]) == []


@pytest.mark.parametrize(("losses", "expected"), [
    ([1.0, 0.6, 0.8, 0.9], ["overfit-eval-loss"]),
    ([1.0, 0.8, 0.7, 0.71], []),
    ([1.0, 0.70, 0.705, 0.71], []),
])  # fmt: skip
def test_an_evaluation_loss_that_rises_again_tells(losses: list[float], expected: list[str]) -> None:
    assert slugs([*steps(), *({"step": 10 * i, "eval_loss": loss} for i, loss in enumerate(losses, 1))]) == expected


# ------------------------------------------------------------------ the schedule


def test_the_schedule_holds_and_then_falls_to_nothing() -> None:
    rates = [factor(SCHEDULE, step, 40) for step in range(40)]
    assert rates[:3] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert rates[20] == 1.0
    assert rates[30] == pytest.approx(0.5)
    assert factor(SCHEDULE, 40, 40) == 0.0


def test_a_warm_up_that_is_asked_for_is_never_rounded_away() -> None:
    assert [warmup_steps(Schedule(warmup=0.01), total) for total in (3, 99, 101, 1000)] == [1, 1, 2, 10]
    assert warmup_steps(Schedule(warmup=0.0), 1000) == 0


# ------------------------------------------------------------------ traps


def logged(slug: str, **changes: Any) -> list[Any]:
    """The findings of one rule on the log of a healthy run, changed."""
    evidence = log_evidence(json.dumps(line) for line in [{"asked": ASKED}, *steps()])
    return found(slug, training_evidence={"log": evidence | changes})


def test_noise_in_the_labels_keeps_a_loss_up_and_does_not_raise_it() -> None:
    assert slugs(steps(loss=lambda step, _: 2.0 + (0.3 if step % 2 else -0.3))) == []


def test_nine_steps_are_too_few_to_tell_a_rise() -> None:
    evidence = log_evidence(json.dumps(line) for line in [{"asked": ASKED}, *steps(loss=lambda s, _: float(s))[:9]])
    assert found("loss-rose", training_evidence={"log": evidence}) == []


@pytest.mark.parametrize(("bad", "severity"), [(3, "warning"), (30, "error")])
def test_a_few_infinite_gradients_are_how_loss_scaling_begins(bad: int, severity: str) -> None:
    seen = {"step": 1, "what": "grad_norm", "value": "inf", "steps": bad}
    assert severities(logged("non-finite-loss", non_finite=seen)) == [severity]


def test_a_loss_that_is_no_number_is_never_a_beginning() -> None:
    seen = {"step": 1, "what": "loss", "value": "nan", "steps": 1}
    assert severities(logged("non-finite-loss", non_finite=seen)) == ["error"]


def test_no_warm_up_is_a_choice() -> None:
    assert logged("warmup-zero", warmup=0.0, warmup_steps=0) == []


def test_packing_makes_fewer_steps_on_purpose() -> None:
    assert logged("fewer-steps", steps_expected=10, steps_planned=10, steps_done=10) == []


MADE_BY = {"folder": "a", "files": {}, "weights": "1" * 64, "tokenizer": "2" * 64, "special_ids": {"eos": 2},
           "dtype": "float32"}  # fmt: skip


@pytest.mark.parametrize(("trained", "differing"), [
    ({"folder": "b"}, []),
    ({"weights": "9" * 64, "dtype": "bfloat16"}, []),
    ({"weights": "9" * 64}, ["weights"]),
    ({"tokenizer": "9" * 64, "dtype": "bfloat16"}, ["tokenizer"]),
    ({"special_ids": {"eos": 3}}, ["special_ids"]),
])  # fmt: skip
def test_a_base_is_its_weights_tokenizer_and_ids_and_not_its_place(
    trained: dict[str, Any], differing: list[str]
) -> None:
    assert [text.partition(":")[0] for text in differences(MADE_BY, MADE_BY | trained)] == differing
